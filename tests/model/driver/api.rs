//! The C functions behind a safe face: codes, and results that are owned.
//!
//! Any [`Handle`] may be given to any function; refusing it is the library's
//! task. Every out-parameter is poisoned before the call and must be set by it,
//! and what is handed out must be followed by a NUL.

#![allow(unsafe_code)] // plays C

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

use minidb::ffi::*;

use super::data::brief;

/// A handle of either type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(*mut c_void);

impl Handle {
    pub const NULL: Handle = Handle(ptr::null_mut());
    /// What an out-parameter is before the call; never a handle.
    const POISON: Handle = Handle(ptr::without_provenance_mut(0xbad0));

    fn view(self) -> *mut minidb_t {
        self.0.cast()
    }

    fn cursor(self) -> *mut minidb_cursor_t {
        self.0.cast()
    }
}

/// How an argument is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A pointer, never NULL, and a length.
    Bytes,
    /// A pointer to a NUL-terminated string, and MINIDB_STR.
    Text,
    /// NULL and a length.
    Null(usize),
    /// A length over MINIDB_MAX_LEN.
    TooLong(usize),
}

/// A key, value or bound to be passed.
#[derive(Clone, Debug)]
pub struct Arg {
    form: Form,
    /// With a NUL at the end, if it is a text.
    bytes: Vec<u8>,
}

impl Arg {
    pub const NULL: Arg = Arg::bad(Form::Null(0));

    pub fn bytes(bytes: Vec<u8>) -> Arg {
        Arg { form: Form::Bytes, bytes }
    }

    /// For bytes without a NUL in them.
    pub fn text(mut bytes: Vec<u8>) -> Arg {
        bytes.push(0);
        Arg { form: Form::Text, bytes }
    }

    pub const fn bad(form: Form) -> Arg {
        Arg { form, bytes: Vec::new() }
    }

    pub fn get(&self) -> &[u8] {
        match self.form {
            Form::Text => &self.bytes[..self.bytes.len() - 1],
            _ => &self.bytes,
        }
    }

    /// For arguments of which NULL means that there is none.
    pub fn option(&self) -> Option<&[u8]> {
        (self.form != Form::Null(0)).then(|| self.get())
    }

    fn start(&self) -> *const c_void {
        match self.form {
            Form::Null(_) => ptr::null(),
            _ => self.bytes.as_ptr().cast(),
        }
    }

    fn len(&self) -> usize {
        match self.form {
            Form::Bytes => self.bytes.len(),
            Form::Text => usize::MAX, // MINIDB_STR
            Form::Null(len) | Form::TooLong(len) => len,
        }
    }
}

/// Which of the two out-parameters for bytes are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    pub bytes: bool,
    pub len: bool,
}

impl Want {
    pub const BOTH: Want = Want { bytes: true, len: true };
}

/// The code of a call, and the bytes that it handed out as far as wanted. If
/// their length was not, they are cut at the first NUL.
#[derive(PartialEq, Eq)]
pub struct Answer {
    pub code: c_int,
    pub bytes: Option<Vec<u8>>,
    pub len: Option<usize>,
}

