//! Transactions: serialisable, optimistic, and without waiting.
//!
//! A transaction works on a snapshot and keeps its writes to itself, as the payload of
//! one record of the log. It remembers the keys that it reads. A commit compares these
//! with the commits since the transaction began (backward validation: Kung and
//! Robinson, 1981). If one of those has written a key that the transaction has read, the
//! transaction is in conflict; else its writes are applied as one step, in the order in
//! which they were made. So committed transactions are serialised in the order of their
//! commits.
//!
//! Promises:
//!
//! 1. Nobody sees a write of a transaction before its commit, and then all.
//! 2. A transaction that wrote nothing commits, and so does one that read nothing.
//! 3. An open transaction makes nobody wait. It costs its own writes and reads, the
//!    pages of its snapshot, and up to 16 MiB of records about recent commits for all
//!    that are open on a store; one that is overtaken by more is in conflict.
//!
//! Where things are: [`write_set`] looks up the writes, [`read_set`] has the reads,
//! [`merge`] is a cursor over both the snapshot and the writes, [`edge`] compares ranges.

mod edge;
mod merge;
mod read_set;
#[cfg(test)]
mod tests;
mod write_set;

pub(super) use merge::Merge;

use std::fmt;

use super::change::{Change, Changes};
use super::cursor::Cursor;
use super::database::Database;
use super::in_memory_db::InMemoryDB;
use super::index::{Bounds, Totals};
use super::snapshot::Snapshot;
use super::store::Store;
use crate::error::DBResult;
use crate::fallible;
use crate::sync::{Arc, Mutex};
use read_set::ReadSet;
use write_set::{Lookup, WriteSet};

/// Bytes of writes for which a transaction keeps memory when it begins anew.
const PAYLOAD_KEPT: usize = 1 << 20;

/// A private view of a database that sees its own writes, which nobody else
/// sees until [`Transaction::commit`]. Dropping it drops its writes.
///
/// ```
/// use minidb::{DB, InMemoryDB};
///
/// let db = InMemoryDB::new()?;
/// db.put(b"a", b"1")?;
/// let mut txn = db.begin()?;
/// let value = txn.get(b"a")?.unwrap();
/// txn.put(b"b", &value)?;
/// assert_eq!(db.get(b"b")?, None);
/// assert!(txn.commit()?);
/// assert_eq!(db.get(b"b")?, Some(b"1".to_vec()));
///
/// txn.get(b"a")?; // the same transaction, begun anew
/// db.put(b"a", b"2")?;
/// txn.put(b"b", b"1 again")?;
/// assert!(!txn.commit()?, "what it read has changed");
/// # Ok::<(), minidb::DBError>(())
/// ```
pub struct Transaction {
    db: Database,
    base: Base,
    /// The transaction has ended, and begins anew when it is used.
    ended: bool,
    /// The writes, as a commit puts them into the log, and their number.
    payload: Vec<u8>,
    writes: u64,
    /// The writes that are indexed, and where in the payload they end.
    write_set: Arc<WriteSet>,
    indexed: (u64, usize),
    read_set: Arc<Mutex<ReadSet>>,
}

/// The snapshot that a transaction works on. The history records the commits after it.
struct Base {
    snapshot: Snapshot,
    store: Arc<Store>,
}

impl Base {
    fn new(db: &Database) -> DBResult<Base> {
        let store = db.store().clone();
        let snapshot = Snapshot::new(store.freeze_for_transaction()?, store.clone());
        Ok(Base { snapshot, store })
    }

    fn commits(&self) -> u64 {
        self.snapshot.view().commits()
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        self.store.history().close(self.commits());
    }
}

impl Database {
    /// Begins a transaction; on a database opened read-only it can only read.
    pub fn begin(&self) -> DBResult<Transaction> {
        Ok(Transaction {
            db: self.clone(),
            base: Base::new(self)?,
            ended: false,
            payload: Vec::new(),
            writes: 0,
            write_set: Arc::default(),
            indexed: (0, 0),
            read_set: ReadSet::shared(),
        })
    }
}

impl Transaction {
    /// Begins anew if the last commit has not done so.
    fn begin_anew(&mut self) -> DBResult<()> {
        if self.ended {
            self.base = Base::new(&self.db)?;
            self.ended = false;
        }
        Ok(())
    }

    /// Brings the write set up to date. A transaction that only writes never needs it.
    fn index_writes(&mut self) -> DBResult<()> {
        let (mut write, end) = self.indexed;
        if end < self.payload.len() {
            // Open cursors keep the write set as it is.
            if Arc::get_mut(&mut self.write_set).is_none() {
                self.write_set = Arc::new(WriteSet::clone(&self.write_set));
            }
            let write_set = Arc::get_mut(&mut self.write_set).expect("no cursor has the copy");
            let mut changes = Changes::of(&self.payload[end..]);
            while let Some(change) = changes.next() {
                write_set.add(write, change?, self.base.snapshot.view())?;
                write += 1;
                self.indexed = (write, self.payload.len() - changes.rest().len());
            }
        }
        Ok(())
    }

