//! `Change`: one change of a commit, and its bytes in a record of the log.
//!
//! ```text
//! a payload: changes in a row, applied in that order as one step
//! a change:  kind u8, length of the first part u32, of the second u32, the parts
//!     1      put: key, value
//!     2      delete: key, nothing
//!     4 + b  clear: from, to; b has bit 0 if there is a from, bit 1 if a to
//! ```
//!
//! Numbers are little-endian.

use super::index::common_prefix;
use crate::MAX_LEN;
use crate::error::{DBError, DBResult};
use crate::fallible::push;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const CLEAR: u8 = 4;

/// One change of a commit. Keys, values and bounds in it are no longer than
/// [`MAX_LEN`], so every change that is encoded can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change<'a>(Op<'a>);

/// The operation of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op<'a> {
    Put(&'a [u8], &'a [u8]),
    Delete(&'a [u8]),
    /// Deletes the keys from the first bound up to the second; `None` is no bound.
    Clear(Option<&'a [u8]>, Option<&'a [u8]>),
}

/// Bytes before the parts of a change.
const HEAD: usize = 9;

/// Refuses a key or value that is too long to be stored.
#[inline]
fn check_len(what: &str, bytes: &[u8]) -> DBResult<()> {
    if bytes.len() > MAX_LEN {
        let len = bytes.len();
        return Err(DBError::Invalid(format!("a {what} of {len} bytes is over the limit")));
    }
    Ok(())
}

impl<'a> Change<'a> {
    #[inline]
    pub(crate) fn put(key: &'a [u8], value: &'a [u8]) -> DBResult<Change<'a>> {
        check_len("key", key)?;
        check_len("value", value)?;
        Ok(Change(Op::Put(key, value)))
    }

    #[inline]
    pub(crate) fn delete(key: &'a [u8]) -> DBResult<Change<'a>> {
        check_len("key", key)?;
        Ok(Change(Op::Delete(key)))
    }

    /// A put of `value`, or a deletion if it is `None`.
    pub(crate) fn set(key: &'a [u8], value: Option<&'a [u8]>) -> DBResult<Change<'a>> {
        value.map_or_else(|| Change::delete(key), |value| Change::put(key, value))
    }

    pub(crate) fn clear(from: Option<&'a [u8]>, to: Option<&'a [u8]>) -> DBResult<Change<'a>> {
        check_len("key", from.unwrap_or_default())?;
        check_len("key", to.unwrap_or_default())?;
        Ok(Change(Op::Clear(from, to)))
    }

    #[inline]
    pub(crate) fn op(self) -> Op<'a> {
        self.0
    }

    /// The key of a put or a deletion.
    pub(crate) fn key(self) -> Option<&'a [u8]> {
        match self.0 {
            Op::Put(key, _) | Op::Delete(key) => Some(key),
            Op::Clear(..) => None,
        }
    }

    /// The bytes before the parts, and the parts.
    pub(crate) fn encode(self) -> ([u8; HEAD], &'a [u8], &'a [u8]) {
        let (kind, first, second) = match self.0 {
            Op::Put(key, value) => (PUT, key, value),
            Op::Delete(key) => (DELETE, key, &[][..]),
            Op::Clear(from, to) => {
                let bounds = u8::from(from.is_some()) | u8::from(to.is_some()) << 1;
                (CLEAR + bounds, from.unwrap_or_default(), to.unwrap_or_default())
            }
        };
        let mut head = [kind; HEAD];
        // A length is at most MAX_LEN, so it fits.
        head[1..5].copy_from_slice(&(first.len() as u32).to_le_bytes());
        head[5..].copy_from_slice(&(second.len() as u32).to_le_bytes());
        (head, first, second)
    }

    /// Adds the bytes of a change to a payload.
    pub(crate) fn add_to(self, payload: &mut Vec<u8>) -> DBResult<()> {
        let (head, first, second) = self.encode();
        let len = HEAD + first.len() + second.len();
        if payload.capacity() - payload.len() < len {
            payload.try_reserve(len)?;
            if payload.capacity() >= 4 << 20 {
                crate::os::memory::prefer_huge_pages(payload);
            }
        }
        payload.extend_from_slice(&head);
        payload.extend_from_slice(first);
        payload.extend_from_slice(second);
        Ok(())
    }
}

/// The changes of a payload.
#[derive(Clone, Debug)]
pub(crate) struct Changes<'a>(&'a [u8]);

impl<'a> Changes<'a> {
    pub(crate) fn of(payload: &'a [u8]) -> Changes<'a> {
        Changes(payload)
    }

    /// The bytes of the changes that are yet to come.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn decode(&mut self) -> Option<Change<'a>> {
        let (head, rest) = self.0.split_first_chunk::<HEAD>()?;
        let len = |at: usize| {
            let bytes = head[at..].first_chunk().expect("a head has 9 bytes");
            Some(u32::from_le_bytes(*bytes) as usize).filter(|&len| len <= MAX_LEN)
        };
        let (first, rest) = rest.split_at_checked(len(1)?)?;
        let (second, rest) = rest.split_at_checked(len(5)?)?;
        self.0 = rest;
        let bound = |bit: u8, part: &'a [u8]| (head[0] & bit != 0).then_some(part);
        match head[0] {
            PUT => Some(Change(Op::Put(first, second))),
            DELETE => Some(Change(Op::Delete(first))),
            CLEAR..8 => Some(Change(Op::Clear(bound(1, first), bound(2, second)))),
            _ => None,
        }
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = DBResult<Change<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let change = self.decode();
        if change.is_none() {
            self.0 = &[];
        }
        Some(
            change.ok_or_else(|| DBError::Corrupt("a record of the log has no such change".into())),
        )
    }
}

