//! What the handle of a view stands for, and the count of handles.

use std::ffi::c_int;

use super::code::*;
use super::text::{Failure, invalid};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use crate::{Cursor, DBError, DBResult, InMemoryDB, PersistentDB, Snapshot, Transaction};

/// What a view shows.
#[derive(Debug)]
pub(super) enum View {
    InMemory(InMemoryDB),
    Persistent(PersistentDB),
    Snapshot(Snapshot),
    /// For one thread at a time; but misuse is not to do harm.
    Transaction(Mutex<Transaction>),
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
            View::Transaction(_) => {
                Err(invalid("the handle is one of a transaction, not of a database"))
            }
        }
    }

    /// Begins a transaction on the database.
    pub(super) fn begin(&self) -> Result<View, Failure> {
        self.expect_database()?;
        let transaction = match self {
            View::Persistent(db) => db.begin()?,
            View::InMemory(db) => db.begin()?,
            _ => return Err(DBError::Internal.into()),
        };
        Ok(View::Transaction(Mutex::new(transaction)))
    }

    /// Commits the transaction; says whether that could be.
    pub(super) fn commit(&self) -> Result<bool, Failure> {
        match self {
            View::Transaction(transaction) => Ok(transaction.lock()?.commit()?),
            _ => Err(invalid("the handle is not one of a transaction")),
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
            View::Transaction(transaction) => transaction.lock()?.get_with(key, f)?,
        }
    }

    /// In a transaction the old value is looked at only if it is wanted.
    #[inline]
    pub(super) fn put_with<T>(
        &self,
        key: &[u8],
        value: &[u8],
        is_wanted: bool,
        old: impl FnOnce(Option<&[u8]>) -> DBResult<T>,
    ) -> DBResult<T> {
        match self {
            View::InMemory(db) => db.put_with(key, value, old),
            View::Persistent(db) => db.put_with(key, value, old),
            View::Snapshot(_) => Err(of_snapshot()),
            View::Transaction(transaction) if is_wanted => {
                transaction.lock()?.put_with(key, value, old)
            }
            View::Transaction(transaction) => {
                transaction.lock()?.put(key, value)?;
                old(None)
            }
        }
    }

    /// As for [`View::put_with`].
    pub(super) fn delete_with<T>(
        &self,
        key: &[u8],
        is_wanted: bool,
        old: impl FnOnce(&[u8]) -> DBResult<T>,
    ) -> DBResult<Option<T>> {
        match self {
            View::InMemory(db) => db.delete_with(key, old),
            View::Persistent(db) => db.delete_with(key, old),
            View::Snapshot(_) => Err(of_snapshot()),
            View::Transaction(transaction) if is_wanted => {
                transaction.lock()?.delete_with(key, old)
            }
            View::Transaction(transaction) => {
                transaction.lock()?.delete(key)?.then(|| old(&[])).transpose()
            }
        }
    }

    pub(super) fn clear(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<()> {
        match self {
            View::InMemory(db) => db.clear(from, to),
            View::Persistent(db) => db.clear(from, to),
            View::Snapshot(_) => Err(of_snapshot()),
            View::Transaction(transaction) => transaction.lock()?.clear(from, to),
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
            View::Snapshot(_) => Err(of_snapshot()),
            View::Transaction(transaction) => transaction.lock()?.cas(key, expected, desired),
        }
    }

    pub(super) fn write_all<'a>(
        &self,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> DBResult<()> {
        match self {
            View::InMemory(db) => db.write_all(entries),
            View::Persistent(db) => db.write_all(entries),
            View::Snapshot(_) => Err(of_snapshot()),
            View::Transaction(transaction) => transaction.lock()?.write_all(entries),
        }
    }

    pub(super) fn scan(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<Cursor> {
        match self {
            View::InMemory(db) => db.scan(from, to),
            View::Persistent(db) => db.scan(from, to),
            View::Snapshot(snapshot) => snapshot.scan(from, to),
            View::Transaction(transaction) => transaction.lock()?.scan(from, to),
        }
    }

    pub(super) fn scan_prefix(&self, prefix: &[u8]) -> DBResult<Cursor> {
        match self {
            View::InMemory(db) => db.scan_prefix(prefix),
            View::Persistent(db) => db.scan_prefix(prefix),
            View::Snapshot(snapshot) => snapshot.scan_prefix(prefix),
            View::Transaction(transaction) => transaction.lock()?.scan_prefix(prefix),
        }
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot, Failure> {
        match self {
            View::Transaction(_) => Err(invalid("there is no snapshot of a transaction")),
            _ => Ok(self.all()?),
        }
    }

    /// All that the view holds.
    pub(super) fn all(&self) -> DBResult<Snapshot> {
        match self {
            View::InMemory(db) => db.snapshot(),
            View::Persistent(db) => db.snapshot(),
            View::Snapshot(snapshot) => Ok(snapshot.clone()),
            View::Transaction(transaction) => transaction.lock()?.copy(),
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
            View::Transaction(transaction) => transaction.lock()?.check(),
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
            View::Transaction(transaction) => {
                let mut transaction = transaction.lock()?;
                return match what {
                    MINIDB_STAT_COUNT => Ok(transaction.count()?),
                    MINIDB_STAT_DATA_BYTES => Ok(transaction.data_bytes()?),
                    MINIDB_STAT_MEMORY_BYTES => Ok(transaction.memory_bytes()?),
                    MINIDB_STAT_COMMITS => Ok(transaction.commits()),
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

#[cold]
fn of_snapshot() -> DBError {
    DBError::ReadOnly("it is a snapshot".into())
}

fn unknown(what: c_int) -> Failure {
    invalid(format!("there is no MINIDB_STAT_* with the value {what}"))
}
