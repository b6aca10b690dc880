//! An inner node: children, and the separators between them, in one block.
//!
//! A separator is at most every key to its right and greater than every key to
//! its left; it is as short as that allows. A node has one child more than
//! separators, and may have a single child.
//!
//! ```text
//! 0   n        u16  separators
//! 2   prefix   u16  length of the prefix that all separators share
//! 4   top      u16  where the heap starts; it ends with the block
//! 6   dead     u16  bytes in the heap that belong to no separator any more
//! 8   first    u32  the leftmost child
//! 12  (4 bytes, zero)
//! 16  the prefix, padded to 8 bytes
//!     the slots, 16 bytes each, sorted by separator:
//!         first 8 bytes of the separator after the prefix, as a number   u64
//!         the child to the right of it                                   u32
//!         offset in the heap of what follows these 8 bytes               u16
//!         length of the inline separator after the prefix,            15 bits
//!         and whether it has a tail                                     1 bit
//!     free space
//!     the heap, growing down: the rest of a separator, then its tail's blob
//! ```
//!
//! Numbers are little-endian.

use std::cmp::Ordering;

use super::super::memory::{BODY_MAX, BlobId, PageId, Source};
use super::key::{Key, common_prefix, head8};
use super::{FIXED, get16, put16, rename_blob, slots_start};

const SLOT: usize = 16;
const HEAD: usize = 8;
const BLOB_ID: usize = 4;

const LEN_MASK: u16 = 0x7fff;
const HAS_TAIL: u16 = 0x8000;

/// A separator outside a node: its inline part, and the blob of its tail.
#[derive(Clone, Debug)]
pub(crate) struct Separator {
    pub(crate) inline: Vec<u8>,
    pub(crate) tail: Option<BlobId>,
}

impl Separator {
    /// What it takes in the heap of a node.
    fn heap_space(&self, prefix: usize) -> usize {
        (self.inline.len() - prefix).saturating_sub(HEAD) + self.tail.map_or(0, |_| BLOB_ID)
    }
}

/// A separator and the child to the right of it.
pub(crate) type Branch = (Separator, PageId);

#[derive(Clone, Copy)]
struct Slot<'a>(&'a [u8; SLOT]);

impl Slot<'_> {
    #[inline]
    fn head(self) -> u64 {
        u64::from_le_bytes(*self.0.first_chunk().expect("a slot has 16 bytes"))
    }

    #[inline]
    fn child(self) -> PageId {
        PageId::from_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }

    fn offset(self) -> usize {
        u16::from_le_bytes([self.0[12], self.0[13]]) as usize
    }

    fn flags(self) -> u16 {
        u16::from_le_bytes([self.0[14], self.0[15]])
    }

    /// Length of the inline separator after the prefix.
    fn len(self) -> usize {
        (self.flags() & LEN_MASK) as usize
    }

    /// Length of the part of it that lies in the heap.
    fn rest(self) -> usize {
        self.len().saturating_sub(HEAD)
    }

    fn has_tail(self) -> bool {
        self.flags() & HAS_TAIL != 0
    }

    fn heap_space(self) -> usize {
        self.rest() + if self.has_tail() { BLOB_ID } else { 0 }
    }
}

/// An inner node, to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inner<'a> {
    body: &'a [u8],
}

impl<'a> Inner<'a> {
    #[inline]
    pub(crate) fn new(body: &'a [u8]) -> Inner<'a> {
        Inner { body }
    }

    /// Number of separators, one less than of children.
    #[inline]
    pub(crate) fn len(self) -> usize {
        get16(self.body, 0)
    }

    #[inline]
    fn prefix(self) -> &'a [u8] {
        &self.body[FIXED..FIXED + get16(self.body, 2)]
    }

