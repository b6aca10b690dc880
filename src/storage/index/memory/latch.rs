//! The latch in the header of a page: many readers, or the writer, which goes first.
//!
//! ```text
//! the state of a page: bit 31 CHANGING, bits 24 to 28 the level of the node, bits 0 to
//! 23 the number of readers that hold the latch
//! ```

use super::AtomicU32;
use crate::sync::atomic::Ordering;
use crate::sync::{Wait, point};

/// The writer edits the page, or waits to.
const CHANGING: u32 = 1 << 31;

/// The level of the node in the page. Only leaves, whose level is 0, are latched.
pub(super) const LEVEL: u32 = 0x1f << 24;

/// A page's latch, held.
#[derive(Debug)]
pub(super) struct PageLatch<'a> {
    lock: &'a AtomicU32,
    held: u32,
}

impl PageLatch<'_> {
    /// Waits until the writer does not hold the latch.
    #[inline]
    pub(super) fn to_read(lock: &AtomicU32) -> PageLatch<'_> {
        point();
        let mut wait = Wait::new();
        loop {
            let readers = lock.load(Ordering::Relaxed);
            let (more, order) = (readers.wrapping_add(1), Ordering::Acquire);
            if readers & CHANGING == 0
                && lock.compare_exchange_weak(readers, more, order, Ordering::Relaxed).is_ok()
            {
                return PageLatch { lock, held: 1 };
            }
            wait.pause();
        }
    }

    /// Waits until no other thread holds the latch.
    #[inline]
    pub(super) fn to_edit(lock: &AtomicU32) -> PageLatch<'_> {
        point();
        let mut wait = Wait::new();
        // First no reader comes any more, then all go.
        loop {
            let before = lock.fetch_or(CHANGING, Ordering::Acquire);
            assert!(before & LEVEL == 0, "only a leaf is edited in place");
            if before & CHANGING == 0 {
                break;
            }
            wait.pause();
        }
        Wait::until(|| lock.load(Ordering::Acquire) == CHANGING);
        PageLatch { lock, held: CHANGING }
    }
}

impl Drop for PageLatch<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.fetch_sub(self.held, Ordering::Release);
    }
}
