//! A leaf: sorted entries in one slotted block.
//!
//! ```text
//! 8   last     u16  where the latest insertion went (0xffff: entries were removed only) ...
//! 10  run      u16  ... and how many before it went one place further each
//! 12  (4 bytes, zero)
//!
//! a slot:
//!     first 4 bytes of the key after the prefix, as a number   32 bits
//!     offset of the entry in the block                         16 bits
//!     length of the inline key after the prefix                14 bits
//!     whether the key has a tail, whether the value is a blob   2 bits
//! an item, the entry:
//!     length of an inline value, u16; the inline key after the prefix;
//!     the tail's blob, if there is one; then the value and a NUL, or
//!     the value's blob
//! ```
//!
//! A search runs over the slots and touches an entry only to confirm.
//!
//! This file reads a leaf; [`edit`] edits one, and [`layout`] computes the layout of
//! leaves to be built.

mod edit;
mod layout;

pub(crate) use layout::LeafLayout;

use std::cmp::Ordering;
use std::ops::Range;

use super::super::memory::{BlobId, Source};
use super::key::{INLINE, Key, head4};
use super::{BLOB_ID, Slotted, SlottedMut, get16};

const SLOT: usize = 8;
const LAST: usize = 8;
const RUN: usize = 10;

const LEN_MASK: u64 = 0x3fff;
const HAS_TAIL: u64 = 0x4000;
const IS_BLOB: u64 = 0x8000;

/// The longest value that a leaf holds. A longer one is a blob, so that copying a leaf
/// stays cheap.
pub(crate) const INLINE_VALUE: usize = 1024;

/// Insertions in ascending order after which a full leaf splits at its end.
const RUN_MAX: usize = 4;

/// Stands for the latest insertion in a leaf that has shrunk, and only lost entries since.
const NO_INSERTION: usize = 0xffff;

/// A value as a leaf holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// The bytes, which a NUL follows in the leaf.
    Inline(&'a [u8]),
    Blob(BlobId),
}

impl Value<'_> {
    fn space(self) -> usize {
        match self {
            Value::Inline(bytes) => bytes.len() + 1,
            Value::Blob(_) => BLOB_ID,
        }
    }
}

/// An entry to be stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewEntry<'a> {
    pub(crate) key: Key<'a>,
    pub(crate) tail: Option<BlobId>,
    pub(crate) value: Value<'a>,
}

impl NewEntry<'_> {
    /// Bytes that the entry takes in a leaf, its slot included.
    fn space(&self, prefix: usize) -> usize {
        let tail = if self.tail.is_some() { BLOB_ID } else { 0 };
        SLOT + 2 + (self.key.inline.len() - prefix) + tail + self.value.space()
    }
}

/// An entry in a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// The inline key after the prefix.
    pub(crate) suffix: &'a [u8],
    pub(crate) tail: Option<BlobId>,
    pub(crate) value: Value<'a>,
}

/// Where the parts of an entry are in the block of its leaf.
#[derive(Clone, Debug)]
pub(crate) struct EntryLayout {
    pub(crate) suffix: Range<usize>,
    pub(crate) has_tail: bool,
    pub(crate) value: usize,
    /// Length of an inline value without its NUL.
    pub(crate) value_len: Option<usize>,
}

/// A leaf, to be read.
pub(crate) type Leaf<'a> = Slotted<'a, SLOT>;

/// A leaf, to be edited.
pub(crate) type LeafMut<'a> = SlottedMut<'a, SLOT>;

fn slot_of(suffix: &[u8], offset: usize, flags: u64) -> u64 {
    u64::from(head4(suffix)) << 32 | (offset as u64) << 16 | flags | suffix.len() as u64
}

impl<'a> Leaf<'a> {
    #[inline]
    fn slot(self, i: usize) -> u64 {
        u64::from_le_bytes(self.slots()[i])
    }

