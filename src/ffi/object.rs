//! The objects behind handles of views, and the store that they share.

use std::ffi::c_int;

use super::code::*;
use super::text::{Failure, invalid};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, Rank};
use crate::{Cursor, DBError, DBResult, Database, Snapshot, Transaction};

/// The object behind a handle of a view.
#[derive(Debug)]
pub(super) enum View {
    Database(Database),
    Snapshot(Snapshot),
    /// A transaction is for one thread at a time; the lock keeps misuse harmless.
    Transaction(Mutex<Transaction>),
}

/// The part of a store that all handles on it share.
#[derive(Debug)]
struct OpenStore {
    handles: AtomicU64,
    /// The database, whose file is closed with the last handle.
    database: Database,
}

/// A handle's reference to its store.
#[derive(Debug)]
pub(super) struct StoreRef(Arc<OpenStore>);

impl StoreRef {
    /// The reference of the first handle on a store.
    pub(super) fn first(database: Database) -> StoreRef {
        StoreRef(Arc::new(OpenStore { handles: AtomicU64::new(1), database }))
    }

    /// Number of handles on the store.
    pub(super) fn count(&self) -> u64 {
        self.0.handles.load(Ordering::Relaxed)
    }

    pub(super) fn database(&self) -> &Database {
        &self.0.database
    }
}

impl Clone for StoreRef {
    fn clone(&self) -> StoreRef {
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        StoreRef(self.0.clone())
    }
}

impl Drop for StoreRef {
    fn drop(&mut self) {
        self.0.handles.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Evaluates an expression on what a view is: the one place that tells the kinds apart.
macro_rules! on_view {
    ($view:expr, $it:ident => $result:expr) => {
        on_view!($view, $it => $result, View::Snapshot($it) => $result)
    };
    (writable $view:expr, $it:ident => $result:expr) => {
        on_view!($view, $it => $result, View::Snapshot(_) => Err(read_only_snapshot()))
    };
    ($view:expr, $it:ident => $result:expr, $snapshot:pat => $otherwise:expr) => {
        match $view {
            View::Database($it) => $result,
            $snapshot => $otherwise,
            View::Transaction(transaction) => {
                let mut held = transaction.lock()?;
                let $it = &mut *held;
                $result
            }
        }
    };
}

impl View {
    /// The database, if the view is one.
    pub(super) fn database(&self) -> Result<&Database, Failure> {
        match self {
            View::Database(db) => Ok(db),
            View::Snapshot(_) => Err(invalid("the handle is one of a snapshot, not of a database")),
            View::Transaction(_) => {
                Err(invalid("the handle is one of a transaction, not of a database"))
            }
        }
    }

    /// Begins a transaction on the database.
    pub(super) fn begin(&self) -> Result<View, Failure> {
        Ok(View::Transaction(Mutex::ranked(Rank::Transaction, self.database()?.begin()?)))
    }

    /// Commits the transaction; returns false if it is in conflict.
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
        on_view!(self, it => it.get_with(key, f)?)
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
            View::Transaction(transaction) if !is_wanted => {
                transaction.lock()?.put(key, value)?;
                old(None)
            }
            _ => on_view!(writable self, it => it.put_with(key, value, old)),
        }
    }

    /// In a transaction the old value is looked at only if it is wanted.
    pub(super) fn delete_with<T>(
        &self,
        key: &[u8],
        is_wanted: bool,
        old: impl FnOnce(&[u8]) -> DBResult<T>,
    ) -> DBResult<Option<T>> {
        match self {
            View::Transaction(transaction) if !is_wanted => {
                transaction.lock()?.delete(key)?.then(|| old(&[])).transpose()
            }
            _ => on_view!(writable self, it => it.delete_with(key, old)),
        }
    }

    pub(super) fn clear(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<()> {
        on_view!(writable self, it => it.clear(from, to))
    }

    pub(super) fn cas(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        desired: Option<&[u8]>,
    ) -> DBResult<bool> {
        on_view!(writable self, it => it.cas(key, expected, desired))
    }

    pub(super) fn write_all<'a>(
        &self,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> DBResult<()> {
        on_view!(writable self, it => it.write_all(entries))
    }

    pub(super) fn scan(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<Cursor> {
        on_view!(self, it => it.scan(from, to))
    }

    pub(super) fn scan_prefix(&self, prefix: &[u8]) -> DBResult<Cursor> {
        on_view!(self, it => it.scan_prefix(prefix))
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot, Failure> {
        match self {
            View::Transaction(_) => Err(invalid("there is no snapshot of a transaction")),
            _ => Ok(self.contents()?),
        }
    }

    /// A snapshot with all that the view holds.
    pub(super) fn contents(&self) -> DBResult<Snapshot> {
        on_view!(self, it => it.snapshot())
    }

    /// Verifies all that the view holds in memory, and the files of its store.
    pub(super) fn check(&self, store: &StoreRef) -> DBResult<()> {
        match self {
            View::Database(db) => db.check(),
            other => {
                on_view!(other, it => it.check())?;
                store.database().check_files()
            }
        }
    }

    /// A number about the view; those about the files are not known here.
    pub(super) fn stat(&self, what: c_int) -> Result<u64, Failure> {
        Ok(match what {
            MINIDB_STAT_COUNT => on_view!(self, it => it.count())?,
            MINIDB_STAT_DATA_BYTES => on_view!(self, it => it.data_bytes())?,
            MINIDB_STAT_MEMORY_BYTES => on_view!(self, it => it.memory_bytes())?,
            MINIDB_STAT_COMMITS => on_view!(self, it => it.commits())?,
            _ => return Err(invalid(format!("there is no MINIDB_STAT_* with the value {what}"))),
        })
    }
}

#[cold]
fn read_only_snapshot() -> DBError {
    DBError::ReadOnly("it is a snapshot".into())
}