impl Answer {
    /// What a call should answer that finds `value`.
    pub fn new(code: c_int, value: Option<&[u8]>, want: Want) -> Answer {
        let end = |value: &[u8]| match want.len {
            true => value.len(),
            false => value.iter().position(|byte| *byte == 0).unwrap_or(value.len()),
        };
        Answer {
            code,
            bytes: value.filter(|_| want.bytes).map(|value| value[..end(value)].to_vec()),
            len: want.len.then(|| value.map_or(0, <[u8]>::len)),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes.as_deref().map(brief);
        write!(f, "code {}, bytes {bytes:?}, length {:?}", self.code, self.len)
    }
}

/// Copies bytes that were handed out or lent; NULL is none.
///
/// # Safety
///
/// `start` is NULL or points to `len` bytes and a NUL, or to a NUL-terminated
/// string if there is no `len`.
unsafe fn copy(start: *const c_char, len: Option<usize>) -> Option<Vec<u8>> {
    if start.is_null() {
        return None;
    }
    // SAFETY: passed on.
    unsafe {
        let Some(len) = len else {
            return Some(CStr::from_ptr(start).to_bytes().to_vec());
        };
        assert_eq!(*start.add(len), 0, "there is no NUL after {len} bytes handed out");
        Some(std::slice::from_raw_parts(start.cast(), len).to_vec())
    }
}

/// Calls `call` with out-parameters for bytes.
fn answer(want: Want, call: impl FnOnce(*mut *mut c_char, *mut usize) -> c_int) -> Answer {
    let mut start = Handle::POISON.0.cast();
    let mut len = usize::MAX;
    let code = call(
        if want.bytes { &mut start } else { ptr::null_mut() },
        if want.len { &mut len } else { ptr::null_mut() },
    );
    let len = want.len.then_some(len);
    assert_ne!(len, Some(usize::MAX), "the length was not set");
    if !want.bytes {
        return Answer { code, bytes: None, len };
    }
    assert_ne!(start, Handle::POISON.0.cast(), "the pointer was not set");
    // SAFETY: minidb handed it out, so it is NULL or is followed by a NUL, and
    // is to be freed once.
    unsafe {
        let bytes = copy(start, len);
        minidb_free(start.cast());
        Answer { code, bytes, len }
    }
}

/// Calls `call` with an out-parameter for a number, if one is wanted.
fn number<T: Copy + PartialEq + fmt::Debug>(
    wanted: bool,
    poison: T,
    call: impl FnOnce(*mut T) -> c_int,
) -> (c_int, Option<T>) {
    let mut number = poison;
    let code = call(if wanted { &mut number } else { ptr::null_mut() });
    let number = wanted.then_some(number);
    assert_ne!(number, Some(poison), "the number was not set");
    (code, number)
}

/// Calls `call` with an out-parameter for a handle.
fn handle<H>(call: impl FnOnce(*mut *mut H) -> c_int) -> (c_int, Handle) {
    let mut handle = Handle::POISON.0.cast::<H>();
    let code = call(&mut handle);
    let handle = Handle(handle.cast());
    assert_ne!(handle, Handle::POISON, "the handle was not set");
    (code, handle)
}

pub fn open(path: Option<&CStr>, flags: u32) -> (c_int, Handle) {
    // SAFETY: a path is NULL or NUL-terminated.
    handle(|out| unsafe { minidb_open(path.map_or(ptr::null(), CStr::as_ptr), flags, out) })
}

pub fn snapshot(view: Handle) -> (c_int, Handle) {
    // SAFETY: `out` is a variable.
    handle(|out| unsafe { minidb_snapshot(view.view(), out) })
}

pub fn begin(view: Handle) -> (c_int, Handle) {
    // SAFETY: `out` is a variable.
    handle(|out| unsafe { minidb_begin(view.view(), out) })
}

pub fn commit(view: Handle) -> c_int {
    // SAFETY: what is not a view is refused.
    unsafe { minidb_commit(view.view()) }
}

pub fn close(view: Handle) {
    // SAFETY: what is not a view is refused.
    unsafe { minidb_close(view.view()) }
}

pub fn get(view: Handle, key: &Arg, want: Want) -> Answer {
    // SAFETY: an `Arg` is what its pointer and length say.
    answer(want, |out, len| unsafe { minidb_get(view.view(), key.start(), key.len(), out, len) })
}

/// Gets into `buffer`, or into NULL with the length that stands there.
pub fn get_into(
    view: Handle,
    key: &Arg,
    buffer: Result<&mut [u8], usize>,
    wanted: bool,
) -> (c_int, Option<usize>) {
    let (start, size) = raw(buffer);
    // SAFETY: an `Arg` is what its pointer and length say, and so is a slice.
    number(wanted, usize::MAX, |len| unsafe {
        minidb_get_into(view.view(), key.start(), key.len(), start, size, len)
    })
}

fn raw(buffer: Result<&mut [u8], usize>) -> (*mut c_void, usize) {
    match buffer {
        Ok(buffer) => (buffer.as_mut_ptr().cast(), buffer.len()),
        Err(size) => (ptr::null_mut(), size),
    }
}

pub fn put(view: Handle, key: &Arg, value: &Arg, want: Want) -> Answer {
    let (key, value) = ((key.start(), key.len()), (value.start(), value.len()));
    // SAFETY: an `Arg` is what its pointer and length say.
    answer(want, |old, len| unsafe {
        minidb_put(view.view(), key.0, key.1, value.0, value.1, old, len)
    })
}

pub fn delete(view: Handle, key: &Arg, want: Want) -> Answer {
    // SAFETY: an `Arg` is what its pointer and length say.
    answer(want, |old, len| unsafe { minidb_delete(view.view(), key.start(), key.len(), old, len) })
}

pub fn clear(view: Handle, from: &Arg, to: &Arg) -> c_int {
    // SAFETY: an `Arg` is what its pointer and length say.
    unsafe { minidb_clear(view.view(), from.start(), from.len(), to.start(), to.len()) }
}

pub fn cas(view: Handle, key: &Arg, expected: &Arg, desired: &Arg) -> c_int {
    let [key, expected, desired] = [key, expected, desired].map(|arg| (arg.start(), arg.len()));
    // SAFETY: an `Arg` is what its pointer and length say.
    unsafe { minidb_cas(view.view(), key.0, key.1, expected.0, expected.1, desired.0, desired.1) }
}

pub fn write(view: Handle, entries: &Arg) -> c_int {
    // SAFETY: an `Arg` is what its pointer and length say.
    unsafe { minidb_write(view.view(), entries.start(), entries.len()) }
}

pub fn scan(view: Handle, from: &Arg, to: &Arg) -> (c_int, Handle) {
    let (from, to) = ((from.start(), from.len()), (to.start(), to.len()));
    // SAFETY: an `Arg` is what its pointer and length say.
    handle(|out| unsafe { minidb_scan(view.view(), from.0, from.1, to.0, to.1, out) })
}

pub fn scan_prefix(view: Handle, prefix: &Arg) -> (c_int, Handle) {
    // SAFETY: an `Arg` is what its pointer and length say.
    handle(|out| unsafe { minidb_scan_prefix(view.view(), prefix.start(), prefix.len(), out) })
}

/// The functions that hand out a handle, called without a variable for it; the
/// code of all, if it is the same.
pub fn open_to_nowhere(view: Handle) -> c_int {
    let (view, null) = (view.view(), ptr::null());
    // SAFETY: NULL for the handle is to be refused; the other NULLs are valid.
    let codes = unsafe {
        [
            minidb_open(ptr::null(), 0, ptr::null_mut()),
            minidb_snapshot(view, ptr::null_mut()),
            minidb_begin(view, ptr::null_mut()),
            minidb_scan(view, null, 0, null, 0, ptr::null_mut()),
            minidb_scan_prefix(view, null, 0, ptr::null_mut()),
        ]
    };
    assert!(codes.iter().all(|code| *code == codes[0]), "the codes are {codes:?}");
    codes[0]
}

pub fn first(cursor: Handle) -> c_int {
    // SAFETY: what is not a cursor is refused, here and below.
    unsafe { minidb_cursor_first(cursor.cursor()) }
}

pub fn last(cursor: Handle) -> c_int {
    // SAFETY: see `first`.
    unsafe { minidb_cursor_last(cursor.cursor()) }
}

pub fn next(cursor: Handle) -> c_int {
    // SAFETY: see `first`.
    unsafe { minidb_cursor_next(cursor.cursor()) }
}

pub fn prev(cursor: Handle) -> c_int {
    // SAFETY: see `first`.
    unsafe { minidb_cursor_prev(cursor.cursor()) }
}

pub fn seek(cursor: Handle, key: &Arg) -> c_int {
    // SAFETY: an `Arg` is what its pointer and length say.
    unsafe { minidb_cursor_seek(cursor.cursor(), key.start(), key.len()) }
}

/// What the cursor stands at, key and value, borrowed while `meanwhile` runs.
/// That must not move or close it.
pub fn borrowed(cursor: Handle, want_len: bool, meanwhile: impl FnOnce()) -> [Answer; 2] {
    let lend = |function: unsafe extern "C" fn(*const minidb_cursor_t, *mut usize) -> _| {
        let mut len = usize::MAX;
        // SAFETY: `len` is a variable.
        let lent =
            unsafe { function(cursor.cursor(), if want_len { &mut len } else { ptr::null_mut() }) };
        assert!(!want_len || len != usize::MAX, "the length was not set");
        (lent, want_len.then_some(len))
    };
    let lent = [lend(minidb_cursor_key), lend(minidb_cursor_value)];
    meanwhile();
    lent.map(|(start, len)| {
        // SAFETY: it is borrowed still, and is followed by a NUL.
        Answer { code: MINIDB_OK, bytes: unsafe { copy(start, len) }, len }
    })
}

/// Reads into `buffer`, or into NULL with the length that stands there.
pub fn read(
    cursor: Handle,
    buffer: Result<&mut [u8], usize>,
    wanted: bool,
) -> (c_int, Option<usize>) {
    let (start, size) = raw(buffer);
    // SAFETY: a slice is as long as it says.
    number(wanted, usize::MAX, |used| unsafe {
        minidb_cursor_read(cursor.cursor(), start, size, used)
    })
}

pub fn cursor_close(cursor: Handle) {
    // SAFETY: what is not a cursor is refused.
    unsafe { minidb_cursor_close(cursor.cursor()) }
}

/// Shown an entry; whether to go on.
type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// What the visits of one [`each`] share.
struct Visits<'a> {
    visit: Visit<'a>,
    panic: Option<Box<dyn std::any::Any + Send>>,
}

