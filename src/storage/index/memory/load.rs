//! Loading pages and blobs from a file.
//!
//! [`Pages::restoring`] reserves room. Units and blobs are loaded in any order, then each
//! page that the tree leads to is claimed. Or units are loaded elsewhere, and each page is
//! adopted under another name.

use std::sync::atomic::Ordering;

use super::arena::chunk_of;
use super::epochs::Epochs;
use super::page::{BlobId, HEADER, PageId, UNIT};
use super::pages::{Pages, blob_memory};
use crate::error::OutOfMemory;

/// The epoch in which all restored pages were born; an image has ended it.
pub(crate) const RESTORED: u64 = 1;

impl Pages {
    /// Room for `units` units and the blobs whose numbers are below `blobs`.
    pub(crate) fn restoring(units: u32, blobs: u32) -> Result<Pages, OutOfMemory> {
        let mut pages = Pages::new();
        while units > 0 && chunk_of(units - 1).0 >= pages.chunks {
            pages.add_chunk()?;
        }
        while blobs > 0 && pages.memory.blobs.get(blobs - 1).is_none() {
            pages.add_blob_segment()?;
        }
        Ok(pages)
    }

    /// Loads one unit, for which room was reserved.
    pub(crate) fn load(&mut self, unit: u32, bytes: &[u8; UNIT]) {
        assert!(self.slabs.is_empty(), "pages are loaded before any is claimed");
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
        assert!(!self.has_blob(id), "a blob is loaded once");
        let start = blob_memory(len as usize)?;
        self.set_blob(id, start, len);
        // SAFETY: the allocation is new, and as long; zeros make it initialised.
        let bytes = unsafe {
            start.write_bytes(0, len as usize);
            std::slice::from_raw_parts_mut(start, len as usize)
        };
        fill(bytes)
    }

    /// Whether there is a blob with this number.
    pub(crate) fn has_blob(&self, id: BlobId) -> bool {
        let blob = self.memory.blobs.get(id.0);
        blob.is_some_and(|blob| !blob.start.load(Ordering::Relaxed).is_null())
    }

    /// Takes a loaded page into the tree, as a node on `level`. False if the page does
    /// not lie in the arena, or overlaps another.
    pub(crate) fn claim(&mut self, id: PageId, level: usize) -> bool {
        if !self.slabs.claim(id.unit(), id.units()) {
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
        let memory = self.memory.clone();
        self.free_blobs.retain(|&id| {
            memory.blobs.get(id).is_none_or(|blob| blob.start.load(Ordering::Relaxed).is_null())
        });
    }
}
