//! Who may still see what: bookkeeping only, no memory.
//!
//! A page or blob is born in an epoch. Taking a snapshot ends the epoch, and
//! what was born before is frozen from then on. When something frozen leaves
//! the living tree it is retired: noted with the newest living snapshot, and
//! freed once no living snapshot falls between its birth and its death.
//!
//! The epochs replace reference counts, which a copy of an inner node would
//! have to touch in each child; the lists of retired things that hang on the
//! newest snapshot are an idea of ZFS's dead lists.

use std::collections::VecDeque;

use super::page::{BlobId, PageId};
use crate::error::OutOfMemory;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering};

/// What a snapshot holds on to: its epoch, and the memory it reads.
#[derive(Debug)]
pub(crate) struct SnapshotRef<M> {
    pub(crate) epoch: u64,
    pub(crate) memory: M,
    /// Whether anything was retired that only this snapshot may still need.
    pinned_epoch: AtomicBool,
}

impl<M> SnapshotRef<M> {
    /// Its epoch, for [`Epochs::forget`], if dropping it may leave something to
    /// [`Epochs::collect`].
    pub(crate) fn pinned_epoch(&self) -> Option<u64> {
        self.pinned_epoch.load(Ordering::Relaxed).then_some(self.epoch)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    Page(PageId),
    Blob(BlobId),
}

/// Something no longer in the living tree that a snapshot may still need.
#[derive(Clone, Copy, Debug)]
struct Retired {
    item: Item,
    birth: u64,
    death: u64,
}

/// A snapshot that may still be in use, with what was retired since it was
/// taken and before the next one was.
#[derive(Debug)]
struct Living<M> {
    ticket: Arc<SnapshotRef<M>>,
    retired: Vec<Retired>,
}

impl<M> Living<M> {
    /// Notes that this is the newest snapshot to need `retired`; there is room.
    fn keep(&mut self, retired: Retired) {
        self.ticket.pinned_epoch.store(true, Ordering::Relaxed);
        self.retired.push(retired);
    }
}

/// The books of one store.
#[derive(Debug)]
pub(crate) struct Epochs<M> {
    /// What is born now is born in this epoch; 1 to begin with.
    now: u64,
    /// The epoch of the newest living snapshot, 0 if there is none.
    newest: u64,
    /// Whether anything was changed since the newest snapshot.
    changed: bool,
    /// By epoch, oldest first.
    living: VecDeque<Living<M>>,
    /// When there are so many, those that are gone are looked for.
    sweep_at: usize,
    /// The newest living snapshot has room for so many notes.
    reserved: usize,
    /// Retired in the time of snapshots that are gone, and not yet looked at.
    orphans: Vec<Retired>,
}

impl<M> Epochs<M> {
    pub(crate) fn new() -> Epochs<M> {
        Epochs {
            now: 1,
            newest: 0,
            changed: true,
            living: VecDeque::new(),
            sweep_at: 16,
            reserved: 0,
            orphans: Vec::new(),
        }
    }

    /// The books of a store in which all there is was born in `epoch`, or before.
    pub(crate) fn after(epoch: u64) -> Epochs<M> {
        Epochs { now: epoch + 1, ..Epochs::new() }
    }

    /// The epoch that something is born in which is made now.
    pub(crate) fn birth(&self) -> u64 {
        self.now
    }

    /// Notes that the living tree is no longer what the newest snapshot shows.
    #[inline]
    pub(crate) fn changed(&mut self) {
        self.changed = true;
    }

    /// Whether a snapshot may see what was born in an epoch.
    #[inline]
    pub(crate) fn is_frozen(&self, birth: u64) -> bool {
        birth <= self.newest
    }

    /// The same, with snapshots forgotten that are no longer in use.
    #[inline]
    pub(crate) fn is_still_frozen(&mut self, birth: u64) -> bool {
        if !self.is_frozen(birth) {
            return false;
        }
        self.forget_newest();
        self.is_frozen(birth)
    }

    /// Makes room for `count` notes: the next `count` items are retired without an
    /// allocation, also if the newest snapshot is dropped meanwhile.
    #[inline]
    pub(crate) fn reserve(&mut self, count: usize) -> Result<(), OutOfMemory> {
        if let Some(newest) = self.living.back_mut() {
            newest.retired.try_reserve(count)?;
            self.reserved = count;
        }
        Ok(())
    }

    /// Takes something out of the living tree; returns it if it is to be freed
    /// at once.
    pub(crate) fn retire(&mut self, item: Item, birth: u64) -> Option<Item> {
        self.changed = true;
        if !self.is_still_frozen(birth) {
            return Some(item);
        }
        let newest = self.living.back_mut().expect("it has frozen the item");
        newest.keep(Retired { item, birth, death: self.now });
        self.reserved = self.reserved.saturating_sub(1);
        None
    }

