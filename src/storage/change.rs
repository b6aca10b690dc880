//! What a commit changes, as bytes in a record of the log.
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

use crate::MAX_LEN;
use crate::error::{DBError, DBResult};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const CLEAR: u8 = 4;

/// One change of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    Put(&'a [u8], &'a [u8]),
    Delete(&'a [u8]),
    /// Keys from the one up to the other; `None` is no bound.
    Clear(Option<&'a [u8]>, Option<&'a [u8]>),
}

/// Bytes before the parts of a change.
const HEAD: usize = 9;

impl<'a> Change<'a> {
    fn parts(self) -> (u8, &'a [u8], &'a [u8]) {
        match self {
            Change::Put(key, value) => (PUT, key, value),
            Change::Delete(key) => (DELETE, key, &[]),
            Change::Clear(from, to) => {
                let bounds = u8::from(from.is_some()) | u8::from(to.is_some()) << 1;
                (CLEAR + bounds, from.unwrap_or_default(), to.unwrap_or_default())
            }
        }
    }

    /// The bytes before the parts, and the parts.
    pub(crate) fn encode(self) -> ([u8; HEAD], &'a [u8], &'a [u8]) {
        let (kind, first, second) = self.parts();
        let mut head = [kind; HEAD];
        // A part is no longer than MAX_LEN.
        head[1..5].copy_from_slice(&(first.len() as u32).to_le_bytes());
        head[5..].copy_from_slice(&(second.len() as u32).to_le_bytes());
        (head, first, second)
    }

    /// Adds the bytes of a change to a payload.
    pub(crate) fn add_to(self, payload: &mut Vec<u8>) -> DBResult<()> {
        let (head, first, second) = self.encode();
        payload.try_reserve(HEAD + first.len() + second.len())?;
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
            PUT => Some(Change::Put(first, second)),
            DELETE => Some(Change::Delete(first)),
            CLEAR..8 => Some(Change::Clear(bound(1, first), bound(2, second))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_and_nonsense_does_not() {
        let all = [
            Change::Put(b"key", b"value"),
            Change::Put(b"", b""),
            Change::Delete(b"gone"),
            Change::Clear(None, None),
            Change::Clear(Some(b""), None),
            Change::Clear(None, Some(b"z")),
            Change::Clear(Some(b"a"), Some(b"b")),
        ];
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
