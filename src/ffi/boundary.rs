//! Arguments and out-parameters, and the guard around each call.

use std::any::Any;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;

use super::code::{MINIDB_NOTFOUND, MINIDB_OK};
use super::text::{Failure, forget, invalid, keep};
use crate::sync::cancellation_point;
use crate::{DBError, DBResult, MAX_LEN, fallible};

#[cfg(panic = "abort")]
compile_error!("minidb must unwind: it turns a panic into MINIDB_INTERNAL");

/// MINIDB_STR of the header, as a length: the argument is a NUL-terminated string.
const STR: usize = usize::MAX;

/// Runs the body of a function. The text of a failure is kept for `minidb_strerror`,
/// and an answer forgets that of its code. A panic becomes MINIDB_INTERNAL.
#[inline]
pub(super) fn guard(body: impl FnOnce() -> Result<c_int, Failure>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(code)) => {
            if code != MINIDB_OK {
                forget(code);
            }
            code
        }
        Ok(Err(failure)) => keep(&failure),
        Err(payload) => {
            discard(payload);
            keep(&DBError::Internal.into())
        }
    }
}

/// Runs the body of a function that may wait for a disk. A thread that was cancelled ends
/// before.
#[inline]
pub(super) fn guard_cancellable(body: impl FnOnce() -> Result<c_int, Failure>) -> c_int {
    cancellation_point();
    guard(body)
}

/// Runs the body of a function that returns no code; `otherwise` is its result after a
/// panic.
#[inline]
pub(super) fn guard_or<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        discard(payload);
        otherwise
    })
}

/// Drops the payload of a panic. If that panics, the second payload is leaked.
#[cold]
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}

/// The bytes of an argument, for which NULL with length 0 is the empty string.
///
/// # Safety
///
/// As for [`bytes_or_none`].
#[inline]
pub(super) unsafe fn bytes<'a>(
    what: &str,
    start: *const c_void,
    len: usize,
) -> Result<&'a [u8], Failure> {
    // SAFETY: passed on.
    Ok(unsafe { bytes_or_none(what, start, len) }?.unwrap_or_default())
}

/// The bytes of an argument, for which NULL means none.
///
/// # Safety
///
/// `start` is NULL or points to `len` bytes, or to a NUL-terminated string if
/// `len` is MINIDB_STR. They do not change during the call.
#[inline]
pub(super) unsafe fn bytes_or_none<'a>(
    what: &str,
    start: *const c_void,
    len: usize,
) -> Result<Option<&'a [u8]>, Failure> {
    // SAFETY: passed on.
    unsafe { input(what, start, len, MAX_LEN, |len| len == STR) }
}

/// The bytes at a pointer, no more than `max`, which is less than isize::MAX.
///
/// # Safety
///
/// `start` is NULL or points to `len` bytes, or to a NUL-terminated string if
/// `is_text(len)`. They do not change during the call.
#[inline]
pub(super) unsafe fn input<'a>(
    what: &str,
    start: *const c_void,
    mut len: usize,
    max: usize,
    is_text: impl FnOnce(usize) -> bool,
) -> Result<Option<&'a [u8]>, Failure> {
    if start.is_null() {
        return if len == 0 { Ok(None) } else { Err(null_with_length(what)) };
    }
    if len > max {
        if is_text(len) {
            // SAFETY: not NULL, so it is NUL-terminated, as the caller says.
            len = unsafe { libc::strlen(start.cast()) };
        }
        if len > max {
            return Err(too_long(what, len, max));
        }
    }
    // SAFETY: not NULL, `len` bytes long, and unchanged, as the caller says.
    Ok(Some(unsafe { std::slice::from_raw_parts(start.cast(), len) }))
}

#[cold]
fn null_with_length(what: &str) -> Failure {
    invalid(format!("{what} is NULL, but its length is not 0"))
}

#[cold]
fn too_long(what: &str, len: usize, max: usize) -> Failure {
    invalid(format!("{what} has {len} bytes, more than {max}"))
}

