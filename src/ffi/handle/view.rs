//! Handles of views.
//!
//! Any number of threads may be inside calls on one view. Each pins the handle, and
//! closing waits for the pins.

use std::cell::UnsafeCell;

use super::super::object::{StoreRef, View};
use super::super::opaque::minidb_t;
use super::super::text::Failure;
use super::pin::Pin;
use super::{CLOSED, Handles, PROCESS, VIEW, not_open};
use crate::sync::atomic::{AtomicUsize, Ordering};

pub(super) static HANDLES: Handles<ViewSlot, VIEW> = Handles::new();

/// The content of a view's slot.
#[derive(Debug, Default)]
pub(super) struct ViewSlot {
    /// Read by calls that have pinned the handle and then found it open. Written before
    /// the handle is known, and after it was closed and has no pins.
    view: UnsafeCell<Option<(View, StoreRef)>>,
    /// Calls inside that found no free record; see [`Pin`].
    pub(super) counted_calls: AtomicUsize,
}

// SAFETY: `view` is never written while a call reads it, as said there. Views may be
// shared and sent.
unsafe impl Sync for ViewSlot {}

/// Opens a handle for a view.
pub(in super::super) fn open(view: View, store: StoreRef) -> Result<*mut minidb_t, Failure> {
    let handle = HANDLES.open(|slot| {
        // SAFETY: the slot was free, and its handle is not known yet.
        unsafe { *slot.view.get() = Some((view, store)) };
    })?;
    Ok(std::ptr::without_provenance_mut(handle))
}

/// Opens a handle for a view that `make` makes of a handle's view.
pub(in super::super) fn open_on(
    handle: *const minidb_t,
    make: impl FnOnce(&View) -> Result<View, Failure>,
) -> Result<*mut minidb_t, Failure> {
    let (view, store) = with(handle, |view, store| Ok((make(view)?, store.clone())))?;
    open(view, store)
}

/// Runs `f` on the view of a handle.
#[inline]
pub(in super::super) fn with<T>(
    handle: *const minidb_t,
    f: impl FnOnce(&View, &StoreRef) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let handle = handle.addr();
    if let Some(slot) = HANDLES.find(handle)
        && let Some(_pin) = Pin::new(&slot.state, &slot.it.counted_calls, handle)
        // SAFETY: the handle was pinned before it was found open, so closing it waits for
        // the pin before it writes to the slot.
        && let Some((view, store)) = unsafe { &*slot.it.view.get() }
    {
        return f(view, store);
    }
    Err(HANDLES.refuse(handle))
}

/// Closes a handle, if it is one.
pub(in super::super) fn close(handle: *mut minidb_t) {
    let handle = handle.addr();
    let Some(slot) = HANDLES.find(handle) else {
        return;
    };
    let closed = not_open(handle, CLOSED);
    let closing = slot.state.compare_exchange(handle, closed, Ordering::SeqCst, Ordering::Relaxed);
    if closing.is_err() {
        return;
    }
    PROCESS.pins.wait_for_calls(&slot.it.counted_calls, handle);
    // SAFETY: this thread has closed the handle, no call is inside, none can enter, and
    // the slot is not free yet.
    drop(unsafe { (*slot.it.view.get()).take() });
    HANDLES.give_back(handle);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::super::{GENERATION_BITS, KIND_BITS, SLOT_BITS};
    use super::*;
    use crate::{Database, InMemoryDB};

    fn open_database() -> *mut minidb_t {
        let db = Database::from(InMemoryDB::new().unwrap());
        open(View::Database(db.clone()), StoreRef::first(db)).unwrap()
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
        let states = [0, 1, 2].map(|why| not_open(n, why));
        let near = [0, 1, 3, n - 1, n + 1, n + 2, n ^ 1 << 40, usize::MAX, n | 1 << 62];
        for never in near.into_iter().chain(states) {
            assert!(!is_open(number(never)), "{never:#x}");
            close(number(never));
        }
        assert!(is_open(real));
        close(real);
        assert!(!is_open(real));
        assert!(PROCESS.pins.are_sound(), "a refused number stays pinned");
    }

    #[test]
    fn a_slot_whose_generations_have_run_out_is_not_used_again() {
        let handle = open_database();
        let slot = HANDLES.find(handle.addr()).unwrap();
        let generations = ((1 << GENERATION_BITS) - 1) << (KIND_BITS + SLOT_BITS);
        let last = handle.addr() | generations;
        slot.state.store(last, Ordering::SeqCst);
        close(handle);
        assert!(is_open(number(last)), "another generation was closed");
        close(number(last));
        assert!(!is_open(number(last)));
        let table = HANDLES.table().unwrap();
        let (free, number) = (table.free.lock().unwrap(), table.number(last));
        let is_free_inline = number < u64::BITS && free.inline >> number & 1 == 1;
        assert!(!is_free_inline && !free.slots.contains(&number));
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
