//! Changing a leaf.

use std::ops::Range;

use super::super::{FIXED, get16, put16, rename_blob, slots_start};
use super::{BLOB_ID, HAS_TAIL, IS_BLOB, LEN_MASK, Leaf, NewEntry, RUN, SLOT, Value, slot_of};
use crate::storage::index::memory::BlobId;

/// An entry's slot, removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removed {
    slot: u64,
    run: usize,
}

/// A leaf, to be changed.
#[derive(Debug)]
pub(crate) struct LeafMut<'a> {
    body: &'a mut [u8],
}

impl<'a> LeafMut<'a> {
    pub(crate) fn new(body: &'a mut [u8]) -> LeafMut<'a> {
        LeafMut { body }
    }

    /// Makes the block an empty leaf with a prefix.
    pub(crate) fn init(body: &'a mut [u8], prefix: &[u8]) -> LeafMut<'a> {
        let len = body.len();
        body[..slots_start(prefix.len())].fill(0);
        put16(body, 2, prefix.len());
        put16(body, 4, len);
        body[FIXED..FIXED + prefix.len()].copy_from_slice(prefix);
        LeafMut { body }
    }

    /// Makes the block, which is longer, the same leaf as another.
    pub(crate) fn copy(body: &'a mut [u8], from: Leaf<'_>) -> LeafMut<'a> {
        let (end, top, longer) =
            (from.slots_end(), get16(from.body, 4), body.len() - from.body.len());
        body[..end].copy_from_slice(&from.body[..end]);
        body[top + longer..].copy_from_slice(&from.body[top..]);
        put16(body, 4, top + longer);
        for slot in body[slots_start(from.prefix().len())..end].as_chunks_mut::<SLOT>().0 {
            *slot = (u64::from_le_bytes(*slot) + ((longer as u64) << 16)).to_le_bytes();
        }
        LeafMut { body }
    }

    #[inline]
    fn read(&self) -> Leaf<'_> {
        Leaf { body: self.body }
    }

    /// Makes room for a slot at `i` and for `space` bytes of heap; returns the
    /// offset of these.
    #[inline]
    fn open(&mut self, i: usize, space: usize) -> usize {
        let (n, end) = (self.read().len(), self.read().slots_end());
        let offset = get16(self.body, 4) - space;
        debug_assert!(end + SLOT <= offset);
        let at = end - (n - i) * SLOT;
        self.body.copy_within(at..end, at + SLOT);
        put16(self.body, 0, n + 1);
        put16(self.body, 4, offset);
        offset
    }

    #[inline]
    fn set_slot(&mut self, i: usize, slot: u64) {
        let at = slots_start(get16(self.body, 2)) + i * SLOT;
        self.body[at..at + SLOT].copy_from_slice(&slot.to_le_bytes());
    }

    /// Inserts an entry, for which there must be room, at `i`.
    #[inline]
    pub(crate) fn insert(&mut self, i: usize, entry: &NewEntry<'_>) {
        let prefix = get16(self.body, 2);
        let suffix = &entry.key.inline[prefix..];
        let offset = self.open(i, entry.space(prefix) - SLOT);
        let mut flags = 0;
        let (len, mut rest) = self.body[offset..].split_at_mut(2);
        let mut push = |bytes: &[u8]| {
            let (to, after) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            to.copy_from_slice(bytes);
            rest = after;
        };
        push(suffix);
        if let Some(tail) = entry.tail {
            push(&tail.to_bytes());
            flags |= HAS_TAIL;
        }
        match entry.value {
            Value::Inline(bytes) => {
                put16(len, 0, bytes.len());
                push(bytes);
                push(&[0]);
            }
            Value::Blob(id) => {
                put16(len, 0, 0);
                push(&id.to_bytes());
                flags |= IS_BLOB;
            }
        }
        self.set_slot(i, slot_of(suffix, offset, flags));
        let run = if get16(self.body, 8) + 1 == i { get16(self.body, 10) + 1 } else { 0 };
        put16(self.body, 8, i);
        put16(self.body, 10, run.min(RUN));
    }