/// A path, or none for one that stands for a database in memory.
///
/// # Safety
///
/// `path` is NULL, or NUL-terminated and unchanged during the call.
pub(super) unsafe fn path_or_memory<'a>(path: *const c_char) -> Option<&'a Path> {
    if path.is_null() {
        return None;
    }
    // SAFETY: passed on.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    (path != Path::new(":memory:")).then_some(path)
}

/// A path that must name a file.
///
/// # Safety
///
/// As for [`path_or_memory`].
pub(super) unsafe fn file_path<'a>(what: &str, path: *const c_char) -> Result<&'a Path, Failure> {
    // SAFETY: passed on.
    let path = unsafe { path_or_memory(path) }.filter(|path| !path.as_os_str().is_empty());
    path.ok_or_else(|| invalid(format!("{what} names no file")))
}

/// A buffer of the caller's, which is filled from its start. Its bytes are never read:
/// they may be uninitialised.
#[derive(Debug)]
pub(super) struct Buffer {
    start: *mut u8,
    len: usize,
}

/// The buffer at a pointer.
///
/// # Safety
///
/// `start` is NULL or points to `len` bytes that no other thread uses during the call.
#[inline]
pub(super) unsafe fn buffer(start: *mut c_void, len: usize) -> Result<Buffer, Failure> {
    if start.is_null() && len > 0 {
        return Err(null_with_length("buffer"));
    }
    if len > isize::MAX as usize {
        return Err(too_long("buffer", len, isize::MAX as usize));
    }
    Ok(Buffer { start: start.cast(), len })
}

impl Buffer {
    /// Bytes not yet filled.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Copies as much of `bytes` as fits.
    #[inline]
    pub(super) fn fill(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(self.len);
        // SAFETY: `len` bytes are left in the buffer. It is the caller's, so no memory of
        // minidb overlaps it.
        unsafe { self.start.copy_from_nonoverlapping(bytes.as_ptr(), len) };
        self.start = self.start.wrapping_add(len);
        self.len -= len;
    }
}

/// An out-parameter, which may be NULL. It is set on drop, however the call ends: after
/// the arguments were read, so it may overlap one.
#[derive(Debug)]
pub(super) struct Out<T: Copy> {
    out: *mut T,
    value: T,
}

impl<T: Copy> Out<T> {
    /// An out-parameter that is set to `value`, unless another value is given.
    ///
    /// # Safety
    ///
    /// `out` is NULL or points to a variable of the caller's.
    #[inline]
    pub(super) unsafe fn new(out: *mut T, value: T) -> Out<T> {
        Out { out, value }
    }

    #[inline]
    pub(super) fn give(&mut self, value: T) {
        self.value = value;
    }
}

impl<T: Copy> Drop for Out<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.out.is_null() {
            // SAFETY: not NULL, so it points to a variable, as the caller of `new` says.
            // The variable may be uninitialised.
            unsafe { self.out.write(self.value) };
        }
    }
}

/// An out-parameter for a handle, which may not be NULL.
///
/// # Safety
///
/// As for [`Out::new`].
pub(super) unsafe fn handle_out<T>(out: *mut *mut T) -> Result<Out<*mut T>, Failure> {
    if out.is_null() {
        return Err(invalid("the out-parameter for the handle is NULL"));
    }
    // SAFETY: passed on.
    Ok(unsafe { Out::new(out, ptr::null_mut()) })
}

/// A copy of bytes and a NUL in memory from malloc. It is freed on drop, unless the
/// caller of the library gets it.
#[derive(Debug)]
struct Copied {
    start: *mut c_char,
}

impl Copied {
    fn new(bytes: &[u8]) -> DBResult<Copied> {
        // SAFETY: any size may be asked for.
        let start = unsafe { libc::malloc(bytes.len() + 1) }.cast::<u8>();
        if start.is_null() {
            return Err(DBError::OutOfMemory);
        }
        // SAFETY: malloc gave one byte more than `bytes` has.
        unsafe {
            start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            start.add(bytes.len()).write(0);
        }
        Ok(Copied { start: start.cast() })
    }

    /// Gives the copy away; the receiver frees it.
    fn into_raw(self) -> *mut c_char {
        let start = self.start;
        std::mem::forget(self);
        start
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // SAFETY: it came from malloc and was not given away.
        unsafe { libc::free(self.start.cast()) };
    }
}

