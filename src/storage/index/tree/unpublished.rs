//! Unpublished changes: those whose commits are not durable yet.
//!
//! After [`Index::begin_unpublished`] readers go on seeing the tree of that moment. Later
//! changes are published up to a snapshot ([`Index::freeze`], [`Index::publish`]), or
//! rolled back ([`Index::roll_back`]).

use super::{Index, Snapshot};
use crate::error::OutOfMemory;

impl Index {
    /// Keeps later changes from readers.
    pub(crate) fn begin_unpublished(&mut self) -> Result<(), OutOfMemory> {
        if self.published.is_none() {
            self.published = Some(self.freeze()?);
        }
        Ok(())
    }

    /// Publishes a frozen tree, or else the latest. Later changes are unpublished, but
    /// without memory to freeze the latest tree.
    pub(crate) fn publish(&mut self, frozen: Option<Snapshot>) {
        let next = frozen.or_else(|| self.freeze().ok());
        let before = std::mem::replace(&mut self.published, next);
        self.release_snapshot(before);
    }

    /// Undoes the unpublished changes. Snapshots of them are dropped by now.
    pub(crate) fn roll_back(&mut self) {
        if let Some(published) = self.published.take() {
            self.revert_to(&published);
            self.release_snapshot(Some(published));
        }
    }

    fn release_snapshot(&mut self, held: Option<Snapshot>) {
        let Some(pinned_epoch) = held.as_ref().map(Snapshot::pinned_epoch) else {
            return;
        };
        drop(held);
        match pinned_epoch {
            Some(epoch) => self.unregister(epoch),
            None => self.pages.unregister_newest(),
        }
    }
}
