//! The numbers of a tree: entries, bytes and commits.
//!
//! The writer counts an in-place put while readers ask for the counts. It does so under
//! the latch of the changed leaf, so a reader that finds the entry also finds it counted,
//! and a reader that finds it counted waits at the latch to find the entry.

use crate::sync::Wait;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The numbers of a tree at one commit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Entries.
    pub(crate) count: u64,
    /// Bytes of all keys and values.
    pub(crate) bytes: u64,
    /// Commits that led to the tree.
    pub(crate) commits: u64,
}

/// The totals of the live tree. Many threads read them while one changes them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Odd while the writer changes more than one number.
    version: AtomicU64,
    count: AtomicU64,
    bytes: AtomicU64,
    commits: AtomicU64,
}

impl Counters {
    pub(in super::super) fn new(totals: Totals) -> Counters {
        let mut counters = Counters::default();
        counters.set(totals);
        counters
    }

    /// One consistent set: readers retry while the writer changes several numbers.
    pub(in super::super) fn get(&self) -> Totals {
        let mut wait = Wait::new();
        loop {
            let version = self.version.load(Ordering::Acquire);
            // A new number that is acquired here makes the last load see the odd version.
            let totals = Totals {
                count: self.count.load(Ordering::Acquire),
                bytes: self.bytes.load(Ordering::Acquire),
                commits: self.commits.load(Ordering::Acquire),
            };
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return totals;
            }
            wait.pause(); // the writer needs a few instructions
        }
    }

    /// The number of the newest commit, unpublished ones included. Only the writer calls it.
    #[inline]
    pub(in super::super) fn latest_commit(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Counts a commit that is an in-place put. `inserted` is the length of a new entry.
    /// Only the writer calls it, under the latch of the leaf.
    #[inline]
    pub(in super::super) fn count_put(&self, inserted: Option<usize>) {
        let next = |number: &AtomicU64, more| number.load(Ordering::Relaxed) + more;
        let commits = next(&self.commits, 1);
        let Some(len) = inserted else {
            return self.commits.store(commits, Ordering::Release);
        };
        let version = next(&self.version, 1);
        self.version.store(version, Ordering::Relaxed);
        self.count.store(next(&self.count, 1), Ordering::Release);
        self.bytes.store(next(&self.bytes, len as u64), Ordering::Release);
        self.commits.store(commits, Ordering::Release);
        self.version.store(version + 1, Ordering::Release);
    }

    /// Counts an inserted entry of `len` bytes.
    #[inline]
    pub(in super::super) fn add_entry(&mut self, len: usize) {
        *self.count.get_mut() += 1;
        *self.bytes.get_mut() += len as u64;
    }

    /// Counts a removed entry of `len` bytes.
    pub(in super::super) fn remove_entry(&mut self, len: usize) {
        *self.count.get_mut() -= 1;
        *self.bytes.get_mut() -= len as u64;
    }

    /// Counts a value of `new` bytes in the place of one of `old` bytes.
    pub(in super::super) fn replace_value(&mut self, old: usize, new: usize) {
        let bytes = self.bytes.get_mut();
        *bytes = *bytes - old as u64 + new as u64;
    }

    /// Counts a commit.
    pub(in super::super) fn add_commit(&mut self) {
        *self.commits.get_mut() += 1;
    }

    pub(in super::super) fn set(&mut self, totals: Totals) {
        let Totals { count, bytes, commits } = totals;
        *self.count.get_mut() = count;
        *self.bytes.get_mut() = bytes;
        *self.commits.get_mut() = commits;
    }
}
