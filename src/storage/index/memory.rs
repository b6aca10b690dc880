//! The memory that a tree lives in: pages, blobs, and who may still see them.
//!
//! Pages of 512 to 4,096 bytes come from an arena of huge pages and are named
//! by a [`PageId`]; a blob is one allocation of any length, for what is too
//! long for a page. Both are born in an epoch. Taking a snapshot ([`Frozen`])
//! ends the epoch; what was born before is frozen from then on.
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
//!
//! The epochs replace reference counts, which a copy of an inner node would
//! have to touch in each child; the lists of retired pages that hang on the
//! newest snapshot are an idea of ZFS's dead lists.

#![allow(unsafe_code)] // the bytes of pages and blobs

use std::alloc::{Layout, alloc, dealloc};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::slab::{SLAB_UNITS, Slabs};
use crate::error::OutOfMemory;
use crate::os::memory::{HUGE_PAGE, Region};
use crate::segments::Segments;

/// Pages are a multiple of this many bytes.
pub(crate) const UNIT: usize = 512;
/// What of a page its birth takes.
const HEADER: usize = 8;
/// The longest body of a page.
pub(crate) const BODY_MAX: usize = 8 * UNIT - HEADER;

/// Names a page: its first unit, and its size in units less one in the low 3 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageId(u32);

impl PageId {
    fn new(unit: u32, units: u32) -> PageId {
        PageId(unit << 3 | (units - 1))
    }

    fn unit(self) -> u32 {
        self.0 >> 3
    }

    fn units(self) -> u32 {
        (self.0 & 7) + 1
    }

    /// As it stands in an inner node.
    pub(crate) fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 4]) -> PageId {
        PageId(u32::from_le_bytes(bytes))
    }

    /// Length of the page's body.
    pub(crate) fn body_len(self) -> usize {
        self.units() as usize * UNIT - HEADER
    }
}

/// The least body length of a page that has `len` bytes.
pub(crate) fn round_body(len: usize) -> usize {
    (len + HEADER).next_multiple_of(UNIT) - HEADER
}

/// Names a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobId(u32);

impl BlobId {
    /// As it stands in a node.
    pub(crate) fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 4]) -> BlobId {
        BlobId(u32::from_le_bytes(bytes))
    }
}

/// Where pages and blobs are read from: the living tree or a snapshot.
pub(crate) trait Source {
    /// The body of a page.
    fn page(&self, id: PageId) -> &[u8];
    /// The bytes of a blob, with a NUL after them that belongs to the slice.
    fn blob_with_nul(&self, id: BlobId) -> &[u8];
    /// Says that a page will be searched soon.
    fn prefetch(&self, id: PageId);

    /// The bytes of a blob.
    fn blob(&self, id: BlobId) -> &[u8] {
        let bytes = self.blob_with_nul(id);
        &bytes[..bytes.len() - 1]
    }
}

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

/// What a snapshot holds on to.
#[derive(Debug)]
struct Ticket {
    epoch: u64,
    memory: Arc<Memory>,
    /// Whether anything was retired that only this snapshot may still need.
    pins: AtomicBool,
}

/// The pages and blobs as they were when it was made, readable without a lock.
#[derive(Clone, Debug)]
pub(crate) struct Frozen(Arc<Ticket>);

