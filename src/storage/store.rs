//! `Store`: the index and the history of recent commits behind one lock.
//!
//! Promises:
//!
//! 1. Any number of threads may use a store. Each write is one atomic step, and so is
//!    each read.
//! 2. A failed write changes nothing.
//! 3. Published changes only are read, but for the `latest` reads of the writer.
//!
//! One thread at a time writes. Most puts edit one leaf in place, under the upgradable
//! guard and concurrently with readers, who take that leaf's latch; every other write
//! takes the exclusive guard (see `sync/br_lock.rs`). A write of many changes detaches the
//! index from its lock: readers see a snapshot until it is done.
//!
//! Not here: files. A [`super::journal`] logs a write before it is applied here.

use std::time::Duration;

use super::change::{Change, Changes, Op, by_key};
use super::history::{History, Records};
use super::index::{self, Index, Totals};
use crate::error::{DBError, DBResult, OutOfMemory};
use crate::sync::{Access, Arc, BrLock, Detached, ReadGuard, WriteGuard};

/// How many retired pages and blobs are looked at under one exclusive guard: by a call
/// that does something else, and by one that frees them all.
const COLLECT_FEW: usize = 64;
const COLLECT_STEP: usize = 512;
/// How many pages move under one exclusive guard.
const COMPACT_STEP: usize = 32;

/// The pause between two steps of freeing, so that threads that wait for the guard get it.
const PAUSE: Duration = Duration::from_micros(20);

/// A payload with no more changes than this is applied in place, with memory reserved
/// for all of them; a larger one beside readers, on copies of the pages that it changes.
const FEW: usize = if cfg!(minidb_shuttle) { 2 } else { 4096 };

/// Distance, in changes, at which a payload is fetched ahead into the processor's caches.
const AHEAD: usize = 4;

/// The content of a database, in memory.
#[derive(Debug)]
pub(super) struct Store {
    index: BrLock<Index>,
    history: History,
}

impl Store {
    pub(super) fn new(index: Index) -> Arc<Store> {
        Arc::new(Store { index: BrLock::new(index), history: History::default() })
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    #[inline]
    pub(super) fn read(&self) -> DBResult<ReadGuard<'_, Index>> {
        self.index.read()
    }

    /// Shows `view` the value of `key`, without a copy.
    #[inline]
    pub(super) fn get_with<T>(
        &self,
        key: &[u8],
        view: impl FnOnce(Option<&[u8]>) -> T,
    ) -> DBResult<T> {
        let guard = self.index.read()?;
        let result = guard.shared().get_latched(key, view);
        if let ReadGuard::Frozen(published) = guard {
            self.release_published(published);
        }
        Ok(result)
    }

    /// Drops what a reader has seen beside a long write, which may have ended since.
    #[cold]
    fn release_published(&self, published: index::Published) {
        let pinned_epoch = published.snapshot.pinned_epoch();
        self.release_snapshot(published, pinned_epoch);
    }

    /// Shows `view` the value of `key`, unpublished changes included.
    pub(super) fn get_latest<T>(
        &self,
        key: &[u8],
        view: impl FnOnce(Option<&[u8]>) -> T,
    ) -> DBResult<T> {
        Ok(view(self.index.upgradable()?.writer().get_latest(key)))
    }

    /// The numbers of entries, bytes and commits, unpublished changes included.
    pub(super) fn latest_totals(&self) -> DBResult<Totals> {
        Ok(self.index.upgradable()?.writer().latest_totals())
    }

    pub(super) fn memory_bytes(&self) -> DBResult<u64> {
        Ok((self.index.read()?.shared().memory_bytes() + self.history.bytes()) as u64)
    }

    /// Verifies every rule that the data structure keeps. Writers wait, readers do not.
    pub(super) fn check(&self) -> DBResult<()> {
        let index = self.detach()?;
        let broken = index.check();
        self.release(index.attach());
        broken.map_err(DBError::Corrupt)
    }

    /// Freezes the published state, in constant time.
    pub(super) fn freeze(&self) -> DBResult<index::Snapshot> {
        // Where the newest snapshot will do, readers do not exclude each other.
        let existing = self.index.read()?.shared().existing_snapshot();
        match existing {
            Some(snapshot) => Ok(snapshot),
            None => self.freeze_with(|_, _| Ok(())),
        }
    }

    /// Freezes the published state for a transaction to begin with, and has later
    /// commits noted in the history.
    pub(super) fn freeze_for_transaction(&self) -> DBResult<index::Snapshot> {
        self.freeze_with(|begun, latest| self.history.open(begun, latest))
    }

