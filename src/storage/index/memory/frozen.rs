//! What snapshots read, without a lock.

use std::sync::atomic::Ordering;

use super::arena::{LINE, Memory, SEARCHED_LINES, prefetch, prefetch_line};
use super::epochs::SnapshotRef;
use super::page::{BlobId, PageId, Source, UNIT};
use crate::sync::Arc;

/// The pages and blobs as they were when it was made, readable without a lock.
#[derive(Clone, Debug)]
pub(crate) struct Frozen(pub(super) Arc<SnapshotRef<Arc<Memory>>>);

impl Frozen {
    /// What to tell [`Pages::forget`] when the snapshot has been dropped, if that
    /// may leave something to [`Pages::collect`].
    pub(crate) fn pinned_epoch(&self) -> Option<u64> {
        self.0.pinned_epoch()
    }

    /// The epoch that the snapshot has ended.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// The epoch in which a page was made or last changed.
    pub(crate) fn birth(&self, id: PageId) -> u64 {
        self.0.memory.page_birth(id).load(Ordering::Relaxed)
    }

    /// The end of the page that this one was when the latest image was begun.
    pub(crate) fn origin(&self, id: PageId) -> u32 {
        self.0.memory.page_origin(id).load(Ordering::Relaxed)
    }

    /// The epoch in which a blob was made.
    pub(crate) fn blob_birth(&self, id: BlobId) -> u64 {
        self.0.memory.blob_entry(id).birth.load(Ordering::Relaxed)
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
pub(crate) struct Reader {
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
    pub(crate) fn new(frozen: Frozen, id: PageId) -> Reader {
        let none = std::ptr::null();
        let mut reader = Reader { frozen, start: none, len: 0, ahead: none, ahead_lines: 0 };
        reader.turn_to(id);
        reader
    }

    pub(crate) fn turn_to(&mut self, id: PageId) {
        let page = self.frozen.page(id);
        (self.start, self.len) = (page.as_ptr(), page.len());
    }

    /// The body of the page at hand.
    #[inline]
    pub(crate) fn page(&self) -> &[u8] {
        // SAFETY: `turn_to` had it from a page that `self.frozen` keeps.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    pub(crate) fn frozen(&self) -> &Frozen {
        &self.frozen
    }

    /// Lookup that the page at hand will be read soon from `at` on: three
    /// cache lines, as a short entry takes.
    #[inline]
    pub(crate) fn prefetch(&self, at: usize) {
        for line in self.page()[at..].chunks(LINE).take(3) {
            prefetch_line(line.as_ptr());
        }
    }

    /// Lookup which page will be read next.
    pub(crate) fn expect(&mut self, id: Option<PageId>) {
        self.ahead_lines = 0;
        if let Some(id) = id {
            self.ahead = self.frozen.0.memory.page_start(id);
            self.ahead_lines = id.units() as usize * UNIT / LINE;
        }
    }

    /// Fetches a little of that page; to be called while this one is read, so
    /// that the memory works meanwhile.
    #[inline]
    pub(crate) fn fetch_some(&mut self) {
        if self.ahead_lines > 0 {
            for _ in 0..4 {
                prefetch_line(self.ahead);
                self.ahead = self.ahead.wrapping_add(LINE);
            }
            self.ahead_lines -= 4; // a page has a multiple of 8 lines
        }
    }
}
