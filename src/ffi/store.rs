//! The store behind a view: numbers about it, its safety on disk, its health.

use std::ffi::{c_char, c_int};

use super::boundary::{Out, guard, is_in_memory, path_of};
use super::code::*;
use super::handle::view;
use super::text::invalid;
use super::view::minidb_t;

/// Hands out one number about a view: `what` is a MINIDB_STAT_* value.
/// Returns MINIDB_INVALID for one this library does not know.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_stat(db: *const minidb_t, what: c_int, value: *mut u64) -> c_int {
    // SAFETY: as the header says of out-parameters.
    guard(|| unsafe {
        let mut out = Out::new(value, 0);
        let number = view::with(db, |view, open| match what {
            MINIDB_STAT_HANDLES => Ok(open.count()),
            MINIDB_STAT_FILE_BYTES => Ok(open.database().file_bytes()),
            _ => view.stat(what),
        })?;
        out.give(number);
        Ok(MINIDB_OK)
    })
}

/// Waits until every commit so far is on disk; needed only with
/// MINIDB_OPEN_NOSYNC. `db` is a database, as for minidb_checkpoint
/// (MINIDB_INVALID if not); in memory both have nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_sync(db: *mut minidb_t) -> c_int {
    guard(|| view::with(db, |view, _| Ok(view.database()?.sync().map(|()| MINIDB_OK)?)))
}

/// Folds the log into the file, so that the next open need not replay it.
/// This also happens by itself, as the log grows and at the last close. If it
/// fails, the file and the log are as they were, and writing goes on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_checkpoint(db: *mut minidb_t) -> c_int {
    guard(|| view::with(db, |view, _| Ok(view.database()?.checkpoint().map(|()| MINIDB_OK)?)))
}

/// Reads all that a view holds, in memory and on disk, and verifies every
/// checksum and the order of the keys. Returns MINIDB_CORRUPT if something is
/// wrong; minidb_strerror then says what and where.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_check(db: *const minidb_t) -> c_int {
    guard(|| view::with(db, |view, open| Ok(view.check(open).map(|()| MINIDB_OK)?)))
}

/// Writes all that a view holds to a new database file at `path`, which
/// appears there complete or not at all; until then it is named like it with
/// "-unfinished" added. Returns MINIDB_CONFLICT if there is a file already, or
/// one of that name that is no unfinished backup. Readers and writers go on
/// meanwhile. This is a backup of a database, and the way to save one that is
/// in memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_backup(db: *const minidb_t, path: *const c_char) -> c_int {
    guard(|| {
        // Not inside of the call on the view: closing it need not wait so long.
        let (snapshot, _open) = view::with(db, |view, open| Ok((view.contents()?, open.clone())))?;
        if path.is_null() {
            return Err(invalid("path is NULL"));
        }
        // SAFETY: not NULL, so it is NUL-terminated.
        let path = unsafe { path_of(path) };
        if is_in_memory(path) || path.as_os_str().is_empty() {
            return Err(invalid("path names no file"));
        }
        snapshot.backup(path)?;
        Ok(MINIDB_OK)
    })
}
