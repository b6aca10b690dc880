//! Handles of cursors.
//!
//! A cursor is used by one thread at a time, and for each entry it is called
//! three times. So a slot has no lock that waits: a move makes its state `BUSY`,
//! and a call of another thread that finds it so is refused. What the cursor lends
//! is noted beside it after each move, so asking for it changes no state.

use std::cell::UnsafeCell;
use std::ptr;

use super::super::object::Open;
use super::super::text::{Failure, invalid};
use super::super::view::minidb_cursor_t;
use super::{BROKEN, BUSY, CLOSED, CURSOR, Handles, Slot, not_open};
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::{Cursor, DBError};

pub(super) static HANDLES: Handles<Single, CURSOR> = Handles::new();

#[derive(Debug, Default)]
pub(super) struct Single {
    key: Lent,
    value: Lent,
    /// Belongs to the thread that has changed the state to `BUSY`, or has closed
    /// the handle, or fills the slot.
    cursor: UnsafeCell<Option<(Cursor, Open)>>,
}

// SAFETY: as said at `cursor`, nobody else touches it. Cursors may be sent.
unsafe impl Sync for Single {}

/// Bytes that C may read until the cursor moves; NULL if there are none.
#[derive(Debug, Default)]
struct Lent {
    start: AtomicPtr<u8>,
    len: AtomicUsize,
}

impl Lent {
    #[inline]
    fn set(&self, bytes_and_nul: Option<&[u8]>) {
        let (start, len) = match bytes_and_nul {
            Some(bytes) => (bytes.as_ptr().cast_mut(), bytes.len() - 1),
            None => (ptr::null_mut(), 0),
        };
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
    }

    #[inline]
    fn get(&self) -> (*const u8, usize) {
        (self.start.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed))
    }
}

/// A thread's time inside a call.
struct CursorCall {
    slot: &'static Slot<Single>,
    handle: usize,
    /// The state that it will leave behind: unless said otherwise, `BROKEN`.
    after: usize,
}

impl CursorCall {
    #[inline]
    fn enter(handle: usize) -> Result<Self, Failure> {
        let Some(slot) = HANDLES.find(handle) else {
            return Err(HANDLES.refuse(handle));
        };
        let busy = not_open(handle, BUSY);
        match slot.state.compare_exchange(handle, busy, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(CursorCall { slot, handle, after: not_open(handle, BROKEN) }),
            Err(state) => Err(not_now(state, handle)),
        }
    }

    #[inline]
    fn cursor(&mut self) -> &mut Option<(Cursor, Open)> {
        // SAFETY: BUSY keeps all others out while `self` lives, and `&mut self`
        // keeps this thread from having it twice.
        unsafe { &mut *self.slot.it.cursor.get() }
    }

    /// Runs a move, and notes what the cursor lends then.
    fn run<T>(mut self, f: impl FnOnce(&mut Cursor) -> Result<T, Failure>) -> Result<T, Failure> {
        let slot = self.slot;
        let Some((cursor, _)) = self.cursor() else {
            return Err(DBError::Internal.into());
        };
        let result = f(cursor);
        slot.it.key.set(cursor.key_with_nul());
        slot.it.value.set(cursor.value_with_nul());
        self.after = self.handle;
        result
    }

    /// Goes to the next entry, wherever it is.
    #[inline(never)]
    fn next_in_tree(self) -> Result<bool, Failure> {
        self.run(|cursor| Ok(cursor.next()?))
    }
}

impl Drop for CursorCall {
    #[inline]
    fn drop(&mut self) {
        self.slot.state.store(self.after, Ordering::Release);
    }
}

/// Makes a handle for a cursor.
pub(in super::super) fn open(cursor: Cursor, open: Open) -> Result<*mut minidb_cursor_t, Failure> {
    let cursor = Some((cursor, open));
    let handle = HANDLES.open(|slot| {
        // SAFETY: the slot is nobody else's until its handle is known.
        unsafe { *slot.cursor.get() = cursor };
        slot.key.set(None);
        slot.value.set(None);
    })?;
    Ok(ptr::without_provenance_mut(handle))
}

/// Runs a move of the cursor of a handle.
pub(in super::super) fn with<T>(
    handle: *mut minidb_cursor_t,
    f: impl FnOnce(&mut Cursor) -> Result<T, Failure>,
) -> Result<T, Failure> {
    CursorCall::enter(handle.addr())?.run(f)
}

/// Goes to the next entry: a call that is all that most programs wait for, so the
/// usual way through it is short.
#[inline]
pub(in super::super) fn next(handle: *mut minidb_cursor_t) -> Result<bool, Failure> {
    let mut inside = CursorCall::enter(handle.addr())?;
    let slot = inside.slot;
    if let Some((cursor, _)) = inside.cursor()
        && let Some((key, value)) = cursor.next_in_leaf()
    {
        slot.it.key.set(Some(key));
        slot.it.value.set(Some(value));
        inside.after = handle.addr();
        return Ok(true);
    }
    inside.next_in_tree()
}

#[cold]
#[inline(never)]
fn not_now(state: usize, handle: usize) -> Failure {
    if state == not_open(handle, BUSY) {
        invalid("the cursor is in use by another thread")
    } else if state == not_open(handle, BROKEN) {
        DBError::Internal.into()
    } else {
        HANDLES.refuse(handle)
    }
}

/// The key, or else the value, that the cursor of a handle lends.
#[inline(always)]
pub(in super::super) fn lent(handle: *const minidb_cursor_t, key: bool) -> (*const u8, usize) {
    match HANDLES.find(handle.addr()) {
        Some(Slot { state, it }) if state.load(Ordering::Acquire) == handle.addr() => {
            if key {
                it.key.get()
            } else {
                it.value.get()
            }
        }
        _ => (ptr::null(), 0),
    }
}

/// Closes a handle if it is one; waits if another thread is inside a call on it.
pub(in super::super) fn close(handle: *mut minidb_cursor_t) {
    let handle = handle.addr();
    let Some(slot) = HANDLES.find(handle) else {
        return;
    };
    loop {
        let state = slot.state.load(Ordering::Relaxed);
        if state == handle || state == not_open(handle, BROKEN) {
            let (ok, err) = (Ordering::Acquire, Ordering::Relaxed);
            if slot.state.compare_exchange(state, not_open(handle, CLOSED), ok, err).is_ok() {
                break;
            }
        } else if state != not_open(handle, BUSY) {
            return;
        }
        crate::sync::yield_now();
    }
    // SAFETY: this thread alone has closed the handle, nobody is inside, and the
    // slot is not given back yet.
    drop(unsafe { (*slot.it.cursor.get()).take() });
    HANDLES.give_back(handle);
}
