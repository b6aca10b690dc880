//! Editing a leaf.

use std::ops::Range;

use super::super::{BLOB_ID, DEAD, TOP, get16, put16};
use super::{
    HAS_TAIL, IS_BLOB, LAST, LEN_MASK, Leaf, LeafMut, NO_INSERTION, NewEntry, RUN, RUN_MAX, SLOT,
    Value, slot_of,
};
use crate::storage::index::memory::BlobId;

/// The slot of a removed entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removed {
    slot: u64,
    run: usize,
}

impl<'a> LeafMut<'a> {
    /// Makes the block a copy of a leaf with a shorter block.
    pub(crate) fn copy(body: &'a mut [u8], from: Leaf<'_>) -> LeafMut<'a> {
        let (end, top, longer) = (from.slots_end(), from.top(), body.len() - from.body.len());
        body[..end].copy_from_slice(&from.body[..end]);
        body[top + longer..].copy_from_slice(&from.body[top..]);
        put16(body, TOP, top + longer);
        for slot in body[from.slots_start()..end].as_chunks_mut::<SLOT>().0 {
            *slot = (u64::from_le_bytes(*slot) + ((longer as u64) << 16)).to_le_bytes();
        }
        LeafMut { body }
    }

    /// Inserts an entry, for which there must be room, at `i`.
    #[inline]
    pub(crate) fn insert(&mut self, i: usize, entry: &NewEntry<'_>) {
        let prefix = self.read().prefix_len();
        let suffix = &entry.key.inline[prefix..];
        let offset = self.open_slot(i, entry.space(prefix) - SLOT);
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
        self.set_slot(i, slot_of(suffix, offset, flags).to_le_bytes());
        let run = if get16(self.body, LAST) + 1 == i { get16(self.body, RUN) + 1 } else { 0 };
        put16(self.body, LAST, i);
        put16(self.body, RUN, run.min(RUN_MAX));
    }

    /// Replaces a value by another of the same kind and length; does nothing and
    /// returns false if they differ in that.
    #[inline]
    pub(crate) fn replace(&mut self, i: usize, value: Value<'_>) -> bool {
        let entry = self.read().layout(i);
        let bytes = match (value, entry.value_len) {
            (Value::Inline(bytes), Some(len)) if len == bytes.len() => bytes,
            (Value::Blob(id), None) => &id.to_bytes(),
            _ => return false,
        };
        self.body[entry.value..entry.value + bytes.len()].copy_from_slice(bytes);
        true
    }

    /// Replaces each blob by what `new` maps it to; false if it maps one to nothing. The
    /// leaf has been checked.
    pub(crate) fn rename_blobs(&mut self, new: &dyn Fn(BlobId) -> Option<BlobId>) -> bool {
        (0..self.read().len()).all(|i| {
            let entry = self.read().layout(i);
            let tail = entry.has_tail.then(|| entry.value - BLOB_ID);
            let value = entry.value_len.is_none().then_some(entry.value);
            tail.into_iter().chain(value).all(|at| self.rename_blob(at, new))
        })
    }

    /// Removes an entry, whose blobs the caller releases. [`LeafMut::restore`] can take
    /// the removal back.
    pub(crate) fn remove(&mut self, i: usize) -> Removed {
        let removed = Removed { slot: self.read().slot(i), run: get16(self.body, RUN) };
        self.remove_slot(i, self.read().heap_space(i));
        put16(self.body, RUN, 0);
        removed
    }

    /// Takes back the latest removal. The leaf has not been edited since.
    pub(crate) fn restore(&mut self, i: usize, removed: Removed) {
        self.open_slot(i, 0);
        self.set_slot(i, removed.slot.to_le_bytes());
        let dead = self.read().dead() - self.read().heap_space(i);
        put16(self.body, DEAD, dead);
        put16(self.body, RUN, removed.run);
    }

    /// Appends entries of another leaf, for which there must be room.
    pub(crate) fn append(&mut self, from: Leaf<'_>, range: Range<usize>) {
        let (old, new) = (from.prefix_len(), self.read().prefix_len());
        for i in range {
            let slot = from.slot(i);
            let space = from.heap_space(i);
            let start = from.entry_start(i);
            let bytes = &from.body[start..start + space];
            let n = self.read().len();
            let offset = self.open_slot(n, space + old - new);
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
            self.set_slot(n, slot.to_le_bytes());
        }
    }

    /// Takes over the run of insertions from the leaf that this one was before the
    /// insertion at `i`.
    pub(crate) fn inherit_run(&mut self, from: Leaf<'_>, i: usize) {
        let run = if get16(from.body, LAST) + 1 == i { get16(from.body, RUN) + 1 } else { 0 };
        put16(self.body, RUN, run.min(RUN_MAX));
    }

    /// Records that the leaf shrinks, until the next insertion.
    pub(crate) fn expect_fewer(&mut self) {
        put16(self.body, LAST, NO_INSERTION);
    }

    /// Records a run of insertions that ends with the last entry.
    pub(crate) fn expect_more(&mut self) {
        let last = self.read().len() - 1;
        put16(self.body, LAST, last);
        put16(self.body, RUN, RUN_MAX);
    }
}