    /// Freezes what there is now, which lies in `memory`.
    pub(crate) fn freeze(&mut self, memory: M) -> Result<Arc<SnapshotRef<M>>, OutOfMemory> {
        if let Some(ticket) = self.existing_freeze() {
            return Ok(ticket);
        }
        self.forget_newest();
        if self.living.len() >= self.sweep_at {
            self.sweep();
        }
        self.living.try_reserve(1)?;
        let ticket =
            Arc::new(SnapshotRef { epoch: self.now, memory, pinned_epoch: AtomicBool::new(false) });
        self.living.push_back(Living { ticket: ticket.clone(), retired: Vec::new() });
        (self.newest, self.reserved) = (self.now, 0);
        self.now += 1;
        self.changed = false;
        Ok(ticket)
    }

    /// The snapshot taken last again, if it is living and nothing was changed since.
    pub(crate) fn existing_freeze(&self) -> Option<Arc<SnapshotRef<M>>> {
        let newest = self.living.back()?;
        let taken_last = newest.ticket.epoch + 1 == self.now;
        (taken_last && !self.changed).then(|| newest.ticket.clone())
    }

    /// Forgets the newest snapshots as far as they are no longer in use.
    #[cold]
    pub(crate) fn forget_newest(&mut self) {
        while !self.living.is_empty() && self.forget_at(self.living.len() - 1) {}
        self.newest = self.living.back().map_or(0, |living| living.ticket.epoch);
    }

    /// Unregisters a snapshot if it is no longer in use. Without memory for the notes
    /// that it leaves behind, it stays as if it were.
    fn forget_at(&mut self, at: usize) -> bool {
        let (older, is_newest) = (at.checked_sub(1), at + 1 == self.living.len());
        let living = &mut self.living[at];
        // `get_mut` sees all that the snapshot's last reader has done.
        if Arc::get_mut(&mut living.ticket).is_none() {
            return false;
        }
        if let Some(older) = older.filter(|_| is_newest)
            && self.living[older].retired.try_reserve(self.reserved).is_err()
        {
            return false;
        }
        let living = &mut self.living[at];
        if self.orphans.is_empty() {
            self.orphans = std::mem::take(&mut living.retired);
        } else if self.orphans.try_reserve(living.retired.len()).is_ok() {
            self.orphans.append(&mut living.retired);
        } else {
            return false;
        }
        self.living.remove(at);
        true
    }

    /// Whether [`Epochs::collect`] has something to do that is known already.
    #[inline]
    pub(crate) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// Forgets the snapshot of an epoch if it is no longer in use.
    pub(crate) fn forget(&mut self, epoch: u64) {
        if let Ok(at) = self.living.binary_search_by_key(&epoch, |living| living.ticket.epoch) {
            self.forget_at(at);
        }
        self.forget_newest();
    }

    /// Forgets all snapshots that are no longer in use: those that something was
    /// hung on in the moment in which they were dropped.
    #[cold]
    fn sweep(&mut self) {
        for at in (0..self.living.len()).rev() {
            self.forget_at(at);
        }
        self.sweep_at = 2 * self.living.len() + 16;
    }

    /// Returns a retired thing that no snapshot needs any more, having looked at
    /// no more than `limit`, which is counted down.
    pub(crate) fn collect(&mut self, limit: &mut usize) -> Option<Item> {
        while *limit > 0 {
            let &orphan = self.orphans.last()?;
            let older = self.living.partition_point(|l| l.ticket.epoch < orphan.death);
            let keeper = older.checked_sub(1).map(|at| &mut self.living[at]);
            let keeper = keeper.filter(|living| living.ticket.epoch >= orphan.birth);
            let free = keeper.is_none();
            if let Some(living) = keeper {
                // Without room it stays an orphan; the reserved room is not for it.
                living.retired.try_reserve(self.reserved + 1).ok()?;
                living.keep(orphan);
            }
            *limit -= 1;
            self.orphans.pop();
            if self.orphans.is_empty() {
                self.orphans = Vec::new(); // they may have been many
            }
            if free {
                return Some(orphan.item);
            }
        }
        None
    }

    /// Lookup that all that was retired since `newest`, which must be the newest
    /// snapshot, is in the living tree again.
    pub(crate) fn revive(&mut self, newest: &Arc<SnapshotRef<M>>) {
        let living = self.living.back_mut().expect("the snapshot is living");
        assert!(Arc::ptr_eq(&living.ticket, newest), "only the newest snapshot can be revived");
        living.retired.clear();
        // Some may have been noted with a newer snapshot that is gone.
        let epoch = newest.epoch;
        self.orphans.retain(|orphan| orphan.birth > epoch || orphan.death <= epoch);
    }

    fn retired(&self) -> impl Iterator<Item = &Vec<Retired>> {
        self.living.iter().map(|living| &living.retired).chain([&self.orphans])
    }

    /// Bytes that the books take.
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
