//! The pages and blobs of the live tree: allocating, editing, copying, releasing.

use std::sync::atomic::Ordering;

use super::arena::{Frame, Memory};
use super::blobs::{Blobs, RESERVE};
use super::epochs::{Epochs, Item};
use super::frozen::Frozen;
use super::page::{BlobId, HEADER, PageId, Source, UNIT, UNITS_MAX};
use super::space::Space;
use crate::error::OutOfMemory;
use crate::sync::Arc;

/// The pages and blobs of the live tree.
///
/// `&mut Pages` changes anything; `&Pages` reads without latches. Threads that use the
/// pages at the same time have a [`super::SharedPages`] or the [`super::WriterPages`].
#[derive(Debug)]
pub(crate) struct Pages {
    pub(super) memory: Arc<Memory>,
    pub(super) space: Space,
    pub(super) blobs: Blobs,
    pub(super) epochs: Epochs<Arc<Memory>>,
    /// The epoch that ended when the latest image was begun. The file of that image may
    /// hold pages born until then under their own names.
    pub(super) image: u64,
    /// For so many changes that can do without no memory is asked for.
    refusals: u32,
    /// Whether tests have the system refuse memory.
    #[cfg(test)]
    pub(crate) refusing: bool,
}

impl Pages {
    pub(crate) fn new() -> Pages {
        Pages {
            memory: Arc::default(),
            space: Space::new(UNIT, true),
            blobs: Blobs::new(),
            epochs: Epochs::new(),
            image: 0,
            refusals: 0,
            #[cfg(test)]
            refusing: false,
        }
    }

    /// Reserves memory for `pages` pages.
    #[inline]
    pub(crate) fn reserve(&mut self, pages: usize) -> Result<(), OutOfMemory> {
        #[cfg(test)]
        if self.refusing && self.space.slabs.spare() < pages {
            return Err(OutOfMemory);
        }
        self.space.reserve(&self.memory.chunks, pages)
    }

    /// Reserves memory for `pages` pages, unless the system has just refused it: for a change
    /// that can do without.
    pub(crate) fn reserve_if_cheap(&mut self, pages: usize) -> bool {
        if self.space.slabs.spare() >= pages {
            return true;
        }
        if self.refusals > 0 {
            self.refusals -= 1;
            return false;
        }
        let reserved = self.reserve(pages).is_ok();
        if !reserved {
            self.refusals = 256;
        }
        reserved
    }

