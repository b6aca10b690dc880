//! Spaces: the address space of pages, or of blobs, in chunks, and the slabs in it.
//!
//! The first chunk has two MiB, and so has the second; each later one is as large as all
//! before it. So few chunks make a large arena, and the place of a page is found with one
//! table lookup. If the system refuses so much, the chunk is shorter, and the numbers that it
//! lacks are nobody's.

use super::slabs::Slabs;
use crate::error::OutOfMemory;
use crate::os::memory::{HUGE_PAGE, Region};
use crate::sync::OnceLock;

/// Chunks until the 29 bits of a page's unit are used up, at 256 GiB.
const CHUNKS: usize = 18;

/// Address space that a chunk leaves, if the system has a limit, for all else that the
/// process takes; or 1/5 of the space, if that is more.
pub(super) const LEFT: usize = 2 * HUGE_PAGE;

/// The chunks of a space, which readers use, too.
#[derive(Debug, Default)]
pub(super) struct Chunks([OnceLock<Region>; CHUNKS]);

/// The free part of a space: the books of the one who changes it.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) slabs: Slabs,
    chunks: usize,
    /// Bytes of the chunks.
    bytes: usize,
    huge_pages: bool,
}

/// The number of the chunk that a byte of a space lies in, and the chunk's first byte.
#[inline(always)]
pub(super) fn chunk_of(offset: usize) -> (usize, usize) {
    let chunk = usize::BITS - (offset / HUGE_PAGE).leading_zeros();
    let start = if chunk == 0 { 0 } else { HUGE_PAGE << (chunk - 1) };
    (chunk as usize, start)
}

impl Chunks {
    /// The place of `len` bytes of the space, if they lie in one chunk that is there.
    #[inline(always)]
    pub(super) fn place(&self, offset: usize, len: usize) -> Option<*mut u8> {
        let (chunk, first) = chunk_of(offset);
        let region = self.0.get(chunk)?.get()?;
        // SAFETY: the offset is checked to lie in the region.
        (offset - first + len <= region.len())
            .then(|| unsafe { region.start().as_ptr().add(offset - first) })
    }
}

impl Space {
    pub(super) fn new(unit: usize, huge_pages: bool) -> Space {
        Space { slabs: Slabs::of(unit), chunks: 0, bytes: 0, huge_pages }
    }

    /// Makes room for `count` items, each of which may need a slab of its own.
    #[inline]
    pub(super) fn reserve(&mut self, chunks: &Chunks, count: usize) -> Result<(), OutOfMemory> {
        while self.slabs.spare() < count {
            self.grow(chunks)?;
        }
        Ok(())
    }

    /// Takes an item; returns its first unit. Leaves `left` empty slabs.
    pub(super) fn take(
        &mut self,
        chunks: &Chunks,
        units: u32,
        left: usize,
    ) -> Result<u32, OutOfMemory> {
        if !self.slabs.has_room(units, left) {
            self.grow(chunks)?;
        }
        Ok(self.slabs.take(units))
    }

    /// Makes room for the bytes of the space up to `end`.
    pub(super) fn reserve_to(&mut self, chunks: &Chunks, end: usize) -> Result<(), OutOfMemory> {
        while self.next_start() < end {
            let (start, whole) = (self.next_start(), self.next_len());
            let needed = (end - start).next_multiple_of(HUGE_PAGE).min(whole);
            self.add_chunk(chunks, needed, 0)?;
        }
        Ok(())
    }

    /// The first byte of the chunk that comes next.
    fn next_start(&self) -> usize {
        self.chunks.checked_sub(1).map_or(0, |last| HUGE_PAGE << last)
    }

    /// Bytes of the chunk that comes next, if the system has so many.
    fn next_len(&self) -> usize {
        self.next_start().max(HUGE_PAGE)
    }

    /// Adds a chunk of two MiB at least, and leaves some address space for all else.
    fn grow(&mut self, chunks: &Chunks) -> Result<(), OutOfMemory> {
        self.add_chunk(chunks, HUGE_PAGE, LEFT.max(self.bytes / 5))
    }

    /// Adds a chunk; if the system refuses a whole one, the half of it, and so on, but no less
    /// than `least` bytes. Leaves `left` bytes of address space.
    #[cold]
    fn add_chunk(&mut self, chunks: &Chunks, least: usize, left: usize) -> Result<(), OutOfMemory> {
        let slot = chunks.0.get(self.chunks).ok_or(OutOfMemory)?;
        let (start, mut len) = (self.next_start(), self.next_len());
        let region = loop {
            let region = Region::map(len, HUGE_PAGE, left);
            match region.filter(|_| self.slabs.reserve(start + len).is_ok()) {
                Some(region) => break region,
                None if len == least => return Err(OutOfMemory),
                None => len = (len / 2).max(least),
            }
        };
        // A small store should not take two MiB at once.
        if self.huge_pages && self.chunks > 0 {
            region.prefer_huge_pages();
        }
        slot.set(region).expect("only the owner of the space adds chunks");
        self.slabs.add(start..start + len);
        self.chunks += 1;
        self.bytes += len;
        Ok(())
    }

    /// Gives an item back, and the memory that is not worth keeping.
    ///
    /// # Safety
    ///
    /// Nothing refers into the item.
    pub(super) unsafe fn give(&mut self, chunks: &Chunks, unit: u32, units: u32) {
        self.slabs.give(unit, units);
        while let Some(range) = self.slabs.surplus() {
            let (chunk, first) = chunk_of(range.start);
            let region = chunks.0[chunk].get().expect("the item was in it");
            // SAFETY: no item lies there, so nothing refers into it.
            unsafe { region.discard(range.start - first, range.len()) };
        }
    }
}
