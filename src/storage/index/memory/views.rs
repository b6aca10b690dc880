//! The pages as concurrent threads may use them: any number of readers and one writer.
//!
//! An inner node is changed under the exclusive lock only. A leaf is also edited in place
//! by the writer, so readers take its latch. The level in the header of each page tells
//! one from the other.

use std::sync::atomic::Ordering;

use super::frozen::Frozen;
use super::latch::PageLatch;
use super::page::{BlobId, PageId, Source};
use super::pages::Pages;

/// The pages as readers use them, while a writer may edit leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedPages<'a>(&'a Pages);

/// The pages as the one writer uses them, while readers may read.
#[derive(Debug)]
pub(crate) struct WriterPages<'a>(&'a Pages);

impl Pages {
    /// The pages as a reader uses them.
    #[inline]
    pub(crate) fn shared(&self) -> SharedPages<'_> {
        SharedPages(self)
    }

    /// The pages as the writer uses them.
    ///
    /// # Safety
    ///
    /// While the view lives, the pages are used by way of it and of [`SharedPages`] only.
    #[inline]
    pub(crate) unsafe fn writer(&self) -> WriterPages<'_> {
        WriterPages(self)
    }
}

impl SharedPages<'_> {
    /// Shows `view` the body of a leaf, under its latch.
    #[inline]
    pub(crate) fn read_latched<T>(self, leaf: PageId, view: impl FnOnce(&[u8]) -> T) -> T {
        let frame = self.0.memory.frame(leaf);
        frame.prefetch();
        let _latch = PageLatch::to_read(frame.state());
        // SAFETY: while this view lives only `WriterPages::edit` changes a page, under
        // its latch.
        view(unsafe { frame.body() })
    }

    /// The newest snapshot, if nothing was changed since.
    pub(crate) fn existing_freeze(self) -> Option<Frozen> {
        self.0.existing_freeze()
    }

    pub(crate) fn memory_bytes(self) -> usize {
        self.0.memory_bytes()
    }
}

/// Inner nodes and blobs: leaves are for [`SharedPages::read_latched`].
impl Source for SharedPages<'_> {
    #[inline]
    fn page(&self, id: PageId) -> &[u8] {
        let frame = self.0.memory.frame(id);
        assert!(frame.level() > 0, "a leaf is read without its latch");
        // SAFETY: while this view lives only `WriterPages::edit` changes a page, which
        // is a leaf.
        unsafe { frame.body() }
    }

    #[inline]
    fn page_to_search(&self, id: PageId) -> &[u8] {
        self.0.memory.frame(id).prefetch();
        self.page(id)
    }

    fn blob_with_nul(&self, id: BlobId) -> &[u8] {
        self.0.blob_with_nul(id)
    }
}

impl WriterPages<'_> {
    /// Whether a page was made or edited since the newest snapshot that ever was, so that
    /// it can be edited in place with nothing to note.
    #[inline]
    pub(crate) fn is_unshared(&self, id: PageId) -> bool {
        self.0.is_unshared(id)
    }

    /// Edits the body of an unshared leaf in place, under its latch.
    #[inline]
    pub(crate) fn edit(&mut self, leaf: PageId, change: impl FnOnce(&mut [u8])) {
        let frame = self.0.memory.frame(leaf);
        let birth = frame.birth().load(Ordering::Relaxed);
        assert!(birth == self.0.epochs.birth(), "a page that a snapshot can see is edited");
        let _latch = PageLatch::to_edit(frame.state());
        // SAFETY: no snapshot sees the page, which was born after the newest. Readers hold
        // its latch, which only a leaf has. This view is the only other one, and is
        // borrowed mutably.
        change(unsafe { frame.body_mut() });
    }
}

impl Source for WriterPages<'_> {
    #[inline]
    fn page(&self, id: PageId) -> &[u8] {
        // While this view lives only its `edit` changes a page.
        self.0.page(id)
    }

    #[inline]
    fn page_to_search(&self, id: PageId) -> &[u8] {
        self.0.page_to_search(id)
    }

    fn blob_with_nul(&self, id: BlobId) -> &[u8] {
        self.0.blob_with_nul(id)
    }
}
