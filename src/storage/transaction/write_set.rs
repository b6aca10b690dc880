//! What a transaction has written so far, over the view that it began with.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::super::change::{Change, Op};
use crate::error::DBResult;
use crate::fallible::concat;
use crate::sync::Arc;

/// Bytes with a NUL after them, that copies share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// A key that the transaction has written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// Which of its writes was the first to this key.
    first: u64,
    /// None if it was removed.
    pub(super) value: Option<Bytes>,
}

/// A key in the order of keys; NUL-terminated copies would not sort as they do.
#[derive(Clone, Debug)]
pub(super) struct Key(Bytes);

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.0.get()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> std::cmp::Ordering {
        self.0.get().cmp(other.0.get())
    }
}

/// A range that the transaction has cleared.
#[derive(Clone, Debug)]
struct Cleared {
    at: u64,
    from: Option<Bytes>,
    to: Option<Bytes>,
}

impl Cleared {
    fn has(&self, key: &[u8]) -> bool {
        let after = self.from.as_ref().is_none_or(|from| from.get() <= key);
        after && self.to.as_ref().is_none_or(|to| key < to.get())
    }
}

/// A key, or the one right after it in the order of all keys: with a zero more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<'a> {
    key: &'a [u8],
    after: bool,
}

impl<'a> Point<'a> {
    pub(super) fn of(key: &'a [u8]) -> Point<'a> {
        Point { key, after: false }
    }

    pub(super) fn after(key: &'a [u8]) -> Point<'a> {
        Point { key, after: true }
    }

    fn is(&self, key: &[u8]) -> bool {
        if self.after { key.strip_prefix(self.key) == Some(&[0]) } else { key == self.key }
    }

    pub(super) fn is_before(&self, key: &[u8]) -> bool {
        self.key < key && !self.is(key)
    }

    pub(super) fn is_after(&self, key: &[u8]) -> bool {
        !self.is_before(key) && !self.is(key)
    }
}

/// Up to where all keys from a point on were written.
#[derive(Debug)]
pub(super) enum Coverage<'a> {
    /// Not even the point.
    Nothing,
    /// Up to this, but perhaps not including it.
    Key(Point<'a>),
    End,
}

/// All that a transaction has written.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteSet {
    keys: BTreeMap<Key, Written>,
    cleared: Vec<Cleared>,
}

/// What a transaction's own writes say about a key.
#[derive(Debug)]
pub(super) enum Lookup<'a> {
    Value(&'a Bytes),
    Gone,
    /// What the view has.
    Nothing,
}

impl WriteSet {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.cleared.is_empty()
    }

    /// Adds write number `at`.
    pub(super) fn add(&mut self, at: u64, change: Change<'_>) -> DBResult<()> {
        match change.op() {
            Op::Put(key, value) => self.set(at, key, Some(Bytes::copy(value)?)),
            Op::Delete(key) => self.set(at, key, None),
            Op::Clear(from, to) => {
                if let (Some(from), Some(to)) = (from, to)
                    && from >= to
                {
                    return Ok(());
                }
                let lower = from.map_or(Bound::Unbounded, Bound::Included);
                let upper = to.map_or(Bound::Unbounded, Bound::Excluded);
                for (_, written) in self.keys.range_mut::<[u8], _>((lower, upper)) {
                    written.value = None;
                }
                let (from, to) =
                    (from.map(Bytes::copy).transpose()?, to.map(Bytes::copy).transpose()?);
                self.cleared.push(Cleared { at, from, to });
                Ok(())
            }
        }
    }

    fn set(&mut self, at: u64, key: &[u8], value: Option<Bytes>) -> DBResult<()> {
        if let Some(written) = self.keys.get_mut(key) {
            written.value = value;
            return Ok(());
        }
        let first = self.written_at(key).unwrap_or(at);
        self.keys.insert(Key(Bytes::copy(key)?), Written { first, value });
        Ok(())
    }

    /// Which write was the first to a key, if there was one.
    pub(super) fn written_at(&self, key: &[u8]) -> Option<u64> {
        if let Some(written) = self.keys.get(key) {
            return Some(written.first);
        }
        self.cleared.iter().find(|range| range.has(key)).map(|range| range.at)
    }

    /// Up to where the first so many writes have written all keys from a point on.
    pub(super) fn written_from<'a>(&'a self, at: Point<'a>, writes: u64) -> Coverage<'a> {
        let from = if at.after { Bound::Excluded(at.key) } else { Bound::Included(at.key) };
        let next = self.keys.range::<[u8], _>((from, Bound::Unbounded)).next();
        if let Some((Key(key), written)) = next
            && at.is(key.get())
        {
            return match written.first < writes {
                true => Coverage::Key(Point::after(key.get())),
                false => Coverage::Nothing,
            };
        }
        let here = |range: &&Cleared| {
            let from = range.from.as_ref().is_none_or(|from| !at.is_before(from.get()));
            let to = range.to.as_ref().is_none_or(|to| at.is_before(to.get()));
            range.at < writes && from && to
        };
        match self.cleared.iter().find(here) {
            None => Coverage::Nothing,
            Some(Cleared { to: Some(to), .. }) => Coverage::Key(Point::of(to.get())),
            Some(Cleared { to: None, .. }) => Coverage::End,
        }
    }

    pub(super) fn says(&self, key: &[u8]) -> Lookup<'_> {
        match self.keys.get(key) {
            Some(Written { value: Some(value), .. }) => Lookup::Value(value),
            Some(Written { value: None, .. }) => Lookup::Gone,
            None if self.has_cleared(key) => Lookup::Gone,
            None => Lookup::Nothing,
        }
    }

    /// Whether a key lies in a range that was cleared.
    pub(super) fn has_cleared(&self, key: &[u8]) -> bool {
        self.cleared.iter().any(|range| range.has(key))
    }

    /// The first key in a range, or with `back` the last, and its value if it was
    /// not removed.
    pub(super) fn nearest(
        &self,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
        back: bool,
    ) -> Option<(Bytes, Option<Bytes>)> {
        if is_empty(low, high) {
            return None;
        }
        let mut range = self.keys.range::<[u8], _>((low, high));
        let (key, written) = if back { range.next_back() } else { range.next() }?;
        Some((key.0.clone(), written.value.clone()))
    }

    /// All keys with what was written to them.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.keys.iter().map(|(key, it)| (key.0.get(), it.value.as_ref().map(Bytes::get)))
    }

    /// Ranges that were cleared.
    pub(super) fn cleared<'a>(
        &'a self,
    ) -> impl Iterator<Item = (Option<&'a [u8]>, Option<&'a [u8]>)> {
        let get = |bound: &'a Option<Bytes>| bound.as_ref().map(Bytes::get);
        self.cleared.iter().map(move |range| (get(&range.from), get(&range.to)))
    }
}

/// Whether no key can lie between two bounds; of such a range `BTreeMap` panics.
fn is_empty(low: Bound<&[u8]>, high: Bound<&[u8]>) -> bool {
    match (low, high) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (
            Bound::Included(low) | Bound::Excluded(low),
            Bound::Excluded(high) | Bound::Included(high),
        ) => low >= high,
    }
}
