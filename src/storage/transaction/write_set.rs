//! `WriteSet`: the keys and ranges that a transaction has written, to be looked up.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use super::super::change::{Change, Op};
use super::super::index::{Bounds, Cursor, Snapshot, Totals};
use super::edge::Edge;
use crate::error::DBResult;
use crate::fallible::concat;
use crate::sync::Arc;

/// Bytes with a NUL after them, which clones share. They are ordered without the NUL.
#[derive(Clone, Debug)]
pub(super) struct Bytes(Arc<Vec<u8>>);

impl Bytes {
    fn copy(bytes: &[u8]) -> DBResult<Bytes> {
        Ok(Bytes(Arc::new(concat([bytes, &[0]])?)))
    }

    pub(super) fn with_nul(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn get(&self) -> &[u8] {
        &self.0[..self.0.len() - 1]
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.get()
    }
}

impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        self.get()
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Bytes {}

impl PartialOrd for Bytes {
    fn partial_cmp(&self, other: &Bytes) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bytes {
    fn cmp(&self, other: &Bytes) -> Ordering {
        self.get().cmp(other.get())
    }
}

/// The state of a written key.
#[derive(Clone, Debug)]
struct Written {
    /// The number of the first write to this key.
    first: u64,
    /// None if the key was removed.
    value: Option<Bytes>,
}

/// The end of a cleared range, and the number of the first write that cleared it.
#[derive(Clone, Debug)]
struct Cleared {
    write: u64,
    high: Edge<Bytes>,
}

/// All writes of a transaction, which are numbered in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteSet {
    keys: BTreeMap<Bytes, Written>,
    /// The cleared ranges, by where they begin. They do not overlap.
    cleared: BTreeMap<Bytes, Cleared>,
    /// The totals of the snapshot with these writes, once they are asked for.
    totals: Option<Totals>,
}

/// The answer of a write set about a key.
#[derive(Debug)]
pub(super) enum Lookup<'a> {
    Value(&'a Bytes),
    Removed,
    /// The transaction has not written the key.
    Unwritten,
}

impl WriteSet {
    /// An empty write set over a snapshot with these totals, which keeps them up to date.
    pub(super) fn counting(totals: Totals) -> WriteSet {
        WriteSet { totals: Some(totals), ..WriteSet::default() }
    }

    pub(super) fn totals(&self) -> Option<Totals> {
        self.totals
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.cleared.is_empty()
    }

    /// Adds the write with this number. After an error it may be added again.
    pub(super) fn add(&mut self, write: u64, change: Change<'_>, base: &Snapshot) -> DBResult<()> {
        let (key, value) = match change.op() {
            Op::Put(key, value) => (key, Some(Bytes::copy(value)?)),
            Op::Delete(key) => (key, None),
            Op::Clear(from, to) => return self.clear(write, from, to, base),
        };
        let mut totals = self.totals;
        if let Some(totals) = &mut totals {
            let old = match self.lookup(key) {
                Lookup::Value(old) => Some(old.get().len()),
                Lookup::Removed => None,
                Lookup::Unwritten => base.get(key).map(<[u8]>::len),
            };
            old.into_iter().for_each(|old| totals.remove_entry(key.len() + old));
            value.iter().for_each(|new| totals.add_entry(key.len() + new.get().len()));
        }
        if let Some(written) = self.keys.get_mut(key) {
            written.value = value;
        } else {
            let first = self.cleared_at(key).map_or(write, |range| range.write);
            self.keys.insert(Bytes::copy(key)?, Written { first, value });
        }
        self.totals = totals;
        Ok(())
    }

