//! Which handles calls are inside of, so that closing one can wait for them.
//!
//! A call pinned_epoch its handle: it writes the handle into a record that nobody uses,
//! and only then looks whether the handle is open. Closing does the opposite: it
//! says that the handle is closed, and only then looks through all records for
//! it. So one of both sees the other (as with hazard pointers, Michael 2004).
//! Threads that use the same handle do not write to the same memory, and the
//! end of a call is a plain store.
//!
//! A pin is for a short time, and a thread has one at most.

use std::time::Duration;

use super::HERE;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// As many calls can be inside at once; others wait.
const RECORDS: usize = if cfg!(minidb_shuttle) { 2 } else { 128 };

/// A handle that a call is inside of, 0 if there is none; alone in its cache line.
#[repr(align(64))]
struct Record(AtomicUsize);

/// All handles that calls are inside of.
pub(super) struct Pinned([Record; RECORDS]);

/// A handle pinned, until this is dropped.
pub(super) struct Pin(&'static Record);

impl Pin {
    #[inline]
    pub(super) fn new(handle: usize) -> Pin {
        let first = (crate::sync::place() >> 57) as usize;
        let record = &HERE.pinned.0[first % RECORDS];
        if record.take(handle) { Pin(record) } else { Pin::elsewhere(first, handle) }
    }

    #[cold]
    fn elsewhere(first: usize, handle: usize) -> Pin {
        loop {
            for n in 1..=RECORDS {
                let record = &HERE.pinned.0[(first + n) % RECORDS];
                if record.take(handle) {
                    return Pin(record);
                }
            }
            crate::sync::yield_now();
        }
    }
}

impl Record {
    #[inline]
    fn take(&self, handle: usize) -> bool {
        self.0.compare_exchange(0, handle, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        self.0.0.store(0, Ordering::Release);
    }
}

impl Pinned {
    pub(super) const fn none() -> Pinned {
        Pinned([const { Record(AtomicUsize::new(0)) }; RECORDS])
    }

    /// Waits until no call is inside of a handle which was said to be closed, by
    /// an operation that is `SeqCst`.
    pub(super) fn wait_until_free(&self, handle: usize) {
        for record in &self.0 {
            let mut turns = 0;
            while record.0.load(Ordering::SeqCst) == handle {
                turns += 1;
                if turns < 100 {
                    crate::sync::yield_now();
                } else {
                    crate::sync::sleep(Duration::from_micros(50));
                }
            }
        }
    }

    /// Forgets them: those of the parent's other threads, which the child of a
    /// fork does not have.
    pub(super) fn forget(&self) {
        for record in &self.0 {
            record.0.store(0, Ordering::Relaxed);
        }
    }
}
