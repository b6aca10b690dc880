//! `ReadSet`: the keys that a transaction has read, to be compared with the commits of
//! others.
//!
//! A transaction that looks at a key which it has written before reads its own write.
//! So a span of keys that a cursor walked over has the number of writes made by then:
//! the keys that these had written do not count as read.
//!
//! A transaction that asks for the number of keys, or of bytes, depends on that number
//! alone: a commit validates that the database still has it. The writes made by then were
//! counted as they change the snapshot, so the keys that they had written count as read.

use std::collections::BTreeSet;

use super::super::change::{Change, Op};
use super::super::index::Totals;
use super::edge::Edge;
use super::write_set::WriteSet;
use crate::error::DBResult;
use crate::fallible::{copy, push};
use crate::planted::{self, Bug};
use crate::sync::{Arc, Mutex, Rank};

/// With more keys than this, or spans of cursors that have none yet, everything
/// counts as read.
const KEYS_MAX: usize = 1 << 20;
const SPANS_MAX: usize = 1 << 10;

/// The keys that a cursor walked over.
#[derive(Clone, Debug)]
struct Span {
    low: Edge<Vec<u8>>,
    high: Edge<Vec<u8>>,
    /// The number of writes made before the cursor was opened.
    writes: u64,
}

/// The keys that a transaction has read.
#[derive(Debug, Default)]
pub(super) struct ReadSet {
    keys: BTreeSet<Vec<u8>>,
    spans: Vec<Span>,
    /// The numbers of keys and of bytes in the snapshot, if they were asked for, and the
    /// number of writes made by then.
    count: Option<u64>,
    bytes: Option<u64>,
    counted: u64,
    everything: bool,
}

/// The place of a span in its read set.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanId(usize);

/// Copies an edge to where another one was.
fn set(edge: &mut Edge<Vec<u8>>, to: Edge<&[u8]>) -> DBResult<()> {
    let mut copy = match std::mem::replace(edge, Edge::End) {
        Edge::At(key) => key,
        Edge::End => Vec::new(),
    };
    copy.clear();
    *edge = to.try_map(|key| {
        copy.try_reserve(key.len())?;
        copy.extend_from_slice(key);
        Ok(copy)
    })?;
    Ok(())
}

impl Span {
    /// Whether the span has a key that the transaction had not written before.
    fn has(&self, key: &[u8], write_set: &WriteSet) -> bool {
        let at = Edge::At(key);
        let within = self.low.as_ref() <= at && at < self.high.as_ref();
        within && write_set.written_from(at, self.writes).is_none()
    }

    /// Whether there may be a key between two edges that the span has and that the
    /// transaction had not written before.
    fn meets(&self, low: Edge<&[u8]>, high: Edge<&[u8]>, write_set: &WriteSet) -> bool {
        let (mut at, end) = (low.max(self.low.as_ref()), high.min(self.high.as_ref()));
        while at < end {
            match write_set.written_from(at, self.writes) {
                None => return true,
                Some(next) => at = next,
            }
        }
        false
    }
}

impl ReadSet {
    /// An empty read set for a transaction and its cursors.
    pub(super) fn shared() -> Arc<Mutex<ReadSet>> {
        Arc::new(Mutex::ranked(Rank::ReadSet, ReadSet::default()))
    }

    pub(super) fn is_empty(&self) -> bool {
        let totals = self.count.or(self.bytes);
        !self.everything && self.keys.is_empty() && self.spans.is_empty() && totals.is_none()
    }

    /// Adds a key that the transaction has not written.
    pub(super) fn add_key(&mut self, key: &[u8]) -> DBResult<()> {
        if self.everything || self.keys.contains(key) {
            return Ok(());
        }
        if self.keys.len() >= KEYS_MAX {
            self.add_everything();
            return Ok(());
        }
        self.keys.insert(copy(key)?);
        Ok(())
    }

    pub(super) fn add_everything(&mut self) {
        *self = ReadSet { everything: true, ..ReadSet::default() };
    }

    /// Adds numbers of keys and bytes in the snapshot that were asked for after `writes`
    /// writes.
    pub(super) fn add_totals(&mut self, count: Option<u64>, bytes: Option<u64>, writes: u64) {
        (self.count, self.bytes) = (count.or(self.count), bytes.or(self.bytes));
        self.counted = if planted::is(Bug::CountedNotRead) { 0 } else { writes };
    }

    /// Whether a database with these totals has the numbers that were asked for.
    pub(super) fn agrees_with(&self, latest: Totals) -> bool {
        let agrees = |asked: Option<u64>, number| asked.is_none_or(|asked| asked == number);
        let agrees = agrees(self.count, latest.count) && agrees(self.bytes, latest.bytes);
        agrees || planted::is(Bug::CountNotValidated)
    }

    /// Begins a walk at an edge, of a cursor that was opened after `writes` writes. The
    /// walk extends the last span of the cursor if it begins there, or if there are too
    /// many spans.
    pub(super) fn begin_walk(
        &mut self,
        last: Option<SpanId>,
        from: Edge<&[u8]>,
        writes: u64,
    ) -> DBResult<SpanId> {
        let full = self.spans.len() >= SPANS_MAX;
        if let Some(id) = last
            && let Some(span) = self.spans.get(id.0)
        {
            if full {
                self.extend(id, from, false);
                self.extend(id, from, true);
                return Ok(id);
            }
            if span.low.as_ref() <= from && from <= span.high.as_ref() {
                return Ok(id);
            }
        }
        if full {
            self.add_everything();
        }
        if !self.everything {
            let edge = || from.try_map(|key| Ok(copy(key)?));
            push(&mut self.spans, Span { low: edge()?, high: edge()?, writes })?;
        }
        Ok(SpanId(self.spans.len().wrapping_sub(1)))
    }

    /// Extends a span up, or with `back` down, to an edge that its cursor has reached. An
    /// edge on the other side is one of bounds that the walk began outside of.
    pub(super) fn extend(&mut self, span: SpanId, to: Edge<&[u8]>, back: bool) {
        let Some(Span { low, high, .. }) = self.spans.get_mut(span.0) else {
            return;
        };
        let is_further = if back { to < low.as_ref() } else { to > high.as_ref() };
        if is_further && set(if back { low } else { high }, to).is_err() {
            self.add_everything(); // there is no memory for less
        }
    }

    /// Whether the transaction has read anything that another one's change has written.
    pub(super) fn meets(&self, change: Change<'_>, write_set: &WriteSet) -> bool {
        match change.op() {
            Op::Put(key, _) | Op::Delete(key) => {
                self.everything
                    || self.keys.contains(key)
                    || self.spans.iter().any(|span| span.has(key, write_set))
                    || write_set.written_from(Edge::At(key), self.counted).is_some()
            }
            Op::Clear(from, to) => {
                let (low, high) = (Edge::At(from.unwrap_or_default()), Edge::high(to));
                Edge::bounds(low, high).is_some_and(|bounds| {
                    self.everything
                        || self.keys.range::<[u8], _>(bounds).next().is_some()
                        || self.spans.iter().any(|span| span.meets(low, high, write_set))
                        || write_set.has_written(low, high, self.counted)
                })
            }
        }
    }
}
