//! Pins: calls inside a view, for which closing the view's handle waits.
//!
//! A call writes its handle into a free record, and only then checks that the handle is
//! open. Closing marks the handle closed, and only then looks for it in all records. So
//! at least one of the two sees the other (hazard pointers, Michael 2004). Threads that
//! use the same handle write to different memory, and a call ends with a plain store.
//!
//! A call that finds no free record near its first choice is counted in the slot of the
//! view instead, under the same protocol. Counted calls write to the same memory, but
//! no call waits for another, however many threads are inside.

use super::PROCESS;
use crate::sync::Wait;
use crate::sync::atomic::{AtomicUsize, Ordering};

const RECORDS: usize = if cfg!(minidb_shuttle) { 2 } else { 128 };
/// Records that a call tries before it is counted.
const PROBES: usize = if cfg!(minidb_shuttle) { 2 } else { 8 };

/// A handle with a call inside, else 0; alone in its cache line.
#[repr(align(64))]
struct Record(AtomicUsize);

/// The records of a process.
pub(super) struct Records([Record; RECORDS]);

/// A pinned handle, until this is dropped: the record that holds it, or the count of its
/// slot. Handles are odd and counts are even, so the lowest bit tells which of the two.
pub(super) struct Pin(&'static AtomicUsize);

/// The share of a call in a count.
const CALL: usize = 2;

impl Pin {
    /// Pins a handle if it is open: if it is the `state` of its slot. `counted` is the slot's
    /// count of calls.
    #[inline]
    pub(super) fn new(
        state: &AtomicUsize,
        counted: &'static AtomicUsize,
        handle: usize,
    ) -> Option<Pin> {
        let first = (crate::sync::place() >> 57) as usize;
        let pin = match Pin::record(first, handle) {
            Some(pin) => pin,
            None => Pin::probe_or_count(state, counted, first, handle)?,
        };
        (state.load(Ordering::SeqCst) == handle).then_some(pin)
    }

    #[inline]
    fn record(n: usize, handle: usize) -> Option<Pin> {
        let record = &PROCESS.pins.0[n % RECORDS].0;
        // Odd, also if the number is no handle: even numbers are counts.
        let free = record.compare_exchange(0, handle | 1, Ordering::SeqCst, Ordering::Relaxed);
        // Made only if it was free: a pin frees its record when it is dropped.
        free.is_ok().then(|| Pin(record))
    }

    #[cold]
    fn probe_or_count(
        state: &AtomicUsize,
        counted: &'static AtomicUsize,
        first: usize,
        handle: usize,
    ) -> Option<Pin> {
        if let Some(pin) = (1..PROBES).find_map(|n| Pin::record(first + n, handle)) {
            return Some(pin);
        }
        // Calls on a closed handle are not counted: they would keep the count from
        // reaching 0, for which closing waits.
        if state.load(Ordering::Relaxed) != handle {
            return None;
        }
        counted.fetch_add(CALL, Ordering::SeqCst);
        Some(Pin(counted))
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        if self.0.load(Ordering::Relaxed) & 1 == 1 {
            self.0.store(0, Ordering::Release);
        } else {
            self.0.fetch_sub(CALL, Ordering::Release);
        }
    }
}

impl Records {
    pub(super) const fn new() -> Records {
        Records([const { Record(AtomicUsize::new(0)) }; RECORDS])
    }

    /// Waits until no call is inside the view of a handle that was marked closed with
    /// `SeqCst`. `counted` is the count of calls of its slot.
    pub(super) fn wait_for_calls(&self, counted: &AtomicUsize, handle: usize) {
        for record in &self.0 {
            Wait::until(|| record.0.load(Ordering::SeqCst) != handle);
        }
        Wait::until(|| counted.load(Ordering::SeqCst) == 0);
    }

    /// Whether each record is free or holds a handle: no even number, which no pin frees.
    #[cfg(test)]
    pub(super) fn are_sound(&self) -> bool {
        let sound = |it: usize| it == 0 || it % 2 == 1;
        self.0.iter().all(|record| sound(record.0.load(Ordering::SeqCst)))
    }

    /// Removes the pins of the parent's threads, which the child of a fork does not have.
    pub(super) fn clear(&self) {
        for record in &self.0 {
            record.0.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(minidb_shuttle)))]
mod tests {
    use super::*;

    /// Calls on one thread look for a record in the same places, so each meets those before.
    #[test]
    fn each_of_many_calls_has_a_pin_of_its_own() {
        let (handle, state, calls) = (usize::MAX, AtomicUsize::new(usize::MAX), 3 * RECORDS);
        let counted: &AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
        let pinned = || {
            let records = PROCESS.pins.0.iter().filter(|it| it.0.load(Ordering::SeqCst) == handle);
            records.count() + counted.load(Ordering::SeqCst) / CALL
        };
        let mut pins = Vec::new();
        for n in 1..=calls {
            pins.push(Pin::new(&state, counted, handle).unwrap());
            assert_eq!(pinned(), n, "a pin took another one's record");
        }
        for n in (0..calls).rev() {
            pins.pop();
            assert_eq!(pinned(), n, "a pin freed another one's record");
        }
    }
}
