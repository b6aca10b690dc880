//! Epochs: which pages and blobs a live snapshot can see. Bookkeeping only.
//!
//! A page or blob (an item) is born in an epoch. Taking a snapshot ends the epoch and
//! freezes all items born so far. A frozen item that leaves the live tree is retired: it is
//! noted with the newest live snapshot, and freed once no live snapshot falls between its
//! birth and its death.
//!
//! Epochs replace reference counts, which a copy of an inner node would have to touch in
//! each child. The notes with the newest snapshot are an idea of ZFS's dead lists.

use std::collections::VecDeque;

use super::page::{BlobId, PageId};
use crate::error::OutOfMemory;
use crate::fallible::shared;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The reference that a snapshot holds: its epoch, and the memory that it reads.
#[derive(Debug)]
pub(crate) struct SnapshotRef<M> {
    pub(crate) epoch: u64,
    pub(crate) memory: M,
    /// Whether an item was retired that only this snapshot may still need.
    pinned_epoch: AtomicBool,
}

impl<M> SnapshotRef<M> {
    /// The epoch to unregister after the snapshot was dropped, if only it may need some
    /// retired item.
    pub(crate) fn pinned_epoch(&self) -> Option<u64> {
        self.pinned_epoch.load(Ordering::Relaxed).then_some(self.epoch)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    Page(PageId),
    Blob(BlobId),
}

/// An item that has left the live tree and that a snapshot may still need.
#[derive(Clone, Copy, Debug)]
struct Retired {
    item: Item,
    birth: u64,
    death: u64,
}

/// A registered snapshot, which may still be in use, with the notes of items that were
/// retired after it and before the next one.
#[derive(Debug)]
struct Registered<M> {
    snapshot: Arc<SnapshotRef<M>>,
    retired: Vec<Retired>,
}

impl<M> Registered<M> {
    /// Adds a note, for which there is room: this is the newest snapshot to need the item.
    fn keep(&mut self, retired: Retired) {
        self.snapshot.pinned_epoch.store(true, Ordering::Relaxed);
        self.retired.push(retired);
    }
}

/// The epochs of one store.
#[derive(Debug)]
pub(crate) struct Epochs<M> {
    /// The current epoch, beginning with 1.
    now: u64,
    /// The epoch of the newest live snapshot, 0 if there is none.
    newest: u64,
    /// Whether anything was changed since the newest snapshot.
    changed: bool,
    /// By epoch, oldest first.
    live: VecDeque<Registered<M>>,
    /// With so many registered snapshots, those that are gone are looked for.
    sweep_at: usize,
    /// The newest live snapshot has room for so many notes.
    reserved: usize,
    /// The retired list: notes of snapshots that are gone, not yet looked at.
    retired_list: Vec<Retired>,
    /// Refuses memory for notes.
    #[cfg(test)]
    pub(crate) refusing: bool,
}

impl<M> Epochs<M> {
    pub(crate) fn new() -> Epochs<M> {
        Epochs {
            now: 1,
            newest: 0,
            changed: true,
            live: VecDeque::new(),
            sweep_at: 16,
            reserved: 0,
            retired_list: Vec::new(),
            #[cfg(test)]
            refusing: false,
        }
    }

    /// The epochs of a store whose pages were all born in `epoch` or before.
    pub(crate) fn after(epoch: u64) -> Epochs<M> {
        Epochs { now: epoch + 1, ..Epochs::new() }
    }

    /// The epoch in which a new page or blob is born.
    pub(crate) fn birth(&self) -> u64 {
        self.now
    }

    /// Notes that the live tree is no longer what the newest snapshot shows.
    #[inline]
    pub(crate) fn changed(&mut self) {
        self.changed = true;
    }

    /// Whether a registered snapshot may see a page or blob born in an epoch.
    #[inline]
    pub(crate) fn is_frozen(&self, birth: u64) -> bool {
        birth <= self.newest
    }

    /// Whether any snapshot is registered.
    pub(crate) fn has_snapshots(&self) -> bool {
        !self.live.is_empty()
    }

