//! Reading a snapshot, without a lock.

use std::sync::atomic::Ordering;

use super::arena::{Frame, LINE, Memory, prefetch_line};
use super::epochs::SnapshotRef;
use super::page::{BlobId, PageId, Source, UNIT};
use crate::sync::Arc;

/// The pages and blobs of one epoch, which nobody changes while it lives.
#[derive(Clone, Debug)]
pub(crate) struct Frozen(pub(super) Arc<SnapshotRef<Arc<Memory>>>);

impl Frozen {
    /// The epoch to unregister once the snapshot is dropped, if pages or blobs were
    /// retired that only it may need.
    pub(crate) fn pinned_epoch(&self) -> Option<u64> {
        self.0.pinned_epoch()
    }

    /// The epoch that the snapshot has ended.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// The epoch in which a page was made or last changed.
    pub(crate) fn birth(&self, id: PageId) -> u64 {
        self.0.memory.frame(id).birth().load(Ordering::Relaxed)
    }

    /// The end of the page that this one was when the latest image was begun.
    pub(crate) fn origin(&self, id: PageId) -> u32 {
        self.0.memory.frame(id).origin().load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn body<'a>(&'a self, frame: Frame<'a>) -> &'a [u8] {
        let birth = frame.birth().load(Ordering::Relaxed);
        assert!(birth <= self.0.epoch, "a snapshot was led to a page younger than itself");
        // SAFETY: the page was born before this snapshot was taken, so it is neither
        // edited nor freed while `self.0` lives.
        unsafe { frame.body() }
    }

    /// The epoch in which a blob was made.
    pub(crate) fn blob_birth(&self, id: BlobId) -> u64 {
        self.0.memory.blobs.birth(id)
    }
}

impl Source for Frozen {
    #[inline]
    fn page(&self, id: PageId) -> &[u8] {
        self.body(self.0.memory.frame(id))
    }

    fn blob_with_nul(&self, id: BlobId) -> &[u8] {
        let born = self.0.memory.blobs.birth(id);
        assert!(born <= self.0.epoch, "a snapshot was led to a blob younger than itself");
        // SAFETY: the blob was made before this snapshot was taken, so it is not freed
        // while `self.0` lives.
        unsafe { self.0.memory.blobs.bytes(id) }
    }

    #[inline]
    fn page_to_search(&self, id: PageId) -> &[u8] {
        let frame = self.0.memory.frame(id);
        frame.prefetch();
        self.body(frame)
    }
}

/// A snapshot and one of its pages, which a cursor reads often.
#[derive(Debug)]
pub(crate) struct Reader {
    frozen: Frozen,
    start: *const u8,
    len: usize,
    /// The rest of the next page that is yet to be fetched.
    ahead: *const u8,
    ahead_lines: usize,
}

// SAFETY: the pointer is to bytes that `frozen`, which may be sent, keeps
// unchanged for as long as it lives.
unsafe impl Send for Reader {}
// SAFETY: a shared reader only reads those bytes.
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
        // SAFETY: `turn_to` took it from a page that `self.frozen` keeps unchanged.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    pub(crate) fn frozen(&self) -> &Frozen {
        &self.frozen
    }

    /// Asks the processor for three cache lines of the page from `at` on: a short entry.
    #[inline]
    pub(crate) fn prefetch(&self, at: usize) {
        for line in self.page()[at..].chunks(LINE).take(3) {
            prefetch_line(line.as_ptr());
        }
    }

    /// Sets the page that will be read next.
    pub(crate) fn expect(&mut self, id: Option<PageId>) {
        self.ahead_lines = 0;
        if let Some(id) = id {
            self.ahead = self.frozen.0.memory.frame(id).start();
            self.ahead_lines = id.units() as usize * UNIT / LINE;
        }
    }

    /// Asks the processor for a little of the next page, while this one is read.
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
