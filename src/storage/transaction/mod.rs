//! Transactions: serialisable, optimistic, and waiting for nobody.
//!
//! A transaction works on a snapshot and keeps its own writes to itself, as the
//! payload of a record that is to be committed. It remembers what it read. When
//! it commits, that is compared with what others have committed since it began
//! (backward validation: Kung and Robinson, 1981): if they have written anything
//! of it, the transaction is in conflict; else its writes are applied as one
//! step, in the order in which they were made. So committed transactions are as
//! if they had run one after the other, in the order of their commits.
//!
//! Promises:
//!
//! 1. Nobody sees a write of a transaction before its commit, and then all.
//! 2. One that wrote nothing, and one that read nothing, always commit.
//! 3. An open transaction makes nobody wait. It costs its own writes and reads,
//!    the pages that its view needs, and up to 16 MiB of notes about commits for
//!    all that are open on a store; one that is overtaken by more is in conflict.
//!
//! Where things are: [`own`] has what was written, [`reads`] what was read,
//! [`merge`] is a cursor over both the view and the writes.

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
use super::index::Bounds;
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
    view: View,
    /// It has ended, and begins anew when it is used.
    ended: bool,
    /// Its writes: what a commit puts into the log.
    payload: Vec<u8>,
    /// How many there are.
    writes: u64,
    /// The same to be looked up, as far as they are.
    own: Arc<WriteSet>,
    owned: (usize, u64),
    reads: Arc<Mutex<ReadSet>>,
}

/// A snapshot for which commits are noted.
struct View {
    snapshot: Snapshot,
    store: Arc<Store>,
}

impl View {
    fn of(db: &Database) -> DBResult<View> {
        let store = db.store().clone();
        let snapshot = Snapshot::new(store.freeze_for_transaction()?, store.clone());
        Ok(View { snapshot, store })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.store.history().close(self.snapshot.view().commits());
    }
}

impl Database {
    /// Begins a transaction; on a database opened read-only it can only read.
    pub fn begin(&self) -> DBResult<Transaction> {
        Transaction::new(self.clone())
    }
}

impl Transaction {
    fn new(db: Database) -> DBResult<Transaction> {
        let view = View::of(&db)?;
        Ok(Transaction {
            db,
            view,
            ended: false,
            payload: Vec::new(),
            writes: 0,
            own: Arc::default(),
            owned: (0, 0),
            reads: Arc::default(),
        })
    }

    /// Begins anew if the last commit has not done so.
    fn begin_anew(&mut self) -> DBResult<()> {
        if self.ended {
            self.view = View::of(&self.db)?;
            self.ended = false;
        }
        Ok(())
    }

    /// Its own writes, to be looked up. Who only writes never needs them.
    fn own(&mut self) -> DBResult<&WriteSet> {
        if self.owned.0 < self.payload.len() {
            let own = Arc::make_mut(&mut self.own);
            let (from, mut at) = self.owned;
            for change in Changes::of(&self.payload[from..]) {
                own.add(at, change?)?;
                at += 1;
            }
            self.owned = (self.payload.len(), at);
        }
        Ok(&self.own)
    }

    /// Shows `look` the value of a key; it counts as read if `read`.
    fn look<T>(
        &mut self,
        key: &[u8],
        read: bool,
        look: impl FnOnce(Option<&[u8]>) -> T,
    ) -> DBResult<T> {
        self.begin_anew()?;
        self.own()?;
        Ok(match self.own.says(key) {
            Lookup::Value(value) => look(Some(value.get())),
            Lookup::Gone => look(None),
            Lookup::Nothing => {
                if read {
                    self.reads.lock()?.key(key)?;
                }
                self.view.snapshot.get_with(key, look)?
            }
        })
    }

    fn refuse_if_read_only(&self) -> DBResult<()> {
        self.db.refuse_if_read_only()
    }

