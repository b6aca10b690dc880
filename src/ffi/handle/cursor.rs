//! Handles of cursors.
//!
//! A cursor is used by one thread at a time, and for each entry it is called
//! three times. So a slot has no lock that waits, but a flag: a call that finds
//! it set by another thread is refused. What the cursor lends is noted beside
//! it after each move, so asking for it takes no flag.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::super::object::Open;
use super::super::text::{Failure, invalid};
use super::super::view::minidb_cursor_t;
use super::{CURSOR, Handles, Named};
use crate::{Cursor, DBError};

pub(super) static HANDLES: Handles<Slot, CURSOR> = Handles::new();

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The generation of the handle that the slot has, or will have next, and
    /// the flags below.
    state: AtomicUsize,
    key: Lent,
    value: Lent,
    /// Belongs to the thread that has set `BUSY`, or else that fills the slot.
    cursor: UnsafeCell<Option<(Box<Cursor>, Open)>>,
}

/// A thread is inside a call.
const BUSY: usize = 1;
/// There is a cursor.
const OPEN: usize = 2;
/// A call on it panicked.
const BROKEN: usize = 4;
const GENERATION: usize = 8;

// SAFETY: `cursor` is only touched between setting BUSY and clearing it, by the
// thread that did so, or while the slot is being filled, when no handle names it.
unsafe impl Sync for Slot {}

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

impl Slot {
    /// Sets `BUSY` in a state; returns the one that was there if it is another.
    #[inline]
    fn enter(&self, state: usize) -> Result<Inside<'_>, usize> {
        self.state.compare_exchange(state, state | BUSY, Ordering::Acquire, Ordering::Relaxed)?;
        Ok(Inside { slot: self, after: state | BROKEN })
    }
}

/// A thread's time with `BUSY` set.
struct Inside<'a> {
    slot: &'a Slot,
    /// The state that it will leave behind: unless said otherwise, `BROKEN`.
    after: usize,
}

impl Inside<'_> {
    #[inline]
    fn cursor(&mut self) -> &mut Option<(Box<Cursor>, Open)> {
        // SAFETY: BUSY keeps all others out while `self` lives, and `&mut self`
        // keeps this thread from having it twice.
        unsafe { &mut *self.slot.cursor.get() }
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.slot.state.store(self.after, Ordering::Release);
    }
}

/// The state of a slot whose cursor nobody is using.
fn idle(generation: usize) -> usize {
    (generation * GENERATION) | OPEN
}

/// Makes a handle for a cursor.
pub(in super::super) fn open(cursor: Cursor, open: Open) -> Result<*mut minidb_cursor_t, Failure> {
    let cursor = Some((Box::new(cursor), open));
    let handle = HANDLES.open(|slot| {
        // SAFETY: the slot is nobody else's until its handle is known.
        unsafe { *slot.cursor.get() = cursor };
        slot.key.set(None);
        slot.value.set(None);
        slot.state.fetch_or(OPEN, Ordering::Release) / GENERATION
    })?;
    Ok(ptr::without_provenance_mut(handle))
}

/// Runs a move of the cursor of a handle.
#[inline]
pub(in super::super) fn with<T>(
    handle: *mut minidb_cursor_t,
    f: impl FnOnce(&mut Cursor) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Some(Named { slot, generation, .. }) = HANDLES.find(handle.addr()) else {
        return Err(HANDLES.refuse(handle.addr()));
    };
    let mut inside = match slot.enter(idle(generation)) {
        Ok(inside) => inside,
        Err(state) => return Err(not_now(state, generation, handle)),
    };
    let Some((cursor, _)) = inside.cursor() else {
        return Err(DBError::Internal.into());
    };
    let result = f(cursor);
    slot.key.set(cursor.key_with_nul());
    slot.value.set(cursor.value_with_nul());
    inside.after = idle(generation);
    result
}

#[cold]
fn not_now(state: usize, generation: usize, handle: *mut minidb_cursor_t) -> Failure {
    if state & !(BUSY | BROKEN) != idle(generation) {
        HANDLES.refuse(handle.addr())
    } else if state & BUSY != 0 {
        invalid("the cursor is in use by another thread")
    } else {
        DBError::Internal.into()
    }
}

/// The key, or else the value, that the cursor of a handle lends.
#[inline]
pub(in super::super) fn lent(handle: *const minidb_cursor_t, key: bool) -> (*const u8, usize) {
    let Some(Named { slot, generation, .. }) = HANDLES.find(handle.addr()) else {
        return (ptr::null(), 0);
    };
    if slot.state.load(Ordering::Acquire) != idle(generation) {
        return (ptr::null(), 0);
    }
    if key { slot.key.get() } else { slot.value.get() }
}

/// Closes a handle if it is one; waits if another thread is inside a call on it.
pub(in super::super) fn close(handle: *mut minidb_cursor_t) {
    let Some(Named { slot, number, generation }) = HANDLES.find(handle.addr()) else {
        return;
    };
    let mut inside = loop {
        let state = slot.state.load(Ordering::Relaxed);
        if state & !(BUSY | BROKEN) != idle(generation) {
            return;
        }
        match slot.enter(state & !BUSY) {
            Ok(inside) => break inside,
            Err(_) => std::thread::yield_now(),
        }
    };
    let cursor = inside.cursor().take();
    inside.after = (generation + 1) * GENERATION;
    drop(inside);
    drop(cursor); // may take a while; nobody waits for it
    HANDLES.give_back(number, generation + 1);
}