    /// Shows `view` the value of a key, which counts as read if `read`.
    fn look<T>(
        &mut self,
        key: &[u8],
        read: bool,
        view: impl FnOnce(Option<&[u8]>) -> T,
    ) -> DBResult<T> {
        self.begin_anew()?;
        self.index_writes()?;
        Ok(match self.write_set.lookup(key) {
            Lookup::Value(value) => view(Some(value.get())),
            Lookup::Removed => view(None),
            Lookup::Unwritten => {
                if read {
                    self.read_set.lock()?.add_key(key)?;
                }
                self.base.snapshot.get_with(key, view)?
            }
        })
    }

    fn write(&mut self, change: Change<'_>) -> DBResult<()> {
        self.db.refuse_if_read_only()?;
        change.add_to(&mut self.payload)?;
        self.writes += 1;
        Ok(())
    }

    /// A copy of the value of `key`.
    pub fn get(&mut self, key: &[u8]) -> DBResult {
        self.look(key, true, |value| Ok(value.map(fallible::copy).transpose()?))?
    }

    /// Shows `view` the value of `key`, without a copy.
    pub fn get_with<T>(
        &mut self,
        key: &[u8],
        view: impl FnOnce(Option<&[u8]>) -> T,
    ) -> DBResult<T> {
        self.look(key, true, view)
    }

