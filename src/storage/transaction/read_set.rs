//! What a transaction has read, to be compared with what others have written.
//!
//! A key that was written before by the transaction itself is not read by
//! looking at it. So a span of keys that a cursor walked over says how many
//! writes the transaction had made by then: of the keys in it, those that these
//! had written do not count.

use std::collections::BTreeSet;
use std::ops::{Bound, RangeBounds};

use super::super::change::{Change, Op};
use super::write_set::{Coverage, Point, WriteSet};
use crate::error::DBResult;
use crate::fallible::copy;

/// With more keys than this, or spans of cursors that have none yet, everything
/// counts as read.
const KEYS_MAX: usize = 1 << 20;
const SPANS_MAX: usize = 1 << 10;

/// Keys in a row, from the first to the last of them; `None` until the walk has
/// gone that way.
#[derive(Clone, Debug)]
struct Span {
    low: Option<Bound<Vec<u8>>>,
    high: Option<Bound<Vec<u8>>>,
    /// Writes made before.
    writes: u64,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct ReadSet {
    keys: BTreeSet<Vec<u8>>,
    spans: Vec<Span>,
    everything: bool,
}

/// Names a span.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanId(usize);

fn copy_bound(bound: Bound<&[u8]>) -> DBResult<Bound<Vec<u8>>> {
    Ok(match bound {
        Bound::Included(key) => Bound::Included(copy(key)?),
        Bound::Excluded(key) => Bound::Excluded(copy(key)?),
        Bound::Unbounded => Bound::Unbounded,
    })
}

fn as_ref(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// Whether `to` is beyond the end that a span has, its lower one with `back`.
fn is_further(end: Option<Bound<&[u8]>>, to: Bound<&[u8]>, back: bool) -> bool {
    let beyond = |key: &[u8], was: &[u8]| if back { key < was } else { key > was };
    match (end, to) {
        (None, _) => true,
        (Some(Bound::Unbounded), _) => false,
        (_, Bound::Unbounded) => true,
        (Some(Bound::Excluded(was)), Bound::Included(key)) => key == was || beyond(key, was),
        (
            Some(Bound::Included(was) | Bound::Excluded(was)),
            Bound::Included(key) | Bound::Excluded(key),
        ) => beyond(key, was),
    }
}

/// Sets an end of a span, where its key was; without memory it stays.
fn set(end: &mut Option<Bound<Vec<u8>>>, to: Bound<&[u8]>) -> DBResult<()> {
    let (Some(Bound::Included(was)), Bound::Included(key)) = (&mut *end, to) else {
        *end = Some(copy_bound(to)?);
        return Ok(());
    };
    was.try_reserve(key.len().saturating_sub(was.len()))?;
    was.clear();
    was.extend_from_slice(key);
    Ok(())
}

impl Span {
    /// Whether a walk from there begins within.
    fn has_start(&self, from: Bound<&[u8]>, back: bool) -> bool {
        match from {
            Bound::Included(key) => self.has(key),
            _ if back => self.high.as_ref().map(as_ref) == Some(from),
            _ => self.low.as_ref().map(as_ref) == Some(from),
        }
    }

    fn has(&self, key: &[u8]) -> bool {
        let (Some(low), Some(high)) = (&self.low, &self.high) else {
            return false;
        };
        (as_ref(low), as_ref(high)).contains(key)
    }

    /// Whether there may be a key from `from` up to `to` in it that had not been
    /// written before.
    fn meets(&self, from: Option<&[u8]>, to: Option<&[u8]>, own: &WriteSet) -> bool {
        let (Some(low), Some(high)) = (&self.low, &self.high) else {
            return false;
        };
        let mut at = match low {
            Bound::Unbounded => Point::of(&[]),
            Bound::Included(key) => Point::of(key),
            Bound::Excluded(key) => Point::after(key),
        };
        if let Some(from) = from.filter(|from| at.is_before(from)) {
            at = Point::of(from);
        }
        loop {
            let below = match high {
                Bound::Unbounded => true,
                Bound::Included(high) => !at.is_after(high),
                Bound::Excluded(high) => at.is_before(high),
            };
            if !below || to.is_some_and(|to| !at.is_before(to)) {
                return false;
            }
            match own.written_from(at, self.writes) {
                Coverage::Nothing => return true,
                Coverage::Key(next) => at = next,
                Coverage::End => return false,
            }
        }
    }
}

impl ReadSet {
    pub(super) fn is_empty(&self) -> bool {
        !self.everything && self.keys.is_empty() && self.spans.is_empty()
    }

    /// A key was looked at that the transaction has not written.
    pub(super) fn key(&mut self, key: &[u8]) -> DBResult<()> {
        if self.everything || self.keys.contains(key) {
            return Ok(());
        }
        if self.keys.len() >= KEYS_MAX {
            self.all();
            return Ok(());
        }
        self.keys.insert(copy(key)?);
        Ok(())
    }

    /// Everything was looked at.
    pub(super) fn all(&mut self) {
        *self = ReadSet { everything: true, ..ReadSet::default() };
    }

    /// A walk begins, of a cursor opened after so many writes: upwards from a
    /// bound, or downwards (`back`). It goes on with the cursor's last span if it
    /// begins in it, and where there are too many reaches out for it from there.
    pub(super) fn walk(
        &mut self,
        last: Option<SpanId>,
        from: Bound<&[u8]>,
        back: bool,
        writes: u64,
    ) -> DBResult<SpanId> {
        let full = self.spans.len() >= SPANS_MAX;
        if let Some(id) = last
            && let Some(span) = self.spans.get(id.0)
        {
            if span.has_start(from, back) {
                return Ok(id);
            }
            if full {
                self.extend(id, from, !back);
                if from != Bound::Unbounded {
                    self.extend(id, from, back);
                }
                return Ok(id);
            }
        }
        if full {
            self.all();
        }
        if !self.everything {
            let from = Some(copy_bound(from)?);
            let (low, high) = if back { (None, from) } else { (from, None) };
            self.spans.push(Span { low, high, writes });
        }
        Ok(SpanId(self.spans.len().wrapping_sub(1)))
    }

    /// A walk has gone up, or down (`back`), as far as `to`.
    pub(super) fn extend(&mut self, span: SpanId, to: Bound<&[u8]>, back: bool) {
        let Some(span) = self.spans.get_mut(span.0) else {
            return;
        };
        let end = if back { &mut span.low } else { &mut span.high };
        if is_further(end.as_ref().map(as_ref), to, back) && set(end, to).is_err() {
            self.all(); // there is no memory for less
        }
    }

    /// Whether what another transaction has changed was read.
    pub(super) fn has(&self, change: Change<'_>, own: &WriteSet) -> bool {
        match change.op() {
            Op::Put(key, _) | Op::Delete(key) => {
                let foreign = |span: &Span| own.written_at(key).is_none_or(|at| at >= span.writes);
                self.everything
                    || self.keys.contains(key)
                    || self.spans.iter().any(|span| span.has(key) && foreign(span))
            }
            Op::Clear(from, to) => {
                let range = (
                    from.map_or(Bound::Unbounded, Bound::Included),
                    to.map_or(Bound::Unbounded, Bound::Excluded),
                );
                let empty = from.zip(to).is_some_and(|(from, to)| from >= to);
                !empty
                    && (self.everything
                        || self.keys.range::<[u8], _>(range).next().is_some()
                        || self.spans.iter().any(|span| span.meets(from, to, own)))
            }
        }
    }
}
