//! An inner node: children, and the separators between them, in one slotted block.
//!
//! A separator is at most every key to its right and greater than every key to
//! its left; it is as short as that allows. A node has one child more than
//! separators, and may have a single child.
//!
//! ```text
//! 8   first    u32  the leftmost child
//! 12  (4 bytes, zero)
//!
//! a slot:
//!     first 8 bytes of the separator after the prefix, as a number   u64
//!     the child to the right of it                                   u32
//!     offset of the item in the block                                u16
//!     length of the inline separator after the prefix,            15 bits
//!     and whether it has a tail                                     1 bit
//! an item:
//!     the inline separator after the prefix and 8 bytes more; its tail's blob
//! ```

use std::cmp::Ordering;
use std::ops::Range;

use super::super::memory::{BODY_MAX, BlobId, PageId, Source};
use super::key::{Key, common_prefix, head8};
use super::{BLOB_ID, Slotted, SlottedMut, slots_start};

const SLOT: usize = 16;
const HEAD: usize = 8;
const FIRST_CHILD: usize = 8;

const LEN_MASK: u16 = 0x7fff;
const HAS_TAIL: u16 = 0x8000;

/// A separator outside a node: its inline part, and the blob of its tail. Keys of
/// leaves can take this form, too.
#[derive(Clone, Debug)]
pub(crate) struct Separator {
    pub(crate) inline: Vec<u8>,
    pub(crate) tail: Option<BlobId>,
}

impl Separator {
    /// Bytes of its item in a node.
    fn heap_space(&self, prefix: usize) -> usize {
        (self.inline.len() - prefix).saturating_sub(HEAD) + self.tail.map_or(0, |_| BLOB_ID)
    }
}

/// A separator and the child to the right of it.
pub(crate) type Branch = (Separator, PageId);

/// An inner node, to be read.
pub(crate) type Inner<'a> = Slotted<'a, SLOT>;

/// An inner node, to be edited.
pub(crate) type InnerMut<'a> = SlottedMut<'a, SLOT>;

#[derive(Clone, Copy)]
struct BranchSlot<'a>(&'a [u8; SLOT]);

impl BranchSlot<'_> {
    #[inline]
    fn head(self) -> u64 {
        u64::from_le_bytes(*self.0.first_chunk().expect("a slot has 16 bytes"))
    }

    #[inline]
    fn child(self) -> PageId {
        PageId::from_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }

    fn flags(self) -> u16 {
        u16::from_le_bytes([self.0[14], self.0[15]])
    }

    /// Length of the inline separator after the prefix.
    fn len(self) -> usize {
        (self.flags() & LEN_MASK) as usize
    }

    fn has_tail(self) -> bool {
        self.flags() & HAS_TAIL != 0
    }

    /// Where the inline separator goes on in the heap.
    fn rest(self) -> Range<usize> {
        let offset = u16::from_le_bytes([self.0[12], self.0[13]]) as usize;
        offset..offset + self.len().saturating_sub(HEAD)
    }

    /// Where the item is in the block.
    fn item(self) -> Range<usize> {
        let Range { start, end } = self.rest();
        start..end + if self.has_tail() { BLOB_ID } else { 0 }
    }
}

impl<'a> Inner<'a> {
    fn slot(self, i: usize) -> BranchSlot<'a> {
        BranchSlot(&self.slots()[i])
    }

    /// Child `i`.
    #[inline]
    pub(crate) fn child(self, i: usize) -> PageId {
        match i.checked_sub(1) {
            None => PageId::from_bytes([self.body[8], self.body[9], self.body[10], self.body[11]]),
            Some(slot) => self.slot(slot).child(),
        }
    }

    /// Compares a separator with a key that has the prefix and the same head: `rest`
    /// is the key's inline part after the prefix, `tail` its tail.
    fn compare(
        self,
        slot: BranchSlot<'_>,
        source: &impl Source,
        rest: &[u8],
        tail: &[u8],
    ) -> Ordering {
        let inline = if slot.len() < HEAD || rest.len() < HEAD {
            // Zeros pad the equal heads, so the shorter one is a prefix of the longer.
            slot.len().cmp(&rest.len())
        } else {
            self.body[slot.rest()].cmp(&rest[HEAD..])
        };
        inline.then_with(|| {
            let stored = self.tail_of(slot).map(|id| source.blob(id));
            stored.unwrap_or_default().cmp(tail)
        })
    }

    /// The number of the child that a key belongs to, which is how many separators are
    /// not greater than the key.
    #[inline]
    pub(crate) fn find(self, source: &impl Source, key: Key<'_>) -> usize {
        let rest = match key.after(self.prefix()) {
            Ok(rest) => rest,
            Err(Ordering::Less) => return 0,
            Err(_) => return self.len(),
        };
        let slots = self.slots();
        let head = head8(rest);
        let first = slots.partition_point(|slot| BranchSlot(slot).head() < head);
        match slots.get(first) {
            Some(slot) if BranchSlot(slot).head() == head => {}
            _ => return first,
        }
        let ties = &slots[first..];
        let ties = &ties[..ties.partition_point(|slot| BranchSlot(slot).head() == head)];
        first
            + ties.partition_point(|slot| {
                self.compare(BranchSlot(slot), source, rest, key.tail) != Ordering::Greater
            })
    }

    /// A copy of a separator.
    pub(crate) fn separator(self, i: usize) -> Separator {
        let slot = self.slot(i);
        let head = slot.head().to_be_bytes();
        let head = &head[..slot.len().min(HEAD)];
        let inline = [self.prefix(), head, &self.body[slot.rest()]].concat();
        Separator { inline, tail: self.tail(i) }
    }

    /// The blob of a separator's tail.
    pub(crate) fn tail(self, i: usize) -> Option<BlobId> {
        self.tail_of(self.slot(i))
    }

    fn tail_of(self, slot: BranchSlot<'_>) -> Option<BlobId> {
        slot.has_tail().then(|| self.blob_at(slot.rest().end))
    }

    /// Copies of all separators, each with the child to its right.
    pub(crate) fn branches(self) -> Vec<Branch> {
        let mut branches = Vec::with_capacity(self.len() + 1); // an insertion adds one
        branches.extend((0..self.len()).map(|i| (self.separator(i), self.slot(i).child())));
        branches
    }

    /// Whether the separator can be inserted in place.
    pub(crate) fn has_room(self, separator: &Separator) -> bool {
        separator.inline.starts_with(self.prefix())
            && self.free() >= SLOT + separator.heap_space(self.prefix_len())
    }

    /// Verifies all rules of a node that need no blob; returns the first broken one.
    pub(crate) fn check(self) -> Result<(), &'static str> {
        self.check_layout(|i| Some(self.slot(i).item()))
    }
}