    /// Whether a snapshot in use may see a page or blob born in an epoch.
    #[inline]
    pub(crate) fn is_still_frozen(&mut self, birth: u64) -> bool {
        if !self.is_frozen(birth) {
            return false;
        }
        self.unregister_newest();
        self.is_frozen(birth)
    }

    /// Makes room for `count` notes: the next `count` items are retired without an
    /// allocation, also if the newest snapshot is dropped meanwhile.
    #[inline]
    pub(crate) fn reserve(&mut self, count: usize) -> Result<(), OutOfMemory> {
        if let Some(newest) = self.live.back_mut() {
            newest.retired.try_reserve(count)?;
            self.reserved = count;
        }
        Ok(())
    }

    /// Ends the operation that notes were reserved for.
    pub(crate) fn release_reserved(&mut self) {
        self.reserved = 0;
    }

    /// Takes an item out of the live tree; returns it if it is to be freed at once.
    pub(crate) fn retire(&mut self, item: Item, birth: u64) -> Option<Item> {
        self.changed = true;
        if !self.is_still_frozen(birth) {
            return Some(item);
        }
        let newest = self.live.back_mut().expect("it has frozen the item");
        newest.keep(Retired { item, birth, death: self.now });
        self.reserved = self.reserved.saturating_sub(1);
        None
    }

    /// Freezes the live tree, which lies in `memory`.
    pub(crate) fn freeze(&mut self, memory: M) -> Result<Arc<SnapshotRef<M>>, OutOfMemory> {
        if let Some(snapshot) = self.existing_freeze() {
            return Ok(snapshot);
        }
        self.unregister_newest();
        if self.live.len() >= self.sweep_at {
            self.unregister_dropped();
            self.sweep_at = 2 * self.live.len() + 16;
        }
        self.live.try_reserve(1)?;
        let pinned_epoch = AtomicBool::new(false);
        let snapshot = shared(SnapshotRef { epoch: self.now, memory, pinned_epoch })?;
        self.live.push_back(Registered { snapshot: snapshot.clone(), retired: Vec::new() });
        (self.newest, self.reserved) = (self.now, 0);
        self.now += 1;
        self.changed = false;
        Ok(snapshot)
    }

    /// The snapshot that was taken last, if it is live and nothing was changed since.
    pub(crate) fn existing_freeze(&self) -> Option<Arc<SnapshotRef<M>>> {
        let newest = self.live.back()?;
        let taken_last = newest.snapshot.epoch + 1 == self.now;
        (taken_last && !self.changed).then(|| newest.snapshot.clone())
    }

    /// Unregisters the newest snapshots as far as they are no longer in use.
    #[cold]
    pub(crate) fn unregister_newest(&mut self) {
        while !self.live.is_empty() && self.unregister_at(self.live.len() - 1) {}
        self.newest = self.live.back().map_or(0, |live| live.snapshot.epoch);
    }

    /// Unregisters a snapshot if it is no longer in use. Without memory for the notes
    /// that it leaves behind, it stays as if it were.
    fn unregister_at(&mut self, at: usize) -> bool {
        let (older, is_newest) = (at.checked_sub(1), at + 1 == self.live.len());
        let live = &mut self.live[at];
        // `get_mut` sees all that the snapshot's last reader has done.
        if Arc::get_mut(&mut live.snapshot).is_none() {
            return false;
        }
        #[cfg(test)]
        if self.refusing {
            return false;
        }
        if let Some(older) = older.filter(|_| is_newest)
            && self.live[older].retired.try_reserve(self.reserved).is_err()
        {
            return false;
        }
        let live = &mut self.live[at];
        // The shorter list moves to the longer one.
        if self.retired_list.len() < live.retired.len() {
            if live.retired.try_reserve(self.retired_list.len()).is_err() {
                return false;
            }
            std::mem::swap(&mut self.retired_list, &mut live.retired);
        } else if self.retired_list.try_reserve(live.retired.len()).is_err() {
            return false;
        }
        self.retired_list.append(&mut live.retired);
        self.live.remove(at);
        true
    }