    #[inline]
    fn suffix(self, slot: u64) -> &'a [u8] {
        let offset = (slot >> 16) as u16 as usize + 2;
        &self.body[offset..offset + (slot & LEN_MASK) as usize]
    }

    #[inline]
    pub(crate) fn entry(self, i: usize) -> Entry<'a> {
        let entry = self.layout(i);
        let value = match entry.value_len {
            Some(len) => Value::Inline(&self.body[entry.value..entry.value + len]),
            None => Value::Blob(self.blob_at(entry.value)),
        };
        let tail = entry.has_tail.then(|| self.blob_at(entry.value - BLOB_ID));
        Entry { suffix: &self.body[entry.suffix], tail, value }
    }

    /// The layout of an entry.
    #[inline(always)]
    pub(crate) fn layout(self, i: usize) -> EntryLayout {
        let slot = self.slot(i);
        let offset = (slot >> 16) as u16 as usize;
        let has_tail = slot & HAS_TAIL != 0;
        let suffix = offset + 2..offset + 2 + (slot & LEN_MASK) as usize;
        let value = suffix.end + if has_tail { BLOB_ID } else { 0 };
        let value_len = (slot & IS_BLOB == 0).then(|| get16(self.body, offset));
        EntryLayout { suffix, has_tail, value, value_len }
    }

    /// An entry without blobs: the bytes from its inline key after the prefix on, the
    /// length of that key, and where its value and the NUL are in the block. `slots` is
    /// where the slots start.
    #[inline(always)]
    pub(crate) fn plain(self, slots: usize, i: usize) -> Option<(&'a [u8], usize, Range<usize>)> {
        let slot = u64::from_le_bytes(*self.body.get(slots + i * SLOT..)?.first_chunk()?);
        if slot & (HAS_TAIL | IS_BLOB) != 0 {
            return None;
        }
        let (offset, len) = ((slot >> 16) as u16 as usize, (slot & LEN_MASK) as usize);
        let (value_len, key_on) = self.body.get(offset..)?.split_first_chunk()?;
        let value = offset + 2 + len;
        Some((key_on, len, value..value + u16::from_le_bytes(*value_len) as usize + 1))
    }

    /// Where an entry begins in the block.
    #[inline]
    pub(crate) fn entry_start(self, i: usize) -> usize {
        (self.slot(i) >> 16) as u16 as usize
    }

    /// A part of the block, as [`Leaf::layout`] gives it.
    #[inline]
    pub(crate) fn bytes(self, range: Range<usize>) -> &'a [u8] {
        &self.body[range]
    }

    /// The blobs that an entry refers to.
    pub(crate) fn blobs(self, i: usize) -> impl Iterator<Item = BlobId> + use<> {
        let Entry { tail, value, .. } = self.entry(i);
        let value = match value {
            Value::Blob(id) => Some(id),
            Value::Inline(_) => None,
        };
        tail.into_iter().chain(value)
    }

    /// Lengths of an entry's key and value.
    pub(crate) fn lens(self, i: usize, source: &impl Source) -> (usize, usize) {
        let entry = self.entry(i);
        let tail = entry.tail.map_or(0, |id| source.blob(id).len());
        let value = match entry.value {
            Value::Inline(bytes) => bytes.len(),
            Value::Blob(id) => source.blob(id).len(),
        };
        (self.prefix().len() + entry.suffix.len() + tail, value)
    }

    /// Bytes of an entry's key and value.
    pub(crate) fn entry_len(self, i: usize, source: &impl Source) -> usize {
        let (key, value) = self.lens(i, source);
        key + value
    }

    /// Bytes of an entry in the heap.
    fn heap_space(self, i: usize) -> usize {
        let entry = self.layout(i);
        entry.value - (entry.suffix.start - 2) + entry.value_len.map_or(BLOB_ID, |len| len + 1)
    }

    /// Compares an entry's key with another that has the prefix: `rest` is its inline
    /// part after the prefix, `tail` its tail.
    #[inline]
    fn compare(self, i: usize, source: &impl Source, rest: &[u8], tail: &[u8]) -> Ordering {
        let slot = self.slot(i);
        self.suffix(slot).cmp(rest).then_with(|| {
            if slot & HAS_TAIL == 0 && tail.is_empty() {
                return Ordering::Equal;
            }
            self.entry(i).tail.map_or(&[][..], |id| source.blob(id)).cmp(tail)
        })
    }

    /// The number of the entry with a key; the error is the number that it would get.
    #[inline]
    pub(crate) fn find(self, source: &impl Source, key: Key<'_>) -> Result<usize, usize> {
        let rest = match key.after(self.prefix()) {
            Ok(rest) => rest,
            Err(Ordering::Less) => return Err(0),
            Err(_) => return Err(self.len()),
        };
        let slots = self.slots();
        let head = u64::from(head4(rest)) << 32;
        let first = slots.partition_point(|slot| u64::from_le_bytes(*slot) < head);
        // Mostly the head alone decides, or the first entry with that head is a match.
        match slots.get(first) {
            Some(slot) if u64::from_le_bytes(*slot) >> 32 == head >> 32 => {}
            _ => return Err(first),
        }
        match self.compare(first, source, rest, key.tail) {
            Ordering::Equal => return Ok(first),
            Ordering::Greater => return Err(first),
            Ordering::Less => {}
        }
        let mut range = first + 1..slots.len();
        range.end = range.start
            + slots[range.clone()].partition_point(|s| u64::from_le_bytes(*s) >> 32 == head >> 32);
        while !range.is_empty() {
            let middle = range.start.midpoint(range.end);
            match self.compare(middle, source, rest, key.tail) {
                Ordering::Less => range.start = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => range.end = middle,
            }
        }
        Err(range.start)
    }

    /// The inline part of an entry's key.
    pub(crate) fn inline_key(self, i: usize) -> Vec<u8> {
        [self.prefix(), self.suffix(self.slot(i))].concat()
    }

    /// Whether the entry fits in place.
    #[inline]
    pub(crate) fn has_room(self, entry: &NewEntry<'_>) -> bool {
        entry.key.inline.starts_with(self.prefix()) && self.free() >= entry.space(self.prefix_len())
    }

    /// Verifies all rules of a leaf that need no blob; returns the first broken one.
    pub(crate) fn check(self) -> Result<(), &'static str> {
        self.check_layout(|i| {
            let start = self.entry_start(i);
            // The item begins with two bytes of length.
            (start + 2 <= self.body.len()).then(|| start..start + self.heap_space(i))
        })?;
        for i in 0..self.len() {
            let (slot, entry) = (self.slot(i), self.layout(i));
            let len = self.prefix_len() + entry.suffix.len();
            if if entry.has_tail { len != INLINE } else { len > INLINE } {
                return Err("a key is cut at the wrong place");
            }
            if (slot >> 32) as u32 != head4(self.suffix(slot)) {
                return Err("the head of a slot is not that of its key");
            }
            if entry.value_len.is_some_and(|len| self.body[entry.value + len] != 0) {
                return Err("a value is not followed by a NUL");
            }
        }
        Ok(())
    }
}
