//! A snapshot: a tree of one epoch, which nobody changes.

use super::super::memory::Frozen;
use super::{Totals, Tree};

/// A tree of one epoch. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(in super::super) frozen: Frozen,
    pub(in super::super) tree: Tree,
    pub(in super::super) totals: Totals,
}

impl Snapshot {
    /// The value of a key.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.tree.get(&self.frozen, key)
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn commits(&self) -> u64 {
        self.totals.commits
    }

    /// The epoch to unregister once the snapshot is dropped, if pages or blobs were retired
    /// that only it may need.
    pub(crate) fn pinned_epoch(&self) -> Option<u64> {
        self.frozen.pinned_epoch()
    }
}
