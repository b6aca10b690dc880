//! minidb: an embeddable ordered key-value store.
//!
//! The crate is the source of a C library (`libminidb`, `minidb.h`), and a Rust library of
//! its own:
//!
//! ```
//! use minidb::{DB, InMemoryDB};
//!
//! let db = InMemoryDB::new()?; // or PersistentDB::open("app.db", Options::new())?
//! db.write_all([("apple", "green"), ("cherry", "red")])?;
//! assert_eq!(db.put(b"apple", b"red")?, Some(b"green".to_vec())); // the previous value
//!
//! let mut txn = db.begin()?;
//! let colour = txn.get(b"cherry")?.unwrap_or_default();
//! txn.put(b"plum", &colour)?;
//! assert!(txn.commit()?); // false if another commit changed what it read
//!
//! for entry in db.iter()? {
//!     let (key, value) = entry?;
//!     println!("{}: {}", key.escape_ascii(), value.escape_ascii());
//! }
//! # Ok::<(), minidb::DBError>(())
//! ```
//!
//! Keys and values are any bytes; keys are ordered as unsigned bytes, a shorter
//! one before a longer one that it begins. Any number of threads may use a
//! database. A [`Snapshot`], a [`Cursor`] or a [`DBIterator`] shows what the
//! database held when it was made, whatever is written meanwhile. A
//! [`Transaction`] makes several calls one step.
//!
//! [`InMemoryDB`] and [`PersistentDB`] make a [`Database`]: the one lives as long as its last
//! handle, the other keeps its commits in a file, and [`salvage`] reads a damaged one.
//! `docs/GUARANTEES.md` has the promises, with the tests that prove them; `docs/FORMAT.md` the
//! bytes of the files.
//!
//! The map of the crate, from top to bottom; each part uses those below it only:
//!
//! - `ffi`: the C ABI. It translates, and nothing else.
//! - this file: the trait [`DB`], and the items that Rust programs use.
//! - `storage`: the engine. [`Database`] has each operation once; `storage/store.rs` applies
//!   writes to `storage/index`, the ordered map; `storage/journal` takes them through the log
//!   and the data file (`storage/log`, `storage/file`).
//! - [`os`]: files, memory by the page, threads, and fork.
//! - `error`, `fallible`, `segments`, `sort`, `sync` and `planted`: shared by all of them.
//!
//! `docs/ARCHITECTURE.md` has the lives of a put, a get, a cursor and so on by the names of
//! functions, the lock order, and the glossary.
//!
//! Small allocations that the library makes for itself (a handle, a node's separators while
//! it splits) abort the process if the system refuses them, as is usual in Rust; an allocation
//! whose size the caller decides fails with [`DBError::OutOfMemory`] instead.

mod error;
mod fallible;
#[doc(hidden)] // for C, and for tests that play C
pub mod ffi;
pub mod os;
#[doc(hidden)] // for the tests of the tests
#[cfg(feature = "simulation")]
pub mod planted;
#[cfg(not(feature = "simulation"))]
mod planted;
#[cfg(minidb_shuttle)]
#[doc(hidden)] // for tests/schedules
pub mod schedules;
mod segments;
mod sort;
mod storage;
mod sync;

pub use error::{DBError, DBResult};
pub(crate) use storage::Sink;
pub use storage::{
    Cursor, DBIterator, Database, InMemoryDB, Options, PersistentDB, Progress, Snapshot,
    Transaction,
};
pub use storage::{Salvaged, salvage, salvage_on};

/// The longest key or value, in bytes.
pub const MAX_LEN: usize = 0x7fff_ffff;

/// A database: ordered entries of keys and values.
///
/// All methods take `&self`, since many threads may share a database; each call
/// is one atomic step.
pub trait DB: Send + Sync {
    /// Sets the value of `key` and returns the one that was there before.
    fn put(&self, key: &[u8], value: &[u8]) -> DBResult;

    /// Returns a copy of the value of `key`.
    fn get(&self, key: &[u8]) -> DBResult;

    /// Removes `key` and returns the value that it had.
    fn delete(&self, key: &[u8]) -> DBResult;

    /// Iterates over all entries in key order, as they are now.
    fn iter(&self) -> DBResult<DBIterator>;
}