/// Calls `visit`; a panic waits until it is back on this side of C.
///
/// # Safety
///
/// As a minidb_visit is called, with a [`Visits`] as its context.
unsafe extern "C" fn visit(
    ctx: *mut c_void,
    key: *const c_char,
    key_len: usize,
    value: *const c_char,
    value_len: usize,
) -> c_int {
    // SAFETY: `each` passes it, and it is used here only meanwhile.
    let visits = unsafe { &mut *ctx.cast::<Visits<'_>>() };
    let visited = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the bytes are borrowed for the call, and followed by a NUL.
        let [key, value] = unsafe {
            [(key, key_len), (value, value_len)].map(|(start, len)| {
                assert!(!start.is_null() && *start.add(len) == 0, "no NUL after an entry's part");
                std::slice::from_raw_parts(start.cast(), len)
            })
        };
        (visits.visit)(key, value)
    }));
    match visited {
        Ok(go_on) => !go_on as c_int,
        Err(panic) => {
            visits.panic = Some(panic);
            -1
        }
    }
}

pub fn each(view: Handle, prefix: &Arg, visit: Visit<'_>) -> c_int {
    let mut visits = Visits { visit, panic: None };
    let ctx = (&raw mut visits).cast();
    // SAFETY: an `Arg` is what its pointer and length say, `self::visit` is a
    // minidb_visit, and `ctx` is what it wants.
    let code =
        unsafe { minidb_each(view.view(), prefix.start(), prefix.len(), Some(self::visit), ctx) };
    if let Some(panic) = visits.panic {
        resume_unwind(panic);
    }
    code
}