    /// Puts the value in the place of another of the same kind and length;
    /// false, and nothing done, if it is not.
    #[inline]
    pub(crate) fn replace(&mut self, i: usize, value: Value<'_>) -> bool {
        let place = self.read().place(i);
        let bytes = match (value, place.value_len) {
            (Value::Inline(bytes), Some(len)) if len == bytes.len() => bytes,
            (Value::Blob(id), None) => &id.to_bytes(),
            _ => return false,
        };
        self.body[place.value..place.value + bytes.len()].copy_from_slice(bytes);
        true
    }

    /// Puts what `new` says in the place of each blob; false if it says nothing.
    /// As [`Leaf::place`] does, it keeps within a leaf that was checked before.
    pub(crate) fn rename_blobs(&mut self, new: &dyn Fn(BlobId) -> Option<BlobId>) -> bool {
        (0..self.read().len()).all(|i| {
            let place = self.read().place(i);
            let tail = place.has_tail.then(|| place.value - BLOB_ID);
            let value = place.value_len.is_none().then_some(place.value);
            tail.into_iter().chain(value).all(|at| rename_blob(self.body, at, new))
        })
    }

    /// Removes an entry; its blobs are the caller's to release. Returns what
    /// [`LeafMut::restore`] needs to take that back.
    pub(crate) fn remove(&mut self, i: usize) -> Removed {
        let removed = Removed { slot: self.read().slot(i), run: get16(self.body, 10) };
        let dead = get16(self.body, 6) + self.read().heap_space(i);
        let (n, end) = (self.read().len(), self.read().slots_end());
        let at = end - (n - i) * SLOT;
        self.body.copy_within(at + SLOT..end, at);
        put16(self.body, 0, n - 1);
        put16(self.body, 6, dead);
        put16(self.body, 10, 0);
        removed
    }

    /// Takes back the latest removal, with nothing done to the leaf since.
    pub(crate) fn restore(&mut self, i: usize, removed: Removed) {
        self.open(i, 0);
        self.set_slot(i, removed.slot);
        let dead = get16(self.body, 6) - self.read().heap_space(i);
        put16(self.body, 6, dead);
        put16(self.body, 10, removed.run);
    }

    /// Adds entries of another leaf at the end, for which there must be room.
    pub(crate) fn append(&mut self, from: Leaf<'_>, range: Range<usize>) {
        let (old, new) = (get16(from.body, 2), get16(self.body, 2));
        for i in range {
            let slot = from.slot(i);
            let space = from.heap_space(i);
            let start = (slot >> 16) as u16 as usize;
            let bytes = &from.body[start..start + space];
            let n = self.read().len();
            let offset = self.open(n, space + old - new);
            let slot = if old == new {
                self.body[offset..offset + space].copy_from_slice(bytes);
                slot & !0xffff_0000 | (offset as u64) << 16
            } else {
                // The part of the old prefix that is not in the new one, then the
                // part of the suffix that is not in the new prefix.
                let back = &from.prefix()[new.min(old)..];
                let gone = new.saturating_sub(old);
                let to = &mut self.body[offset..offset + space + old - new];
                to[..2].copy_from_slice(&bytes[..2]);
                to[2..2 + back.len()].copy_from_slice(back);
                to[2 + back.len()..].copy_from_slice(&bytes[2 + gone..]);
                let len = (slot & LEN_MASK) as usize + old - new;
                slot_of(&to[2..2 + len], offset, slot & (HAS_TAIL | IS_BLOB))
            };
            self.set_slot(n, slot);
        }
    }

    /// Takes over from the leaf that this one was, but for the latest insertion
    /// at `i`, how insertions have been coming.
    pub(crate) fn inherit_run(&mut self, from: Leaf<'_>, i: usize) {
        let run = if get16(from.body, 8) + 1 == i { get16(from.body, 10) + 1 } else { 0 };
        put16(self.body, 10, run.min(RUN));
    }

    /// Lookup that insertions have been coming in order up to the last entry.
    pub(crate) fn expect_more(&mut self) {
        let last = self.read().len() - 1;
        put16(self.body, 8, last);
        put16(self.body, 10, RUN);
    }
}
