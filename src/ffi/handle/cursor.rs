//! Handles of cursors.
//!
//! One thread at a time uses a cursor, with three calls for each entry: the move, the key
//! and the value. So a slot has no lock. A move sets its state to `BUSY`, and a call of
//! another thread that finds it busy is refused. After each move the slot keeps where
//! the cursor's key and value are, so that lending them changes no state.

use std::cell::UnsafeCell;
use std::ptr;

use super::super::object::StoreRef;
use super::super::opaque::minidb_cursor_t;
use super::super::text::{Failure, invalid};
use super::{BROKEN, BUSY, CLOSED, CURSOR, Handles, Slot, not_open};
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::{Cursor, DBError};

pub(super) static HANDLES: Handles<CursorSlot, CURSOR> = Handles::new();

/// The content of a cursor's slot.
#[derive(Debug, Default)]
pub(super) struct CursorSlot {
    key: Borrowed,
    value: Borrowed,
    /// Used only by the thread that has set the state to `BUSY`, has closed the handle,
    /// or fills the slot.
    cursor: UnsafeCell<Option<(Cursor, StoreRef)>>,
}

// SAFETY: one thread at a time uses `cursor`, as said there. Cursors may be sent.
unsafe impl Sync for CursorSlot {}

/// Bytes that C borrows until the cursor moves; NULL at no entry.
#[derive(Debug, Default)]
struct Borrowed {
    start: AtomicPtr<u8>,
    len: AtomicUsize,
}

impl Borrowed {
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

/// A call inside a cursor, which excludes others.
struct CursorCall {
    slot: &'static Slot<CursorSlot>,
    handle: usize,
    /// The state when the call ends: `BROKEN`, unless the call gets to its end.
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
    fn cursor(&mut self) -> &mut Option<(Cursor, StoreRef)> {
        // SAFETY: BUSY excludes other threads while `self` lives, and `&mut self` a second
        // reference of this one.
        unsafe { &mut *self.slot.it.cursor.get() }
    }

    /// Runs a move, and keeps where the cursor's key and value are then.
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

    /// Goes to the next entry, which may be in another leaf.
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

/// Opens a handle for a cursor.
pub(in super::super) fn open(
    cursor: Cursor,
    store: StoreRef,
) -> Result<*mut minidb_cursor_t, Failure> {
    let cursor = Some((cursor, store));
    let handle = HANDLES.open(|slot| {
        // SAFETY: the slot was free, and its handle is not known yet.
        unsafe { *slot.cursor.get() = cursor };
        slot.key.set(None);
        slot.value.set(None);
    })?;
    Ok(ptr::without_provenance_mut(handle))
}

/// Runs a move of a handle's cursor.
pub(in super::super) fn with<T>(
    handle: *mut minidb_cursor_t,
    f: impl FnOnce(&mut Cursor) -> Result<T, Failure>,
) -> Result<T, Failure> {
    CursorCall::enter(handle.addr())?.run(f)
}

/// Goes to the next entry. Within a leaf the path is short, since most calls on cursors
/// are this one.
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

/// The key, or else the value, of a handle's cursor; NULL if it is at no entry.
#[inline(always)]
pub(in super::super) fn borrow(handle: *const minidb_cursor_t, key: bool) -> (*const u8, usize) {
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

/// Closes a handle, if it is one, after the call inside has ended.
pub(in super::super) fn close(handle: *mut minidb_cursor_t) {
    let handle = handle.addr();
    let Some(slot) = HANDLES.find(handle) else {
        return;
    };
    loop {
        crate::sync::Wait::until(|| slot.state.load(Ordering::Relaxed) != not_open(handle, BUSY));
        let state = slot.state.load(Ordering::Relaxed);
        if state == handle || state == not_open(handle, BROKEN) {
            let (ok, err) = (Ordering::Acquire, Ordering::Relaxed);
            if slot.state.compare_exchange(state, not_open(handle, CLOSED), ok, err).is_ok() {
                break;
            }
        } else if state != not_open(handle, BUSY) {
            return;
        }
    }
    // SAFETY: this thread has closed the handle, no call is inside, and the slot is not
    // free yet.
    drop(unsafe { (*slot.it.cursor.get()).take() });
    HANDLES.give_back(handle);
}
