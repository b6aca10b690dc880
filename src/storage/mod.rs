//! The engine: what holds the data.
//!
//! [`index`] is the ordered map, memory only and without locks. [`in_memory_db`]
//! puts a lock around it and makes it a database; [`snapshot`] has what outlives a
//! call on one, [`transaction`] what makes several calls one. [`persistent_db`] adds
//! a [`log`], which keeps what was committed until it is in the [`mod@file`].
//!
//! The life of a put: [`InMemoryDB`] takes the lock for writing; the index goes
//! down from the root to the leaf that the key belongs to, copies the pages on
//! the way if a snapshot can see them, and edits the leaf in place, or moves it
//! to a larger page, or splits it.
//!
//! The life of a get: the lock for reading, down to the leaf, a search there,
//! and the caller is shown the bytes while the lock is held.
//!
//! The life of a cursor: it takes a snapshot, which is the root's page number
//! and a mark that keeps pages born until now from changing; from then on it
//! reads pages without any lock.
//!
//! With a file, a put is a record of the log first, and is shown to others when
//! that is on disk; now and then a checkpoint writes the pages that have changed.

mod backup;
mod change;
mod cursor;
mod database;
mod file;
mod history;
mod image;
mod in_memory_db;
mod index;
mod journal;
mod log;
mod options;
mod persistent_db;
mod salvage;
mod snapshot;
mod store;
mod transaction;

pub use cursor::{Cursor, DBIterator};
pub use database::Database;
pub use in_memory_db::InMemoryDB;
pub(crate) use index::Sink;
pub use options::{Options, Progress};
pub use persistent_db::PersistentDB;
pub use salvage::{Salvaged, salvage, salvage_on};
pub use snapshot::Snapshot;
pub use transaction::Transaction;
