//! `scan` and `count`.

use super::Run;
use crate::cli::{Count, Scan};
use crate::failure::Done;
use crate::open::{Access, Target};
use crate::output::Output;

/// The first key, and the end of the keys, which does not count.
type Bounds = (Option<Vec<u8>>, Option<Vec<u8>>);

impl Scan {
    /// The keys that are wanted.
    fn bounds(&self) -> Done<Bounds> {
        let decode =
            |it: &Option<_>| it.as_ref().map(|it| self.printed.written.decode(it)).transpose();
        let (prefix, mut from, mut to) =
            (decode(&self.prefix)?, decode(&self.from)?, decode(&self.to)?);
        if let Some(prefix) = prefix {
            if let Some(end) = end_of_prefix(&prefix) {
                to = Some(to.map_or(end.clone(), |to| to.min(end)));
            }
            from = from.max(Some(prefix));
        }
        Ok((from, to))
    }
}

/// The least of all keys that are greater than those that begin with `prefix`.
fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

impl Run for Scan {
    fn run(&self, target: &Target, out: &mut Output) -> Done {
        let (from, to) = self.bounds()?;
        let mut cursor = target.open(Access::Read)?.scan(from.as_deref(), to.as_deref())?;
        let (style, end) = (self.printed.style(), self.printed.end());
        let mut count = 0;
        while self.limit.is_none_or(|limit| count < limit)
            && if self.reverse { cursor.prev()? } else { cursor.next()? }
        {
            count += 1;
            if !self.count {
                let key = cursor.key().filter(|_| !self.values_only);
                out.entry(style, end, key, cursor.value().filter(|_| !self.keys_only))?;
            }
        }
        if self.count { print_count(count, self.printed.json, out) } else { Ok(()) }
    }
}

impl Run for Count {
    fn run(&self, target: &Target, out: &mut Output) -> Done {
        print_count(target.open(Access::Read)?.count()?, self.json, out)
    }
}

fn print_count(count: u64, json: bool, out: &mut Output) -> Done {
    let text = count.to_string();
    out.line(&if json { serde_json::json!({ "count": count }).to_string() } else { text })
}
