//! `DBError`: every failure of the store.
//!
//! An answer is not an error: a missing key is `None`, a lost compare-and-swap is
//! `false`.

use std::fmt;
use std::io;
use std::path::Path;

use crate::fallible::text;

/// The result of a database operation; by default a value, or none.
pub type DBResult<T = Option<Vec<u8>>> = Result<T, DBError>;

/// A failed operation. The store is as it was before; only after [`DBError::Io`] or
/// [`DBError::Internal`] from a write that is not certain.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DBError {
    /// An argument is not acceptable; the text says which and why.
    Invalid(String),
    /// The view cannot be written; the text says why.
    ReadOnly(String),
    /// There is not enough memory for the operation.
    OutOfMemory,
    /// The data break a rule that always holds; the text says which and where.
    Corrupt(String),
    /// There is no such file.
    NotFound(String),
    /// There is such a file already.
    Exists(String),
    /// The file is in use.
    Busy(String),
    /// The operating system refused to read or write, or has done so before.
    Io(String),
    /// No space is left on the device.
    Full(String),
    /// The file is not a minidb file, or is of a newer version.
    Format(String),
    /// An operation panicked half-way: a bug in minidb. If that was a write, the
    /// store refuses everything from then on.
    Internal,
}

impl fmt::Display for DBError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DBError::Invalid(why) => write!(f, "invalid argument: {why}"),
            DBError::ReadOnly(why) => write!(f, "the view cannot be written: {why}"),
            DBError::OutOfMemory => f.write_str("out of memory"),
            DBError::Corrupt(what) => write!(f, "damaged: {what}"),
            DBError::NotFound(what) => write!(f, "no such file: {what}"),
            DBError::Exists(what) => write!(f, "already there: {what}"),
            DBError::Busy(what) => write!(f, "in use: {what}"),
            DBError::Io(what) => write!(f, "input or output failed: {what}"),
            DBError::Full(what) => write!(f, "no space is left: {what}"),
            DBError::Format(what) => write!(f, "not a minidb file of this version: {what}"),
            DBError::Internal => {
                f.write_str("this call or an earlier one hit a bug in minidb; close the handle")
            }
        }
    }
}

impl std::error::Error for DBError {}

/// A copy has the text as far as there is memory for it.
impl Clone for DBError {
    fn clone(&self) -> DBError {
        let copy = |it: &String| text(format_args!("{it}"));
        match self {
            DBError::Invalid(why) => DBError::Invalid(copy(why)),
            DBError::ReadOnly(why) => DBError::ReadOnly(copy(why)),
            DBError::OutOfMemory => DBError::OutOfMemory,
            DBError::Corrupt(what) => DBError::Corrupt(copy(what)),
            DBError::NotFound(what) => DBError::NotFound(copy(what)),
            DBError::Exists(what) => DBError::Exists(copy(what)),
            DBError::Busy(what) => DBError::Busy(copy(what)),
            DBError::Io(what) => DBError::Io(copy(what)),
            DBError::Full(what) => DBError::Full(copy(what)),
            DBError::Format(what) => DBError::Format(copy(what)),
            DBError::Internal => DBError::Internal,
        }
    }
}

impl DBError {
    /// The error for a refusal of the operating system; `doing` is a verb.
    #[cold]
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> DBError {
        use io::ErrorKind::{FileTooLarge, OutOfMemory, QuotaExceeded, StorageFull};
        let text = || text(format_args!("cannot {doing} {}: {error}", path.display()));
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => DBError::Full(text()),
            OutOfMemory => DBError::OutOfMemory,
            _ => DBError::Io(text()),
        }
    }
}

/// The system refused memory: the only failure of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory;

impl From<OutOfMemory> for DBError {
    fn from(_: OutOfMemory) -> Self {
        DBError::OutOfMemory
    }
}

impl From<std::collections::TryReserveError> for OutOfMemory {
    fn from(_: std::collections::TryReserveError) -> Self {
        OutOfMemory
    }
}

impl From<std::collections::TryReserveError> for DBError {
    fn from(_: std::collections::TryReserveError) -> Self {
        DBError::OutOfMemory
    }
}
