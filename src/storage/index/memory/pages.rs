//! What changes the living tree.

use std::alloc::{Layout, alloc};
use std::sync::atomic::Ordering;

use super::arena::{Blob, FIRST_CHUNK_UNITS, Memory, SEARCHED_LINES, chunk_of, prefetch};
use super::epochs::{Epochs, Item};
use super::frozen::Frozen;
use super::page::{BlobId, HEADER, PageId, Source, UNIT};
use super::slabs::{SLAB_UNITS, Slabs};
use crate::error::OutOfMemory;
use crate::os::memory::Region;
use crate::sync::Arc;

/// The pages and blobs of the living tree: the one who may change them.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(super) memory: Arc<Memory>,
    pub(crate) slabs: Slabs,
    pub(crate) chunks: usize,
    /// Blob ids that can be used; room for all that were ever made is reserved.
    pub(crate) free_blobs: Vec<u32>,
    blob_segments: usize,
    blobs: usize,
    blob_bytes: usize,
    pub(super) epochs: Epochs<Arc<Memory>>,
    /// The epoch that ended when the latest image was begun: what was born until
    /// then may be in a file under its own name.
    pub(crate) image: u64,
    /// Whether tests have the system refuse memory.
    #[cfg(test)]
    pub(crate) refusing: bool,
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
            epochs: Epochs::new(),
            image: 0,
            #[cfg(test)]
            refusing: false,
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

    /// Makes sure that `count` things can be released.
    #[inline]
    pub(crate) fn reserve_notes(&mut self, count: usize) -> Result<(), OutOfMemory> {
        self.epochs.reserve(count)
    }

    #[cold]
    pub(crate) fn add_chunk(&mut self) -> Result<(), OutOfMemory> {
        #[cfg(test)]
        if self.refusing {
            return Err(OutOfMemory);
        }
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
        self.memory.page_birth(id).store(self.epochs.birth(), Ordering::Relaxed);
        self.memory.page_origin(id).store(id.end(), Ordering::Relaxed);
        self.memory.new_latch(id);
        self.epochs.changed();
        id
    }

    /// The page that may be edited in place of this one: itself, or, if a
    /// snapshot can see it, a copy. A copy's parent must be told.
    #[inline]
    pub(crate) fn own(&mut self, id: PageId) -> PageId {
        let birth = self.memory.page_birth(id).load(Ordering::Relaxed);
        if !self.epochs.is_still_frozen(birth) {
            return id;
        }
        let copy = self.alloc(id.body_len());
        let (to, [from]) = self.edit_from(copy, [id]);
        to.copy_from_slice(from);
        self.descends(copy, id);
        self.release(id);
        copy
    }

    /// Whether a snapshot may see the page.
    #[inline]
    pub(crate) fn is_shared(&self, id: PageId) -> bool {
        self.epochs.is_frozen(self.memory.page_birth(id).load(Ordering::Relaxed))
    }

    /// Whether a snapshot may see the blob.
    pub(crate) fn is_shared_blob(&self, id: BlobId) -> bool {
        self.epochs.is_frozen(self.memory.blob_entry(id).birth.load(Ordering::Relaxed))
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
        let birth = self.memory.page_birth(id).load(Ordering::Relaxed);
        assert!(
            !self.epochs.is_frozen(birth),
            "a page that a snapshot can see is not to be edited"
        );
        if birth != self.epochs.birth() {
            self.stamp(id, birth);
        }
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

    /// Notes that a page was made from another whose end it shares.
    pub(crate) fn descends(&mut self, page: PageId, from: PageId) {
        let origin = match self.memory.page_birth(from).load(Ordering::Relaxed) <= self.image {
            true => from.end(),
            false => self.memory.page_origin(from).load(Ordering::Relaxed),
        };
        self.memory.page_origin(page).store(origin, Ordering::Relaxed);
    }

    /// Notes that a page is about to change which no living snapshot can see, so
    /// that it may as well be made now.
    #[cold]
    fn stamp(&mut self, id: PageId, birth: u64) {
        self.memory.page_birth(id).store(self.epochs.birth(), Ordering::Relaxed);
        if birth <= self.image {
            self.memory.page_origin(id).store(id.end(), Ordering::Relaxed);
        }
    }

    /// Whether a page was made, or changed alone, since the newest snapshot that
    /// ever was: so it can be changed in place, with nothing to be noted.
    #[inline]
    pub(crate) fn is_unshared_since_freeze(&self, id: PageId) -> bool {
        self.memory.page_birth(id).load(Ordering::Relaxed) == self.epochs.birth()
    }

    /// Shows `view` the body of a page that a writer may want to change beside
    /// readers.
    #[inline]
    pub(crate) fn read_latched<T>(&self, id: PageId, view: impl FnOnce(&[u8]) -> T) -> T {
        let _lock = self.memory.latch_to_read(id);
        // SAFETY: with `&self` only `edit_latched` changes a page, under its lock.
        view(unsafe { self.memory.page(id) })
    }

    /// Changes the body of a newborn page beside readers, who read it under its
    /// lock: all but who has the turn to write, which the caller has.
    #[inline]
    pub(crate) fn edit_latched(&self, id: PageId, change: impl FnOnce(&mut [u8])) {
        assert!(
            self.is_unshared_since_freeze(id),
            "a page that a snapshot can see is not to be edited"
        );
        let _lock = self.memory.latch_to_edit(id);
        // SAFETY: the page lies in the arena and its bytes are initialised, as
        // `Memory::page` has it. No snapshot sees it; readers of the living tree
        // hold its lock; and whoever writes has the turn, as the caller does.
        change(unsafe {
            let start = self.memory.page_start(id).add(HEADER);
            std::slice::from_raw_parts_mut(start, id.body_len())
        });
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
    pub(crate) fn new_blob(&mut self, bytes: &[u8]) -> Result<BlobId, OutOfMemory> {
        let len = u32::try_from(bytes.len()).map_err(|_| OutOfMemory)?;
        if self.free_blobs.is_empty() {
            self.add_blob_segment()?;
        }
        #[cfg(test)]
        if self.refusing {
            return Err(OutOfMemory);
        }
        let start = blob_memory(bytes.len())?;
        // SAFETY: the new allocation has room for `bytes`.
        unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        let id = BlobId(self.free_blobs.pop().expect("there is one, as ensured above"));
        self.set_blob(id, start, len);
        Ok(id)
    }

    pub(crate) fn set_blob(&mut self, id: BlobId, start: *mut u8, len: u32) {
        let blob = self.memory.blob_entry(id);
        blob.start.store(start, Ordering::Relaxed);
        blob.len.store(len, Ordering::Relaxed);
        blob.birth.store(self.epochs.birth(), Ordering::Relaxed);
        self.blobs += 1;
        self.blob_bytes += len as usize + 1;
        self.epochs.changed();
    }

    #[cold]
    pub(crate) fn add_blob_segment(&mut self) -> Result<(), OutOfMemory> {
        let ids = self.memory.blobs.grow(self.blob_segments)?;
        // Room for every id there is, so that freeing a blob never allocates.
        self.free_blobs.try_reserve(ids.end as usize)?;
        self.free_blobs.extend(ids.rev());
        self.blob_segments += 1;
        Ok(())
    }

    /// Lookup that an image of a snapshot is about to be taken.
    pub(crate) fn image_of(&mut self, frozen: &Frozen) {
        self.image = frozen.epoch();
    }

    /// Freezes what there is now.
    pub(crate) fn freeze(&mut self) -> Result<Frozen, OutOfMemory> {
        Ok(Frozen(self.epochs.freeze(self.memory.clone())?))
    }

    /// The newest snapshot again, if nothing was changed since.
    pub(crate) fn existing_freeze(&self) -> Option<Frozen> {
        self.epochs.existing_freeze().map(Frozen)
    }

    /// Lookup that a snapshot of an epoch was dropped.
    pub(crate) fn forget(&mut self, epoch: u64) {
        self.epochs.forget(epoch);
    }

    /// Lookup that the newest snapshot may have been dropped.
    pub(crate) fn forget_newest(&mut self) {
        self.epochs.forget_newest();
    }

    /// Looks at up to `limit` things that only snapshots needed, and frees those
    /// that none needs any more. Returns whether there may be more.
    pub(crate) fn collect(&mut self, mut limit: usize) -> bool {
        while let Some(item) = self.epochs.collect(&mut limit) {
            self.free(item);
        }
        limit == 0 && self.epochs.has_orphans()
    }

    /// Does a little of what is left to [`Pages::collect`].
    #[inline]
    pub(crate) fn collect_some(&mut self) {
        if self.epochs.has_orphans() {
            self.collect(16);
        }
    }

    /// Lookup that all that was retired since `newest`, which must be the newest
    /// snapshot, is in the living tree again.
    pub(crate) fn revive(&mut self, newest: &Frozen) {
        self.epochs.revive(&newest.0);
    }

    /// Bytes of memory held, snapshots included.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slabs.resident_bytes()
            + self.blob_bytes
            + self.free_blobs.capacity() * (size_of::<u32>() + size_of::<Blob>())
            + self.epochs.memory_bytes()
    }

    /// Number of pages and of blobs there are; for the invariants.
    pub(crate) fn population(&self) -> (usize, usize) {
        (self.slabs.pages(), self.blobs)
    }

    /// Number of pages and blobs kept for snapshots only; for the invariants.
    pub(crate) fn retired(&self) -> (usize, usize) {
        self.epochs.population()
    }
}

/// Memory for a blob of `len` bytes, with the NUL after them.
pub(crate) fn blob_memory(len: usize) -> Result<*mut u8, OutOfMemory> {
    let layout = Layout::array::<u8>(len + 1).map_err(|_| OutOfMemory)?;
    // SAFETY: the layout has at least one byte.
    let start = unsafe { alloc(layout) };
    if start.is_null() {
        return Err(OutOfMemory);
    }
    // SAFETY: the new allocation has one byte more than `len`.
    unsafe { start.add(len).write(0) };
    Ok(start)
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