/// The places of the changes of a payload, roughly in the order of their keys, so that
/// neighbours find the same pages in the processor's caches. Changes of one key keep
/// their order. None if the changes are in order already, if one of them is a clear, or
/// without memory for the places.
pub(crate) fn by_key(payload: &[u8]) -> Option<Vec<(u64, u64)>> {
    // Where the keys are in no order, this ends after a few.
    if Changes::of(payload).map_while(|change| change.ok()?.key()).is_sorted() {
        return None;
    }
    let mut places = Vec::new();
    let mut rest = Changes::of(payload);
    while !rest.0.is_empty() {
        let at = (payload.len() - rest.0.len()) as u64;
        rest.next()?.ok()?.key()?;
        push(&mut places, (0, at)).ok()?;
    }
    sort(payload, &mut places, LEVELS);
    Some(places)
}

/// The most times that keys which begin alike are sorted by their next bytes.
const LEVELS: usize = 4;

/// A group of no more places than this is not sorted further.
const GROUP: usize = 64;

/// Sorts places in a payload by the eight bytes after the common prefix of their keys,
/// and equal ones by place.
fn sort(payload: &[u8], places: &mut [(u64, u64)], levels: usize) {
    let key = |at: u64| Changes::of(&payload[at as usize..]).next()?.ok()?.key();
    let first = key(places[0].1).unwrap_or_default();
    let same = places.iter().fold(first.len(), |same, (_, at)| {
        let key = key(*at).unwrap_or_default();
        if key.starts_with(&first[..same]) { same } else { common_prefix(key, first) }
    });
    for (word, at) in places.iter_mut() {
        let rest = &key(*at).unwrap_or_default()[same..];
        let mut bytes = [0; 8];
        let len = rest.len().min(8);
        bytes[..len].copy_from_slice(&rest[..len]);
        *word = u64::from_be_bytes(bytes);
    }
    places.sort_unstable();
    if levels > 1 {
        let groups = places.chunk_by_mut(|one, next| one.0 == next.0);
        groups.filter(|group| group.len() > GROUP).for_each(|it| sort(payload, it, levels - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_by_key_and_those_of_one_key_in_their_order() {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for n in 0..3_000u64 {
            let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
            let user = ["a/user-number-", "b/", "b/user"][n as usize % 3];
            keys.push(format!("prefix/{user}{:05}", hash % 1_000).into_bytes());
        }
        keys.extend(
            [&b"prefix/"[..], b"prefix/b/", b"prefix/b/\0", b"prefix/"].map(<[u8]>::to_vec),
        );
        let payload = |keys: &[Vec<u8>], last: Option<Change<'_>>| {
            let mut payload = Vec::new();
            let puts = keys.iter().map(|key| Change::put(key, b"value").unwrap());
            puts.chain(last).for_each(|it| it.add_to(&mut payload).unwrap());
            payload
        };
        let payload_of_puts = payload(&keys, None);
        let places = by_key(&payload_of_puts).unwrap();
        let found = places.iter().map(|(_, at)| {
            let from = &payload_of_puts[*at as usize..];
            (Changes::of(from).next().unwrap().unwrap().key().unwrap().to_vec(), *at)
        });
        let found: Vec<_> = found.collect();
        assert!(found.is_sorted());
        assert_eq!(found.len(), keys.len());
        assert_eq!(by_key(&payload(&keys, Change::clear(None, None).ok())), None);
        keys.sort();
        assert_eq!(by_key(&payload(&keys, Change::delete(b"z").ok())), None, "they are in order");
    }

    #[test]
    fn changes_come_back_and_nonsense_does_not() {
        let all = [
            Change::put(b"key", b"value"),
            Change::put(b"", b""),
            Change::delete(b"gone"),
            Change::clear(None, None),
            Change::clear(Some(b""), None),
            Change::clear(None, Some(b"z")),
            Change::clear(Some(b"a"), Some(b"b")),
        ]
        .map(Result::unwrap);
        let mut payload = Vec::new();
        all.iter().for_each(|change| change.add_to(&mut payload).unwrap());
        let back: Vec<_> = Changes::of(&payload).map(Result::unwrap).collect();
        assert_eq!(back, all);
        for end in 0..payload.len() {
            let changes: Vec<_> = Changes::of(&payload[..end]).collect();
            let good = changes.iter().filter(|change| change.is_ok()).count();
            assert!(
                changes
                    .iter()
                    .take(good)
                    .map(|it| it.clone().unwrap())
                    .eq(all[..good].iter().copied())
            );
            assert!(changes.len() - good <= 1);
        }
        payload[0] = 0x80;
        assert!(Changes::of(&payload).next().unwrap().is_err());
    }
}