/// Without a function to call.
pub fn each_to_nowhere(view: Handle) -> c_int {
    // SAFETY: the NULL prefix is empty, and NULL for `visit` is to be refused.
    unsafe { minidb_each(view.view(), ptr::null(), 0, None, ptr::null_mut()) }
}

pub fn stat(view: Handle, what: c_int, wanted: bool) -> (c_int, Option<u64>) {
    // SAFETY: `value` is a variable, or NULL.
    number(wanted, u64::MAX, |value| unsafe { minidb_stat(view.view(), what, value) })
}

pub fn sync(view: Handle) -> c_int {
    // SAFETY: what is not a view is refused, here and below.
    unsafe { minidb_sync(view.view()) }
}

pub fn checkpoint(view: Handle) -> c_int {
    // SAFETY: see `sync`.
    unsafe { minidb_checkpoint(view.view()) }
}

pub fn check(view: Handle) -> c_int {
    // SAFETY: see `sync`.
    unsafe { minidb_check(view.view()) }
}

pub fn backup(view: Handle, path: &CStr) -> c_int {
    // SAFETY: a path is NUL-terminated.
    unsafe { minidb_backup(view.view(), path.as_ptr()) }
}

/// Salvages a file; the answer is the report.
pub fn salvage(damaged: &CStr, path: &CStr) -> Answer {
    // SAFETY: paths are NUL-terminated.
    answer(Want { bytes: true, len: false }, |report, _| unsafe {
        minidb_salvage(damaged.as_ptr(), path.as_ptr(), report)
    })
}

pub fn strerror(code: c_int) -> String {
    text(|| {
        // SAFETY: any code may be asked for.
        unsafe { minidb_strerror(code) }
    })
}

pub fn version() -> String {
    text(|| {
        // SAFETY: it takes nothing.
        unsafe { minidb_version() }
    })
}

fn text(call: impl FnOnce() -> *const c_char) -> String {
    let text = call();
    assert!(!text.is_null(), "the text is NULL");
    // SAFETY: it is not NULL, so it is a NUL-terminated string.
    unsafe { CStr::from_ptr(text) }.to_str().expect("the text is UTF-8").to_owned()
}

/// Does nothing.
pub fn free_null() {
    // SAFETY: NULL may be freed.
    unsafe { minidb_free(ptr::null_mut()) }
}
