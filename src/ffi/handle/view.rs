//! Handles of views.
//!
//! Any number of threads may be inside calls on one view; they pin its handle,
//! and closing waits for them.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::object::{Open, View};
use super::super::text::Failure;
use super::super::view::minidb_t;
use super::pin::Pin;
use super::{HERE, Handles, Named, VIEW};

pub(super) static HANDLES: Handles<Slot, VIEW> = Handles::new();

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The generation of the handle that the slot has, or will have next, and
    /// [`OPEN`].
    state: AtomicUsize,
    /// Read by who has pinned the handle and seen `OPEN` afterwards; changed
    /// while there is no `OPEN`, by who fills the slot, or has closed it and
    /// waited for the pins.
    view: UnsafeCell<Option<(View, Open)>>,
}

/// There is a view.
const OPEN: usize = 1;
const GENERATION: usize = 2;

// SAFETY: as said at `view`, whoever changes it is alone with it. Views may be
// shared and sent.
unsafe impl Sync for Slot {}

fn state_of(generation: usize) -> usize {
    (generation * GENERATION) | OPEN
}

/// Makes a handle for a view.
pub(in super::super) fn open(view: View, open: Open) -> Result<*mut minidb_t, Failure> {
    let handle = HANDLES.open(|slot| {
        // SAFETY: the slot is nobody else's until its handle is known.
        unsafe { *slot.view.get() = Some((view, open)) };
        slot.state.fetch_or(OPEN, Ordering::SeqCst) / GENERATION
    })?;
    Ok(std::ptr::without_provenance_mut(handle))
}

/// Runs `f` on the view of a handle.
#[inline]
pub(in super::super) fn with<T>(
    handle: *const minidb_t,
    f: impl FnOnce(&View, &Open) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Some(Named { slot, generation, .. }) = HANDLES.find(handle.addr()) else {
        return Err(HANDLES.refuse(handle.addr()));
    };
    let _pin = Pin::new(handle.addr());
    if slot.state.load(Ordering::SeqCst) != state_of(generation) {
        return Err(HANDLES.refuse(handle.addr()));
    }
    // SAFETY: the handle was pinned before it was seen to be open, so whoever
    // closes it waits for the pin before touching the view.
    match unsafe { &*slot.view.get() } {
        Some((view, open)) => f(view, open),
        None => Err(HANDLES.refuse(handle.addr())),
    }
}

/// Closes a handle if it is one.
pub(in super::super) fn close(handle: *mut minidb_t) {
    let Some(Named { slot, number, generation }) = HANDLES.find(handle.addr()) else {
        return;
    };
    let (open, closed) = (state_of(generation), (generation + 1) * GENERATION);
    let closing = slot.state.compare_exchange(open, closed, Ordering::SeqCst, Ordering::Relaxed);
    if closing.is_err() {
        return;
    }
    HERE.pinned.wait_until_free(handle.addr());
    // SAFETY: this thread alone has closed the handle, no call is inside of it,
    // none can come, and the slot is not given back yet.
    drop(unsafe { (*slot.view.get()).take() });
    HANDLES.give_back(number, generation + 1);
}

#[cfg(test)]
mod tests {
    use super::super::{GENERATION_BITS, KIND_BITS, SLOT_BITS};
    use super::*;
    use crate::InMemoryDB;

    fn open_database() -> *mut minidb_t {
        let view = View::InMemory(InMemoryDB::new().unwrap());
        let first = Open::first(&view);
        open(view, first).unwrap()
    }

    fn number(addr: usize) -> *mut minidb_t {
        std::ptr::without_provenance_mut(addr)
    }

    fn is_open(handle: *mut minidb_t) -> bool {
        with(handle, |_, _| Ok(())).is_ok()
    }

    #[test]
    fn a_closed_handle_is_refused_however_many_were_opened_since() {
        let first = open_database();
        assert!(is_open(first) && first.addr() % 2 == 1);
        close(first);
        assert!(!is_open(first));
        for _ in 0..1_000 {
            let other = open_database();
            assert!(other != first && !is_open(first));
            close(other);
            close(other);
        }
    }

    #[test]
    fn what_never_was_a_handle_is_refused() {
        let real = open_database();
        let n = real.addr();
        for never in [0, 1, 3, n - 1, n + 1, n + 2, n ^ 1 << 40, usize::MAX, n | 1 << 62] {
            assert!(!is_open(number(never)), "{never:#x}");
            close(number(never));
        }
        assert!(is_open(real));
        close(real);
        assert!(!is_open(real));
    }

    #[test]
    fn a_slot_whose_generations_have_run_out_is_not_used_again() {
        let handle = open_database();
        let Named { slot, number: at, .. } = HANDLES.find(handle.addr()).unwrap();
        let last = (1 << GENERATION_BITS) - 2;
        slot.state.store(state_of(last), Ordering::SeqCst);
        close(handle);
        assert_eq!(slot.state.load(Ordering::SeqCst), state_of(last), "another generation's");
        let low = handle.addr() & ((1 << (KIND_BITS + SLOT_BITS)) - 1);
        close(number((last + 1) << (KIND_BITS + SLOT_BITS) | low));
        assert_ne!(slot.state.load(Ordering::SeqCst), state_of(last));
        let free = &HANDLES.table().unwrap().free;
        assert!(!free.read().unwrap().slots.contains(&at));
    }

    #[test]
    fn closing_waits_for_who_is_inside() {
        let (handle, inside) = (open_database().addr(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let long = with(number(handle), |_, _| {
                    inside.store(1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    inside.store(2, Ordering::SeqCst);
                    Ok(())
                });
                assert!(long.is_ok());
            });
            while inside.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            close(number(handle));
            assert_eq!(inside.load(Ordering::SeqCst), 2);
            assert!(!is_open(number(handle)));
        });
    }
}
