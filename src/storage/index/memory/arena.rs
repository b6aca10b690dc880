//! The arena: the frames of pages, and the blobs.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::blobs::BlobTable;
use super::latch::LEVEL;
use super::page::{HEADER, PageId, UNIT};
use super::space::Chunks;

/// The bytes of pages and blobs, shared by the live tree and its snapshots.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) chunks: Chunks,
    pub(super) blobs: BlobTable,
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
        let (offset, len) = (id.unit() as usize * UNIT, id.units() as usize * UNIT);
        let start = self.chunks.place(offset, len).expect("a page id from another store");
        Frame { start, id, memory: PhantomData }
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
