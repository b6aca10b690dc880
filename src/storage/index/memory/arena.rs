//! The arena: chunks of address space with the frames of pages, and the table of blobs.

use std::alloc::{Layout, dealloc};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::latch::LEVEL;
use super::page::{BlobId, HEADER, PageId, UNIT};
use crate::os::memory::{HUGE_PAGE, Region};
use crate::segments::Segments;
use crate::sync::OnceLock;

/// Units in the first chunk of the arena, and in the second; each later one is
/// as large as all before it. So few chunks make a large arena, and the place
/// of a page is found with one table lookup.
pub(super) const FIRST_CHUNK_UNITS: u32 = (HUGE_PAGE / UNIT) as u32;
/// Chunks until the 29 bits of a unit's number are used up, at 256 GiB.
pub(super) const CHUNKS: usize = 18;

pub(super) fn chunk_of(unit: u32) -> (usize, u32) {
    let chunk = u32::BITS - (unit / FIRST_CHUNK_UNITS).leading_zeros();
    let start = if chunk == 0 { 0 } else { FIRST_CHUNK_UNITS << (chunk - 1) };
    (chunk as usize, start)
}

/// A blob: its allocation is one byte longer than `len`, for the NUL.
#[derive(Debug, Default)]
pub(super) struct Blob {
    pub(super) start: AtomicPtr<u8>,
    pub(super) len: AtomicU32,
    pub(super) birth: AtomicU64,
}

/// The bytes of pages and blobs, shared by the live tree and its snapshots.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) chunks: [OnceLock<Region>; CHUNKS],
    pub(super) blobs: Segments<Blob, 64, 26>,
}

/// A page in the arena: 16 bytes of header, and the body.
///
/// ```text
/// 0   birth    u64  the epoch in which the page was made or last edited
/// 8   origin   u32  the end of the page that this one was when the latest image was
///                   begun: a hint for what a file may hold of it already
/// 12  state    u32  the latch, and the level of the node (see `latch.rs`)
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    start: *mut u8,
    id: PageId,
    memory: PhantomData<&'a Memory>,
}

impl<'a> Frame<'a> {
    /// Starts the header of a page that was just taken from the arena.
    #[inline]
    pub(super) fn begin(self, birth: u64, origin: u32, level: u32) {
        self.birth().store(birth, Ordering::Relaxed);
        self.origin().store(origin, Ordering::Relaxed);
        self.state().store(level << LEVEL.trailing_zeros() & LEVEL, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn birth(self) -> &'a AtomicU64 {
        // SAFETY: it lies at the start of the frame, aligned by 512, and is accessed as
        // an atomic only while the page is there.
        unsafe { AtomicU64::from_ptr(self.start.cast()) }
    }

    pub(super) fn origin(self) -> &'a AtomicU32 {
        // SAFETY: it lies in the header, aligned by 4, and is accessed as an atomic only
        // while the page is there.
        unsafe { AtomicU32::from_ptr(self.start.add(8).cast()) }
    }

    #[inline(always)]
    pub(super) fn state(self) -> &'a AtomicU32 {
        // SAFETY: it lies in the header, aligned by 4, and is accessed as an atomic only
        // while the page is there.
        unsafe { AtomicU32::from_ptr(self.start.add(12).cast()) }
    }

    /// The level of the node, 0 being a leaf. It stays while the page is there.
    #[inline(always)]
    pub(super) fn level(self) -> u32 {
        (self.state().load(Ordering::Relaxed) & LEVEL) >> LEVEL.trailing_zeros()
    }

    /// # Safety
    ///
    /// While the slice lives, nobody changes the body.
    #[inline(always)]
    pub(super) unsafe fn body(self) -> &'a [u8] {
        // SAFETY: the frame lies in the arena, which lives as long as 'a; memory is
        // zeroed by the system, so all of it is initialised.
        unsafe { std::slice::from_raw_parts(self.start.add(HEADER), self.id.body_len()) }
    }

    /// # Safety
    ///
    /// While the slice lives, nobody else reads or changes the body.
    #[inline(always)]
    pub(super) unsafe fn body_mut(self) -> &'a mut [u8] {
        // SAFETY: as for `body`.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(HEADER), self.id.body_len()) }
    }

    pub(super) fn id(self) -> PageId {
        self.id
    }

    /// The start of the frame, for `load` and for prefetches.
    #[inline(always)]
    pub(super) fn start(self) -> *mut u8 {
        self.start
    }

    /// Asks the processor for the cache lines that a search reads first: the header and
    /// the slots.
    #[inline(always)]
    pub(super) fn prefetch(self) {
        for line in 0..(self.id.units() as usize * UNIT / LINE).min(SEARCHED_LINES) {
            prefetch_line(self.start.wrapping_add(line * LINE));
        }
    }
}

impl Memory {
    /// The frame of a page, checked to lie in the arena.
    #[inline(always)]
    pub(super) fn frame(&self, id: PageId) -> Frame<'_> {
        let (chunk, first) = chunk_of(id.unit());
        let region = self.chunks[chunk].get().expect("a page id from another store");
        let offset = (id.unit() - first) as usize * UNIT;
        assert!(offset + id.units() as usize * UNIT <= region.len(), "a page id beyond the arena");
        // SAFETY: the offset was just checked to lie in the region.
        let start = unsafe { region.start().as_ptr().add(offset) };
        Frame { start, id, memory: PhantomData }
    }

    pub(super) fn blob_entry(&self, id: BlobId) -> &Blob {
        self.blobs.get(id.0).expect("a blob id from another store")
    }

    /// # Safety
    ///
    /// While the slice lives, nobody frees the blob.
    pub(super) unsafe fn blob(&self, id: BlobId) -> &[u8] {
        let blob = self.blob_entry(id);
        let start = blob.start.load(Ordering::Relaxed);
        assert!(!start.is_null(), "a blob that is not there");
        // SAFETY: `start` and `len` were set together by `Pages::new_blob` for an
        // allocation of len + 1 initialised bytes, which is there until freed.
        unsafe { std::slice::from_raw_parts(start, blob.len.load(Ordering::Relaxed) as usize + 1) }
    }

    /// Frees a blob's bytes if there are any; returns how many.
    ///
    /// # Safety
    ///
    /// Nobody holds a slice of the blob.
    pub(super) unsafe fn free_blob(&self, blob: &Blob) -> usize {
        let start = blob.start.swap(std::ptr::null_mut(), Ordering::Relaxed);
        if start.is_null() {
            return 0;
        }
        let len = blob.len.load(Ordering::Relaxed) as usize + 1;
        let layout = Layout::array::<u8>(len).expect("it was allocated with this layout");
        // SAFETY: `new_blob` allocated it with this layout, and the null now in
        // its place keeps it from being freed again.
        unsafe { dealloc(start, layout) };
        len
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for blob in self.blobs.iter() {
            // SAFETY: with `self` going, nobody is left who could hold a slice.
            unsafe { self.free_blob(blob) };
        }
    }
}

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Cache lines of a page that a search reads first.
const SEARCHED_LINES: usize = 6;

/// Asks the processor for the first lines of what will soon be read.
#[inline]
pub(crate) fn prefetch_bytes(bytes: &[u8]) {
    bytes.chunks(LINE).take(2).for_each(|line| prefetch_line(line.as_ptr()));
}

/// Asks the processor for the cache line of an address: a hint, which never fails.
#[inline(always)]
pub(super) fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it reads nothing, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
