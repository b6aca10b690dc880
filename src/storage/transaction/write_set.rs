//! `WriteSet`: the keys and ranges that a transaction has written, to be looked up.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::super::change::{Change, Op};
use super::edge::{Edge, Range};
use crate::error::DBResult;
use crate::fallible::{collect, concat};
use crate::sort::heap_sort;
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

/// A cleared range, and the number of the write that cleared it.
#[derive(Clone, Debug)]
struct Cleared {
    write: u64,
    low: Edge<Bytes>,
    high: Edge<Bytes>,
}

impl Cleared {
    /// Whether the key at an edge is in the range.
    fn has(&self, at: Edge<&[u8]>) -> bool {
        self.low.as_ref() <= at && at < self.high.as_ref()
    }
}

/// All writes of a transaction, which are numbered in their order.
#[derive(Debug, Default)]
pub(super) struct WriteSet {
    keys: BTreeMap<Bytes, Written>,
    cleared: Vec<Cleared>,
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
    pub(super) fn copy(&self) -> DBResult<WriteSet> {
        let cleared = collect(self.cleared.iter().cloned())?;
        Ok(WriteSet { keys: self.keys.clone(), cleared })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.cleared.is_empty()
    }

    /// Adds the write with this number.
    pub(super) fn add(&mut self, write: u64, change: Change<'_>) -> DBResult<()> {
        let (key, value) = match change.op() {
            Op::Put(key, value) => (key, Some(Bytes::copy(value)?)),
            Op::Delete(key) => (key, None),
            Op::Clear(from, to) => return self.clear(write, from, to),
        };
        if let Some(written) = self.keys.get_mut(key) {
            written.value = value;
            return Ok(());
        }
        let cleared = self.cleared.iter().find(|range| range.has(Edge::At(key)));
        let first = cleared.map_or(write, |range| range.write);
        self.keys.insert(Bytes::copy(key)?, Written { first, value });
        Ok(())
    }

    fn clear(&mut self, write: u64, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<()> {
        let (low, high) = (Edge::At(from.unwrap_or_default()), Edge::high(to));
        let Some(bounds) = Edge::bounds(low, high) else {
            return Ok(());
        };
        let (low, high) = (low.try_map(Bytes::copy)?, high.try_map(Bytes::copy)?);
        self.cleared.try_reserve(1)?;
        self.cleared.push(Cleared { write, low, high });
        self.keys.range_mut::<[u8], _>(bounds).for_each(|(_, written)| written.value = None);
        Ok(())
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
        let mut cleared = self.cleared.iter().filter(|range| range.write < writes);
        cleared.find(|range| range.has(at)).map(|range| range.high.as_ref())
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
        self.cleared.iter().any(|range| range.has(Edge::At(key)))
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

    /// The written keys, each with its value if it was not removed.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.keys.iter().map(|(key, it)| (key.get(), it.value.as_ref().map(Bytes::get)))
    }

    /// The cleared ranges in the order of their keys, each without the keys of those
    /// before it.
    pub(super) fn cleared(&self) -> DBResult<Vec<Range<'_>>> {
        let ranges = self.cleared.iter().map(|range| (range.low.as_ref(), range.high.as_ref()));
        let mut ranges = collect(ranges)?;
        heap_sort(&mut ranges, Ord::cmp);
        let mut end = Edge::At(&[][..]);
        for (low, high) in &mut ranges {
            (*low, *high) = (end.max(*low), end.max(*high));
            end = *high;
        }
        Ok(ranges)
    }
}