    /// Whether a page whose body has `len` bytes can be had.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.space.slabs.has_room(units_of(len), 0)
    }

    /// Whether a snapshot in use can see anything of the live tree, or of what it was.
    pub(crate) fn has_snapshots(&mut self) -> bool {
        self.epochs.unregister_newest();
        self.epochs.has_snapshots()
    }

    /// Reserves memory for the notes about `count` releases.
    #[inline]
    pub(crate) fn reserve_notes(&mut self, count: usize) -> Result<(), OutOfMemory> {
        self.epochs.reserve(count)
    }

    /// A new page for a node on `level`, whose body has at least `len` bytes. They are
    /// not cleared.
    pub(crate) fn alloc(&mut self, len: usize, level: usize) -> PageId {
        let units = units_of(len);
        let id = PageId::new(self.space.slabs.take(units), units);
        self.memory.frame(id).begin(self.epochs.birth(), id.end(), level as u32);
        self.epochs.changed();
        id
    }

    /// The page to edit in the place of this one: itself, or a copy if a snapshot can
    /// see it. The caller tells the parent.
    #[inline]
    pub(crate) fn make_writable(&mut self, id: PageId) -> PageId {
        let frame = self.memory.frame(id);
        if !self.epochs.is_still_frozen(frame.birth().load(Ordering::Relaxed)) {
            return id;
        }
        self.copy(id)
    }

    /// A copy of a page, in the place of the page.
    pub(crate) fn copy(&mut self, id: PageId) -> PageId {
        let copy = self.alloc(id.body_len(), self.level(id));
        let (to, [from]) = self.edit_from(copy, [id]);
        to.copy_from_slice(from);
        self.descends(copy, id);
        self.release(id);
        copy
    }

    /// The level of the node in a page.
    pub(crate) fn level(&self, id: PageId) -> usize {
        self.memory.frame(id).level() as usize
    }

    /// Whether so much memory is idle that pages should move.
    #[inline]
    pub(crate) fn is_sparse(&self) -> bool {
        self.space.slabs.is_sparse() || self.blobs.is_sparse()
    }

    /// A page that should move to another place, of the live tree or not, and that no
    /// snapshot sees.
    pub(crate) fn next_thin(&mut self) -> Option<PageId> {
        let (unit, units) = self.space.slabs.next_thin()?;
        let page = PageId::new(unit, units);
        if self.is_still_shared(page) {
            self.space.slabs.pass();
            return None;
        }
        Some(page)
    }

    /// Moves a blob that no snapshot sees to another place, if one should be. Returns how many
    /// bytes it has moved.
    pub(crate) fn move_blob(&mut self) -> usize {
        match self.blobs.next_thin(&self.memory.blobs) {
            Some(id) if !self.epochs.is_still_frozen(self.memory.blobs.birth(id)) => {
                // SAFETY: no snapshot reads the blob, and `&mut self` ends all reads of the tree.
                unsafe { self.blobs.relocate(&self.memory.blobs, id) }
            }
            _ => 0,
        }
    }

    /// Whether a snapshot may see the page.
    #[inline]
    pub(crate) fn is_shared(&self, id: PageId) -> bool {
        self.epochs.is_frozen(self.memory.frame(id).birth().load(Ordering::Relaxed))
    }

    /// Whether a snapshot in use may see the page.
    pub(crate) fn is_still_shared(&mut self, id: PageId) -> bool {
        self.epochs.is_still_frozen(self.memory.frame(id).birth().load(Ordering::Relaxed))
    }

    /// Whether a snapshot may see the blob.
    pub(crate) fn is_shared_blob(&self, id: BlobId) -> bool {
        self.epochs.is_frozen(self.memory.blobs.birth(id))
    }

    /// Whether a page was made or edited since the newest snapshot that ever was, so that
    /// it can be edited in place with nothing to note.
    #[inline]
    pub(crate) fn is_unshared(&self, id: PageId) -> bool {
        self.memory.frame(id).birth().load(Ordering::Relaxed) == self.epochs.birth()
    }

    /// The body of a writable page.
    #[inline]
    pub(crate) fn edit(&mut self, id: PageId) -> &mut [u8] {
        self.edit_from(id, []).0
    }

    /// The body of a writable page, and those of other pages to read.
    #[inline]
    pub(crate) fn edit_from<const N: usize>(
        &mut self,
        id: PageId,
        others: [PageId; N],
    ) -> (&mut [u8], [&[u8]; N]) {
        let frame = self.memory.frame(id);
        let birth = frame.birth().load(Ordering::Relaxed);
        assert!(!self.epochs.is_frozen(birth), "a page that a snapshot can see is edited");
        if birth != self.epochs.birth() {
            stamp(frame, birth, self.epochs.birth(), self.image);
        }
        for other in others {
            let apart =
                other.unit() >= id.unit() + id.units() || id.unit() >= other.unit() + other.units();
            assert!(apart, "a page is not to be edited while it is read");
        }
        self.epochs.changed();
        // SAFETY: no snapshot reads the page, which is not frozen. All else that reads or
        // edits it borrows this `Pages`, which is borrowed mutably while the slices live.
        // The other pages do not overlap it.
        unsafe { (frame.body_mut(), others.map(|other| self.memory.frame(other).body())) }
    }

    /// Notes that a page was made from another whose end it shares.
    pub(crate) fn descends(&mut self, page: PageId, from: PageId) {
        let source = self.memory.frame(from);
        let origin = if source.birth().load(Ordering::Relaxed) <= self.image {
            from.end()
        } else {
            source.origin().load(Ordering::Relaxed)
        };
        self.memory.frame(page).origin().store(origin, Ordering::Relaxed);
    }

    /// Takes a page out of the live tree.
    pub(crate) fn release(&mut self, id: PageId) {
        let birth = self.memory.frame(id).birth().load(Ordering::Relaxed);
        self.retire(Item::Page(id), birth);
    }

    /// Takes a blob out of the live tree.
    pub(crate) fn release_blob(&mut self, id: BlobId) {
        let birth = self.memory.blobs.birth(id);
        self.retire(Item::Blob(id), birth);
    }

    fn retire(&mut self, item: Item, birth: u64) {
        if let Some(item) = self.epochs.retire(item, birth) {
            self.free(item);
        }
    }

    /// Frees an item that neither the live tree nor a live snapshot can reach.
    fn free(&mut self, item: Item) {
        match item {
            // SAFETY: neither the tree nor a snapshot leads to the item, and `&mut self` ends
            // all reads of the tree: nobody holds its bytes.
            Item::Page(id) => unsafe {
                self.space.give(&self.memory.chunks, id.unit(), id.units());
            },
            // SAFETY: as for a page.
            Item::Blob(id) => unsafe { self.blobs.free(&self.memory.blobs, id) },
        }
    }

    /// A new blob with a copy of the bytes. If it `replaces` one of the same length, it may
    /// take memory that is kept for that.
    pub(crate) fn new_blob(&mut self, bytes: &[u8], replaces: bool) -> Result<BlobId, OutOfMemory> {
        let len = u32::try_from(bytes.len()).map_err(|_| OutOfMemory)?;
        #[cfg(test)]
        if self.refusing {
            return Err(OutOfMemory);
        }
        let id = self.blobs.next(&self.memory.blobs)?;
        let (birth, left) = (self.epochs.birth(), if replaces { 0 } else { RESERVE });
        self.blobs.add(&self.memory.blobs, id, len, birth, left, |to| {
            to.copy_from_slice(bytes);
            Ok::<(), OutOfMemory>(())
        })?;
        self.epochs.changed();
        Ok(id)
    }

    /// Overwrites a blob with as many bytes, if no snapshot can see it. Returns whether it did.
    pub(crate) fn overwrite_blob(&mut self, id: BlobId, bytes: &[u8]) -> bool {
        if self.epochs.is_still_frozen(self.memory.blobs.birth(id)) {
            return false;
        }
        // SAFETY: no snapshot reads the blob, and `&mut self` ends all reads of the tree.
        unsafe { self.memory.blobs.overwrite(id, bytes, self.epochs.birth()) };
        self.epochs.changed();
        true
    }

    /// Notes that an image of a snapshot is begun.
    pub(crate) fn image_of(&mut self, frozen: &Frozen) {
        self.image = frozen.epoch();
    }

    /// Freezes the live tree.
    pub(crate) fn freeze(&mut self) -> Result<Frozen, OutOfMemory> {
        Ok(Frozen(self.epochs.freeze(self.memory.clone())?))
    }

    /// The newest snapshot, if nothing was changed since.
    pub(crate) fn existing_freeze(&self) -> Option<Frozen> {
        self.epochs.existing_freeze().map(Frozen)
    }

    /// Unregisters the snapshot of an epoch, if it was dropped.
    pub(crate) fn unregister(&mut self, epoch: u64) {
        self.epochs.unregister(epoch);
    }

    /// Unregisters all snapshots that were dropped.
    pub(crate) fn unregister_dropped(&mut self) {
        self.epochs.unregister_dropped();
    }

    /// Unregisters the newest snapshots as far as they were dropped.
    pub(crate) fn unregister_newest(&mut self) {
        self.epochs.unregister_newest();
    }

    /// Looks at up to `limit` items of the retired list, and frees those that no snapshot
    /// needs. Returns how many, and whether there may be more.
    pub(crate) fn collect(&mut self, mut limit: usize) -> (usize, bool) {
        let mut freed = 0;
        while let Some(item) = self.epochs.collect(&mut limit) {
            self.free(item);
            freed += 1;
        }
        (freed, limit == 0 && self.epochs.has_retired())
    }

    /// Collects a little of the retired list.
    #[inline]
    pub(crate) fn collect_some(&mut self) {
        if self.epochs.has_retired() {
            self.collect(16);
        }
    }

    /// Takes everything retired since `newest`, which is the newest snapshot, back into
    /// the live tree.
    pub(crate) fn revive(&mut self, newest: &Frozen) {
        self.epochs.revive(&newest.0);
    }

    /// Unregisters the snapshots newer than `newest`, none of which is in use, and frees the
    /// pages and blobs that only they needed. Takes no memory.
    pub(crate) fn unregister_newer(&mut self, newest: &Frozen) {
        while let Some(item) = self.epochs.take_newer(&newest.0) {
            self.free(item);
        }
    }

    /// Refuses memory for notes about what snapshots need.
    #[cfg(test)]
    pub(crate) fn refuse_notes(&mut self, refusing: bool) {
        self.epochs.refusing = refusing;
    }

    /// Ends the operation that notes were reserved for.
    pub(crate) fn release_reserved_notes(&mut self) {
        self.epochs.release_reserved();
    }

    /// Bytes of memory held, snapshots included.
    pub(crate) fn memory_bytes(&self) -> usize {
        let (pages, blobs) = (self.space.slabs.resident_bytes(), self.blobs.memory_bytes());
        pages + blobs + self.epochs.memory_bytes()
    }

    /// Number of pages and of blobs there are; for the invariants.
    pub(crate) fn population(&self) -> (usize, usize) {
        (self.space.slabs.items(), self.blobs.count)
    }

    /// Number of pages and blobs kept for snapshots only; for the invariants.
    pub(crate) fn retired(&self) -> (usize, usize) {
        self.epochs.population()
    }
}

