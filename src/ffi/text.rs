//! What `minidb_strerror` says.
//!
//! Each thread keeps the text of its latest failed call with the code that the
//! call returned, and asking for another code gets the general text; so a text
//! is never about something else. It is kept in a fixed buffer without a
//! destructor: it works without memory, and while a thread ends.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};
use std::fmt::{self, Write};

use super::code::*;
use crate::DBError;
use crate::error::OutOfMemory;

/// Bytes kept of a text, its NUL included.
const ROOM: usize = 1024;

struct Latest {
    code: c_int,
    text: [u8; ROOM],
    len: usize,
}

thread_local! {
    static LATEST: RefCell<Latest> =
        const { RefCell::new(Latest { code: MINIDB_OK, text: [0; ROOM], len: 0 }) };
}

impl Write for Latest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut end = text.len().min(ROOM - 1 - self.len);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.text[self.len..self.len + end].copy_from_slice(&text.as_bytes()[..end]);
        self.len += end;
        Ok(())
    }
}

/// Why a call fails. It is as small as a pointer, so that the results of calls
/// that do not fail travel in registers.
#[derive(Debug)]
pub(super) enum Failure {
    /// Needs no memory to be told.
    OutOfMemory,
    Other(Box<DBError>),
}

impl From<DBError> for Failure {
    #[cold]
    fn from(error: DBError) -> Failure {
        match error {
            DBError::OutOfMemory => Failure::OutOfMemory,
            error => Failure::Other(Box::new(error)),
        }
    }
}

/// The code that a call returns which fails with an error.
fn code_of(error: &DBError) -> c_int {
    match error {
        DBError::Invalid(_) => MINIDB_INVALID,
        DBError::ReadOnly(_) => MINIDB_READONLY,
        DBError::OutOfMemory => MINIDB_NOMEM,
        DBError::Corrupt(_) => MINIDB_CORRUPT,
        DBError::NotFound(_) => MINIDB_NOTFOUND,
        DBError::Exists(_) => MINIDB_CONFLICT,
        DBError::Busy(_) => MINIDB_BUSY,
        DBError::Io(_) => MINIDB_IO,
        DBError::Full(_) => MINIDB_FULL,
        DBError::Format(_) => MINIDB_FORMAT,
        DBError::Internal => MINIDB_INTERNAL,
    }
}

impl From<OutOfMemory> for Failure {
    fn from(_: OutOfMemory) -> Failure {
        Failure::OutOfMemory
    }
}

/// The call is not valid.
pub(super) fn invalid(why: impl Into<String>) -> Failure {
    DBError::Invalid(why.into()).into()
}

/// Keeps the text of a failure for the calling thread; returns its code.
#[cold]
pub(super) fn keep(failure: &Failure) -> c_int {
    let error = match failure {
        Failure::OutOfMemory => &DBError::OutOfMemory,
        Failure::Other(error) => error,
    };
    let code = code_of(error);
    LATEST.with(|latest| {
        let mut latest = latest.borrow_mut();
        latest.code = code;
        latest.len = 0;
        let _ = write!(latest, "{error}"); // it cannot fail
        let end = latest.len;
        latest.text[end] = 0;
    });
    code
}

/// The text for a code, with the details if it is what the thread's latest
/// failed call returned.
pub(super) fn describe(code: c_int) -> *const c_char {
    // Some ask for the text of this one after each call.
    if code == MINIDB_OK { general(code).as_ptr() } else { describe_failure(code) }
}

#[cold]
#[inline(never)]
fn describe_failure(code: c_int) -> *const c_char {
    LATEST.with(|latest| match latest.try_borrow() {
        Ok(latest) if latest.code == code => latest.text.as_ptr().cast(),
        _ => general(code).as_ptr(),
    })
}

fn general(code: c_int) -> &'static CStr {
    match code {
        MINIDB_OK => c"done",
        MINIDB_NOTFOUND => c"not there",
        MINIDB_CONFLICT => c"overtaken by another change, or already there",
        MINIDB_INVALID => c"the call is not valid",
        MINIDB_READONLY => c"the view cannot be written",
        MINIDB_BUSY => c"the file is in use",
        MINIDB_IO => c"the operating system refused to read or write",
        MINIDB_FULL => c"no space is left on the device",
        MINIDB_CORRUPT => c"the file is damaged",
        MINIDB_FORMAT => c"not a minidb file, or one of a newer version",
        MINIDB_NOMEM => c"out of memory",
        MINIDB_INTERNAL => c"a bug in minidb, caught; close the handle",
        code if code > 0 => c"an answer that this version does not know",
        _ => c"a failure that this version does not know",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: c_int) -> String {
        // SAFETY: `describe` returns a NUL-terminated text, valid until the next call.
        unsafe { CStr::from_ptr(describe(code)) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn details_belong_to_their_code_and_thread() {
        keep(&invalid("key is NULL"));
        assert_eq!(text(MINIDB_INVALID), "invalid argument: key is NULL");
        assert_eq!(text(MINIDB_NOMEM), "out of memory");
        keep(&DBError::ReadOnly("so".into()).into());
        assert_eq!(text(MINIDB_INVALID), "the call is not valid");
        let elsewhere = std::thread::spawn(|| text(MINIDB_INVALID)).join().unwrap();
        assert_eq!(elsewhere, "the call is not valid");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        keep(&invalid("\u{e9}".repeat(2000)));
        let text = text(MINIDB_INVALID);
        assert!(text.len() < ROOM && text.len() > ROOM - 4 && text.ends_with('\u{e9}'));
    }
}
