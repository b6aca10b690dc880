//! What the handle of a view stands for, and the count of handles.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};

use super::code::*;
use super::text::{Failure, invalid};
use crate::sync::Arc;
use crate::{Cursor, DBError, DBResult, InMemoryDB, PersistentDB, Snapshot};

/// What a view shows.
#[derive(Debug)]
pub(super) enum View {
    InMemory(InMemoryDB),
    Persistent(PersistentDB),
    Snapshot(Snapshot),
}

/// What all handles on a store have in common.
#[derive(Debug)]
struct Store {
    /// How many there are.
    handles: AtomicU64,
    /// The file, which is closed with the last of them.
    file: Option<PersistentDB>,
}

/// One handle's share of its store.
#[derive(Debug)]
pub(super) struct Open(Arc<Store>);

impl Open {
    /// The first handle on a store.
    pub(super) fn first(view: &View) -> Open {
        let file = match view {
            View::Persistent(db) => Some(db.clone()),
            _ => None,
        };
        Open(Arc::new(Store { handles: AtomicU64::new(1), file }))
    }

    pub(super) fn count(&self) -> u64 {
        self.0.handles.load(Ordering::Relaxed)
    }

    /// The file, if the store has one.
    pub(super) fn file(&self) -> Option<&PersistentDB> {
        self.0.file.as_ref()
    }
}

impl Clone for Open {
    fn clone(&self) -> Open {
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        Open(self.0.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.handles.fetch_sub(1, Ordering::Relaxed);
    }
}

impl View {
    /// Refuses all but databases.
    pub(super) fn expect_database(&self) -> Result<(), Failure> {
        match self {
            View::InMemory(_) | View::Persistent(_) => Ok(()),
            View::Snapshot(_) => Err(invalid("the handle is one of a snapshot, not of a database")),
        }
    }

    #[inline]
    pub(super) fn get_with<T>(
        &self,
        key: &[u8],
        f: impl FnOnce(Option<&[u8]>) -> DBResult<T>,
    ) -> DBResult<T> {
        match self {
            View::InMemory(db) => db.get_with(key, f)?,
            View::Persistent(db) => db.get_with(key, f)?,
            View::Snapshot(snapshot) => snapshot.get_with(key, f),
        }
    }

    #[inline]
    pub(super) fn put_with<T>(
        &self,
        key: &[u8],
        value: &[u8],
        old: impl FnOnce(Option<&[u8]>) -> DBResult<T>,
    ) -> DBResult<T> {
        match self {
            View::InMemory(db) => db.put_with(key, value, old),
            View::Persistent(db) => db.put_with(key, value, old),
            View::Snapshot(_) => Err(DBError::ReadOnly),
        }
    }

    pub(super) fn delete_with<T>(
        &self,
        key: &[u8],
        old: impl FnOnce(&[u8]) -> DBResult<T>,
    ) -> DBResult<Option<T>> {
        match self {
            View::InMemory(db) => db.delete_with(key, old),
            View::Persistent(db) => db.delete_with(key, old),
            View::Snapshot(_) => Err(DBError::ReadOnly),
        }
    }

    pub(super) fn clear(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<()> {
        match self {
            View::InMemory(db) => db.clear(from, to),
            View::Persistent(db) => db.clear(from, to),
            View::Snapshot(_) => Err(DBError::ReadOnly),
        }
    }

    pub(super) fn cas(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        desired: Option<&[u8]>,
    ) -> DBResult<bool> {
        match self {
            View::InMemory(db) => db.cas(key, expected, desired),
            View::Persistent(db) => db.cas(key, expected, desired),
            View::Snapshot(_) => Err(DBError::ReadOnly),
        }
    }

    pub(super) fn write_all<'a>(
        &self,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> DBResult<()> {
        match self {
            View::InMemory(db) => db.write_all(entries),
            View::Persistent(db) => db.write_all(entries),
            View::Snapshot(_) => Err(DBError::ReadOnly),
        }
    }

    pub(super) fn scan(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<Cursor> {
        match self {
            View::InMemory(db) => db.scan(from, to),
            View::Persistent(db) => db.scan(from, to),
            View::Snapshot(snapshot) => snapshot.scan(from, to),
        }
    }

    pub(super) fn scan_prefix(&self, prefix: &[u8]) -> DBResult<Cursor> {
        match self {
            View::InMemory(db) => db.scan_prefix(prefix),
            View::Persistent(db) => db.scan_prefix(prefix),
            View::Snapshot(snapshot) => snapshot.scan_prefix(prefix),
        }
    }

    pub(super) fn snapshot(&self) -> DBResult<Snapshot> {
        match self {
            View::InMemory(db) => db.snapshot(),
            View::Persistent(db) => db.snapshot(),
            View::Snapshot(snapshot) => Ok(snapshot.clone()),
        }
    }

    /// Waits until all that was committed is on disk.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        self.expect_database()?;
        match self {
            View::Persistent(db) => Ok(db.sync()?),
            _ => Ok(()),
        }
    }

    /// Folds the log into the file.
    pub(super) fn checkpoint(&self) -> Result<(), Failure> {
        self.expect_database()?;
        match self {
            View::Persistent(db) => Ok(db.checkpoint()?),
            _ => Ok(()),
        }
    }

    /// Verifies what is in memory.
    pub(super) fn check(&self) -> DBResult<()> {
        match self {
            View::InMemory(db) => db.check(),
            View::Persistent(db) => db.memory().check(),
            View::Snapshot(snapshot) => snapshot.check(),
        }
    }

    /// A number about the view; those that are not about the store.
    pub(super) fn stat(&self, what: c_int) -> Result<u64, Failure> {
        let db = match self {
            View::InMemory(db) => db,
            View::Persistent(db) => db.memory(),
            View::Snapshot(snapshot) => {
                return match what {
                    MINIDB_STAT_COUNT => Ok(snapshot.count()),
                    MINIDB_STAT_DATA_BYTES => Ok(snapshot.data_bytes()),
                    MINIDB_STAT_MEMORY_BYTES => Ok(snapshot.memory_bytes()?),
                    MINIDB_STAT_COMMITS => Ok(snapshot.commits()),
                    _ => Err(unknown(what)),
                };
            }
        };
        Ok(match what {
            MINIDB_STAT_COUNT => db.count()?,
            MINIDB_STAT_DATA_BYTES => db.data_bytes()?,
            MINIDB_STAT_MEMORY_BYTES => db.memory_bytes()?,
            MINIDB_STAT_COMMITS => db.commits()?,
            _ => return Err(unknown(what)),
        })
    }
}

fn unknown(what: c_int) -> Failure {
    invalid(format!("there is no MINIDB_STAT_* with the value {what}"))
}