    fn write(&mut self, change: Change<'_>) -> DBResult<()> {
        self.refuse_if_read_only()?;
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

    /// Removes `key`; says whether the view has it, which does not count as
    /// reading it. It is removed at commit in either case.
    pub fn delete(&mut self, key: &[u8]) -> DBResult<bool> {
        let change = Change::delete(key)?;
        let found = self.look(key, false, |value| value.is_some())?;
        self.write(change)?;
        Ok(found)
    }

    /// Removes `key`. Before that, shows `old` its value, which counts as reading
    /// it; an error from it stops the deletion. `None` if the view does not have
    /// it.
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
            return self.refuse_if_read_only(); // and nothing is written
        }
        self.write(change)
    }

    /// Compares and swaps, as [`InMemoryDB::cas`] does; the key counts as read.
    pub fn cas(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        desired: Option<&[u8]>,
    ) -> DBResult<bool> {
        let change = Change::set(key, desired)?;
        self.refuse_if_read_only()?; // also where nothing would be written
        let equal = self.look(key, true, |value| value == expected)?;
        if equal {
            self.write(change)?;
        }
        Ok(equal)
    }

    /// Puts every entry, or none if one cannot be.
    pub fn write_all<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> DBResult<()> {
        self.refuse_if_read_only()?;
        let before = (self.payload.len(), self.writes);
        let done = entries.into_iter().try_for_each(|(key, value)| self.put(key, value));
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
        self.own()?;
        let merge = Merge::new(self.own.clone(), self.writes, bounds.copy()?, self.reads.clone());
        Ok(self.view.snapshot.cursor(bounds).merged(merge))
    }

    /// Number of keys, which counts as reading everything.
    pub fn count(&mut self) -> DBResult<u64> {
        Ok(self.totals()?.0)
    }

    /// Bytes of all keys and values, which counts as reading everything.
    pub fn data_bytes(&mut self) -> DBResult<u64> {
        Ok(self.totals()?.1)
    }

    /// Number of commits that its view has seen; its own writes are counted from bit
    /// 32 up, so that no number is that of two states of the view.
    pub fn commits(&self) -> DBResult<u64> {
        Ok(self.view.snapshot.view().commits().wrapping_add(self.writes << 32))
    }

    /// Bytes of memory that the store holds now, not counting what transactions
    /// have read and written.
    pub fn memory_bytes(&self) -> DBResult<u64> {
        self.db.memory_bytes()
    }

    /// Lookup that all of the view was read.
    pub(crate) fn read_everything(&mut self) -> DBResult<()> {
        self.begin_anew()?;
        self.reads.lock()?.all();
        Ok(())
    }

    /// Verifies every rule that the data structure of its view keeps; counts as
    /// reading everything.
    pub fn check(&mut self) -> DBResult<()> {
        self.read_everything()?;
        self.view.snapshot.check()
    }

    /// A snapshot of its own, with all that the transaction sees; counts as
    /// reading everything.
    pub(crate) fn snapshot(&mut self) -> DBResult<Snapshot> {
        self.read_everything()?;
        if self.own()?.is_empty() {
            return Ok(self.view.snapshot.clone());
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

    /// Number of keys and of bytes, as if all had been counted.
    fn totals(&mut self) -> DBResult<(u64, u64)> {
        self.read_everything()?;
        self.own()?;
        let view = &self.view.snapshot;
        let (mut count, mut bytes) = (view.count()?, view.data_bytes()?);
        let mut cleared = std::collections::BTreeSet::new();
        for (from, to) in self.own.cleared() {
            // Ranges may overlap; each key goes once.
            let mut cursor = view.scan(from, to)?;
            while cursor.next()? {
                let key = cursor.key().unwrap_or_default();
                if cleared.insert(fallible::copy(key)?) {
                    count -= 1;
                    bytes -= (key.len() + cursor.value().map_or(0, <[u8]>::len)) as u64;
                }
            }
        }
        for (key, value) in self.own.keys() {
            let there = view.get_with(key, |value| value.map(<[u8]>::len))?;
            if let Some(len) = there.filter(|_| !cleared.contains(key)) {
                count -= 1;
                bytes -= (key.len() + len) as u64;
            }
            if let Some(value) = value {
                count += 1;
                bytes += (key.len() + value.len()) as u64;
            }
        }
        Ok((count, bytes))
    }

    /// Applies all writes as one atomic step, on disk when this returns unless
    /// that was not wanted. False, applying nothing, if what was read has changed
    /// since. Then, and after true, the transaction has begun anew on what the
    /// database now holds; after an error it still has its writes.
    pub fn commit(&mut self) -> DBResult<bool> {
        let writes = !self.payload.is_empty();
        let reads = !self.reads.lock()?.is_empty();
        if writes && reads {
            self.own()?;
        }
        let committed = match writes {
            false => true,
            true => {
                let begun = self.view.snapshot.view().commits();
                let overtaken = || {
                    let held = self.reads.lock()?;
                    let read = |change: Change<'_>| held.has(change, &self.own);
                    self.db.store().history().any_since(begun, read)
                };
                let valid = || if reads { overtaken().map(|yes| !yes) } else { Ok(true) };
                self.db.commit_if(&self.payload, Some(begun), valid)?
            }
        };
        self.ended = true;
        self.payload.clear();
        if self.payload.capacity() > PAYLOAD_KEPT {
            self.payload = Vec::new(); // to shrink it could take memory
        }
        self.writes = 0;
        (self.own, self.owned) = (Arc::default(), (0, 0));
        // Cursors go on with the old ones, which count no more.
        self.reads = Arc::default();
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
