//! What the handle of a view stands for, and the count of handles.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};

use super::code::*;
use super::text::{Failure, invalid};
use crate::sync::Arc;
use crate::{Cursor, DBError, DBResult, InMemoryDB, Snapshot};

/// What a view shows.
#[derive(Debug)]
pub(super) enum View {
    Database(InMemoryDB),
    Snapshot(Snapshot),
}

/// Counts the handles that are open on a store, itself included.
#[derive(Debug)]
pub(super) struct Open(Arc<AtomicU64>);

impl Open {
    /// The first handle on a store.
    pub(super) fn first() -> Open {
        Open(Arc::new(AtomicU64::new(1)))
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for Open {
    fn clone(&self) -> Open {
        self.0.fetch_add(1, Ordering::Relaxed);
        Open(self.0.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl View {
    /// The database, for what is done to databases only.
    pub(super) fn database(&self) -> Result<&InMemoryDB, Failure> {
        match self {
            View::Database(db) => Ok(db),
            View::Snapshot(_) => Err(invalid("the handle is one of a snapshot, not of a database")),
        }
    }

    /// The database, to be written to.
    #[inline]
    pub(super) fn writable(&self) -> DBResult<&InMemoryDB> {
        match self {
            View::Database(db) => Ok(db),
            View::Snapshot(_) => Err(DBError::ReadOnly),
        }
    }

    #[inline]
    pub(super) fn get_with<T>(
        &self,
        key: &[u8],
        f: impl FnOnce(Option<&[u8]>) -> DBResult<T>,
    ) -> DBResult<T> {
        match self {
            View::Database(db) => db.get_with(key, f)?,
            View::Snapshot(snapshot) => snapshot.get_with(key, f),
        }
    }

    pub(super) fn scan(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<Cursor> {
        match self {
            View::Database(db) => db.scan(from, to),
            View::Snapshot(snapshot) => snapshot.scan(from, to),
        }
    }

    pub(super) fn scan_prefix(&self, prefix: &[u8]) -> DBResult<Cursor> {
        match self {
            View::Database(db) => db.scan_prefix(prefix),
            View::Snapshot(snapshot) => snapshot.scan_prefix(prefix),
        }
    }

    pub(super) fn snapshot(&self) -> DBResult<Snapshot> {
        match self {
            View::Database(db) => db.snapshot(),
            View::Snapshot(snapshot) => Ok(snapshot.clone()),
        }
    }

    pub(super) fn check(&self) -> DBResult<()> {
        match self {
            View::Database(db) => db.check(),
            View::Snapshot(snapshot) => snapshot.check(),
        }
    }

    /// A number about the view; those that are not about handles.
    pub(super) fn stat(&self, what: c_int) -> Result<u64, Failure> {
        Ok(match (self, what) {
            (_, MINIDB_STAT_FILE_BYTES) => 0,
            (View::Database(db), MINIDB_STAT_COUNT) => db.count()?,
            (View::Database(db), MINIDB_STAT_DATA_BYTES) => db.data_bytes()?,
            (View::Database(db), MINIDB_STAT_MEMORY_BYTES) => db.memory_bytes()?,
            (View::Database(db), MINIDB_STAT_COMMITS) => db.commits()?,
            (View::Snapshot(snapshot), MINIDB_STAT_COUNT) => snapshot.count(),
            (View::Snapshot(snapshot), MINIDB_STAT_DATA_BYTES) => snapshot.data_bytes(),
            (View::Snapshot(snapshot), MINIDB_STAT_MEMORY_BYTES) => snapshot.memory_bytes()?,
            (View::Snapshot(snapshot), MINIDB_STAT_COMMITS) => snapshot.commits(),
            _ => return Err(invalid(format!("there is no MINIDB_STAT_* with the value {what}"))),
        })
    }
}
