//! Handles of views.
//!
//! Each slot has a reader-writer lock: a call on the view holds it shared, and
//! closing waits for whoever is inside.

use super::super::object::{Open, View};
use super::super::text::Failure;
use super::super::view::minidb_t;
use super::{Handles, Named, VIEW};
use crate::sync::RwLock;

pub(super) static HANDLES: Handles<Slot, VIEW> = Handles::new();

#[derive(Debug, Default)]
pub(super) struct Slot(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// Of the handle that the slot has now, or will have next.
    generation: usize,
    view: Option<(View, Open)>,
}

/// Makes a handle for a view.
pub(in super::super) fn open(view: View, open: Open) -> Result<*mut minidb_t, Failure> {
    let handle = HANDLES.open(|slot| {
        let mut state = slot.0.write_anyway();
        state.view = Some((view, open));
        state.generation
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
    let state = slot.0.read()?;
    match &state.view {
        Some((view, open)) if state.generation == generation => f(view, open),
        _ => Err(HANDLES.refuse(handle.addr())),
    }
}

/// Closes a handle if it is one.
pub(in super::super) fn close(handle: *mut minidb_t) {
    let Some(Named { slot, number, generation }) = HANDLES.find(handle.addr()) else {
        return;
    };
    let mut state = slot.0.write_anyway();
    if state.generation != generation || state.view.is_none() {
        return;
    }
    let view = state.view.take();
    state.generation += 1;
    drop(state);
    drop(view); // may take a while; nobody waits for it
    HANDLES.give_back(number, generation + 1);
}

#[cfg(test)]
mod tests {
    use super::super::{GENERATION_BITS, KIND_BITS, SLOT_BITS};
    use super::*;
    use crate::InMemoryDB;

    fn open_database() -> *mut minidb_t {
        open(View::Database(InMemoryDB::new().unwrap()), Open::first()).unwrap()
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
        let last = (1 << GENERATION_BITS) - 1;
        slot.0.write().unwrap().generation = last;
        close(handle);
        assert!(slot.0.read().unwrap().view.is_some(), "the handle is of another generation");
        let low = handle.addr() & ((1 << (KIND_BITS + SLOT_BITS)) - 1);
        close(number(last << (KIND_BITS + SLOT_BITS) | low));
        assert!(slot.0.read().unwrap().view.is_none());
        let free = &HANDLES.table().unwrap().free;
        assert!(!free.read().unwrap().slots.contains(&at));
    }
}
