//! Nodes: slotted pages. Leaves and inner nodes share one layout.
//!
//! ```text
//! 0   n        u16  slots
//! 2   prefix   u16  length of the prefix that all keys of the node share
//! 4   top      u16  where the heap starts; it ends with the block
//! 6   dead     u16  bytes in the heap that no slot refers to any more
//! 8   (8 bytes of the node's own)
//! 16  the prefix, padded to 8 bytes
//!     the slots, sorted by key, each of the same size
//!     free space
//!     the heap, growing down: one item for each slot
//! ```
//!
//! Numbers are little-endian. A block has no pointers into memory, so it can be
//! copied and moved as bytes.
//!
//! [`Slotted`] reads such a block and [`SlottedMut`] edits it. A [`leaf`] has slots of
//! 8 bytes, an [`inner`] node slots of 16, and each adds the meaning of its slots
//! and items.

pub(crate) mod inner;
pub(crate) mod key;
pub(crate) mod leaf;

use std::ops::Range;

use super::memory::{BODY_MAX, BlobId};

/// Bytes of numbers at the start.
const FIXED: usize = 16;
const LEN: usize = 0;
const PREFIX: usize = 2;
const TOP: usize = 4;
const DEAD: usize = 6;

/// Bytes of a blob's name.
const BLOB_ID: usize = 4;

/// Where the slots start after a prefix of that length.
fn slots_start(prefix: usize) -> usize {
    FIXED + prefix.next_multiple_of(8)
}

#[inline]
fn get16(body: &[u8], at: usize) -> usize {
    u16::from_le_bytes([body[at], body[at + 1]]) as usize
}

#[inline]
fn put16(body: &mut [u8], at: usize, value: usize) {
    debug_assert!(value <= u16::MAX as usize);
    body[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

/// A node with slots of `SLOT` bytes, to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slotted<'a, const SLOT: usize> {
    body: &'a [u8],
}

impl<'a, const SLOT: usize> Slotted<'a, SLOT> {
    #[inline]
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Slotted { body }
    }

    /// Number of slots: entries of a leaf, separators of an inner node.
    #[inline]
    pub(crate) fn len(self) -> usize {
        get16(self.body, LEN)
    }

    #[inline]
    fn prefix_len(self) -> usize {
        get16(self.body, PREFIX)
    }

    #[inline]
    pub(crate) fn prefix(self) -> &'a [u8] {
        &self.body[FIXED..FIXED + self.prefix_len()]
    }

    /// Where the slots start in the block.
    #[inline]
    pub(crate) fn slots_start(self) -> usize {
        slots_start(self.prefix_len())
    }

    #[inline]
    fn slots_end(self) -> usize {
        self.slots_start() + self.len() * SLOT
    }

    #[inline]
    fn slots(self) -> &'a [[u8; SLOT]] {
        let start = self.slots_start();
        self.body[start..start + self.len() * SLOT].as_chunks().0
    }

    #[inline]
    fn top(self) -> usize {
        get16(self.body, TOP)
    }

    pub(crate) fn dead(self) -> usize {
        get16(self.body, DEAD)
    }

    /// Bytes between the slots and the heap.
    #[inline]
    fn free(self) -> usize {
        self.top() - self.slots_end()
    }

    /// Bytes that the node would take with nothing wasted.
    pub(crate) fn used(self) -> usize {
        self.body.len() - self.free() - self.dead()
    }

    /// The name of a blob that stands at an offset.
    fn blob_at(self, at: usize) -> BlobId {
        BlobId::from_bytes(*self.body[at..].first_chunk().expect("an item lies in its node"))
    }

    /// Verifies the layout. `item` is where the heap item of a slot lies, `None`
    /// if the block ends before its length can be read.
    fn check_layout(
        self,
        item: impl Fn(usize) -> Option<Range<usize>>,
    ) -> Result<(), &'static str> {
        let end = self.body.len();
        if end > BODY_MAX || self.slots_end() > self.top() || self.top() > end {
            return Err("slots and heap of a node overlap");
        }
        let mut heap = 0;
        for i in 0..self.len() {
            match item(i) {
                Some(item) if item.start >= self.top() && item.end <= end => heap += item.len(),
                _ => return Err("an item lies outside the heap of its node"),
            }
        }
        if heap + self.dead() != end - self.top() {
            return Err("the dead bytes of a node are miscounted");
        }
        Ok(())
    }
}

/// A node with slots of `SLOT` bytes, to be edited.
#[derive(Debug)]
pub(crate) struct SlottedMut<'a, const SLOT: usize> {
    body: &'a mut [u8],
}

impl<'a, const SLOT: usize> SlottedMut<'a, SLOT> {
    pub(crate) fn new(body: &'a mut [u8]) -> Self {
        SlottedMut { body }
    }

    /// Makes the block a node without slots.
    pub(crate) fn init(body: &'a mut [u8], prefix: &[u8]) -> Self {
        let len = body.len();
        body[..slots_start(prefix.len())].fill(0);
        put16(body, PREFIX, prefix.len());
        put16(body, TOP, len);
        body[FIXED..FIXED + prefix.len()].copy_from_slice(prefix);
        SlottedMut { body }
    }

    #[inline]
    fn read(&self) -> Slotted<'_, SLOT> {
        Slotted { body: self.body }
    }

    /// Opens slot `i` and `space` bytes of heap, for both of which there must be
    /// room; returns the offset of the heap bytes.
    #[inline]
    fn open_slot(&mut self, i: usize, space: usize) -> usize {
        let (n, end) = (self.read().len(), self.read().slots_end());
        let offset = self.read().top() - space;
        debug_assert!(end + SLOT <= offset);
        let at = end - (n - i) * SLOT;
        self.body.copy_within(at..end, at + SLOT);
        put16(self.body, LEN, n + 1);
        put16(self.body, TOP, offset);
        offset
    }

    #[inline]
    fn set_slot(&mut self, i: usize, slot: [u8; SLOT]) {
        let at = self.read().slots_start() + i * SLOT;
        self.body[at..at + SLOT].copy_from_slice(&slot);
    }

    /// Removes slot `i`, whose heap item of `space` bytes is dead from now on.
    fn remove_slot(&mut self, i: usize, space: usize) {
        let (n, end) = (self.read().len(), self.read().slots_end());
        let dead = self.read().dead() + space;
        let at = end - (n - i) * SLOT;
        self.body.copy_within(at + SLOT..end, at);
        put16(self.body, LEN, n - 1);
        put16(self.body, DEAD, dead);
    }

    /// Replaces the name of the blob at an offset by what `new` maps it to; false
    /// if it maps it to nothing.
    fn rename_blob(&mut self, at: usize, new: &dyn Fn(BlobId) -> Option<BlobId>) -> bool {
        let new = new(self.read().blob_at(at));
        if let Some(id) = new {
            self.body[at..at + BLOB_ID].copy_from_slice(&id.to_bytes());
        }
        new.is_some()
    }
}
