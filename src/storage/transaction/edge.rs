//! `Edge`: where a range of keys begins or ends.
//!
//! All byte strings are keys, and the next one after a key is the key with a zero more.
//! So every place in their order is right before a key, or after all of them.

use std::ops::Bound;

use crate::error::DBResult;

/// The bounds of a range of keys, as `BTreeMap` takes them.
pub(super) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A place in the order of all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Edge<K> {
    /// Right before a key.
    At(K),
    End,
}

impl<K> Edge<K> {
    /// The key of the edge, if one lies beyond it.
    pub(super) fn key(self) -> Option<K> {
        match self {
            Edge::At(key) => Some(key),
            Edge::End => None,
        }
    }

    pub(super) fn try_map<T>(self, map: impl FnOnce(K) -> DBResult<T>) -> DBResult<Edge<T>> {
        Ok(match self {
            Edge::At(key) => Edge::At(map(key)?),
            Edge::End => Edge::End,
        })
    }
}

impl<K: AsRef<[u8]>> Edge<K> {
    pub(super) fn as_ref(&self) -> Edge<&[u8]> {
        match self {
            Edge::At(key) => Edge::At(key.as_ref()),
            Edge::End => Edge::End,
        }
    }
}

impl<'a> Edge<&'a [u8]> {
    /// The edge of an excluded upper bound; `None` is no bound.
    pub(super) fn high(to: Option<&'a [u8]>) -> Edge<&'a [u8]> {
        to.map_or(Edge::End, Edge::At)
    }

    /// The bounds of the keys between two edges; none if there is no key between them.
    pub(super) fn bounds(low: Edge<&'a [u8]>, high: Edge<&'a [u8]>) -> Option<Bounds<'a>> {
        match (low, high) {
            (Edge::At(low), Edge::End) => Some((Bound::Included(low), Bound::Unbounded)),
            (Edge::At(low), Edge::At(high)) if low < high => {
                Some((Bound::Included(low), Bound::Excluded(high)))
            }
            _ => None,
        }
    }
}
