//! The bytes of pages and blobs, and where they are.

use std::alloc::{Layout, dealloc};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::latch::PageLatch;
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

/// The bytes themselves, shared by the living tree and its snapshots.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) chunks: [OnceLock<Region>; CHUNKS],
    pub(super) blobs: Segments<Blob, 64, 26>,
}

impl Memory {
    /// The place of a page, checked to lie in the arena.
    #[inline(always)]
    pub(super) fn page_start(&self, id: PageId) -> *mut u8 {
        let (chunk, first) = chunk_of(id.unit());
        let region = self.chunks[chunk].get().expect("a page id from another store");
        let offset = (id.unit() - first) as usize * UNIT;
        assert!(offset + id.units() as usize * UNIT <= region.len(), "a page id beyond the arena");
        // SAFETY: the offset was just checked to lie in the region.
        unsafe { region.start().as_ptr().add(offset) }
    }

    #[inline(always)]
    pub(super) fn page_birth(&self, id: PageId) -> &AtomicU64 {
        // SAFETY: a page starts with its birth, aligned by 512; the birth is
        // only ever accessed as an atomic while a page is there.
        unsafe { AtomicU64::from_ptr(self.page_start(id).cast()) }
    }

    /// The end of the page that this one comes from which there was when the
    /// latest image was begun: a hint for what a file may hold of it already.
    pub(super) fn page_origin(&self, id: PageId) -> &AtomicU32 {
        // SAFETY: it stands after the birth, aligned, and is only ever accessed as
        // an atomic while a page is there.
        unsafe { AtomicU32::from_ptr(self.page_start(id).add(8).cast()) }
    }

    #[inline(always)]
    fn page_latch(&self, id: PageId) -> &AtomicU32 {
        // SAFETY: it stands after the origin, aligned, and is only ever accessed as
        // an atomic while a page is there.
        unsafe { AtomicU32::from_ptr(self.page_start(id).add(12).cast()) }
    }

    /// Lets nobody change a page until the guard is gone.
    #[inline]
    pub(super) fn latch_to_read(&self, id: PageId) -> PageLatch<'_> {
        PageLatch::to_read(self.page_latch(id))
    }

    /// Lets nobody else read or change a page until the guard is gone.
    #[inline]
    pub(super) fn latch_to_edit(&self, id: PageId) -> PageLatch<'_> {
        PageLatch::to_edit(self.page_latch(id))
    }

    /// Forgets who holds the lock of a page: nobody, as it is new.
    pub(super) fn new_latch(&self, id: PageId) {
        self.page_latch(id).store(0, Ordering::Relaxed);
    }

    /// # Safety
    ///
    /// Coverage the slice is gone nobody may change the page's body.
    #[inline(always)]
    pub(super) unsafe fn page(&self, id: PageId) -> &[u8] {
        // SAFETY: the whole page lies in the arena, which lives as long as
        // `self`; fresh memory is zeroed by the system, so all of it is
        // initialised; the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(self.page_start(id).add(HEADER), id.body_len()) }
    }

    pub(super) fn blob_entry(&self, id: BlobId) -> &Blob {
        self.blobs.get(id.0).expect("a blob id from another store")
    }

    /// # Safety
    ///
    /// Coverage the slice is gone nobody may free the blob.
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
    /// Nobody may hold a slice of the blob.
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

/// Cache lines of a page that a search reads first: its header and the slots
/// after it.
pub(super) const SEARCHED_LINES: usize = 6;

/// Asks the processor for the first cache lines of a page.
#[inline(always)]
pub(super) fn prefetch(start: *const u8, id: PageId, lines: usize) {
    for line in 0..(id.units() as usize * UNIT / LINE).min(lines) {
        prefetch_line(start.wrapping_add(line * LINE));
    }
}

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