impl Frozen {
    /// Whether dropping the snapshot may leave something to [`Pages::collect`].
    pub(crate) fn pins(&self) -> bool {
        self.0.pins.load(Ordering::Relaxed)
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

impl Frozen {
    /// Says that all of a page will be read soon.
    pub(crate) fn prefetch_whole(&self, id: PageId) {
        prefetch(self.0.memory.page_start(id), id, usize::MAX);
    }
}

/// Something no longer in the living tree that a snapshot may still need.
#[derive(Clone, Copy, Debug)]
struct Retired {
    item: Item,
    birth: u64,
    death: u64,
}

#[derive(Clone, Copy, Debug)]
enum Item {
    Page(PageId),
    Blob(BlobId),
}

/// A snapshot that may still be in use, with what was retired since it was
/// taken and before the next one was.
#[derive(Debug)]
struct Living {
    ticket: Arc<Ticket>,
    retired: Vec<Retired>,
}

/// The pages and blobs of the living tree: the one who may change them.
#[derive(Debug)]
pub(crate) struct Pages {
    memory: Arc<Memory>,
    slabs: Slabs,
    chunks: usize,
    /// Blob ids that can be used; room for all that were ever made is reserved.
    free_blobs: Vec<u32>,
    blob_segments: usize,
    blobs: usize,
    blob_bytes: usize,
    /// What is born now is born in this epoch; 1 to begin with.
    epoch: u64,
    /// The epoch of the newest living snapshot, 0 if there is none.
    newest: u64,
    /// Whether anything was changed since the newest snapshot.
    changed: bool,
    /// By epoch, oldest first.
    living: Vec<Living>,
    /// Retired in the time of snapshots that are gone, and not yet looked at.
    orphans: Vec<Retired>,
}

impl Pages {
    pub(crate) fn new() -> Pages {
        Pages {
            memory: Arc::default(),
            slabs: Slabs::default(),
            chunks: 0,
            free_blobs: Vec::new(),
            blob_segments: 0,
            blobs: 0,
            blob_bytes: 0,
            epoch: 1,
            newest: 0,
            changed: true,
            living: Vec::new(),
            orphans: Vec::new(),
        }
    }

    /// Makes sure that `pages` pages can be taken.
    #[inline]
    pub(crate) fn reserve(&mut self, pages: usize) -> Result<(), OutOfMemory> {
        // Each of them might be the first of a slab.
        while self.slabs.spare() < pages {
            self.add_chunk()?;
        }
        Ok(())
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
    pub(crate) fn alloc(&mut self, len: usize) -> PageId {
        let units = ((len + HEADER).div_ceil(UNIT)) as u32;
        assert!((1..=8).contains(&units), "no page has {len} bytes");
        let id = PageId::new(self.slabs.take(units), units);
        self.memory.page_birth(id).store(self.epoch, Ordering::Relaxed);
        self.changed = true;
        id
    }

    #[inline]
    fn is_frozen(&self, birth: u64) -> bool {
        birth <= self.newest
    }

    /// The page that may be edited in place of this one: itself, or, if a
    /// snapshot can see it, a copy. A copy's parent must be told.
    #[inline]
    pub(crate) fn own(&mut self, id: PageId) -> PageId {
        let birth = self.memory.page_birth(id).load(Ordering::Relaxed);
        if !self.is_frozen(birth) {
            return id;
        }
        self.forget_newest();
        if !self.is_frozen(birth) {
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
    pub(crate) fn is_shared(&self, id: PageId) -> bool {
        self.is_frozen(self.memory.page_birth(id).load(Ordering::Relaxed))
    }

    /// Whether a snapshot may see the blob.
    pub(crate) fn is_shared_blob(&self, id: BlobId) -> bool {
        self.is_frozen(self.memory.blob_entry(id).birth.load(Ordering::Relaxed))
    }

    /// The body of a page that is owned, to be changed.
    #[inline]
    pub(crate) fn edit(&mut self, id: PageId) -> &mut [u8] {
        self.edit_from(id, []).0
    }

    /// The same, beside the bodies of other pages.
    #[inline]
    pub(crate) fn edit_from<const N: usize>(
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
        self.changed = true;
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
    pub(crate) fn release(&mut self, id: PageId) {
        let birth = self.memory.page_birth(id).load(Ordering::Relaxed);
        self.retire(Item::Page(id), birth);
    }

    /// Takes a blob out of the living tree.
    pub(crate) fn release_blob(&mut self, id: BlobId) {
        let birth = self.memory.blob_entry(id).birth.load(Ordering::Relaxed);
        self.retire(Item::Blob(id), birth);
    }

    fn retire(&mut self, item: Item, birth: u64) {
        self.changed = true;
        if self.is_frozen(birth) {
            self.forget_newest();
        }
        if self.is_frozen(birth) {
            let newest = self.living.len() - 1;
            keep(&mut self.living[newest], Retired { item, birth, death: self.epoch });
        } else {
            self.free(item);
        }
    }

    /// Frees what neither the living tree nor a living snapshot can reach.
    fn free(&mut self, item: Item) {
        match item {
            Item::Page(id) => {
                if let Some(slab) = self.slabs.give(id.unit(), id.units()) {
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
    pub(crate) fn new_blob(&mut self, bytes: &[u8]) -> Result<BlobId, OutOfMemory> {
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
        blob.birth.store(self.epoch, Ordering::Relaxed);
        self.blobs += 1;
        self.blob_bytes += layout.size();
        self.changed = true;
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
    pub(crate) fn freeze(&mut self) -> Result<Frozen, OutOfMemory> {
        if let Some(frozen) = self.frozen_already() {
            return Ok(frozen);
        }
        self.forget_newest();
        self.living.try_reserve(1)?;
        let ticket = Arc::new(Ticket {
            epoch: self.epoch,
            memory: self.memory.clone(),
            pins: AtomicBool::new(false),
        });
        self.living.push(Living { ticket: ticket.clone(), retired: Vec::new() });
        self.newest = self.epoch;
        self.epoch += 1;
        self.changed = false;
        Ok(Frozen(ticket))
    }

    /// The snapshot taken last again, if it is living and nothing was changed since.
    pub(crate) fn frozen_already(&self) -> Option<Frozen> {
        let newest = self.living.last()?;
        let taken_last = newest.ticket.epoch + 1 == self.epoch;
        (taken_last && !self.changed).then(|| Frozen(newest.ticket.clone()))
    }

    /// Forgets the newest snapshots as far as they are no longer in use.
    #[cold]
    fn forget_newest(&mut self) {
        while let Some(living) = self.living.last_mut() {
            // `get_mut` sees all that the snapshot's last reader has done.
            if Arc::get_mut(&mut living.ticket).is_none() {
                break;
            }
            let living = self.living.pop().expect("it is the last one");
            self.adopt(living);
        }
        self.newest = self.living.last().map_or(0, |living| living.ticket.epoch);
    }

    /// Frees up to `limit` things that no snapshot needs any more. Returns
    /// whether there may be more.
    pub(crate) fn collect(&mut self, limit: usize) -> bool {
        self.forget_newest();
        let mut at = 0;
        while at < self.living.len() {
            if Arc::get_mut(&mut self.living[at].ticket).is_some() {
                let living = self.living.remove(at);
                self.adopt(living);
            } else {
                at += 1;
            }
        }
        for _ in 0..limit {
            let Some(orphan) = self.orphans.pop() else {
                return false;
            };
            let older = self.living.partition_point(|l| l.ticket.epoch < orphan.death);
            match older.checked_sub(1).map(|at| &mut self.living[at]) {
                Some(living) if living.ticket.epoch >= orphan.birth => keep(living, orphan),
                _ => self.free(orphan.item),
            }
        }
        !self.orphans.is_empty()
    }

    /// Does a little of what is left to [`Pages::collect`].
    #[inline]
    pub(crate) fn collect_some(&mut self) {
        if !self.orphans.is_empty() {
            self.collect(16);
        }
    }

    /// Says that all that was retired since `newest`, which must be the newest
    /// snapshot, is in the living tree again.
    pub(crate) fn revive(&mut self, newest: &Frozen) {
        let living = self.living.last_mut().expect("the snapshot is living");
        assert!(Arc::ptr_eq(&living.ticket, &newest.0), "only the newest snapshot can be revived");
        living.retired.clear();
    }

    fn adopt(&mut self, mut gone: Living) {
        if self.orphans.is_empty() {
            self.orphans = gone.retired;
        } else if self.orphans.try_reserve(gone.retired.len()).is_ok() {
            self.orphans.append(&mut gone.retired);
        } // else they stay allocated until the store goes
    }

    /// Bytes of memory held, snapshots included.
    pub(crate) fn memory_bytes(&self) -> usize {
        let lists = self.living.iter().map(|l| l.retired.capacity()).sum::<usize>()
            + self.orphans.capacity();
        self.slabs.resident_bytes()
            + self.blob_bytes
            + self.free_blobs.capacity() * (size_of::<u32>() + size_of::<Blob>())
            + lists * size_of::<Retired>()
    }

    /// Number of pages and of blobs there are; for the invariants.
    pub(crate) fn population(&self) -> (usize, usize) {
        (self.slabs.pages(), self.blobs)
    }

    /// Number of pages and blobs kept for snapshots only; for the invariants.
    pub(crate) fn retired(&self) -> (usize, usize) {
        let lists = self.living.iter().map(|l| &l.retired).chain([&self.orphans]);
        lists.flatten().fold((0, 0), |(pages, blobs), retired| match retired.item {
            Item::Page(_) => (pages + 1, blobs),
            Item::Blob(_) => (pages, blobs + 1),
        })
    }
}

/// Notes that `living` is the newest snapshot to need `retired`. Without the
/// memory for the note, the thing stays allocated until the store goes.
fn keep(living: &mut Living, retired: Retired) {
    living.ticket.pins.store(true, Ordering::Relaxed);
    if living.retired.try_reserve(1).is_ok() {
        living.retired.push(retired);
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

/// Cache lines of a page that a search reads first: its header and the slots
/// after it.
const SEARCHED_LINES: usize = 6;

/// Asks the processor for the first cache lines of a page.
#[inline(always)]
fn prefetch(start: *const u8, id: PageId, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..(id.units() as usize * UNIT / 64).min(lines) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint that reads nothing; the address is in the page anyway.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(line * 64).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, id, lines);
}
