//! The engine.
//!
//! A [`Database`] is a [`store`] and, with files, a [`journal`]. The store is the [`index`],
//! which is the ordered map, and the [`history`] of recent commits, behind one lock. The
//! journal puts each write into the [`log`] before the store applies it, and folds the log
//! into the data [`file`](mod@file) by checkpoints. [`snapshot`] and [`cursor`] have the views
//! that outlive a call, [`transaction`] those that are written to.
//!
//! The life of a put in memory: [`Database::put_with`] calls `Store::put`, which
//! checks the lengths. Under the upgradable guard the index descends to the leaf of the key; if
//! only that leaf changes, it is edited in place under its latch. Else the guard is upgraded
//! to the exclusive one, pages that a snapshot can see are copied on the way down, and the
//! leaf is edited, grown or split.
//!
//! The life of a put in a file: `Journal::commit` shows it in one screen.
//!
//! The life of a get: the read guard, down to the leaf, a search under its latch; the caller
//! is shown the bytes while both are held.
//!
//! The life of a cursor: it takes a snapshot, which is the number of the root page and an
//! epoch that keeps older pages from being changed; from then on it reads without any lock.
//!
//! `docs/ARCHITECTURE.md` has these walks by function names, and the glossary.

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
