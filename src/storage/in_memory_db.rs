//! `InMemoryDB`: the index behind a lock.
//!
//! Promises:
//!
//! 1. Any number of threads may use one database. Each write is one atomic
//!    step, and so is each read.
//! 2. A failed write changes nothing.
//!
//! Writers take turns. Most puts change one leaf only, and do so beside readers,
//! who meet them at that leaf's lock; whatever changes more waits until it is
//! alone (see `sync/br_lock.rs`).

use std::fmt;

use super::change::{Change, Changes, by_key};
use super::history::History;
use super::index::{self, Bounds, Index};
use super::snapshot::{Cursor, DBIterator, Snapshot};
use crate::DB;
use crate::error::{DBError, DBResult, OutOfMemory};
use crate::sync::{Arc, BrLock, ReadGuard, UpgradableGuard, WriteGuard};

/// How many retired pages and blobs are looked at before others may have the lock.
const COLLECT_STEP: usize = 64;

/// An ordered key-value store in memory.
///
/// Cloning it gives another handle on the same data. The data go with the last
/// handle, snapshot or cursor.
///
/// ```
/// use minidb::{DB, InMemoryDB};
///
/// let db = InMemoryDB::new()?;
/// assert_eq!(db.put(b"user-1", b"John")?, None);
/// assert_eq!(db.put(b"user-1", b"Jane")?, Some(b"John".to_vec()));
///
/// let before = db.snapshot()?;
/// assert_eq!(db.delete(b"user-1")?, Some(b"Jane".to_vec()));
/// assert_eq!(db.get(b"user-1")?, None);
/// assert_eq!(before.get(b"user-1")?, Some(b"Jane".to_vec()));
/// # Ok::<(), minidb::DBError>(())
/// ```
#[derive(Clone)]
pub struct InMemoryDB {
    pub(super) store: Arc<Store>,
}

pub(super) struct Store {
    index: BrLock<Index>,
    history: History,
}

impl Store {
    /// Drops what held a snapshot, and frees what only that one needed, a few
    /// things at a time so that nobody waits long.
    pub(super) fn let_go<T>(&self, held: T, pinned_epoch: Option<u64>) {
        drop(held);
        let Some(epoch) = pinned_epoch else {
            return;
        };
        // Without the lock (after a panic under it) the memory goes with the store.
        if let Ok(mut index) = self.index.write() {
            index.forget(epoch);
        }
        self.collect();
    }

    pub(super) fn memory_bytes(&self) -> DBResult<u64> {
        Ok((self.index.read()?.memory_bytes() + self.history.bytes()) as u64)
    }

    /// Frees what only snapshots needed that are gone.
    pub(super) fn collect(&self) {
        while self.index.write().is_ok_and(|mut index| index.collect(COLLECT_STEP)) {}
    }
}

/// A payload with no more changes than this is applied in place, with memory
/// reserved for all of them; a larger one on copies of the pages that it changes.
const FEW: usize = 4096;

/// The change that comes so many later is fetched into the processor's caches.
const AHEAD: usize = 4;

/// How many changes a payload has, if they are few and memory can be reserved.
fn few(payload: &[u8]) -> Option<usize> {
    let mut count = 0;
    for change in Changes::of(payload) {
        count += 1;
        let plain = match change.ok()? {
            Change::Put(key, value) => Index::needs_no_blob(key, value),
            Change::Delete(_) => true,
            Change::Clear(..) => false,
        };
        if !plain || count > FEW {
            return None;
        }
    }
    Some(count)
}

/// A key or value that may be stored.
pub(super) fn check_len(what: &str, bytes: &[u8]) -> DBResult<()> {
    if bytes.len() > crate::MAX_LEN {
        let len = bytes.len();
        return Err(DBError::Invalid(format!("a {what} of {len} bytes is over the limit")));
    }
    Ok(())
}

/// The payload of a commit that puts entries.
pub(super) fn puts<'a>(
    entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> DBResult<Vec<u8>> {
    let mut payload = Vec::new();
    for (key, value) in entries {
        check_len("key", key)?;
        check_len("value", value)?;
        Change::Put(key, value).add_to(&mut payload)?;
    }
    Ok(payload)
}

pub(super) fn to_vec(bytes: &[u8]) -> DBResult<Vec<u8>> {
    Ok(crate::fallible::copy(bytes)?)
}

impl InMemoryDB {
    /// A new empty database.
    pub fn new() -> DBResult<InMemoryDB> {
        Ok(InMemoryDB::of(Index::new()?))
    }

    pub(super) fn of(index: Index) -> InMemoryDB {
        let (index, history) = (BrLock::new(index), History::default());
        InMemoryDB { store: Arc::new(Store { index, history }) }
    }

