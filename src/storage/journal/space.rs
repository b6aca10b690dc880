//! Space: a disk that is nearly full is left to the commits that free some.
//!
//! 1. The disk always has the space that folding the log needs: a commit that would leave
//!    less folds the log first.
//! 2. A commit that puts something leaves a reserve beyond that, or is refused as
//!    [`DBError::Full`]. Deletions use the reserve: each is small, and the next one folds it.
//!
//! So whenever a commit is refused, opening, deleting and a checkpoint work; they free
//! sectors of the data file, and then puts work again. The free space of the disk counts, and
//! the free sectors of the data file. Space that others take meanwhile, and a quota or a limit
//! that the system does not tell, are met as they come: then a commit fails that cannot be
//! written, and a checkpoint is tried.

use super::super::change::{Change, Changes, Op};
use super::super::file::DataFile;
use super::super::log::Log;
use crate::planted::{self, Bug};

/// After so many bytes of log the free space of the disk is looked at, sooner where it may
/// not suffice.
const LOOK: u64 = if cfg!(minidb_shuttle) { 1 << 10 } else { 32 << 10 };

/// Bytes that a checkpoint may write for one change: a leaf, the nodes above it, and the
/// tables that lead to their blocks.
const CHANGE: u64 = 12 << 10;

/// Bytes of the log that a commit that puts something leaves to deletions.
const ROOM: u64 = 8 << 10;

/// The least bytes of a change in the log.
const CHANGE_MIN: u64 = 10;

/// The space of the disk as the log writer knows it.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// Bytes of the data file that its root reaches, and those between them.
    used: u64,
    free: u64,
    /// Changes in the log that are not retired.
    changes: u64,
    /// With fewer live bytes of log there is space for sure.
    look_at: u64,
}

/// The weight of a commit: its bytes in the log, its changes, and whether it puts anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight {
    bytes: u64,
    changes: u64,
    puts: bool,
}

impl Weight {
    pub(super) fn of_payload(payload: &[u8]) -> Weight {
        let mut weight = Weight { bytes: payload.len() as u64 + 64, changes: 0, puts: false };
        Changes::of(payload).flatten().for_each(|change| weight.add(change));
        weight
    }

    pub(super) fn of_change(change: Change<'_>) -> Weight {
        let (head, first, second) = change.encode();
        let bytes = (head.len() + first.len() + second.len()) as u64 + 64;
        let mut weight = Weight { bytes, changes: 0, puts: false };
        weight.add(change);
        weight
    }

    fn add(&mut self, change: Change<'_>) {
        self.changes += if matches!(change.op(), Op::Clear(..)) { 2 } else { 1 };
        self.puts |= matches!(change.op(), Op::Put(..));
    }

    /// Whether it is one deletion, which is tried in any case.
    pub(super) fn is_deletion(self) -> bool {
        !self.puts && self.changes <= 2
    }
}

impl Space {
    /// The space that folding so much of the log may take: no more than all anew.
    fn to_fold(&self, changes: u64, live: u64) -> u64 {
        let tables = self.used / 32 + (32 << 10);
        let changed = changes.saturating_mul(CHANGE).saturating_add(tables + live / 4 * 5);
        changed.min(self.used + live.saturating_mul(3))
    }

    /// The reserve for deletions.
    fn reserve(&self) -> u64 {
        self.used / 16 + 4 * CHANGE
    }

    /// Notes the end of a checkpoint, which has folded so much of a log that has `live` bytes.
    pub(super) fn note_checkpoint(&mut self, data: &DataFile, folded: u64, live: u64) {
        // The changes of what is left, on average.
        let left = u128::from(self.changes) * u128::from(live) / u128::from((folded + live).max(1));
        let (used, free) = (data.used_bytes(), data.bytes() - data.used_bytes());
        *self = Space { used, free, changes: left as u64, look_at: 0 };
    }

    /// Notes a commit that is about to be appended.
    pub(super) fn note_commit(&mut self, weight: Weight) {
        self.changes += weight.changes;
    }

    /// Whether there is space for a commit, and for folding it.
    #[inline]
    pub(super) fn suffices(&mut self, log: &Log, weight: Weight) -> bool {
        log.live_bytes() + weight.bytes < self.look_at || self.look(log, weight)
    }

    #[cold]
    fn look(&mut self, log: &Log, weight: Weight) -> bool {
        let live = log.live_bytes() + weight.bytes;
        if log.live_bytes() == 0 {
            self.changes = 0; // they were refused, or changed nothing
        }
        let unwritten = log.live_bytes() - log.written_bytes() + weight.bytes;
        let free = log.file().free_space();
        let is_enough = |more, reserve, room| {
            let changes = self.changes + weight.changes + more / CHANGE_MIN;
            let needed = self.to_fold(changes, live + more) + reserve;
            let growth = log.growth(unwritten + room + more);
            growth <= free && needed <= (free - growth).saturating_add(self.free)
        };
        // Puts that would fold the log each time are refused rather.
        let more = if log.live_bytes() == 0 { 8 * CHANGE_MIN } else { 0 };
        let is_enough_for = |more, puts| {
            if puts { is_enough(more, self.reserve(), ROOM) } else { is_enough(0, 0, 0) }
        };
        let (enough, much) = (is_enough_for(more, weight.puts), is_enough_for(LOOK, true));
        self.look_at = if much { live + LOOK } else { 0 };
        enough || planted::is(Bug::ReserveSpent)
    }
}
