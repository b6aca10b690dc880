//! Handles that are closed while other threads use them.

#![allow(unsafe_code, reason = "calls the C API")]

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use minidb::ffi::*;
use minidb::schedules::{call, forget_all, point};

use crate::runner::together;

fn open() -> usize {
    let mut db = ptr::null_mut::<minidb_t>();
    // SAFETY: `db` is a variable for the handle.
    assert_eq!(unsafe { minidb_open(ptr::null(), 0, &mut db) }, MINIDB_OK);
    db.addr()
}

fn db(handle: usize) -> *mut minidb_t {
    ptr::without_provenance_mut(handle)
}

pub fn closing() {
    forget_all();
    // Each thread makes the table, or finds it made.
    let own = || {
        let handle = open();
        assert!(call(db(handle), |_| ()));
        // SAFETY: it is never followed.
        unsafe { minidb_close(db(handle)) };
        assert!(!call(db(handle), |_| ()), "a closed handle is used");
    };
    together(&[&own, &own]);

    let (handle, inside, closed) = (open(), AtomicUsize::new(0), AtomicBool::new(false));
    let mut cursor = ptr::null_mut::<minidb_cursor_t>();
    let (key, none) = (c"k".as_ptr().cast(), ptr::null_mut());
    // SAFETY: the pointers are to what they should be.
    unsafe {
        assert_eq!(minidb_put(db(handle), key, 1, key, 1, none, ptr::null_mut()), MINIDB_OK);
        assert_eq!(minidb_scan(db(handle), ptr::null(), 0, ptr::null(), 0, &mut cursor), MINIDB_OK);
    }
    let cursor = cursor.addr();
    let work = || {
        let late = closed.load(Relaxed);
        let done = call(db(handle), |keys| {
            assert_eq!(keys, 1, "the handle is another one's");
            inside.fetch_add(1, Relaxed);
            point();
            inside.fetch_sub(1, Relaxed);
        });
        assert!(!done || !late, "a closed handle is used");
        // SAFETY: handles are never followed.
        let moved = unsafe { minidb_cursor_first(ptr::without_provenance_mut(cursor)) };
        assert!([MINIDB_OK, MINIDB_INVALID].contains(&moved), "{moved}");
        assert!(moved == MINIDB_INVALID || !late, "a closed cursor is used");
    };
    let close = || {
        // SAFETY: handles are never followed.
        unsafe {
            minidb_cursor_close(ptr::without_provenance_mut(cursor));
            minidb_close(db(handle));
        }
        assert_eq!(inside.load(Relaxed), 0, "a call is inside a closed handle");
        closed.store(true, Relaxed);
        own();
    };
    together(&[&work, &work, &close]);
}

/// More calls are inside than there are records for pins.
pub fn crowded() {
    forget_all();
    let (handle, inside, closed) = (open(), AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let late = closed.load(Relaxed);
        let done = call(db(handle), |_| {
            inside.fetch_add(1, Relaxed);
            point();
            inside.fetch_sub(1, Relaxed);
        });
        assert!(!done || !late, "a closed handle is used");
    };
    let close = || {
        // SAFETY: handles are never followed.
        unsafe { minidb_close(db(handle)) };
        assert_eq!(inside.load(Relaxed), 0, "a call is inside a closed handle");
        closed.store(true, Relaxed);
    };
    together(&[&work, &work, &work, &work, &close]);
}