    #[inline]
    pub(super) fn read(&self) -> DBResult<ReadGuard<'_, Index>> {
        self.store.index.read()
    }

    #[inline]
    pub(super) fn write(&self) -> DBResult<WriteGuard<'_, Index>> {
        self.store.index.write()
    }

    /// The turn to write.
    #[inline]
    pub(super) fn upgradable(&self) -> DBResult<UpgradableGuard<'_, Index>> {
        self.store.index.upgradable()
    }

    /// Shows `view` the value of `key`, without a copy. `view` must not use the
    /// database: it would wait for itself.
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
        Ok(self.read()?.get_latched(key, view))
    }

    /// Sets the value of `key`. Before that, shows `old` the value that was
    /// there; what `old` returns is returned, and an error from it stops the
    /// put. `old` must not use the database: it would wait for itself.
    #[inline]
    pub fn put_with<T>(
        &self,
        key: &[u8],
        value: &[u8],
        old: impl FnOnce(Option<&[u8]>) -> DBResult<T>,
    ) -> DBResult<T> {
        check_len("key", key)?;
        check_len("value", value)?;
        self.store.index.with_upgradable(|index| {
            if let Some(local) = index.local(key, value) {
                let result = old(index.old_of(&local))?;
                index.put_in_place(&local, key, value);
                self.note(&index, Change::Put(key, value));
                return Ok(result);
            }
            let mut index = index.upgrade();
            let result = index.put(key, value, old)?;
            index.committed();
            self.note(&index, Change::Put(key, value));
            Ok(result)
        })
    }

    /// Removes `key`. Before that, shows `old` its value; what `old` returns is
    /// returned, and an error from it stops the deletion. `None` if the key is
    /// not there. `old` must not use the database: it would wait for itself.
    pub fn delete_with<T>(
        &self,
        key: &[u8],
        old: impl FnOnce(&[u8]) -> DBResult<T>,
    ) -> DBResult<Option<T>> {
        self.store.index.with_upgradable(|turn| {
            let mut index = turn.upgrade();
            let result = index.delete(key, old)?;
            if result.is_some() {
                index.committed();
                self.note(&index, Change::Delete(key));
            }
            Ok(result)
        })
    }

    /// Removes every key from `from` up to, but not including, `to`; `None` is
    /// no bound.
    pub fn clear(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<()> {
        let mut index = self.write()?;
        let done = index.clear(from, to).map_err(DBError::from);
        self.finish(index, done, None, &mut std::iter::once(Change::Clear(from, to)))
    }

    /// Compares and swaps: if the value of `key` equals `expected`, sets it to
    /// `desired` and returns true. `None` is no value: as `expected`, the key
    /// must not be there; as `desired`, it is removed.
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
        check_len("key", key)?;
        check_len("value", desired.unwrap_or_default())?;
        let mut index = self.write()?;
        if index.get_latest(key) != expected {
            return Ok(false);
        }
        let change = desired.map_or(Change::Delete(key), |value| Change::Put(key, value));
        index.apply_change(change)?;
        index.committed();
        self.note(&index, change);
        Ok(true)
    }

    /// Puts every entry in one atomic step; of entries with the same key the
    /// last one counts. The iterator must not use the database:
    /// it would wait for itself.
    pub fn write_all<'a>(
        &self,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> DBResult<()> {
        self.apply(&puts(entries)?)
    }

    /// Makes all changes of a payload in one atomic step.
    pub(super) fn apply(&self, payload: &[u8]) -> DBResult<()> {
        self.commit_if(payload, None, || Ok(true)).map(drop)
    }

    /// Does so if, while nobody else can commit, it is `valid`; says whether. It is
    /// `by` a transaction that began with that commit.
    pub(super) fn commit_if(
        &self,
        payload: &[u8],
        by: Option<u64>,
        valid: impl FnOnce() -> DBResult<bool>,
    ) -> DBResult<bool> {
        let mut index = self.write()?;
        if !valid()? {
            return Ok(false);
        }
        let done = match few(payload) {
            Some(changes) => {
                index.begin_many(changes)?;
                let mut changes = Changes::of(payload);
                let applied = changes.try_for_each(|change| index.apply_change(change?));
                applied.expect("memory for it was reserved");
                Ok(())
            }
            None => index.atomically(|index| index.apply_many(payload)),
        };
        self.finish(index, done, by, &mut Changes::of(payload).filter_map(Result::ok))?;
        Ok(true)
    }

    /// Ends a write of many steps, and frees what it has replaced, a few things
    /// at a time.
    fn finish(
        &self,
        mut index: WriteGuard<'_, Index>,
        done: DBResult<()>,
        by: Option<u64>,
        changes: &mut dyn Iterator<Item = Change<'_>>,
    ) -> DBResult<()> {
        if done.is_ok() {
            index.committed();
            if self.store.history.is_watched() {
                self.store.history.note(index.latest_commit(), index.commits(), by, changes);
            }
        }
        drop(index);
        self.store.collect();
        done
    }

    /// Notes the change of a commit, if a transaction may ask for it.
    #[inline]
    fn note(&self, index: &Index, change: Change<'_>) {
        if self.store.history.is_watched() {
            let (commit, visible) = (index.latest_commit(), index.commits());
            self.store.history.note(commit, visible, None, &mut std::iter::once(change));
        }
    }

    pub(super) fn history(&self) -> &History {
        &self.store.history
    }

    /// A snapshot for a transaction to begin with, from which on commits are noted.
    pub(super) fn snapshot_to_begin(&self) -> DBResult<Snapshot> {
        let mut index = self.write()?;
        let view = index.snapshot()?;
        self.store.history.open(view.commits(), index.latest_commit())?;
        Ok(Snapshot::new(view, self.store.clone()))
    }

    /// Drops a snapshot of the index.
    pub(super) fn let_go(&self, snapshot: index::Snapshot) {
        let pinned_epoch = snapshot.pinned_epoch();
        self.store.let_go(snapshot, pinned_epoch);
    }

    /// Makes a frozen view of what the database holds now, in constant time.
    pub fn snapshot(&self) -> DBResult<Snapshot> {
        Ok(Snapshot::new(self.freeze()?, self.store.clone()))
    }

    fn freeze(&self) -> DBResult<index::Snapshot> {
        // Readers among themselves need not wait for each other here.
        let already = self.read()?.existing_snapshot();
        match already {
            Some(view) => Ok(view),
            None => Ok(self.write()?.snapshot()?),
        }
    }

    /// Opens a cursor on the keys from `from` up to, but not including, `to`,
    /// as they are now; `None` is no bound.
    pub fn scan(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<Cursor> {
        let bounds = Bounds::range(from, to)?;
        Ok(Cursor::new(self.freeze()?, bounds, self.store.clone()))
    }

    /// Opens a cursor on the keys that begin with `prefix`, as they are now.
    pub fn scan_prefix(&self, prefix: &[u8]) -> DBResult<Cursor> {
        let bounds = Bounds::prefix(prefix)?;
        Ok(Cursor::new(self.freeze()?, bounds, self.store.clone()))
    }

    /// Number of keys.
    pub fn count(&self) -> DBResult<u64> {
        Ok(self.read()?.count())
    }

    /// Bytes of all keys and values.
    pub fn data_bytes(&self) -> DBResult<u64> {
        Ok(self.read()?.data_bytes())
    }

    /// Bytes of memory held, by snapshots too.
    pub fn memory_bytes(&self) -> DBResult<u64> {
        self.store.memory_bytes()
    }

    /// Number of commits: of writes that were done, be it without a difference.
    pub fn commits(&self) -> DBResult<u64> {
        Ok(self.read()?.commits())
    }

    /// Verifies every rule that the data structure keeps. Writers wait.
    pub fn check(&self) -> DBResult<()> {
        self.upgradable()?.check().map_err(DBError::Corrupt)
    }
}