    #[inline]
    fn slots(self) -> &'a [[u8; SLOT]] {
        let start = slots_start(get16(self.body, 2));
        self.body[start..start + self.len() * SLOT].as_chunks().0
    }

    fn slot(self, i: usize) -> Slot<'a> {
        Slot(&self.slots()[i])
    }

    /// Child `i`, counted from 0.
    #[inline]
    pub(crate) fn child(self, i: usize) -> PageId {
        match i.checked_sub(1) {
            None => PageId::from_bytes([self.body[8], self.body[9], self.body[10], self.body[11]]),
            Some(slot) => self.slot(slot).child(),
        }
    }

    /// How a separator compares with `rest` (a key's inline part after the
    /// prefix, its head the same as the separator's) and `tail`.
    fn compare(self, slot: Slot<'_>, source: &impl Source, rest: &[u8], tail: &[u8]) -> Ordering {
        let inline = if slot.len() < HEAD || rest.len() < HEAD {
            // With equal heads, and zeros in them beyond its end, the shorter
            // one begins the longer.
            slot.len().cmp(&rest.len())
        } else {
            self.body[slot.offset()..slot.offset() + slot.rest()].cmp(&rest[HEAD..])
        };
        inline.then_with(|| {
            let stored = self.tail_of(slot).map(|id| source.blob(id));
            stored.unwrap_or_default().cmp(tail)
        })
    }

    /// The number of the child that a key belongs to: that of separators not
    /// greater than the key.
    #[inline]
    pub(crate) fn find(self, source: &impl Source, key: Key<'_>) -> usize {
        let rest = match key.after(self.prefix()) {
            Ok(rest) => rest,
            Err(Ordering::Less) => return 0,
            Err(_) => return self.len(),
        };
        let slots = self.slots();
        let head = head8(rest);
        let first = slots.partition_point(|slot| Slot(slot).head() < head);
        match slots.get(first) {
            Some(slot) if Slot(slot).head() == head => {}
            _ => return first,
        }
        let ties = &slots[first..];
        let ties = &ties[..ties.partition_point(|slot| Slot(slot).head() == head)];
        first
            + ties.partition_point(|slot| {
                self.compare(Slot(slot), source, rest, key.tail) != Ordering::Greater
            })
    }

    /// A separator, whole.
    pub(crate) fn separator(self, i: usize) -> Separator {
        let slot = self.slot(i);
        let rest = &self.body[slot.offset()..slot.offset() + slot.rest()];
        let head = slot.head().to_be_bytes();
        let inline = [self.prefix(), &head[..slot.len().min(HEAD)], rest].concat();
        Separator { inline, tail: self.tail(i) }
    }

    /// The blob of a separator's tail.
    pub(crate) fn tail(self, i: usize) -> Option<BlobId> {
        self.tail_of(self.slot(i))
    }

    fn tail_of(self, slot: Slot<'_>) -> Option<BlobId> {
        let blob = &self.body[slot.offset() + slot.rest()..slot.offset() + slot.heap_space()];
        blob.first_chunk().map(|id| BlobId::from_bytes(*id))
    }

    /// All separators, each with the child to its right.
    pub(crate) fn branches(self) -> Vec<Branch> {
        let mut branches = Vec::with_capacity(self.len() + 1); // one is often added
        branches.extend((0..self.len()).map(|i| (self.separator(i), self.slot(i).child())));
        branches
    }

    fn slots_end(self) -> usize {
        slots_start(get16(self.body, 2)) + self.len() * SLOT
    }

    /// Bytes that the node would take with nothing wasted.
    pub(crate) fn used(self) -> usize {
        self.slots_end() + self.body.len() - get16(self.body, 4) - get16(self.body, 6)
    }

    /// Whether the separator fits in place.
    pub(crate) fn has_room(self, separator: &Separator) -> bool {
        let free = get16(self.body, 4) - self.slots_end();
        separator.inline.starts_with(self.prefix())
            && free >= SLOT + separator.heap_space(get16(self.body, 2))
    }

    /// The first rule that the node breaks, as far as it shows without blobs.
    pub(crate) fn check(self) -> Result<(), &'static str> {
        let top = get16(self.body, 4);
        if self.body.len() > BODY_MAX || self.slots_end() > top || top > self.body.len() {
            return Err("slots and heap of an inner node overlap");
        }
        let slots = self.slots().iter().map(Slot);
        let heap: usize = slots.clone().map(Slot::heap_space).sum();
        if heap + get16(self.body, 6) != self.body.len() - top {
            return Err("the dead bytes of an inner node are miscounted");
        }
        let inside = |slot: Slot<'_>| {
            slot.offset() >= top && slot.offset() + slot.heap_space() <= self.body.len()
        };
        if !slots.clone().all(inside) {
            return Err("a separator lies outside the heap of its node");
        }
        Ok(())
    }
}

/// What an inner node with these separators would take.
pub(crate) fn plan(branches: &[Branch]) -> usize {
    let prefix = shared(branches);
    let heap: usize = branches.iter().map(|(s, _)| SLOT + s.heap_space(prefix)).sum();
    slots_start(prefix) + heap
}

/// Length of the prefix that sorted separators share.
fn shared(branches: &[Branch]) -> usize {
    match branches {
        // With one separator all of it would be prefix, and not for long.
        [] | [_] => 0,
        [(first, _), .., (last, _)] => common_prefix(&first.inline, &last.inline),
    }
}