    /// Whether the retired list has items.
    #[inline]
    pub(crate) fn has_retired(&self) -> bool {
        !self.retired_list.is_empty()
    }

    /// Unregisters the snapshot of an epoch if it is no longer in use.
    pub(crate) fn unregister(&mut self, epoch: u64) {
        if let Ok(at) = self.live.binary_search_by_key(&epoch, |live| live.snapshot.epoch) {
            self.unregister_at(at);
        }
        self.unregister_newest();
    }

    /// Unregisters all snapshots that are no longer in use: dropping a snapshot while an
    /// item is retired goes unnoticed.
    #[cold]
    pub(crate) fn unregister_dropped(&mut self) {
        for at in (0..self.live.len()).rev() {
            self.unregister_at(at);
        }
        self.newest = self.live.back().map_or(0, |live| live.snapshot.epoch);
    }

    /// Returns a retired item that no snapshot needs. Looks at no more than `limit` items,
    /// and counts it down.
    pub(crate) fn collect(&mut self, limit: &mut usize) -> Option<Item> {
        while *limit > 0 {
            let &item = self.retired_list.last()?;
            let older = self.live.partition_point(|l| l.snapshot.epoch < item.death);
            let live_count = self.live.len();
            let keeper = older.checked_sub(1).map(|at| &mut self.live[at]);
            let keeper = keeper.filter(|live| live.snapshot.epoch >= item.birth);
            let free = keeper.is_none();
            if let Some(live) = keeper {
                // Without room it stays an item; the reserved room is not for it.
                let reserved = if older == live_count { self.reserved } else { 0 };
                live.retired.try_reserve(reserved + 1).ok()?;
                live.keep(item);
            }
            *limit -= 1;
            self.retired_list.pop();
            if self.retired_list.is_empty() {
                self.retired_list = Vec::new(); // they may have been many
            }
            if free {
                return Some(item.item);
            }
        }
        None
    }

    /// Unregisters the snapshots newer than `newest`, none of which is in use, so that the
    /// tree of `newest` can be the live one again. Returns, one after the other, the retired
    /// items that it does not see, to be freed. Unlike [`Epochs::unregister_newest`] it takes
    /// no memory.
    pub(crate) fn take_newer(&mut self, newest: &Arc<SnapshotRef<M>>) -> Option<Item> {
        self.reserved = 0;
        loop {
            let live = self.live.back_mut()?;
            self.newest = live.snapshot.epoch;
            if self.newest <= newest.epoch || Arc::get_mut(&mut live.snapshot).is_none() {
                return None;
            }
            match live.retired.pop() {
                Some(retired) if retired.birth > newest.epoch => return Some(retired.item),
                Some(_) => {} // it is in the live tree again
                None => drop(self.live.pop_back()),
            }
        }
    }

    /// Takes everything retired since `newest`, which is the newest snapshot, back into
    /// the live tree.
    pub(crate) fn revive(&mut self, newest: &Arc<SnapshotRef<M>>) {
        let live = self.live.back_mut().expect("the snapshot is live");
        assert!(Arc::ptr_eq(&live.snapshot, newest), "only the newest snapshot can be revived");
        live.retired.clear();
        // Some may have been noted with a newer snapshot that is gone.
        let epoch = newest.epoch;
        self.retired_list.retain(|item| item.birth > epoch || item.death <= epoch);
    }

    fn retired(&self) -> impl Iterator<Item = &Vec<Retired>> {
        self.live.iter().map(|live| &live.retired).chain([&self.retired_list])
    }

    /// Bytes that the notes take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.retired().map(Vec::capacity).sum::<usize>() * size_of::<Retired>()
    }

    /// Number of pages and blobs kept for snapshots only; for the invariants.
    pub(crate) fn population(&self) -> (usize, usize) {
        self.retired().flatten().fold((0, 0), |(pages, blobs), retired| match retired.item {
            Item::Page(_) => (pages + 1, blobs),
            Item::Blob(_) => (pages, blobs + 1),
        })
    }
}
