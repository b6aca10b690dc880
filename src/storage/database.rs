//! `Database`: each operation once, for databases in memory and in files.
//!
//! The two kinds differ in one thing: whether a write passes a [`Journal`], which puts
//! it into the log before the [`Store`] applies it. Reads go to the store alone.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

use super::change::{Change, Changes};
use super::cursor::{Cursor, DBIterator};
use super::index::{Bounds, Totals};
use super::journal::{Journal, Record};
use super::snapshot::Snapshot;
use super::store::Store;
use crate::DB;
use crate::error::{DBError, DBResult};
use crate::fallible;
use crate::planted::{self, Bug};
use crate::sync::Arc;

/// An ordered key-value store, in memory or in a file.
///
/// [`InMemoryDB`](crate::InMemoryDB) and [`PersistentDB`](crate::PersistentDB) make one;
/// cloning it gives another handle on the same data.
///
/// The closures that some methods take are called while the store is locked: they must
/// not use this database, nor another one, whose locks could be waited for in a circle.
#[derive(Clone)]
pub struct Database {
    store: Arc<Store>,
    journal: Option<Arc<Journal>>,
}

/// The payload of a commit that puts entries.
fn puts(
    entries: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
) -> DBResult<Vec<u8>> {
    let mut payload = Vec::new();
    for (key, value) in entries {
        Change::put(key.as_ref(), value.as_ref())?.add_to(&mut payload)?;
    }
    Ok(payload)
}

impl Database {
    pub(super) fn new(store: Arc<Store>, journal: Option<Arc<Journal>>) -> Database {
        Database { store, journal }
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Shows `view` the value of `key`, without a copy.
    ///
    /// ```
    /// # use minidb::{DB, InMemoryDB};
    /// # let db = InMemoryDB::new()?;
    /// db.put(b"key", b"value")?;
    /// assert_eq!(db.get_with(b"key", |value| value.map(<[u8]>::len))?, Some(5));
    /// # Ok::<(), minidb::DBError>(())
    /// ```
    #[inline]
    pub fn get_with<T>(&self, key: &[u8], view: impl FnOnce(Option<&[u8]>) -> T) -> DBResult<T> {
        self.store.get_with(key, view)
    }

    /// Sets the value of `key`. Before that, shows `old` the value that was there; the
    /// result of `old` is returned, and an error from it stops the put.
    #[inline]
    pub fn put_with<T>(
        &self,
        key: &[u8],
        value: &[u8],
        old: impl FnOnce(Option<&[u8]>) -> DBResult<T>,
    ) -> DBResult<T> {
        match &self.journal {
            None => self.store.put(key, value, old),
            Some(journal) => {
                let record = Record::Change(Change::put(key, value)?);
                let old = Cell::new(Some(old));
                let put = |store: &Store| store.put(key, value, |value| take(&old)?(value));
                self.retry(|| journal.commit(record, |_| Ok(None), put))
            }
        }
    }

    /// Removes `key`. Before that, shows `old` its value; the result of `old` is
    /// returned, and an error from it stops the deletion. `None` if the key is not there.
    pub fn delete_with<T>(
        &self,
        key: &[u8],
        old: impl FnOnce(&[u8]) -> DBResult<T>,
    ) -> DBResult<Option<T>> {
        match &self.journal {
            None => self.store.delete(key, old),
            Some(journal) => {
                let record = Record::Change(Change::delete(key)?);
                let old = Cell::new(Some(old));
                let is_missing = |value: Option<&[u8]>| value.is_none().then_some(None);
                let delete = |store: &Store| store.delete(key, |value| take(&old)?(value));
                self.retry(|| {
                    journal.commit(record, |store| store.get_latest(key, is_missing), delete)
                })
            }
        }
    }

    /// Makes a change. If memory is refused, it is made again when the snapshots of the
    /// journal are gone, which keep memory.
    fn retry<T>(&self, mut change: impl FnMut() -> DBResult<T>) -> DBResult<T> {
        match (change(), &self.journal) {
            (Err(DBError::OutOfMemory), Some(journal)) => {
                journal.wait_for_snapshots()?;
                change()
            }
            (done, _) => done,
        }
    }

    /// Removes every key from `from` up to, but not including, `to`; `None` is no bound.
    pub fn clear(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<()> {
        match &self.journal {
            Some(journal) if !planted::is(Bug::ClearNotLogged) => {
                let record = Record::Change(Change::clear(from, to)?);
                let clear = |store: &Store| store.clear(from, to);
                self.retry(|| journal.commit(record, |_| Ok(None), clear))
            }
            _ => self.store.clear(from, to),
        }
    }

    /// Compares and swaps: if the value of `key` equals `expected`, sets it to `desired`
    /// and returns true. `None` is no value: as `expected`, the key must not be there; as
    /// `desired`, it is removed.
    ///
    /// ```
    /// # use minidb::{DB, InMemoryDB};
    /// # let db = InMemoryDB::new()?;
    /// assert!(db.cas(b"lock", None, Some(b"mine"))?);
    /// assert!(!db.cas(b"lock", None, Some(b"mine, too"))?);
    /// assert!(db.cas(b"lock", Some(b"mine"), None)?);
    /// # Ok::<(), minidb::DBError>(())
    /// ```
    pub fn cas(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        desired: Option<&[u8]>,
    ) -> DBResult<bool> {
        let change = Change::set(key, desired)?;
        match &self.journal {
            None => self.store.cas(key, expected, change),
            Some(journal) => {
                let differs = |value: Option<&[u8]>| (value != expected).then_some(false);
                let cas = |store: &Store| store.cas(key, expected, change);
                self.retry(|| {
                    let record = Record::Change(change);
                    journal.commit(record, |store| store.get_latest(key, differs), cas)
                })
            }
        }
    }

    /// Puts every entry in one atomic step; of entries with the same key the last one
    /// counts.
    ///
    /// ```
    /// # use minidb::{DB, InMemoryDB};
    /// # let db = InMemoryDB::new()?;
    /// db.write_all([("apple", "red"), ("plum", "blue")])?;
    /// assert_eq!(db.count()?, 2);
    /// # Ok::<(), minidb::DBError>(())
    /// ```
    pub fn write_all(
        &self,
        entries: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    ) -> DBResult<()> {
        let payload = puts(entries)?;
        if planted::is(Bug::HalfBatch) {
            let mut one = Vec::new();
            for change in Changes::of(&payload) {
                change?.add_to(&mut one)?;
                self.commit_if(&std::mem::take(&mut one), None, |_| Ok(true))?;
            }
        }
        self.commit_if(&payload, None, |_| Ok(true)).map(drop)
    }

    /// Makes all changes of a payload in one atomic step, if it is `valid` with the latest
    /// totals while nobody else can commit; returns whether it is. `begun` is the commit
    /// that the transaction began with whose payload it is.
    pub(super) fn commit_if(
        &self,
        payload: &[u8],
        begun: Option<u64>,
        valid: impl Fn(Totals) -> DBResult<bool>,
    ) -> DBResult<bool> {
        match &self.journal {
            None => self.store.apply_if(payload, begun, &valid),
            Some(journal) => self.retry(|| {
                journal.commit(
                    Record::Payload(payload),
                    |store| Ok((!valid(store.latest_totals()?)?).then_some(false)),
                    |store| store.apply_if(payload, begun, &|_| Ok(true)),
                )
            }),
        }
    }

    /// Refuses a database that was opened read-only.
    pub(super) fn refuse_if_read_only(&self) -> DBResult<()> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.refuse_if_read_only())
    }