/// Bytes of the block of an inner node with these separators.
pub(crate) fn built_len(branches: &[Branch]) -> usize {
    let prefix = shared(branches);
    let heap: usize = branches.iter().map(|(s, _)| SLOT + s.heap_space(prefix)).sum();
    slots_start(prefix) + heap
}

/// Length of the prefix that sorted separators share.
fn shared(branches: &[Branch]) -> usize {
    match branches {
        // One separator would be all prefix, and the next insertion would shorten it.
        [] | [_] => 0,
        [(first, _), .., (last, _)] => common_prefix(&first.inline, &last.inline),
    }
}

/// Finds where to cut separators that do not fit one node: the number of the
/// separator that moves up, such that both sides fit and are about equal.
pub(crate) fn cut(branches: &[Branch], appending: bool) -> usize {
    if appending {
        // More insertions at the end are likely: the left side stays full.
        let most = branches.len() - 1;
        if built_len(&branches[..most]) <= BODY_MAX {
            return most;
        }
    }
    let size = |i: usize| built_len(&branches[..i]).max(built_len(&branches[i + 1..]));
    let middle = branches.len() / 2;
    if size(middle) <= BODY_MAX * 3 / 4 {
        return middle;
    }
    (0..branches.len()).min_by_key(|&i| size(i)).expect("a node to be cut has separators")
}

impl<'a> InnerMut<'a> {
    /// Makes the block, of [`built_len`] bytes or more, a node.
    pub(crate) fn build(body: &'a mut [u8], first: PageId, branches: &[Branch]) {
        let prefix = branches.first().map_or(&[][..], |(separator, _)| &separator.inline);
        let mut node = InnerMut::init(body, &prefix[..shared(branches)]);
        node.set_child(0, first);
        for (i, (separator, child)) in branches.iter().enumerate() {
            node.insert(i, separator, *child);
        }
    }

    /// Replaces child `i` by another page.
    pub(crate) fn set_child(&mut self, i: usize, child: PageId) {
        let at = match i.checked_sub(1) {
            None => FIRST_CHILD,
            Some(slot) => self.read().slots_start() + slot * SLOT + 8,
        };
        self.body[at..at + 4].copy_from_slice(&child.to_bytes());
    }

    /// Replaces each tail by what `new` maps it to; false if it maps one to nothing.
    pub(crate) fn rename_blobs(&mut self, new: &dyn Fn(BlobId) -> Option<BlobId>) -> bool {
        (0..self.read().len()).all(|i| {
            let slot = self.read().slot(i);
            let (has_tail, at) = (slot.has_tail(), slot.rest().end);
            !has_tail || self.rename_blob(at, new)
        })
    }

    /// Inserts separator `i`, for which there must be room, and the child to
    /// its right.
    pub(crate) fn insert(&mut self, i: usize, separator: &Separator, child: PageId) {
        let prefix = self.read().prefix_len();
        let suffix = &separator.inline[prefix..];
        let offset = self.open_slot(i, separator.heap_space(prefix));
        let rest = &suffix[suffix.len().min(HEAD)..];
        self.body[offset..offset + rest.len()].copy_from_slice(rest);
        let mut flags = suffix.len() as u16;
        if let Some(tail) = separator.tail {
            let at = offset + rest.len();
            self.body[at..at + BLOB_ID].copy_from_slice(&tail.to_bytes());
            flags |= HAS_TAIL;
        }
        let mut slot = [0; SLOT];
        slot[..8].copy_from_slice(&head8(suffix).to_le_bytes());
        slot[8..12].copy_from_slice(&child.to_bytes());
        slot[12..14].copy_from_slice(&(offset as u16).to_le_bytes());
        slot[14..].copy_from_slice(&flags.to_le_bytes());
        self.set_slot(i, slot);
    }

    /// Removes child `i` of several, and a separator next to it. Returns the blob of
    /// that separator's tail, which the caller releases.
    pub(crate) fn remove_child(&mut self, i: usize) -> Option<BlobId> {
        let slot = i.saturating_sub(1);
        if i == 0 {
            let second = self.read().child(1);
            self.set_child(0, second);
        }
        let (tail, item) = (self.read().tail(slot), self.read().slot(slot).item());
        self.remove_slot(slot, item.len());
        tail
    }
}
