//! The lock in the header of a page: for any number who read it, or one who
//! changes it. That one goes first.

use super::AtomicU32;
use crate::sync::atomic::Ordering;
use crate::sync::{point, spin_loop, yield_now};

/// Somebody changes the page, or waits to; else how many read it.
const CHANGING: u32 = 1 << 31;

/// A page's lock, held.
#[derive(Debug)]
pub(super) struct PageLatch<'a> {
    lock: &'a AtomicU32,
    held: u32,
}

impl PageLatch<'_> {
    #[inline]
    pub(super) fn to_read(lock: &AtomicU32) -> PageLatch<'_> {
        point();
        let mut turns = 0;
        loop {
            let readers = lock.load(Ordering::Relaxed);
            let (more, order) = (readers.wrapping_add(1), Ordering::Acquire);
            if readers & CHANGING == 0
                && lock.compare_exchange_weak(readers, more, order, Ordering::Relaxed).is_ok()
            {
                return PageLatch { lock, held: 1 };
            }
            wait(&mut turns);
        }
    }

    #[inline]
    pub(super) fn to_edit(lock: &AtomicU32) -> PageLatch<'_> {
        point();
        let mut turns = 0;
        // First nobody comes any more, then all go.
        while lock.fetch_or(CHANGING, Ordering::Acquire) & CHANGING != 0 {
            wait(&mut turns);
        }
        while lock.load(Ordering::Acquire) != CHANGING {
            wait(&mut turns);
        }
        PageLatch { lock, held: CHANGING }
    }
}

impl Drop for PageLatch<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.fetch_sub(self.held, Ordering::Release);
    }
}

/// Waits a moment: what is waited for takes less than a microsecond, unless its
/// thread was interrupted.
#[cold]
fn wait(turns: &mut u32) {
    *turns += 1;
    if turns.is_multiple_of(128) {
        yield_now();
    } else {
        spin_loop();
    }
}
