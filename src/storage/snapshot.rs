//! `Snapshot`: a frozen view of a database.
//!
//! It keeps the store, reads without any lock, and shows the same entries for as long as it
//! lives.

use std::fmt;

use super::cursor::{Cursor, DBIterator};
use super::index::{self, Bounds};
use super::store::Store;
use crate::error::{DBError, DBResult};
use crate::fallible;
use crate::sync::Arc;

/// A frozen view of a database, which no write changes.
#[derive(Clone)]
pub struct Snapshot {
    /// Some until the drop.
    view: Option<index::Snapshot>,
    store: Arc<Store>,
}

impl Snapshot {
    pub(super) fn new(view: index::Snapshot, store: Arc<Store>) -> Snapshot {
        Snapshot { view: Some(view), store }
    }

    #[inline]
    pub(super) fn view(&self) -> &index::Snapshot {
        self.view.as_ref().expect("a snapshot has its view until it is dropped")
    }

    /// A copy of the value of `key`.
    pub fn get(&self, key: &[u8]) -> DBResult {
        Ok(self.get_with(key, |value| value.map(fallible::copy).transpose())??)
    }

    /// Shows `view` the value of `key`, without a copy.
    pub fn get_with<T>(&self, key: &[u8], view: impl FnOnce(Option<&[u8]>) -> T) -> DBResult<T> {
        Ok(view(self.view().get(key)))
    }

    /// Opens a cursor on the keys from `from` up to, but not including, `to`;
    /// `None` is no bound.
    pub fn scan(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<Cursor> {
        Ok(self.cursor(Bounds::range(from, to)?))
    }

    /// Opens a cursor on the keys that begin with `prefix`.
    pub fn scan_prefix(&self, prefix: &[u8]) -> DBResult<Cursor> {
        Ok(self.cursor(Bounds::prefix(prefix)?))
    }

    pub(super) fn cursor(&self, bounds: Bounds) -> Cursor {
        Cursor::new(self.view().clone(), bounds, self.store.clone())
    }

    /// Iterates over everything in key order.
    pub fn iter(&self) -> DBResult<DBIterator> {
        Ok(DBIterator { cursor: self.scan(None, None)? })
    }

    /// Number of keys.
    pub fn count(&self) -> DBResult<u64> {
        Ok(self.view().totals().count)
    }

    /// Bytes of all keys and values.
    pub fn data_bytes(&self) -> DBResult<u64> {
        Ok(self.view().totals().bytes)
    }

    /// Number of commits that led to this view.
    pub fn commits(&self) -> DBResult<u64> {
        Ok(self.view().commits())
    }

    /// Bytes of memory that the database holds now, for this snapshot too.
    pub fn memory_bytes(&self) -> DBResult<u64> {
        self.store.memory_bytes()
    }

    /// The view again.
    pub(crate) fn snapshot(&self) -> DBResult<Snapshot> {
        Ok(self.clone())
    }

    /// Verifies every rule that the data structure keeps.
    pub fn check(&self) -> DBResult<()> {
        self.view().check().map_err(DBError::Corrupt)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(view) = self.view.take() {
            let pinned_epoch = view.pinned_epoch();
            self.store.release_snapshot(view, pinned_epoch);
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}
