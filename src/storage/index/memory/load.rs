//! Loading pages and blobs from a file.
//!
//! [`Pages::restoring`] reserves room. Units and blobs are loaded in any order, then each
//! page that the tree leads to is claimed. Or units are loaded elsewhere, and each page is
//! adopted under another name.

use std::sync::atomic::Ordering;

use super::epochs::Epochs;
use super::page::{BlobId, HEADER, PageId, UNIT};
use super::pages::Pages;
use crate::error::OutOfMemory;

/// The epoch in which all restored pages were born; an image has ended it.
pub(crate) const RESTORED: u64 = 1;

impl Pages {
    /// Room for `units` units and the blobs whose numbers are below `blobs`.
    pub(crate) fn restoring(units: u32, blobs: u32) -> Result<Pages, OutOfMemory> {
        let mut pages = Pages::new();
        pages.space.reserve_to(&pages.memory.chunks, units as usize * UNIT)?;
        while blobs > 0 && !pages.memory.blobs.has_number(BlobId(blobs - 1)) {
            pages.blobs.add_segment(&pages.memory.blobs)?;
        }
        Ok(pages)
    }

    /// Loads one unit, for which room was reserved.
    pub(crate) fn load(&mut self, unit: u32, bytes: &[u8; UNIT]) {
        assert!(self.space.slabs.is_empty(), "pages are loaded before any is claimed");
        let start = self.memory.frame(PageId::new(unit, 1)).start();
        // SAFETY: the unit lies in the arena, and no page is there that anybody
        // could read.
        unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), UNIT) };
    }

    /// Loads a blob of `len` bytes, which `fill` provides. Room was reserved for its number,
    /// which is used for the first time.
    pub(crate) fn load_blob<E: From<OutOfMemory>>(
        &mut self,
        id: BlobId,
        len: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.blobs.add(&self.memory.blobs, id, len, self.epochs.birth(), 0, fill)
    }

    /// Whether there is a blob with this number.
    pub(crate) fn has_blob(&self, id: BlobId) -> bool {
        self.memory.blobs.has(id)
    }

    /// Takes a loaded page into the tree, as a node on `level`. False if the page does
    /// not lie in the arena, or overlaps another.
    pub(crate) fn claim(&mut self, id: PageId, level: usize) -> bool {
        if !self.space.slabs.claim(id.unit(), id.units()) {
            return false;
        }
        self.memory.frame(id).begin(RESTORED, id.end(), level as u32);
        true
    }

    /// Makes a page with the content of one that is `from` in the file, as a node on
    /// `level`.
    pub(crate) fn adopt(
        &mut self,
        from: PageId,
        level: usize,
        content: &[u8],
    ) -> Result<PageId, OutOfMemory> {
        self.reserve(1)?;
        let id = self.alloc(from.body_len(), level);
        self.edit(id).copy_from_slice(&content[HEADER..]);
        self.memory.frame(id).origin().store(from.end(), Ordering::Relaxed);
        Ok(id)
    }

    /// Ends the restoration. Pages born up to `image` are as if just written to a file.
    pub(crate) fn restored(&mut self, image: u64) {
        self.image = image;
        self.epochs = Epochs::after(RESTORED);
        self.blobs.take_numbers(&self.memory.blobs);
    }
}