/// Units of a page whose body has at least `len` bytes.
fn units_of(len: usize) -> u32 {
    let units = (len + HEADER).div_ceil(UNIT);
    assert!((1..=UNITS_MAX).contains(&units), "no page has {len} bytes");
    units as u32
}

/// Notes that no live snapshot sees a page that is edited: it is as if made now.
#[cold]
fn stamp(frame: Frame<'_>, birth: u64, now: u64, image: u64) {
    frame.birth().store(now, Ordering::Relaxed);
    if birth <= image {
        frame.origin().store(frame.id().end(), Ordering::Relaxed);
    }
}

impl Source for Pages {
    #[inline]
    fn page(&self, id: PageId) -> &[u8] {
        // SAFETY: changing a page takes a `&mut Pages`, or a `WriterPages`, whose maker
        // sees to it that nobody uses the `Pages`.
        unsafe { self.memory.frame(id).body() }
    }

    #[inline]
    fn page_to_search(&self, id: PageId) -> &[u8] {
        let frame = self.memory.frame(id);
        frame.prefetch();
        // SAFETY: as for `page`.
        unsafe { frame.body() }
    }

    fn blob_with_nul(&self, id: BlobId) -> &[u8] {
        // SAFETY: freeing a blob takes a `&mut Pages`.
        unsafe { self.memory.blobs.bytes(id) }
    }
}
