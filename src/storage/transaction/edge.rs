//! `Edge`: where a range of keys begins or ends.
//!
//! All byte strings are keys, so a range is the keys between two edges, and ranges are
//! compared, cut and joined by comparing edges.

use std::cmp::Ordering;
use std::ops::Bound;

use super::super::change::{Change, Op};
use crate::error::DBResult;

/// A place in the order of all keys: before a key, after a key, or after every key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edge<K> {
    Before(K),
    After(K),
    End,
}

impl<K> Edge<K> {
    pub(super) fn try_map<T>(self, map: impl FnOnce(K) -> DBResult<T>) -> DBResult<Edge<T>> {
        Ok(match self {
            Edge::Before(key) => Edge::Before(map(key)?),
            Edge::After(key) => Edge::After(map(key)?),
            Edge::End => Edge::End,
        })
    }
}

impl<K: AsRef<[u8]>> Edge<K> {
    pub(super) fn as_ref(&self) -> Edge<&[u8]> {
        match self {
            Edge::Before(key) => Edge::Before(key.as_ref()),
            Edge::After(key) => Edge::After(key.as_ref()),
            Edge::End => Edge::End,
        }
    }
}

impl<'a> Edge<&'a [u8]> {
    /// Where the keys up from a lower bound begin.
    pub(super) fn low(bound: Bound<&'a [u8]>) -> Edge<&'a [u8]> {
        match bound {
            Bound::Included(key) => Edge::Before(key),
            Bound::Excluded(key) => Edge::After(key),
            Bound::Unbounded => Edge::Before(&[]),
        }
    }

    /// Where the keys down from an upper bound end.
    pub(super) fn high(bound: Bound<&'a [u8]>) -> Edge<&'a [u8]> {
        match bound {
            Bound::Included(key) => Edge::After(key),
            Bound::Excluded(key) => Edge::Before(key),
            Bound::Unbounded => Edge::End,
        }
    }

    /// Where the keys that a change writes begin and end.
    pub(super) fn of_change(change: Change<'a>) -> (Edge<&'a [u8]>, Edge<&'a [u8]>) {
        match change.op() {
            Op::Put(key, _) | Op::Delete(key) => (Edge::Before(key), Edge::After(key)),
            Op::Clear(from, to) => {
                (Edge::Before(from.unwrap_or_default()), to.map_or(Edge::End, Edge::Before))
            }
        }
    }

    /// The bounds of the keys between two edges; none if there is no key between them.
    pub(super) fn bounds(
        low: Edge<&'a [u8]>,
        high: Edge<&'a [u8]>,
    ) -> Option<(Bound<&'a [u8]>, Bound<&'a [u8]>)> {
        let low_bound = match low {
            Edge::Before(key) => Bound::Included(key),
            Edge::After(key) => Bound::Excluded(key),
            Edge::End => return None,
        };
        let high_bound = match high {
            Edge::Before(key) => Bound::Excluded(key),
            Edge::After(key) => Bound::Included(key),
            Edge::End => Bound::Unbounded,
        };
        (low < high).then_some((low_bound, high_bound))
    }
}

impl Ord for Edge<&[u8]> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Edge::End, Edge::End) => Ordering::Equal,
            (Edge::End, _) => Ordering::Greater,
            (_, Edge::End) => Ordering::Less,
            (Edge::Before(one), Edge::Before(two)) | (Edge::After(one), Edge::After(two)) => {
                one.cmp(two)
            }
            (Edge::Before(_), Edge::After(_)) => other.cmp(self).reverse(),
            (Edge::After(one), Edge::Before(two)) if one >= two => Ordering::Greater,
            // The next key after another has a zero more.
            (Edge::After(one), Edge::Before(two)) => match two.strip_prefix(*one) {
                Some([0]) => Ordering::Equal,
                _ => Ordering::Less,
            },
        }
    }
}

impl PartialOrd for Edge<&[u8]> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Edge<&[u8]> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Edge<&[u8]> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_ordered_as_the_keys_at_them() {
        // Before a key is where it is; after a key is where the key with a zero more is.
        let keys: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"a\x01"];
        let mut edges = vec![(Edge::End, None)];
        for key in keys {
            edges.push((Edge::Before(key), Some(key.to_vec())));
            edges.push((Edge::After(key), Some([key, &[0]].concat())));
        }
        for (one, place) in &edges {
            for (two, other) in &edges {
                let expected = match (place, other) {
                    (Some(place), Some(other)) => place.cmp(other),
                    _ => place.is_none().cmp(&other.is_none()),
                };
                assert_eq!(one.cmp(two), expected, "{one:?} {two:?}");
                let map: std::collections::BTreeSet<&[u8]> = keys.into();
                let between = Edge::bounds(*one, *two);
                let found = between.map_or(0, |it| map.range::<[u8], _>(it).count());
                let within =
                    |key: &&&[u8]| *one <= Edge::Before(**key) && Edge::After(**key) <= *two;
                assert_eq!(found, keys.iter().filter(within).count());
            }
        }
    }
}