/// The out-parameters for a value, its bytes and its length, each of which may be NULL.
#[derive(Debug)]
pub(super) struct ValueOut {
    bytes: Out<*mut c_char>,
    len: Out<usize>,
}

/// A value to hand out: its length, and a copy if its bytes are wanted.
#[derive(Debug)]
pub(super) struct TakenValue {
    len: usize,
    copy: Option<Copied>,
}

impl TakenValue {
    /// Puts a text in the place of the reserved bytes, which it does not exceed.
    pub(super) fn fill(&mut self, text: &str) {
        assert!(text.len() <= self.len, "the text is longer than its memory");
        self.len = text.len();
        if let Some(copy) = &self.copy {
            let start = copy.start.cast::<u8>();
            // SAFETY: the copy has at least as many bytes, and one for the NUL.
            unsafe {
                start.copy_from_nonoverlapping(text.as_ptr(), text.len());
                start.add(text.len()).write(0);
            }
        }
    }
}

impl ValueOut {
    /// # Safety
    ///
    /// As for [`Out::new`].
    #[inline]
    pub(super) unsafe fn new(bytes: *mut *mut c_char, len: *mut usize) -> ValueOut {
        // SAFETY: passed on.
        unsafe { ValueOut { bytes: Out::new(bytes, ptr::null_mut()), len: Out::new(len, 0) } }
    }

    /// Whether the bytes or the length are wanted.
    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        !self.bytes.out.is_null() || !self.len.out.is_null()
    }

    /// Takes the wanted parts of a value; fails if memory for the copy is refused.
    #[inline]
    pub(super) fn take(&self, value: &[u8]) -> DBResult<TakenValue> {
        let copy = if self.bytes.out.is_null() { None } else { Some(Copied::new(value)?) };
        Ok(TakenValue { len: value.len(), copy })
    }

    /// Takes memory for a text of `len` bytes that is not known yet, if it is wanted.
    pub(super) fn reserve(&self, len: usize) -> DBResult<TakenValue> {
        self.take(&fallible::filled(0, len)?)
    }

    /// Hands out a value, if there is one; returns MINIDB_OK or MINIDB_NOTFOUND.
    #[inline]
    pub(super) fn give(mut self, value: Option<TakenValue>) -> c_int {
        let Some(value) = value else {
            return MINIDB_NOTFOUND;
        };
        self.len.give(value.len);
        if let Some(copy) = value.copy {
            self.bytes.give(copy.into_raw());
        }
        MINIDB_OK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::{MINIDB_INTERNAL, MINIDB_INVALID};

    #[test]
    fn a_panic_becomes_a_code() {
        assert_eq!(guard(|| panic!("on purpose")), MINIDB_INTERNAL);
        assert_eq!(guard_or(7, || panic!("on purpose")), 7);
        assert_eq!(guard(|| Ok(MINIDB_OK)), MINIDB_OK);
        assert_eq!(guard(|| Err(invalid("so"))), MINIDB_INVALID);
    }

    #[test]
    fn arguments_of_all_shapes() {
        let text = c"text".as_ptr().cast::<c_void>();
        // SAFETY: NULL, or the NUL-terminated text above with lengths within it;
        // a longer one is refused before it is read.
        unsafe {
            assert_eq!(bytes("key", text, 4).unwrap(), b"text");
            assert_eq!(bytes("key", text, STR).unwrap(), b"text");
            assert_eq!(bytes("key", text, 0).unwrap(), b"");
            assert_eq!(bytes("key", ptr::null(), 0).unwrap(), b"");
            assert_eq!(bytes_or_none("key", ptr::null(), 0).unwrap(), None);
            assert_eq!(bytes_or_none("key", text, 0).unwrap(), Some(&b""[..]));
            for len in [1, STR] {
                assert!(bytes("key", ptr::null(), len).is_err());
            }
            for len in [MAX_LEN + 1, isize::MAX as usize, STR - 1] {
                assert!(bytes("key", text, len).is_err());
            }
        }
    }
}