impl Index {
    /// Makes one change of a commit.
    pub(super) fn apply_change(&mut self, change: Change<'_>) -> DBResult<()> {
        match change {
            Change::Put(key, value) => self.put_with_hint(&mut None, key, value)?,
            Change::Delete(key) => drop(self.delete(key, |_| Ok::<(), OutOfMemory>(()))?),
            Change::Clear(from, to) => self.clear(from, to)?,
        }
        Ok(())
    }

    /// Makes many changes, in an order that has the effect of theirs.
    fn apply_many(&mut self, payload: &[u8]) -> DBResult<()> {
        let mut near = None;
        let mut apply = |change: DBResult<Change<'_>>| match change? {
            Change::Put(key, value) => Ok(self.put_with_hint(&mut near, key, value)?),
            other => {
                near = None;
                self.apply_change(other)
            }
        };
        let Some(places) = by_key(payload) else {
            return Changes::of(payload).try_for_each(apply);
        };
        let from = |at: u64| &payload[at as usize..];
        for (n, &(_, at)) in places.iter().enumerate() {
            if let Some(&(_, soon)) = places.get(n + AHEAD) {
                index::prefetch_bytes(from(soon));
            }
            Changes::of(from(at)).take(1).try_for_each(&mut apply)?;
        }
        Ok(())
    }
}