    /// Sets the value of `key`, without reading it.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> DBResult<()> {
        self.write(Change::put(key, value)?)
    }

    /// Sets the value of `key`. Before that, shows `old` the value that was
    /// there, which counts as reading it; an error from it stops the put.
    pub fn put_with<T>(
        &mut self,
        key: &[u8],
        value: &[u8],
        old: impl FnOnce(Option<&[u8]>) -> DBResult<T>,
    ) -> DBResult<T> {
        let change = Change::put(key, value)?;
        let result = self.look(key, true, old)??;
        self.write(change)?;
        Ok(result)
    }

    /// Removes `key` and returns whether the transaction sees it, which does not count
    /// as reading it. The commit removes the key in either case.
    pub fn delete(&mut self, key: &[u8]) -> DBResult<bool> {
        let change = Change::delete(key)?;
        let found = self.look(key, false, |value| value.is_some())?;
        self.write(change)?;
        Ok(found)
    }

    /// Removes `key`. Before that, shows `old` its value, which counts as reading
    /// it; an error from it stops the deletion. `None` if the transaction does not see
    /// the key.
    pub fn delete_with<T>(
        &mut self,
        key: &[u8],
        old: impl FnOnce(&[u8]) -> DBResult<T>,
    ) -> DBResult<Option<T>> {
        let change = Change::delete(key)?;
        let result = self.look(key, true, |value| value.map(old).transpose())??;
        self.write(change)?;
        Ok(result)
    }

    /// Removes every key from `from` up to, but not including, `to`, without
    /// reading any; `None` is no bound.
    pub fn clear(&mut self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<()> {
        let change = Change::clear(from, to)?;
        if to.is_some_and(|to| to <= from.unwrap_or_default()) {
            return self.db.refuse_if_read_only(); // and nothing is written
        }
        self.write(change)
    }

    /// Compares and swaps, as [`Database::cas`] does; the key counts as read.
    pub fn cas(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        desired: Option<&[u8]>,
    ) -> DBResult<bool> {
        let change = Change::set(key, desired)?;
        self.db.refuse_if_read_only()?; // also where nothing would be written
        let equal = self.look(key, true, |value| value == expected)?;
        if equal {
            self.write(change)?;
        }
        Ok(equal)
    }

    /// Puts every entry, or none if one cannot be.
    pub fn write_all(
        &mut self,
        entries: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    ) -> DBResult<()> {
        self.db.refuse_if_read_only()?;
        let before = (self.payload.len(), self.writes);
        let done =
            entries.into_iter().try_for_each(|(key, value)| self.put(key.as_ref(), value.as_ref()));
        if done.is_err() {
            self.payload.truncate(before.0);
            self.writes = before.1;
        }
        done
    }

    /// Opens a cursor on the keys from `from` up to, but not including, `to`, as
    /// they are now; `None` is no bound. What it walks over counts as read.
    pub fn scan(&mut self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<Cursor> {
        self.cursor(Bounds::range(from, to)?)
    }

    /// Opens a cursor on the keys that begin with `prefix`, as they are now.
    pub fn scan_prefix(&mut self, prefix: &[u8]) -> DBResult<Cursor> {
        self.cursor(Bounds::prefix(prefix)?)
    }

    fn cursor(&mut self, bounds: Bounds) -> DBResult<Cursor> {
        self.begin_anew()?;
        self.index_writes()?;
        let (write_set, read_set) = (self.write_set.clone(), self.read_set.clone());
        let merge = Merge::new(write_set, self.writes, bounds.copy()?, read_set);
        Ok(self.base.snapshot.cursor(bounds).merged(merge))
    }

    /// Number of keys. The number alone counts as read, and with it the keys that the
    /// transaction has written before. From the first question on each write is counted.
    pub fn count(&mut self) -> DBResult<u64> {
        let (totals, base) = self.totals()?;
        self.read_set.lock()?.add_totals(Some(base.count), None, self.writes);
        Ok(totals.count)
    }

    /// Bytes of all keys and values, of which counts as read what [`Transaction::count`]
    /// says.
    pub fn data_bytes(&mut self) -> DBResult<u64> {
        let (totals, base) = self.totals()?;
        self.read_set.lock()?.add_totals(None, Some(base.bytes), self.writes);
        Ok(totals.bytes)
    }

    /// Number of commits that the transaction sees. Its writes are counted from bit 32
    /// up, so that each state of the transaction has another number.
    pub fn commits(&self) -> DBResult<u64> {
        Ok(self.base.commits().wrapping_add(self.writes << 32))
    }

    /// Bytes of memory that the store holds now, not counting what transactions
    /// have read and written.
    pub fn memory_bytes(&self) -> DBResult<u64> {
        self.db.memory_bytes()
    }

    /// Counts every key as read.
    pub(crate) fn read_everything(&mut self) -> DBResult<()> {
        self.begin_anew()?;
        self.read_set.lock()?.add_everything();
        Ok(())
    }

    /// Verifies every rule that the data structure of its snapshot keeps; counts as
    /// reading everything.
    pub fn check(&mut self) -> DBResult<()> {
        self.read_everything()?;
        self.base.snapshot.check()
    }

    /// A snapshot of all that the transaction sees, which is a copy if the transaction
    /// has written; counts as reading everything.
    pub(crate) fn snapshot(&mut self) -> DBResult<Snapshot> {
        self.read_everything()?;
        self.index_writes()?;
        if self.write_set.is_empty() {
            return Ok(self.base.snapshot.clone());
        }
        let copy = InMemoryDB::new()?;
        let mut cursor = self.scan(None, None)?;
        while cursor.next()? {
            let (key, value) =
                (cursor.key().unwrap_or_default(), cursor.value().unwrap_or_default());
            copy.put_with(key, value, |_| Ok(()))?;
        }
        copy.snapshot()
    }

    /// The totals of what the transaction sees, and those of its snapshot.
    fn totals(&mut self) -> DBResult<(Totals, Totals)> {
        self.begin_anew()?;
        let base = self.base.snapshot.view().totals();
        if self.write_set.totals().is_none() {
            // The writes are indexed anew, and counted.
            (self.write_set, self.indexed) = (Arc::new(WriteSet::counting(base)), (0, 0));
        }
        self.index_writes()?;
        Ok((self.write_set.totals().unwrap_or(base), base))
    }

    /// Applies all writes as one atomic step, on disk when this returns unless
    /// that was not wanted. False, applying nothing, if a key that was read has changed
    /// since. Then, and after true, the transaction has begun anew on what the
    /// database now holds; after an error it still has its writes.
    pub fn commit(&mut self) -> DBResult<bool> {
        let begun = self.base.commits();
        // The write set may lack the latest writes: no span of the read set was begun
        // after them, and nothing was counted.
        let valid = |latest: Totals| {
            let read_set = self.read_set.lock()?;
            let read = |change: Change<'_>| read_set.meets(change, &self.write_set);
            let any_since = || self.db.store().history().any_since(begun, read);
            Ok(read_set.is_empty() || read_set.agrees_with(latest) && !any_since()?)
        };
        let committed =
            self.payload.is_empty() || self.db.commit_if(&self.payload, Some(begun), valid)?;
        self.ended = true;
        self.payload.clear();
        if self.payload.capacity() > PAYLOAD_KEPT {
            self.payload = Vec::new(); // to shrink it could take memory
        }
        (self.writes, self.indexed) = (0, (0, 0));
        // Open cursors keep the old sets, which count no more.
        (self.write_set, self.read_set) = (Arc::default(), ReadSet::shared());
        // What was committed stays so: if memory is short now, there is later.
        let _ = self.begin_anew();
        Ok(committed)
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("writes", &self.writes).finish_non_exhaustive()
    }
}