/// Where to cut separators that do not fit one node: the number of the one
/// that moves up, such that both sides fit and are as equal as can be.
pub(crate) fn cut(branches: &[Branch], appending: bool) -> usize {
    if appending {
        // More will come at the end: leave the left side full.
        let most = branches.len() - 1;
        if plan(&branches[..most]) <= BODY_MAX {
            return most;
        }
    }
    let size = |i: usize| plan(&branches[..i]).max(plan(&branches[i + 1..]));
    let middle = branches.len() / 2;
    if size(middle) <= BODY_MAX * 3 / 4 {
        return middle;
    }
    (0..branches.len()).min_by_key(|&i| size(i)).expect("a node to be cut has separators")
}

/// An inner node, to be changed.
#[derive(Debug)]
pub(crate) struct InnerMut<'a> {
    body: &'a mut [u8],
}

impl<'a> InnerMut<'a> {
    pub(crate) fn new(body: &'a mut [u8]) -> InnerMut<'a> {
        InnerMut { body }
    }

    /// Makes the block a node; [`plan`] has said how long it must be.
    pub(crate) fn build(body: &'a mut [u8], first: PageId, branches: &[Branch]) {
        let (prefix, len) = (shared(branches), body.len());
        body[..slots_start(prefix)].fill(0);
        put16(body, 2, prefix);
        put16(body, 4, len);
        if let Some((separator, _)) = branches.first() {
            body[FIXED..FIXED + prefix].copy_from_slice(&separator.inline[..prefix]);
        }
        let mut node = InnerMut { body };
        node.set_child(0, first);
        for (i, (separator, child)) in branches.iter().enumerate() {
            node.insert(i, separator, *child);
        }
    }

    fn read(&self) -> Inner<'_> {
        Inner { body: self.body }
    }

    fn slot_start(&self, i: usize) -> usize {
        slots_start(get16(self.body, 2)) + i * SLOT
    }

    /// Puts a page in the place of child `i`.
    pub(crate) fn set_child(&mut self, i: usize, child: PageId) {
        let at = match i.checked_sub(1) {
            None => 8,
            Some(slot) => self.slot_start(slot) + 8,
        };
        self.body[at..at + 4].copy_from_slice(&child.to_bytes());
    }

    /// Puts what `new` says in the place of each tail; false if it says nothing.
    pub(crate) fn rename_tails(&mut self, new: &dyn Fn(BlobId) -> Option<BlobId>) -> bool {
        (0..self.read().len()).all(|i| {
            let slot = self.read().slot(i);
            let (has_tail, at) = (slot.has_tail(), slot.offset() + slot.rest());
            !has_tail || rename_blob(self.body, at, new)
        })
    }

    /// Inserts separator `i`, for which there must be room, and the child to
    /// its right.
    pub(crate) fn insert(&mut self, i: usize, separator: &Separator, child: PageId) {
        let prefix = get16(self.body, 2);
        let suffix = &separator.inline[prefix..];
        let space = separator.heap_space(prefix);
        let (n, end) = (self.read().len(), self.read().slots_end());
        let offset = get16(self.body, 4) - space;
        debug_assert!(end + SLOT <= offset);
        let at = self.slot_start(i);
        self.body.copy_within(at..end, at + SLOT);
        put16(self.body, 0, n + 1);
        put16(self.body, 4, offset);
        let rest = &suffix[suffix.len().min(HEAD)..];
        self.body[offset..offset + rest.len()].copy_from_slice(rest);
        let mut flags = suffix.len() as u16;
        if let Some(tail) = separator.tail {
            let at = offset + rest.len();
            self.body[at..at + BLOB_ID].copy_from_slice(&tail.to_bytes());
            flags |= HAS_TAIL;
        }
        let slot = &mut self.body[at..at + SLOT];
        slot[..8].copy_from_slice(&head8(suffix).to_le_bytes());
        slot[8..12].copy_from_slice(&child.to_bytes());
        slot[12..14].copy_from_slice(&(offset as u16).to_le_bytes());
        slot[14..].copy_from_slice(&flags.to_le_bytes());
    }

    /// Removes child `i` of several, and a separator beside it, whose tail is
    /// returned: the caller's to release.
    pub(crate) fn remove_child(&mut self, i: usize) -> Option<BlobId> {
        let slot = i.saturating_sub(1);
        if i == 0 {
            let second = self.read().child(1);
            self.set_child(0, second);
        }
        let tail = self.read().tail(slot);
        let dead = get16(self.body, 6) + self.read().slot(slot).heap_space();
        let (at, end) = (self.slot_start(slot), self.read().slots_end());
        self.body.copy_within(at + SLOT..end, at);
        let n = self.read().len();
        put16(self.body, 0, n - 1);
        put16(self.body, 6, dead);
        tail
    }
}