    /// Freezes the published state. Before others can commit, calls `begin` with its commit
    /// and the latest one.
    fn freeze_with(
        &self,
        begin: impl FnOnce(u64, u64) -> DBResult<()>,
    ) -> DBResult<index::Snapshot> {
        match self.index.write_or_frozen()? {
            Access::Exclusive(mut index) => {
                let snapshot = index.snapshot()?;
                begin(snapshot.commits(), index.latest_commit())?;
                Ok(snapshot)
            }
            Access::Frozen(published, _guard) => {
                begin(published.snapshot.commits(), published.latest_commit)?;
                Ok(published.snapshot)
            }
        }
    }

    /// Freezes the published state as the image of a checkpoint.
    pub(super) fn freeze_for_checkpoint(&self) -> DBResult<index::Snapshot> {
        Ok(self.index.write()?.checkpoint_snapshot()?)
    }

    /// Drops what holds a snapshot, and frees the pages that nothing else needs, a few
    /// at a time so that nobody waits long.
    pub(super) fn release_snapshot<T>(&self, held: T, pinned_epoch: Option<u64>) {
        drop(held);
        let Some(epoch) = pinned_epoch else {
            return;
        };
        // Without the lock (after a panic under it) the memory goes with the store. A long
        // write that has the index looks for snapshots that were dropped.
        if let Ok(Access::Exclusive(mut index)) = self.index.write_or_frozen() {
            index.unregister(epoch);
        }
        self.collect();
        self.compact();
    }

    /// Frees what only snapshots needed that are gone.
    fn collect(&self) {
        while let Ok(Access::Exclusive(mut index)) = self.index.write_or_frozen()
            && index.collect(COLLECT_STEP)
        {
            drop(index);
            crate::sync::sleep(PAUSE);
        }
    }

    /// Moves pages after much was freed, so that their memory goes back to the system.
    fn compact(&self) {
        while let Ok(Access::Exclusive(mut index)) = self.index.write_or_frozen()
            && index.compact_due(COMPACT_STEP)
        {
            drop(index);
            crate::sync::sleep(PAUSE);
        }
    }

    /// Sets the value of `key`. Before that, shows `old` the value that was there; an
    /// error from `old` stops the put.
    #[inline]
    pub(super) fn put<T>(
        &self,
        key: &[u8],
        value: &[u8],
        old: impl FnOnce(Option<&[u8]>) -> DBResult<T>,
    ) -> DBResult<T> {
        let change = Change::put(key, value)?;
        self.index.with_upgradable(|mut guard| {
            let mut writer = guard.writer();
            if let Some(put) = writer.plan_put(key, value) {
                let result = old(writer.old_value(&put))?;
                writer.put_in_place(&put, key, value);
                self.note(|| (writer.latest_commit(), writer.commits()), change);
                return Ok(result);
            }
            let mut index = guard.upgrade();
            let result = index.put(key, value, old)?;
            self.commit(&mut index, change);
            Ok(result)
        })
    }

    /// Removes `key`. Before that, shows `old` its value; an error from `old` stops the
    /// deletion. `None` if the key is not there.
    pub(super) fn delete<T>(
        &self,
        key: &[u8],
        old: impl FnOnce(&[u8]) -> DBResult<T>,
    ) -> DBResult<Option<T>> {
        let change = Change::delete(key)?;
        self.index.with_upgradable(|guard| {
            let mut index = guard.upgrade();
            let result = index.delete(key, old)?;
            if result.is_some() {
                self.commit(&mut index, change);
            }
            Ok(result)
        })
    }

