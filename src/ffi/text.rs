//! The texts of `minidb_strerror`.
//!
//! Each thread keeps the text of its latest failed call, with the code that the call
//! returned; every other code has a general text. An answer with the kept code
//! forgets the text, so no text is about another call. The text stands in a fixed
//! buffer without a destructor: it needs no memory, and works while a thread ends.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int};
use std::fmt::{self, Write};

use super::code::*;
use crate::DBError;
use crate::error::OutOfMemory;

/// Bytes kept of a text, its NUL included.
const TEXT_BYTES: usize = 1024;

struct LatestFailure {
    /// MINIDB_OK if no text is kept.
    code: Cell<c_int>,
    text: RefCell<Text>,
}

struct Text {
    bytes: [u8; TEXT_BYTES],
    len: usize,
}

thread_local! {
    static LATEST: LatestFailure = const {
        let text = Text { bytes: [0; TEXT_BYTES], len: 0 };
        LatestFailure { code: Cell::new(MINIDB_OK), text: RefCell::new(text) }
    };
}

impl Write for Text {
    /// Keeps as much of `text` as fits, up to the end of a character.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut end = text.len().min(TEXT_BYTES - 1 - self.len);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.bytes[self.len..self.len + end].copy_from_slice(&text.as_bytes()[..end]);
        self.len += end;
        Ok(())
    }
}

/// The reason of a failed call. A failure is as small as a pointer, so that the result
/// of a call that succeeds travels in registers.
#[derive(Debug)]
pub(super) enum Failure {
    /// Kept unboxed: reporting it must not allocate.
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

/// The code of an error.
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

/// The failure of a call that is not valid.
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
        latest.code.set(code);
        let mut text = latest.text.borrow_mut();
        text.len = 0;
        let _ = write!(text, "{error}"); // it cannot fail
        let end = text.len;
        text.bytes[end] = 0;
    });
    code
}

/// Forgets the kept text if it belongs to `code`, which a call now returns as its
/// answer.
#[cold]
#[inline(never)]
pub(super) fn forget(code: c_int) {
    LATEST.with(|latest| {
        if latest.code.get() == code {
            latest.code.set(MINIDB_OK);
        }
    });
}

/// The text for a code: the kept one if it belongs to `code`, else a general one.
pub(super) fn describe(code: c_int) -> *const c_char {
    // Some programs ask for the text of MINIDB_OK after each call.
    if code == MINIDB_OK { general(code).as_ptr() } else { describe_failure(code) }
}

#[cold]
#[inline(never)]
fn describe_failure(code: c_int) -> *const c_char {
    LATEST.with(|latest| match latest.text.try_borrow() {
        Ok(text) if latest.code.get() == code => text.bytes.as_ptr().cast(),
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
    fn an_answer_forgets_the_details_of_its_code() {
        keep(&DBError::NotFound("a".into()).into());
        forget(MINIDB_CONFLICT);
        assert_eq!(text(MINIDB_NOTFOUND), "no such file: a");
        forget(MINIDB_NOTFOUND);
        assert_eq!(text(MINIDB_NOTFOUND), "not there");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        keep(&invalid("\u{e9}".repeat(2000)));
        let text = text(MINIDB_INVALID);
        assert!(text.len() < TEXT_BYTES && text.len() > TEXT_BYTES - 4 && text.ends_with('\u{e9}'));
    }
}
