//! Changes that readers do not see yet: those whose commits are not safe on disk.
//!
//! [`Index::begin_unpublished`] makes readers go on seeing what there is now. The changes made
//! since can then be shown up to some moment ([`Index::seal`], [`Index::publish`]),
//! or undone ([`Index::undo`]).

use super::{Index, Snapshot};
use crate::error::OutOfMemory;

impl Index {
    /// Whether readers see a frozen state, and not each change at once.
    pub(crate) fn is_unpublished(&self) -> bool {
        self.shown.is_some()
    }

    /// Keeps what is changed from now on from readers.
    pub(crate) fn begin_unpublished(&mut self) -> Result<(), OutOfMemory> {
        if self.shown.is_none() {
            self.shown = Some(self.freeze()?);
        }
        Ok(())
    }

    /// Everything up to now, to be shown later.
    pub(crate) fn seal(&mut self) -> Result<Snapshot, OutOfMemory> {
        self.freeze()
    }

    /// Publishes a state that was sealed, or else the latest. Changes that follow are
    /// unpublished, but without memory to freeze the latest state.
    pub(crate) fn publish(&mut self, sealed: Option<Snapshot>) {
        let next = sealed.or_else(|| self.freeze().ok());
        let before = std::mem::replace(&mut self.shown, next);
        self.let_go(before);
    }

    /// Undoes all that readers do not see. What was sealed since must have been
    /// dropped.
    pub(crate) fn undo(&mut self) {
        self.pages.forget_newest();
        if let Some(shown) = self.shown.take() {
            self.go_back(&shown);
            self.let_go(Some(shown));
        }
    }

    fn let_go(&mut self, held: Option<Snapshot>) {
        let Some(pinned_epoch) = held.as_ref().map(Snapshot::pinned_epoch) else {
            return;
        };
        drop(held);
        match pinned_epoch {
            Some(epoch) => self.forget(epoch),
            None => self.pages.forget_newest(),
        }
    }
}