    /// Removes every key from `from` up to, but not including, `to`.
    pub(super) fn clear(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<()> {
        let change = Change::clear(from, to)?;
        if from.is_some() || to.is_some() {
            let mut payload = Vec::new();
            change.add_to(&mut payload)?;
            return self.apply_beside_readers(&payload, None, &|_| Ok(true)).map(drop);
        }
        let mut index = self.index.write()?;
        index.clear(None, None)?;
        self.commit(&mut index, change);
        drop(index);
        self.collect();
        self.compact();
        Ok(())
    }

    /// Makes `change` if the value of its key equals `expected`; returns whether it does.
    pub(super) fn cas(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        change: Change<'_>,
    ) -> DBResult<bool> {
        let mut index = self.index.write()?;
        if index.get_latest(key) != expected {
            return Ok(false);
        }
        index.apply_change(change)?;
        self.commit(&mut index, change);
        Ok(true)
    }

    /// Makes all changes of a payload in one atomic step, if it is `valid` with the latest
    /// totals while nobody else can commit; returns whether it is. `begun` is the commit
    /// that the transaction began with whose payload it is.
    pub(super) fn apply_if(
        &self,
        payload: &[u8],
        begun: Option<u64>,
        valid: &dyn Fn(Totals) -> DBResult<bool>,
    ) -> DBResult<bool> {
        let Some(changes) = few(payload) else {
            return self.apply_beside_readers(payload, begun, valid);
        };
        let mut index = self.index.write()?;
        if !valid(index.latest_totals())? {
            return Ok(false);
        }
        let done = index.batch(changes, |index| {
            Changes::of(payload).try_for_each(|change| index.apply_change(change?))
        });
        index.or_in_place(done, Changes::of(payload))?;
        index.committed();
        if self.history.is_watched() {
            let (commit, visible) = (index.latest_commit(), index.commits());
            let changes = &mut Changes::of(payload).filter_map(Result::ok);
            self.history.record(commit, visible, begun, changes);
        }
        drop(index);
        self.collect();
        Ok(true)
    }

    /// Makes the changes of a long write, as [`Store::apply_if`] says. Readers see the state
    /// before it until it is done.
    fn apply_beside_readers(
        &self,
        payload: &[u8],
        begun: Option<u64>,
        valid: &dyn Fn(Totals) -> DBResult<bool>,
    ) -> DBResult<bool> {
        // 1. This thread has the index alone, and readers have a snapshot.
        let mut index = self.detach()?;
        let is_valid = valid(index.latest_totals());
        if is_valid != Ok(true) {
            self.release(index.attach());
            return is_valid;
        }
        // 2. On copies of pages: those of the snapshot stay as they are.
        let applied = index.atomically(|index| index.apply_many(payload));
        // 3. Transactions that are open will ask for the changes.
        let (commit, at_once) = (index.latest_commit() + 1, !index.is_unpublished());
        let record = || {
            let changes = || Changes::of(payload).filter_map(Result::ok);
            self.history.needs_records(begun, at_once).then(|| Records::of(commit, changes()))
        };
        let records = record();
        // 4. Readers see all of it. A transaction may have begun just now.
        let mut index = index.attach();
        let applied = index.or_in_place(applied, Changes::of(payload));
        if applied.is_ok() {
            index.committed();
            if let Some(records) = records.or_else(record) {
                self.history.add(commit, index.commits(), records);
            }
        }
        self.release(index);
        applied.map(|()| true)
    }

    /// Detaches the index from its lock: readers see the published state meanwhile.
    fn detach(&self) -> DBResult<Detached<'_, Index>> {
        self.index.detach(|index| Ok(index.publish_beside()?))
    }

    /// Releases an index that was detached, and what only snapshots needed that were
    /// dropped meanwhile.
    fn release(&self, mut index: WriteGuard<'_, Index>) {
        index.unregister_dropped();
        drop(index);
        self.collect();
        self.compact();
    }

    /// Counts a commit of one change, and notes it.
    #[inline]
    fn commit(&self, index: &mut Index, change: Change<'_>) {
        index.committed();
        self.note(|| (index.latest_commit(), index.commits()), change);
    }

    /// Notes the change of a commit, if a transaction may ask for it. `commits` returns its
    /// number, and that of the newest published one.
    #[inline]
    fn note(&self, commits: impl FnOnce() -> (u64, u64), change: Change<'_>) {
        if self.history.is_watched() {
            let (commit, visible) = commits();
            self.history.record(commit, visible, None, &mut std::iter::once(change));
        }
    }

    /// Applies the changes of one commit that a log or a salvaged file holds, which
    /// need not be undone if one fails.
    pub(super) fn replay<'a>(&self, changes: impl IntoIterator<Item = Change<'a>>) -> DBResult<()> {
        let mut index = self.index.write()?;
        changes.into_iter().try_for_each(|change| index.apply_change(change))?;
        index.committed();
        Ok(())
    }

    /// Keeps the changes from now on from readers until they are published.
    pub(super) fn begin_unpublished(&self) -> DBResult<()> {
        if !self.index.read()?.shared().is_unpublished() {
            self.index.write()?.begin_unpublished()?;
        }
        Ok(())
    }

    /// Freezes the latest state, to be published later.
    pub(super) fn freeze_latest(&self) -> DBResult<index::Snapshot> {
        Ok(self.index.write()?.freeze()?)
    }

    /// Publishes a state that was frozen, or else the latest.
    pub(super) fn publish(&self, frozen: Option<index::Snapshot>) -> DBResult<()> {
        let mut index = self.index.write()?;
        index.publish(frozen);
        self.history.publish(index.commits());
        let more = index.collect(COLLECT_FEW);
        drop(index);
        if more {
            self.collect();
        }
        Ok(())
    }

    /// Undoes every change that is not published.
    pub(super) fn roll_back(&self) -> DBResult<()> {
        let mut index = self.index.write()?;
        index.roll_back();
        self.history.roll_back(index.commits());
        drop(index);
        self.collect();
        Ok(())
    }
}

