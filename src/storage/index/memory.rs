//! The memory that a tree lives in: pages, blobs, and who may still see them.
//!
//! Pages of 512 to 4,096 bytes come from an arena of huge pages and are named
//! by a [`PageId`]; a blob is one allocation of any length, for what is too
//! long for a page. [`Epochs`] keeps the books about which of them a snapshot
//! ([`Frozen`]) can see.
//!
//! Promises:
//!
//! 1. What a snapshot can reach is never changed and never reused: [`Pages::edit`]
//!    refuses a frozen page, and [`Pages::release`] keeps it until no living
//!    snapshot falls between its birth and its death.
//! 2. [`Pages::own`] is the only function that decides to copy a page.
//! 3. Taking a snapshot takes constant time. Releasing one is dropping an
//!    `Arc`; what only it kept goes bit by bit, in [`Pages::collect`].
//! 4. Between [`Pages::reserve`] and the end of the operation that it was
//!    called for, no page is refused.
//!
//! This is the only file of the index with `unsafe`, and its interface is safe:
//! every id is checked against the bounds of the arena, one `&mut Pages` is the
//! only way to change a byte, and the epochs keep those bytes apart from the
//! ones that snapshots read without a lock.
//!
//! Not here: what the bytes mean, and locking.

#![allow(unsafe_code)] // the bytes of pages and blobs

use std::alloc::{Layout, alloc, dealloc};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::epochs::{Epochs, Item, Ticket};
use super::page::{BlobId, HEADER, PageId, Source, UNIT};
use super::slab::{SLAB_UNITS, Slabs};
use crate::error::OutOfMemory;
use crate::os::memory::{HUGE_PAGE, Region};
use crate::segments::Segments;
use crate::sync::{Arc, OnceLock};

/// Units in the first chunk of the arena, and in the second; each later one is
/// as large as all before it. So few chunks make a large arena, and the place
/// of a page is found with one table lookup.
const FIRST_CHUNK_UNITS: u32 = (HUGE_PAGE / UNIT) as u32;
/// Chunks until the 29 bits of a unit's number are used up, at 256 GiB.
const CHUNKS: usize = 18;

fn chunk_of(unit: u32) -> (usize, u32) {
    let chunk = u32::BITS - (unit / FIRST_CHUNK_UNITS).leading_zeros();
    let start = if chunk == 0 { 0 } else { FIRST_CHUNK_UNITS << (chunk - 1) };
    (chunk as usize, start)
}

/// A blob: its allocation is one byte longer than `len`, for the NUL.
#[derive(Debug, Default)]
struct Blob {
    start: AtomicPtr<u8>,
    len: AtomicU32,
    birth: AtomicU64,
}

/// The bytes themselves, shared by the living tree and its snapshots.
#[derive(Debug, Default)]
struct Memory {
    chunks: [OnceLock<Region>; CHUNKS],
    blobs: Segments<Blob, 64, 26>,
}

impl Memory {
    /// The place of a page, checked to lie in the arena.
    #[inline(always)]
    fn page_start(&self, id: PageId) -> *mut u8 {
        let (chunk, first) = chunk_of(id.unit());
        let region = self.chunks[chunk].get().expect("a page id from another store");
        let offset = (id.unit() - first) as usize * UNIT;
        assert!(offset + id.units() as usize * UNIT <= region.len(), "a page id beyond the arena");
        // SAFETY: the offset was just checked to lie in the region.
        unsafe { region.start().as_ptr().add(offset) }
    }

    #[inline(always)]
    fn page_birth(&self, id: PageId) -> &AtomicU64 {
        // SAFETY: a page starts with its birth, aligned by 512; the birth is
        // only ever accessed as an atomic while a page is there.
        unsafe { AtomicU64::from_ptr(self.page_start(id).cast()) }
    }