impl DB for InMemoryDB {
    fn put(&self, key: &[u8], value: &[u8]) -> DBResult {
        self.put_with(key, value, |old| old.map(to_vec).transpose())
    }

    fn get(&self, key: &[u8]) -> DBResult {
        self.get_with(key, |value| value.map(to_vec).transpose())?
    }

    fn delete(&self, key: &[u8]) -> DBResult {
        self.delete_with(key, to_vec)
    }

    fn iter(&self) -> DBResult<DBIterator> {
        self.snapshot()?.iter()
    }
}

impl fmt::Debug for InMemoryDB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryDB").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_s_scenario() {
        let db = InMemoryDB::new().unwrap();
        assert_eq!(db.get(b"user-1").unwrap(), None);
        assert_eq!(db.put(b"user-1", b"John").unwrap(), None);
        assert_eq!(db.get(b"user-1").unwrap(), Some(b"John".to_vec()));
        let all: Vec<_> = db.iter().unwrap().map(Result::unwrap).collect();
        assert_eq!(all, [(b"user-1".to_vec(), b"John".to_vec())]);
        assert_eq!(db.delete(b"user-1").unwrap(), Some(b"John".to_vec()));
        assert_eq!(db.delete(b"user-1").unwrap(), None);
        assert_eq!(db.iter().unwrap().count(), 0);
    }

    #[test]
    fn an_error_from_the_caller_stops_a_write() {
        let db = InMemoryDB::new().unwrap();
        db.put(b"a", b"1").unwrap();
        let refuse = |_: Option<&[u8]>| Err::<(), _>(DBError::OutOfMemory);
        assert_eq!(db.put_with(b"a", b"2", refuse), Err(DBError::OutOfMemory));
        let refused = db.delete_with(b"a", |_| Err::<(), _>(DBError::OutOfMemory));
        assert_eq!(refused, Err(DBError::OutOfMemory));
        assert_eq!(db.get(b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(db.commits().unwrap(), 1);
    }

    #[test]
    fn closing_a_snapshot_gives_its_memory_back() {
        let db = InMemoryDB::new().unwrap();
        for n in 0..50_000u32 {
            db.put(&n.to_be_bytes(), &[1; 100]).unwrap();
        }
        let one = db.memory_bytes().unwrap();
        let snapshot = db.snapshot().unwrap();
        for n in 0..50_000u32 {
            db.put(&n.to_be_bytes(), &[2; 100]).unwrap();
        }
        assert!(db.memory_bytes().unwrap() > one * 19 / 10);
        drop(snapshot);
        let after = db.memory_bytes().unwrap();
        assert!(after < one * 12 / 10, "{after} bytes are held, {one} before the snapshot");
        db.check().unwrap();
    }

    #[test]
    fn what_takes_less_gives_its_memory_back() {
        let db = InMemoryDB::new().unwrap();
        let put_all = |len: usize| {
            for n in 0..30_000u32 {
                db.put(&n.to_be_bytes(), &vec![7; len]).unwrap();
            }
            db.memory_bytes().unwrap()
        };
        let long = put_all(1_000);
        let short = put_all(10);
        assert!(short * 4 < long, "{short} of {long} bytes are held for shorter values");
        put_all(1_000);
        db.clear(Some(&100u32.to_be_bytes()), None).unwrap();
        let few = db.memory_bytes().unwrap();
        assert!(few * 4 < long, "{few} of {long} bytes are held after a range was cleared");
        let keys: Vec<_> = (0..30_000u32).map(u32::to_be_bytes).collect();
        let written = || {
            db.write_all(keys.iter().map(|key| (&key[..], &[7; 1_000][..]))).unwrap();
            db.memory_bytes().unwrap()
        };
        let (once, twice) = (written(), written());
        assert!(twice * 10 < once * 12, "{twice} bytes are held, {once} when written once");
        db.check().unwrap();
    }

    #[test]
    fn after_a_panic_under_the_lock_the_database_refuses() {
        let db = InMemoryDB::new().unwrap();
        let panicking = || db.put_with(b"a", b"", |_| -> DBResult<()> { panic!("on purpose") });
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).is_err());
        assert_eq!(db.get(b"a"), Err(DBError::Internal));
        assert_eq!(db.put(b"a", b""), Err(DBError::Internal));
    }

    #[test]
    fn handles_may_be_shared_and_sent() {
        fn ok<T: Send + Sync>() {}
        ok::<InMemoryDB>();
        ok::<Snapshot>();
        ok::<Cursor>();
        ok::<DBIterator>();
    }
}