/// The number of changes in a payload, if they are few and need no blobs.
fn few(payload: &[u8]) -> Option<usize> {
    let mut count = 0;
    for change in Changes::of(payload) {
        count += 1;
        let plain = match change.ok()?.op() {
            Op::Put(key, value) => Index::needs_no_blob(key, value),
            Op::Delete(_) => true,
            Op::Clear(..) => false,
        };
        if !plain || count > FEW {
            return None;
        }
    }
    Some(count)
}

impl Index {
    /// Makes the changes of a step that was refused memory in place: if they are deletions
    /// only, and no snapshot sees what is to be deleted, they need none.
    fn or_in_place(&mut self, done: DBResult<()>, mut changes: Changes<'_>) -> DBResult<()> {
        let removes = |change: DBResult<Change<'_>>| {
            change.is_ok_and(|change| !matches!(change.op(), Op::Put(..)))
        };
        let refused = done == Err(DBError::OutOfMemory);
        if refused && changes.clone().all(removes) && !self.has_snapshots() {
            return changes.try_for_each(|change| self.apply_change(change?));
        }
        done
    }

    /// Makes one change of a commit.
    pub(super) fn apply_change(&mut self, change: Change<'_>) -> DBResult<()> {
        match change.op() {
            Op::Put(key, value) => self.put_with_hint(&mut None, key, value)?,
            Op::Delete(key) => drop(self.delete(key, |_| Ok::<(), OutOfMemory>(()))?),
            Op::Clear(from, to) => self.clear(from, to)?,
        }
        Ok(())
    }

    /// Makes many changes, in an order that has the effect of theirs.
    fn apply_many(&mut self, payload: &[u8]) -> DBResult<()> {
        let mut hint = None;
        let mut apply = |change: DBResult<Change<'_>>| {
            let change = change?;
            if let Op::Put(key, value) = change.op() {
                return Ok(self.put_with_hint(&mut hint, key, value)?);
            }
            hint = None;
            self.apply_change(change)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One thread does it all: if a reader waited, it would be for ever.
    #[test]
    fn readers_go_on_beside_a_long_write() {
        let store = Store::new(Index::new().unwrap());
        let key = |n: u64| n.to_be_bytes();
        let get = |n| store.get_with(&key(n), |value| value.map(<[u8]>::to_vec)).unwrap();
        let mut payload = Vec::new();
        for n in 0..2 * FEW as u64 {
            Change::put(&key(n), b"new").unwrap().add_to(&mut payload).unwrap();
        }
        store.put(&key(0), b"old", |_| Ok(())).unwrap();
        let earlier = store.freeze_for_transaction().unwrap();
        let beside = |_| {
            assert_eq!((get(0), get(1)), (Some(b"old".to_vec()), None));
            assert_eq!(store.read()?.shared().totals().count, 1);
            let snapshot = store.freeze()?;
            assert_eq!(snapshot.totals().count, 1);
            let epoch = snapshot.pinned_epoch();
            store.release_snapshot(snapshot, epoch.or(Some(1)));
            assert_eq!(store.freeze_for_transaction()?.commits(), earlier.commits());
            assert!(store.memory_bytes()? > 0);
            Ok(true)
        };
        assert!(store.apply_if(&payload, None, &beside).unwrap());
        assert_eq!((get(0), get(1)), (Some(b"new".to_vec()), Some(b"new".to_vec())));
        let mut noted = 0;
        let note = |_: Change<'_>| {
            noted += 1;
            false
        };
        assert!(!store.history().any_since(earlier.commits(), note).unwrap());
        assert_eq!(noted, 2 * FEW, "open transactions know what was written");
        // One that is refused leaves nothing, and the store goes on.
        assert!(!store.apply_if(&payload, None, &|_| Ok(false)).unwrap());
        assert!(store.cas(&key(0), Some(b"new"), Change::delete(&key(0)).unwrap()).unwrap());
        assert_eq!(store.read().unwrap().shared().totals().commits, 3);
        store.check().unwrap();
    }

    /// Commits that wait for a sync are kept from readers from the first on, also if the
    /// index is detached when it comes.
    #[test]
    fn changes_are_unpublished_though_they_begin_beside_a_check() {
        let store = Store::new(Index::new().unwrap());
        let begun = std::sync::atomic::AtomicBool::new(false);
        let detached = store.detach().unwrap();
        std::thread::scope(|scope| {
            let begin = scope.spawn(|| {
                begun.store(true, std::sync::atomic::Ordering::SeqCst);
                store.begin_unpublished()
            });
            while !begun.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(20)); // for it to be inside
            drop(detached);
            begin.join().unwrap().unwrap();
        });
        store.put(b"key", b"value", |_| Ok(())).unwrap();
        assert!(!store.get_with(b"key", |value| value.is_some()).unwrap());
        store.roll_back().unwrap();
        assert!(!store.get_latest(b"key", |value| value.is_some()).unwrap());
    }
}
