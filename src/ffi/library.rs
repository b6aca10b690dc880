//! The library itself: its errors, its memory, its version.

use std::ffi::{c_char, c_int, c_void};

use super::text;

/// Describes a result in English, never NULL. If `code` is what the calling
/// thread's latest failed call returned (a negative code, or any but MINIDB_OK
/// from minidb_open, minidb_backup or minidb_salvage), the text has its
/// details: the path, the system's reason, the place of damage. An answer has
/// no details: after it, its code has the general text. The text is borrowed
/// until this thread calls minidb again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_strerror(code: c_int) -> *const c_char {
    text::describe(code)
}

/// Releases bytes handed out by minidb. Does nothing with NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_free(bytes: *mut c_void) {
    // SAFETY: as the header says, it is NULL or was handed out, so it came from
    // malloc; and it is released once.
    unsafe { libc::free(bytes) };
}

/// Returns the library's version, like "0.1.0"; compare MINIDB_VERSION, that
/// of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
