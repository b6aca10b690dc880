//! Cursors: walks over the entries of a view as they were when the walk began.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use super::boundary::{Out, buffer, bytes, bytes_or_none, guard, guard_or, handle_out};
use super::code::*;
use super::handle::{cursor as handle, process, view};
use super::object::View;
use super::opaque::{minidb_cursor_t, minidb_t};
use super::packed::Packer;
use super::text::{Failure, invalid};
use crate::sync::uncancelled;
use crate::{Cursor, DBResult};

/// Called by minidb_each for one entry, whose bytes are borrowed for the
/// call. Returns 0 to go on, anything else to stop. It may call any minidb
/// function, and must return normally (no longjmp, no C++ exception).
pub type minidb_visit = Option<
    unsafe extern "C" fn(
        ctx: *mut c_void,
        key: *const c_char,
        key_len: usize,
        value: *const c_char,
        value_len: usize,
    ) -> c_int,
>;

/// Opens a handle for a cursor that `scan` makes of a handle's view.
fn open_on(
    db: *const minidb_t,
    scan: impl FnOnce(&View) -> DBResult<Cursor>,
) -> Result<*mut minidb_cursor_t, Failure> {
    let (cursor, store) = view::with(db, |view, store| Ok((scan(view)?, store.clone())))?;
    handle::open(cursor, store)
}

/// Opens a cursor on the keys from `from` up to, but not including, `to`,
/// NULL meaning no bound; there are none if `to` is not after `from`. It
/// walks the entries as they are now, whatever is written meanwhile, and
/// starts between the end and the beginning: next goes to the first entry,
/// prev to the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_scan(
    db: *const minidb_t,
    from: *const c_void,
    from_len: usize,
    to: *const c_void,
    to_len: usize,
    cursor: *mut *mut minidb_cursor_t,
) -> c_int {
    // SAFETY: as the header says of arguments and out-parameters.
    guard(|| unsafe {
        let mut out = handle_out(cursor)?;
        let from = bytes_or_none("from", from, from_len)?;
        let to = bytes_or_none("to", to, to_len)?;
        out.give(open_on(db, |view| view.scan(from, to))?);
        Ok(MINIDB_OK)
    })
}

/// Opens a cursor on the keys that begin with `prefix`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_scan_prefix(
    db: *const minidb_t,
    prefix: *const c_void,
    prefix_len: usize,
    cursor: *mut *mut minidb_cursor_t,
) -> c_int {
    // SAFETY: as the header says of arguments and out-parameters.
    guard(|| unsafe {
        let mut out = handle_out(cursor)?;
        let prefix = bytes("prefix", prefix, prefix_len)?;
        out.give(open_on(db, |view| view.scan_prefix(prefix))?);
        Ok(MINIDB_OK)
    })
}

/// Moves a cursor; returns whether there is an entry, as a code.
fn step(
    cursor: *mut minidb_cursor_t,
    go: impl FnOnce(&mut Cursor) -> DBResult<bool>,
) -> Result<c_int, Failure> {
    Ok(code(handle::with(cursor, |cursor| Ok(go(cursor)?))?))
}

#[inline]
fn code(found: bool) -> c_int {
    if found { MINIDB_OK } else { MINIDB_NOTFOUND }
}

/// Goes to the first entry. This and the other four moves return
/// MINIDB_NOTFOUND when there is no such entry; the cursor is then past that
/// end, and moving back the other way finds the entry nearest to it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_cursor_first(cursor: *mut minidb_cursor_t) -> c_int {
    guard(|| step(cursor, Cursor::first))
}

/// Goes to the last entry.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_cursor_last(cursor: *mut minidb_cursor_t) -> c_int {
    guard(|| step(cursor, Cursor::last))
}

/// Goes to the next entry, the first if the cursor is new.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_cursor_next(cursor: *mut minidb_cursor_t) -> c_int {
    guard(|| Ok(code(handle::next(cursor)?)))
}

/// Goes to the previous entry, the last if the cursor is new.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_cursor_prev(cursor: *mut minidb_cursor_t) -> c_int {
    guard(|| step(cursor, Cursor::prev))
}

/// Goes to the first entry whose key is `key` or greater.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_cursor_seek(
    cursor: *mut minidb_cursor_t,
    key: *const c_void,
    key_len: usize,
) -> c_int {
    // SAFETY: as the header says of arguments.
    guard(|| unsafe {
        let key = bytes("key", key, key_len)?;
        step(cursor, |cursor| cursor.seek(key))
    })
}