    /// Makes a frozen view of what the database holds now, in constant time.
    pub fn snapshot(&self) -> DBResult<Snapshot> {
        Ok(Snapshot::new(self.store.freeze()?, self.store.clone()))
    }

    /// Opens a cursor on the keys from `from` up to, but not including, `to`, as they are
    /// now; `None` is no bound.
    pub fn scan(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<Cursor> {
        self.cursor(Bounds::range(from, to)?)
    }

    /// Opens a cursor on the keys that begin with `prefix`, as they are now.
    pub fn scan_prefix(&self, prefix: &[u8]) -> DBResult<Cursor> {
        self.cursor(Bounds::prefix(prefix)?)
    }

    fn cursor(&self, bounds: Bounds) -> DBResult<Cursor> {
        Ok(Cursor::new(self.store.freeze()?, bounds, self.store.clone()))
    }

    /// Number of keys.
    pub fn count(&self) -> DBResult<u64> {
        Ok(self.store.read()?.shared().totals().count)
    }

    /// Bytes of all keys and values.
    pub fn data_bytes(&self) -> DBResult<u64> {
        Ok(self.store.read()?.shared().totals().bytes)
    }

    /// Bytes of memory held, by snapshots too.
    pub fn memory_bytes(&self) -> DBResult<u64> {
        self.store.memory_bytes()
    }

    /// Number of commits since the database was made: of writes that were done, be it
    /// without a difference.
    pub fn commits(&self) -> DBResult<u64> {
        Ok(self.store.read()?.shared().totals().commits)
    }

    /// Bytes of the file and of its log, 0 in memory.
    pub fn file_bytes(&self) -> u64 {
        self.journal.as_ref().map_or(0, |journal| journal.file_bytes())
    }

    /// Waits until every commit so far is on disk. In memory there is nothing to do.
    pub fn sync(&self) -> DBResult<()> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.sync())
    }

    /// Makes a checkpoint: folds the log into the file. If it fails, the file and the log
    /// are as they were, and writing goes on. In memory there is nothing to do.
    pub fn checkpoint(&self) -> DBResult<()> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.checkpoint())
    }

    /// Verifies every rule that the data structure keeps, and reads all there is on disk
    /// and verifies it. Writers wait.
    pub fn check(&self) -> DBResult<()> {
        self.store.check()?;
        self.check_files()
    }

    /// Reads all there is on disk, and verifies every checksum.
    pub(crate) fn check_files(&self) -> DBResult<()> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.check_files())
    }
}

/// Takes a closure that is called once. If it is gone, it was what the system refused memory.
fn take<F>(once: &Cell<Option<F>>) -> DBResult<F> {
    once.take().ok_or(DBError::OutOfMemory)
}

impl DB for Database {
    fn put(&self, key: &[u8], value: &[u8]) -> DBResult {
        self.put_with(key, value, |old| Ok(old.map(fallible::copy).transpose()?))
    }

    fn get(&self, key: &[u8]) -> DBResult {
        Ok(self.get_with(key, |value| value.map(fallible::copy).transpose())??)
    }

    fn delete(&self, key: &[u8]) -> DBResult {
        self.delete_with(key, |old| Ok(fallible::copy(old)?))
    }

    fn iter(&self) -> DBResult<DBIterator> {
        self.snapshot()?.iter()
    }
}

/// A handle on a database is one.
impl<T: Deref<Target = Database> + Send + Sync> DB for T {
    fn put(&self, key: &[u8], value: &[u8]) -> DBResult {
        (**self).put(key, value)
    }

    fn get(&self, key: &[u8]) -> DBResult {
        (**self).get(key)
    }

    fn delete(&self, key: &[u8]) -> DBResult {
        (**self).delete(key)
    }

    fn iter(&self) -> DBResult<DBIterator> {
        (**self).iter()
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("journal", &self.journal).finish_non_exhaustive()
    }
}
