//! `stat`: what a database holds, in numbers and in bars.

use std::fs;

use serde_json::{Value, json};

use super::Run;
use crate::cli::Stat;
use crate::failure::{Done, Failure};
use crate::layout::Layout;
use crate::open::{Access, Target};
use crate::output::Output;
use crate::progress::{Progress, Unit};

/// Characters of the longest bar.
const WIDTH: u64 = 40;

/// How many of some numbers lie between two powers of two.
struct Sizes {
    /// The number of zeros, of ones, of 2 to 3, of 4 to 7, and so on.
    counts: [u64; 33],
    sum: u64,
    greatest: u64,
}

impl Sizes {
    fn new() -> Sizes {
        Sizes { counts: [0; 33], sum: 0, greatest: 0 }
    }

    fn add(&mut self, size: usize) {
        let size = size as u64;
        self.counts[(u64::BITS - size.leading_zeros()) as usize] += 1;
        self.sum += size;
        self.greatest = self.greatest.max(size);
    }

    /// Each range from the first to the last that is not empty, with its count.
    fn ranges(&self) -> Vec<(u64, u64, u64)> {
        let is_used = |count: &u64| *count > 0;
        let Some(first) = self.counts.iter().position(is_used) else { return Vec::new() };
        let last = self.counts.iter().rposition(is_used).unwrap_or(first);
        let bounds =
            |bits: usize| if bits == 0 { (0, 0) } else { (1 << (bits - 1), (1 << bits) - 1) };
        (first..=last).map(|bits| (bounds(bits).0, bounds(bits).1, self.counts[bits])).collect()
    }

    fn to_json(&self) -> Value {
        let range =
            |(from, to, count): (u64, u64, u64)| json!({ "from": from, "to": to, "count": count });
        let ranges: Vec<Value> = self.ranges().into_iter().map(range).collect();
        json!({ "bytes": self.sum, "greatest": self.greatest, "sizes": ranges })
    }

    fn print(&self, name: &str, out: &mut Output) -> Done {
        let count: u64 = self.counts.iter().sum();
        if count == 0 {
            return Ok(());
        }
        let (sum, greatest) = (self.sum, self.greatest);
        out.line(&format!(
            "\n{name} by size in bytes; on average {}, at most {greatest}",
            sum / count
        ))?;
        let most = self.counts.iter().max().copied().unwrap_or(1);
        for (from, to, number) in self.ranges() {
            let range = if from == to { format!("{from}") } else { format!("{from} to {to}") };
            out.line(&line(&range, number, most, &percent(number, count)))?;
        }
        Ok(())
    }
}

/// A line with a bar.
fn line(name: &str, number: u64, most: u64, text: &str) -> String {
    let bar = "#".repeat(bar_len(number, most) as usize);
    format!("{name:>24} {number:>15} {text:>6} {bar}").trim_end().to_owned()
}

/// The length of a bar; something is there if the number is not zero.
fn bar_len(number: u64, most: u64) -> u64 {
    (u128::from(number) * u128::from(WIDTH)).div_ceil(u128::from(most.max(1))) as u64
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", part as f64 * 100.0 / whole.max(1) as f64)
}

fn layout_json(layout: &Layout) -> Value {
    json!({
        "free_bytes": layout.free_bytes,
        "page_bytes": layout.page_bytes,
        "blob_bytes": layout.blob_bytes,
        "pages": layout.pages,
        "leaves_by_tenths_used": layout.fill,
    })
}

fn print_layout(layout: &Layout, out: &mut Output) -> Done {
    let Layout { file_bytes, free_bytes, page_bytes, blob_bytes, .. } = *layout;
    let tables = file_bytes - free_bytes - page_bytes - blob_bytes;
    let parts = [
        ("pages", page_bytes),
        ("long keys and values", blob_bytes),
        ("roots and tables", tables),
        ("free", free_bytes),
    ];
    out.line("\nfile by what it holds, in bytes")?;
    for (name, bytes) in parts {
        out.line(&line(name, bytes, file_bytes, &percent(bytes, file_bytes)))?;
    }
    let (most, leaves) = (*layout.fill.iter().max().unwrap_or(&1), layout.fill.iter().sum());
    out.line("\nleaf pages by how much of them is used")?;
    for (tenth, number) in layout.fill.iter().enumerate().skip_while(|(_, number)| **number == 0) {
        let name = format!("{}% to {}%", tenth * 10, tenth * 10 + 10);
        out.line(&line(&name, *number, most, &percent(*number, leaves)))?;
    }
    Ok(())
}

impl Run for Stat {
    fn run(&self, target: &Target, out: &mut Output) -> Done {
        let db = target.open(Access::Read)?;
        let snapshot = db.snapshot()?;
        let (count, data_bytes) = (snapshot.count()?, snapshot.data_bytes()?);
        let (mut keys, mut values) = (Sizes::new(), Sizes::new());
        let mut progress = Progress::new("stat", Unit::Entries, Some(count), target.lines);
        let (mut cursor, mut done) = (snapshot.scan(None, None)?, 0u64);
        while cursor.next()? {
            keys.add(cursor.key().unwrap_or_default().len());
            values.add(cursor.value().unwrap_or_default().len());
            done += 1;
            if done.is_multiple_of(256) {
                progress.at(done);
            }
        }
        drop(progress);
        let len = |path: Option<_>| match path.map(fs::metadata) {
            Some(Ok(found)) => Ok(found.len()),
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::input("the file", &error))
            }
            _ => Ok(0),
        };
        let file_bytes = len(Some(target.path.clone()))?;
        let log_bytes = len(target.log_path())?;
        let numbers = [
            ("count", count),
            ("data_bytes", data_bytes),
            ("file_bytes", file_bytes),
            ("log_bytes", log_bytes),
            ("memory_bytes", db.memory_bytes()?),
            ("commits", snapshot.commits()?),
        ];
        // In a shell the file may change meanwhile.
        let layout =
            if target.is_shell() { None } else { Layout::read(&target.path).ok().flatten() };
        if self.json {
            let mut object = serde_json::Map::new();
            object.extend(numbers.map(|(name, number)| (name.to_owned(), number.into())));
            object.insert("keys".into(), keys.to_json());
            object.insert("values".into(), values.to_json());
            if let Some(layout) = layout {
                object.insert("layout".into(), layout_json(&layout));
            }
            return out.line(&Value::Object(object).to_string());
        }
        for (name, number) in numbers {
            out.line(&format!("{name:>24} {number:>15}"))?;
        }
        if let Some(layout) = layout {
            print_layout(&layout, out)?;
        }
        keys.print("keys", out)?;
        values.print("values", out)
    }
}
