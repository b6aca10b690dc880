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
//! takes the exclusive guard (see `sync/br_lock.rs`).
//!
//! Not here: files. A [`super::journal`] logs a write before it is applied here.

use super::change::{Change, Changes, Op, by_key};
use super::history::History;
use super::index::{self, Index};
use crate::error::{DBError, DBResult, OutOfMemory};
use crate::sync::{Arc, BrLock, ReadGuard, WriteGuard};

/// How many retired pages and blobs are looked at under one exclusive guard.
const COLLECT_STEP: usize = 64;

/// A payload with no more changes than this is applied in place, with memory reserved
/// for all of them; a larger one on copies of the pages that it changes.
const FEW: usize = 4096;

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
        Ok(self.index.read()?.shared().get_latched(key, view))
    }

    /// Shows `view` the value of `key`, unpublished changes included.
    pub(super) fn get_latest<T>(
        &self,
        key: &[u8],
        view: impl FnOnce(Option<&[u8]>) -> T,
    ) -> DBResult<T> {
        Ok(view(self.index.upgradable()?.writer().get_latest(key)))
    }

    pub(super) fn memory_bytes(&self) -> DBResult<u64> {
        Ok((self.index.read()?.shared().memory_bytes() + self.history.bytes()) as u64)
    }

    /// Verifies every rule that the data structure keeps. Writers wait.
    pub(super) fn check(&self) -> DBResult<()> {
        self.index.upgradable()?.writer().check().map_err(DBError::Corrupt)
    }

    /// Freezes the published state, in constant time.
    pub(super) fn freeze(&self) -> DBResult<index::Snapshot> {
        // Where the newest snapshot will do, readers do not exclude each other.
        let existing = self.index.read()?.shared().existing_snapshot();
        match existing {
            Some(snapshot) => Ok(snapshot),
            None => Ok(self.index.write()?.snapshot()?),
        }
    }

    /// Freezes the published state for a transaction to begin with, and has later
    /// commits noted in the history.
    pub(super) fn freeze_for_transaction(&self) -> DBResult<index::Snapshot> {
        let mut index = self.index.write()?;
        let snapshot = index.snapshot()?;
        self.history.open(snapshot.commits(), index.latest_commit())?;
        Ok(snapshot)
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
        // Without the lock (after a panic under it) the memory goes with the store.
        if let Ok(mut index) = self.index.write() {
            index.unregister(epoch);
        }
        self.collect();
    }

    /// Frees what only snapshots needed that are gone.
    fn collect(&self) {
        while self.index.write().is_ok_and(|mut index| index.collect(COLLECT_STEP)) {}
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
        let mut index = self.index.write()?;
        let done = index.clear(from, to).map_err(DBError::from);
        self.finish(index, done, None, &mut std::iter::once(change))
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

    /// Makes all changes of a payload in one atomic step, if it is `valid` while nobody
    /// else can commit; returns whether it is. `begun` is the commit that the
    /// transaction began with whose payload it is.
    pub(super) fn apply_if(
        &self,
        payload: &[u8],
        begun: Option<u64>,
        valid: impl FnOnce() -> DBResult<bool>,
    ) -> DBResult<bool> {
        let mut index = self.index.write()?;
        if !valid()? {
            return Ok(false);
        }
        let done = match few(payload) {
            Some(changes) => index.batch(changes, |index| {
                Changes::of(payload).try_for_each(|change| index.apply_change(change?))
            }),
            None => index.atomically(|index| index.apply_many(payload)),
        };
        self.finish(index, done, begun, &mut Changes::of(payload).filter_map(Result::ok))?;
        Ok(true)
    }

    /// Ends a write of many steps, and frees what it has replaced, a few things at a
    /// time.
    fn finish(
        &self,
        mut index: WriteGuard<'_, Index>,
        done: DBResult<()>,
        begun: Option<u64>,
        changes: &mut dyn Iterator<Item = Change<'_>>,
    ) -> DBResult<()> {
        if done.is_ok() {
            index.committed();
            if self.history.is_watched() {
                self.history.record(index.latest_commit(), index.commits(), begun, changes);
            }
        }
        drop(index);
        self.collect();
        done
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
        let more = index.collect(COLLECT_STEP);
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