/// Lends the key of a cursor, or else its value.
///
/// # Safety
///
/// `len` is NULL or points to a variable of the caller's.
#[inline]
unsafe fn lend(cursor: *const minidb_cursor_t, key: bool, len: *mut usize) -> *const c_char {
    let (start, bytes) = guard_or((ptr::null(), 0), || handle::borrow(cursor, key));
    // SAFETY: passed on.
    drop(unsafe { Out::new(len, bytes) });
    start.cast()
}

/// Returns the key at the cursor, NULL if it is at no entry. The bytes are
/// borrowed until the cursor is moved or closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_cursor_key(
    cursor: *const minidb_cursor_t,
    key_len: *mut usize,
) -> *const c_char {
    // SAFETY: as the header says of out-parameters.
    unsafe { lend(cursor, true, key_len) }
}

/// Returns the value at the cursor, as minidb_cursor_key does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_cursor_value(
    cursor: *const minidb_cursor_t,
    value_len: *mut usize,
) -> *const c_char {
    // SAFETY: as the header says of out-parameters.
    unsafe { lend(cursor, false, value_len) }
}

/// Moves over as many entries after the cursor's as fit, packed, into the
/// `size` bytes at `buffer`, and sets `used` to the bytes filled; the cursor
/// is then at the last of them. An entry is its key's length and its value's
/// length, each a uint32_t in the machine's byte order, then the key, then
/// the value, with nothing between and nothing after. If the next entry alone
/// does not fit, returns MINIDB_OK all the same: the cursor stays, nothing is
/// filled, and `used` is the size that it needs, which is over `size`.
/// Returns MINIDB_NOTFOUND, with `used` 0, where minidb_cursor_next would;
/// the cursor is then past the end.
/// Meant for languages in which a call costs more than a copy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_cursor_read(
    cursor: *mut minidb_cursor_t,
    buffer: *mut c_void,
    size: usize,
    used: *mut usize,
) -> c_int {
    // SAFETY: as the header says of out-parameters; `buffer` has `size` bytes,
    // of which no more are written.
    guard(|| unsafe {
        let mut out = Out::new(used, 0);
        let mut packer = Packer::new(self::buffer(buffer, size)?);
        let code = step(cursor, |cursor| cursor.read(&mut packer))?;
        out.give(packer.used());
        Ok(code)
    })
}

/// Releases a cursor. Does nothing with NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_cursor_close(cursor: *mut minidb_cursor_t) {
    guard_or((), || handle::close(cursor));
}

/// The cursor of a [`minidb_each`]. If `visit` forks, the child abandons the cursor:
/// closing may take a lock that another thread of the parent holds.
struct EachCursor {
    cursor: Cursor,
    process: usize,
}

impl Drop for EachCursor {
    fn drop(&mut self) {
        if process() != self.process {
            self.cursor.abandon();
        }
    }
}

/// Calls `visit` with `ctx` for each entry whose key begins with `prefix`
/// (every entry, if that is empty), in order, as they were when this was
/// called. Stops early when `visit` returns anything but 0, and returns
/// MINIDB_OK either way: what `visit` wants to tell goes into `ctx`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_each(
    db: *const minidb_t,
    prefix: *const c_void,
    prefix_len: usize,
    visit: minidb_visit,
    ctx: *mut c_void,
) -> c_int {
    guard(|| {
        // SAFETY: as the header says of arguments.
        let prefix = unsafe { bytes("prefix", prefix, prefix_len)? };
        let visit = visit.ok_or_else(|| invalid("visit is NULL"))?;
        // From here on the handle may be closed: the cursor has no handle.
        let cursor = view::with(db, |view, _| Ok(view.scan_prefix(prefix)?))?;
        let mut each = EachCursor { cursor, process: process() };
        let cursor = &mut each.cursor;
        uncancelled(|| {
            while cursor.next()? {
                let (Some(key), Some(value)) = (cursor.key_with_nul(), cursor.value_with_nul())
                else {
                    break;
                };
                let (key_len, value_len) = (key.len() - 1, value.len() - 1);
                let (key, value) = (key.as_ptr().cast(), value.as_ptr().cast());
                // SAFETY: key and value stay until the cursor moves, and `visit` is a function
                // of this type, as the header says.
                if unsafe { visit(ctx, key, key_len, value, value_len) } != 0 {
                    break;
                }
            }
            Ok(MINIDB_OK)
        })
    })
}