    /// # Safety
    ///
    /// Until the slice is gone nobody may change the page's body.
    #[inline(always)]
    unsafe fn page(&self, id: PageId) -> &[u8] {
        // SAFETY: the whole page lies in the arena, which lives as long as
        // `self`; fresh memory is zeroed by the system, so all of it is
        // initialised; the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(self.page_start(id).add(HEADER), id.body_len()) }
    }

    fn blob_entry(&self, id: BlobId) -> &Blob {
        self.blobs.get(id.0).expect("a blob id from another store")
    }

    /// # Safety
    ///
    /// Until the slice is gone nobody may free the blob.
    unsafe fn blob(&self, id: BlobId) -> &[u8] {
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
    unsafe fn free_blob(&self, blob: &Blob) -> usize {
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

/// The pages and blobs as they were when it was made, readable without a lock.
#[derive(Clone, Debug)]
pub(super) struct Frozen(Arc<Ticket<Arc<Memory>>>);

impl Frozen {
    /// What to tell [`Pages::forget`] when the snapshot has been dropped, if that
    /// may leave something to [`Pages::collect`].
    pub(super) fn pins(&self) -> Option<u64> {
        self.0.pins()
    }
}

impl Source for Frozen {
    #[inline]
    fn page(&self, id: PageId) -> &[u8] {
        let born = self.0.memory.page_birth(id).load(Ordering::Relaxed);
        assert!(born <= self.0.epoch, "a snapshot was led to a page younger than itself");
        // SAFETY: the page was born before this snapshot was taken, so `edit`
        // refuses it and `release` keeps it while this ticket lives.
        unsafe { self.0.memory.page(id) }
    }

    fn blob_with_nul(&self, id: BlobId) -> &[u8] {
        let born = self.0.memory.blob_entry(id).birth.load(Ordering::Relaxed);
        assert!(born <= self.0.epoch, "a snapshot was led to a blob younger than itself");
        // SAFETY: as for a page.
        unsafe { self.0.memory.blob(id) }
    }

    #[inline]
    fn prefetch(&self, id: PageId) {
        prefetch(self.0.memory.page_start(id), id, SEARCHED_LINES);
    }
}

/// A snapshot with one of its pages at hand, for who reads that page often.
#[derive(Debug)]
pub(super) struct Reader {
    frozen: Frozen,
    start: *const u8,
    len: usize,
    /// What is left to be fetched of a page that will be read next.
    ahead: *const u8,
    ahead_lines: usize,
}

// SAFETY: the pointer is to bytes that `frozen`, which may be sent, keeps
// unchanged for as long as it lives.
unsafe impl Send for Reader {}
// SAFETY: as above.
unsafe impl Sync for Reader {}

impl Reader {
    pub(super) fn new(frozen: Frozen, id: PageId) -> Reader {
        let none = std::ptr::null();
        let mut reader = Reader { frozen, start: none, len: 0, ahead: none, ahead_lines: 0 };
        reader.turn_to(id);
        reader
    }

    pub(super) fn turn_to(&mut self, id: PageId) {
        let page = self.frozen.page(id);
        (self.start, self.len) = (page.as_ptr(), page.len());
    }

    /// The body of the page at hand.
    #[inline]
    pub(super) fn page(&self) -> &[u8] {
        // SAFETY: `turn_to` had it from a page that `self.frozen` keeps.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    pub(super) fn frozen(&self) -> &Frozen {
        &self.frozen
    }

    /// Says that the page at hand will be read soon from `at` on: three
    /// cache lines, as a short entry takes.
    #[inline]
    pub(super) fn prefetch(&self, at: usize) {
        for line in self.page()[at..].chunks(LINE).take(3) {
            prefetch_line(line.as_ptr());
        }
    }

    /// Says which page will be read next.
    pub(super) fn expect(&mut self, id: Option<PageId>) {
        self.ahead_lines = 0;
        if let Some(id) = id {
            self.ahead = self.frozen.0.memory.page_start(id);
            self.ahead_lines = id.units() as usize * UNIT / LINE;
        }
    }

    /// Fetches a little of that page; to be called while this one is read, so
    /// that the memory works meanwhile.
    #[inline]
    pub(super) fn fetch_some(&mut self) {
        if self.ahead_lines > 0 {
            for _ in 0..4 {
                prefetch_line(self.ahead);
                self.ahead = self.ahead.wrapping_add(LINE);
            }
            self.ahead_lines -= 4; // a page has a multiple of 8 lines
        }
    }
}

/// The pages and blobs of the living tree: the one who may change them.
#[derive(Debug)]
pub(super) struct Pages {
    memory: Arc<Memory>,
    slabs: Slabs,
    chunks: usize,
    /// Blob ids that can be used; room for all that were ever made is reserved.
    free_blobs: Vec<u32>,
    blob_segments: usize,
    blobs: usize,
    blob_bytes: usize,
    epochs: Epochs<Arc<Memory>>,
}

impl Pages {
    pub(super) fn new() -> Pages {
        Pages {
            memory: Arc::default(),
            slabs: Slabs::default(),
            chunks: 0,
            free_blobs: Vec::new(),
            blob_segments: 0,
            blobs: 0,
            blob_bytes: 0,
            epochs: Epochs::new(),
        }
    }

    /// Makes sure that `pages` pages can be taken.
    #[inline]
    pub(super) fn reserve(&mut self, pages: usize) -> Result<(), OutOfMemory> {
        // Each of them might be the first of a slab.
        while self.slabs.spare() < pages {
            self.add_chunk()?;
        }
        Ok(())
    }

    /// Makes sure that `count` things can be released.
    #[inline]
    pub(super) fn reserve_notes(&mut self, count: usize) -> Result<(), OutOfMemory> {
        self.epochs.reserve(count)
    }

    #[cold]
    fn add_chunk(&mut self) -> Result<(), OutOfMemory> {
        let slot = self.memory.chunks.get(self.chunks).ok_or(OutOfMemory)?;
        let units = FIRST_CHUNK_UNITS << self.chunks.saturating_sub(1);
        if slot.get().is_none() {
            let region = Region::map(units as usize * UNIT).ok_or(OutOfMemory)?;
            // A small store should not take two MiB at once.
            if self.chunks > 0 {
                region.prefer_huge_pages();
            }
            slot.set(region).expect("chunks are added under &mut self");
        }
        self.slabs.grow((units / SLAB_UNITS) as usize)?;
        self.chunks += 1;
        Ok(())
    }

    /// A new page whose body has at least `len` bytes. They are not cleared.
    pub(super) fn alloc(&mut self, len: usize) -> PageId {
        let units = ((len + HEADER).div_ceil(UNIT)) as u32;
        assert!((1..=8).contains(&units), "no page has {len} bytes");
        let id = PageId::new(self.slabs.take(units), units);
        self.memory.page_birth(id).store(self.epochs.birth(), Ordering::Relaxed);
        self.epochs.changed();
        id
    }

    /// The page that may be edited in place of this one: itself, or, if a
    /// snapshot can see it, a copy. A copy's parent must be told.
    #[inline]
    pub(super) fn own(&mut self, id: PageId) -> PageId {
        let birth = self.memory.page_birth(id).load(Ordering::Relaxed);
        if !self.epochs.is_still_frozen(birth) {
            return id;
        }
        let copy = self.alloc(id.body_len());
        let (to, [from]) = self.edit_from(copy, [id]);
        to.copy_from_slice(from);
        self.release(id);
        copy
    }

    /// Whether a snapshot may see the page.
    #[inline]
    pub(super) fn is_shared(&self, id: PageId) -> bool {
        self.epochs.is_frozen(self.memory.page_birth(id).load(Ordering::Relaxed))
    }

    /// Whether a snapshot may see the blob.
    pub(super) fn is_shared_blob(&self, id: BlobId) -> bool {
        self.epochs.is_frozen(self.memory.blob_entry(id).birth.load(Ordering::Relaxed))
    }

    /// The body of a page that is owned, to be changed.
    #[inline]
    pub(super) fn edit(&mut self, id: PageId) -> &mut [u8] {
        self.edit_from(id, []).0
    }

    /// The same, beside the bodies of other pages.
    #[inline]
    pub(super) fn edit_from<const N: usize>(
        &mut self,
        id: PageId,
        others: [PageId; N],
    ) -> (&mut [u8], [&[u8]; N]) {
        assert!(!self.is_shared(id), "a page that a snapshot can see is not to be edited");
        for other in others {
            let apart =
                other.unit() >= id.unit() + id.units() || id.unit() >= other.unit() + other.units();
            assert!(apart, "a page is not to be edited while it is read");
        }
        self.epochs.changed();
        // SAFETY: the page lies in the arena and its bytes are initialised, as
        // `Memory::page` has it. It is not frozen, so no snapshot reads it; all
        // else that reads borrows this `Pages`, which is borrowed mutably for as
        // long as the slices live; and the others do not overlap it.
        unsafe {
            let start = self.memory.page_start(id).add(HEADER);
            let body = std::slice::from_raw_parts_mut(start, id.body_len());
            (body, others.map(|other| self.memory.page(other)))
        }
    }

    /// Takes a page out of the living tree.
    pub(super) fn release(&mut self, id: PageId) {
        let birth = self.memory.page_birth(id).load(Ordering::Relaxed);
        self.retire(Item::Page(id), birth);
    }

    /// Takes a blob out of the living tree.
    pub(super) fn release_blob(&mut self, id: BlobId) {
        let birth = self.memory.blob_entry(id).birth.load(Ordering::Relaxed);
        self.retire(Item::Blob(id), birth);
    }

    fn retire(&mut self, item: Item, birth: u64) {
        if let Some(item) = self.epochs.retire(item, birth) {
            self.free(item);
        }
    }

    /// Frees what neither the living tree nor a living snapshot can reach.
    fn free(&mut self, item: Item) {
        match item {
            Item::Page(id) => {
                self.slabs.give(id.unit(), id.units());
                while let Some(slab) = self.slabs.surplus() {
                    let (chunk, first) = chunk_of(slab * SLAB_UNITS);
                    let region = self.memory.chunks[chunk].get().expect("the page was in it");
                    let offset = (slab * SLAB_UNITS - first) as usize * UNIT;
                    // SAFETY: every page of the slab has been freed, so nothing
                    // refers into it.
                    unsafe { region.discard(offset, SLAB_UNITS as usize * UNIT) };
                }
            }
            Item::Blob(id) => {
                // SAFETY: nobody can reach the blob, so nobody holds its bytes.
                self.blob_bytes -= unsafe { self.memory.free_blob(self.memory.blob_entry(id)) };
                self.blobs -= 1;
                self.free_blobs.push(id.0);
            }
        }
    }

    /// A new blob with a copy of the bytes.
    pub(super) fn new_blob(&mut self, bytes: &[u8]) -> Result<BlobId, OutOfMemory> {
        let len = u32::try_from(bytes.len()).map_err(|_| OutOfMemory)?;
        if self.free_blobs.is_empty() {
            self.add_blob_segment()?;
        }
        let layout = Layout::array::<u8>(bytes.len() + 1).map_err(|_| OutOfMemory)?;
        // SAFETY: the layout has at least one byte.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            return Err(OutOfMemory);
        }
        // SAFETY: the new allocation has one byte more than `bytes`.
        unsafe {
            start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            start.add(bytes.len()).write(0);
        }
        let id = BlobId(self.free_blobs.pop().expect("there is one, as ensured above"));
        let blob = self.memory.blob_entry(id);
        blob.start.store(start, Ordering::Relaxed);
        blob.len.store(len, Ordering::Relaxed);
        blob.birth.store(self.epochs.birth(), Ordering::Relaxed);
        self.blobs += 1;
        self.blob_bytes += layout.size();
        self.epochs.changed();
        Ok(id)
    }

    #[cold]
    fn add_blob_segment(&mut self) -> Result<(), OutOfMemory> {
        let ids = self.memory.blobs.grow(self.blob_segments)?;
        // Room for every id there is, so that freeing a blob never allocates.
        self.free_blobs.try_reserve(ids.end as usize)?;
        self.free_blobs.extend(ids.rev());
        self.blob_segments += 1;
        Ok(())
    }

    /// Freezes what there is now.
    pub(super) fn freeze(&mut self) -> Result<Frozen, OutOfMemory> {
        Ok(Frozen(self.epochs.freeze(self.memory.clone())?))
    }

    /// The newest snapshot again, if nothing was changed since.
    pub(super) fn frozen_already(&self) -> Option<Frozen> {
        self.epochs.frozen_already().map(Frozen)
    }

    /// Says that a snapshot of an epoch was dropped.
    pub(super) fn forget(&mut self, epoch: u64) {
        self.epochs.forget(epoch);
    }

    /// Says that the newest snapshot may have been dropped.
    pub(super) fn forget_newest(&mut self) {
        self.epochs.forget_newest();
    }

    /// Looks at up to `limit` things that only snapshots needed, and frees those
    /// that none needs any more. Returns whether there may be more.
    pub(super) fn collect(&mut self, mut limit: usize) -> bool {
        while let Some(item) = self.epochs.collect(&mut limit) {
            self.free(item);
        }
        limit == 0 && self.epochs.has_orphans()
    }

    /// Does a little of what is left to [`Pages::collect`].
    #[inline]
    pub(super) fn collect_some(&mut self) {
        if self.epochs.has_orphans() {
            self.collect(16);
        }
    }

    /// Says that all that was retired since `newest`, which must be the newest
    /// snapshot, is in the living tree again.
    pub(super) fn revive(&mut self, newest: &Frozen) {
        self.epochs.revive(&newest.0);
    }

    /// Bytes of memory held, snapshots included.
    pub(super) fn memory_bytes(&self) -> usize {
        self.slabs.resident_bytes()
            + self.blob_bytes
            + self.free_blobs.capacity() * (size_of::<u32>() + size_of::<Blob>())
            + self.epochs.memory_bytes()
    }

    /// Number of pages and of blobs there are; for the invariants.
    pub(super) fn population(&self) -> (usize, usize) {
        (self.slabs.pages(), self.blobs)
    }

    /// Number of pages and blobs kept for snapshots only; for the invariants.
    pub(super) fn retired(&self) -> (usize, usize) {
        self.epochs.population()
    }
}

impl Source for Pages {
    #[inline]
    fn page(&self, id: PageId) -> &[u8] {
        // SAFETY: changing a page takes a `&mut Pages`.
        unsafe { self.memory.page(id) }
    }

    fn blob_with_nul(&self, id: BlobId) -> &[u8] {
        // SAFETY: freeing a blob takes a `&mut Pages`.
        unsafe { self.memory.blob(id) }
    }

    #[inline]
    fn prefetch(&self, id: PageId) {
        prefetch(self.memory.page_start(id), id, SEARCHED_LINES);
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Cache lines of a page that a search reads first: its header and the slots
/// after it.
const SEARCHED_LINES: usize = 6;

/// Asks the processor for the first cache lines of a page.
#[inline(always)]
fn prefetch(start: *const u8, id: PageId, lines: usize) {
    for line in 0..(id.units() as usize * UNIT / LINE).min(lines) {
        prefetch_line(start.wrapping_add(line * LINE));
    }
}

/// Asks the processor for the cache line of an address: a hint, which never fails.
#[inline(always)]
fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it reads nothing, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