    fn clear(
        &mut self,
        write: u64,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
        base: &Snapshot,
    ) -> DBResult<()> {
        let (low, high) = (Edge::At(from.unwrap_or_default()), Edge::high(to));
        let Some(bounds) = Edge::bounds(low, high) else {
            return Ok(());
        };
        let (mut at, high) = (low.try_map(Bytes::copy)?, high.try_map(Bytes::copy)?);
        while let Edge::At(key) = at.clone()
            && at < high
        {
            if let Some(range) = self.cleared_at(key.get()) {
                at = range.high.clone();
                continue;
            }
            let mut after = self.cleared.range::<Bytes, _>((Excluded(&key), Unbounded));
            let next = after.next().map_or(Edge::End, |(low, _)| Edge::At(low.clone()));
            at = next.min(high.clone());
            if let Some(mut totals) = self.totals {
                let bounds = Bounds::range(Some(key.get()), at.as_ref().key())?;
                let mut cursor = Cursor::new(base.clone(), bounds);
                while cursor.next()? {
                    let parts = [cursor.key(), cursor.value()].map(Option::unwrap_or_default);
                    if !self.keys.contains_key(parts[0]) {
                        totals.remove_entry(parts[0].len() + parts[1].len());
                    }
                }
                self.totals = Some(totals);
            }
            self.cleared.insert(key, Cleared { write, high: at.clone() });
        }
        for (key, written) in self.keys.range_mut::<[u8], _>(bounds) {
            if let (Some(value), Some(totals)) = (written.value.take(), &mut self.totals) {
                totals.remove_entry(key.get().len() + value.get().len());
            }
        }
        Ok(())
    }

    /// The cleared range that a key lies in.
    fn cleared_at(&self, key: &[u8]) -> Option<&Cleared> {
        let (_, range) = self.cleared.range::<[u8], _>((Unbounded, Included(key))).next_back()?;
        (Edge::At(key) < range.high.as_ref()).then_some(range)
    }

    /// The edge up to which the first `writes` writes have written every key from `at`
    /// on; none if they have not written the first of these keys.
    pub(super) fn written_from<'a>(
        &'a self,
        at: Edge<&'a [u8]>,
        writes: u64,
    ) -> Option<Edge<&'a [u8]>> {
        let next = self.keys.range::<[u8], _>(Edge::bounds(at, Edge::End)?).next();
        if let Some((key, written)) = next
            && Edge::At(key.get()) == at
        {
            return (written.first < writes).then_some(Edge::At(key.with_nul()));
        }
        let range = at.key().and_then(|key| self.cleared_at(key))?;
        (range.write < writes).then(|| range.high.as_ref())
    }

    /// Whether the first `writes` writes have written a key between two edges.
    pub(super) fn has_written(&self, low: Edge<&[u8]>, high: Edge<&[u8]>, writes: u64) -> bool {
        let Some(bounds) = Edge::bounds(low, high).filter(|_| writes > 0) else {
            return false;
        };
        self.keys.range::<[u8], _>(bounds).any(|(_, written)| written.first < writes)
            || self.cleared.range::<[u8], _>(bounds).any(|(_, range)| range.write < writes)
            || self.written_from(low, writes).is_some()
    }

    pub(super) fn lookup(&self, key: &[u8]) -> Lookup<'_> {
        match self.keys.get(key) {
            Some(Written { value: Some(value), .. }) => Lookup::Value(value),
            Some(Written { value: None, .. }) => Lookup::Removed,
            None if self.has_cleared(key) => Lookup::Removed,
            None => Lookup::Unwritten,
        }
    }

    /// Whether a key lies in a cleared range.
    pub(super) fn has_cleared(&self, key: &[u8]) -> bool {
        self.cleared_at(key).is_some()
    }

    /// The first written key between two edges, or with `back` the last, and its value
    /// if it was not removed.
    pub(super) fn nearest(
        &self,
        low: Edge<&[u8]>,
        high: Edge<&[u8]>,
        back: bool,
    ) -> Option<(Bytes, Option<Bytes>)> {
        let mut range = self.keys.range::<[u8], _>(Edge::bounds(low, high)?);
        let (key, written) = if back { range.next_back() } else { range.next() }?;
        Some((key.clone(), written.value.clone()))
    }
}
