//! What outlives a call on a database: snapshots, and cursors and iterators on them.
//!
//! They show the same for ever, read without any lock, and keep the store.

use std::fmt;

use super::in_memory_db::{Store, to_vec};
use super::index::{self, Bounds, Sink};
use super::transaction::Merge;
use crate::error::{DBError, DBResult, OutOfMemory};
use crate::sync::Arc;

/// A frozen view: it shows the same for ever, whatever is written.
#[derive(Clone)]
pub struct Snapshot {
    /// There until dropped.
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
        self.get_with(key, |value| value.map(to_vec).transpose())
    }

    /// Shows `view` the value of `key`, without a copy.
    pub fn get_with<T>(&self, key: &[u8], view: impl FnOnce(Option<&[u8]>) -> T) -> T {
        view(self.view().get(key))
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

    fn cursor(&self, bounds: Bounds) -> Cursor {
        Cursor::new(self.view().clone(), bounds, self.store.clone())
    }

    /// A cursor that shows what a transaction adds, too.
    pub(super) fn cursor_merged(&self, bounds: Bounds, merge: Merge) -> Cursor {
        let mut cursor = self.cursor(bounds);
        cursor.merge = Some(Box::new(merge));
        cursor
    }

    /// Iterates over everything in key order.
    pub fn iter(&self) -> DBResult<DBIterator> {
        Ok(DBIterator { cursor: self.scan(None, None)? })
    }

    /// Number of keys.
    pub fn count(&self) -> u64 {
        self.view().count()
    }

    /// Bytes of all keys and values.
    pub fn data_bytes(&self) -> u64 {
        self.view().data_bytes()
    }

    /// Number of commits that led to this view.
    pub fn commits(&self) -> u64 {
        self.view().commits()
    }

    /// Bytes of memory that the database holds now, for this snapshot too.
    pub fn memory_bytes(&self) -> DBResult<u64> {
        self.store.memory_bytes()
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
            self.store.let_go(view, pinned_epoch);
        }
    }
}

/// A position in the ordered entries of a view, which it freezes.
///
/// A new cursor is between the end and the beginning: `next` goes to the first
/// entry, `prev` to the last. A move returns whether it found an entry; if not,
/// the cursor is past that end, and the way back finds the entry nearest to it.
///
/// ```
/// use minidb::{DB, InMemoryDB};
///
/// let db = InMemoryDB::new()?;
/// for key in ["apple", "banana", "cherry"] {
///     db.put(key.as_bytes(), b"")?;
/// }
/// let mut cursor = db.scan(Some(b"b"), None)?;
/// while cursor.next()? {
///     println!("{:?}", cursor.key());
/// }
/// assert!(cursor.prev()?);
/// assert_eq!(cursor.key(), Some(&b"cherry"[..]));
/// assert!(!cursor.seek(b"d")?);
/// # Ok::<(), minidb::DBError>(())
/// ```
pub struct Cursor {
    /// There until dropped; in a box, since it is large and cursors are moved.
    cursor: Option<Box<index::Cursor>>,
    /// What a transaction adds.
    merge: Option<Box<Merge>>,
    store: Arc<Store>,
}

impl Cursor {
    pub(super) fn new(view: index::Snapshot, bounds: Bounds, store: Arc<Store>) -> Cursor {
        Cursor { cursor: Some(Box::new(index::Cursor::new(view, bounds))), merge: None, store }
    }

    #[inline]
    fn cursor(&self) -> &index::Cursor {
        self.cursor.as_ref().expect("a cursor is there until it is dropped")
    }

    /// Moves as a cursor of the view does, or of a transaction on it.
    #[inline]
    fn go(
        &mut self,
        plain: impl FnOnce(&mut index::Cursor) -> Result<bool, OutOfMemory>,
        merged: impl FnOnce(&mut Merge, &mut index::Cursor) -> DBResult<bool>,
    ) -> DBResult<bool> {
        let cursor = self.cursor.as_mut().expect("a cursor is there until it is dropped");
        match &mut self.merge {
            None => Ok(plain(cursor)?),
            Some(merge) => merged(merge, cursor),
        }
    }

    /// Goes to the first entry.
    pub fn first(&mut self) -> DBResult<bool> {
        self.go(index::Cursor::first, Merge::first)
    }

    /// Goes to the last entry.
    pub fn last(&mut self) -> DBResult<bool> {
        self.go(index::Cursor::last, Merge::last)
    }

    /// Goes to the next entry, the first if the cursor is new.
    #[allow(clippy::should_implement_trait)] // the contract's name; an entry here is borrowed
    pub fn next(&mut self) -> DBResult<bool> {
        self.go(index::Cursor::next, Merge::next)
    }

    /// Goes to the previous entry, the last if the cursor is new.
    #[inline]
    pub fn prev(&mut self) -> DBResult<bool> {
        self.go(index::Cursor::prev, Merge::prev)
    }

    /// Goes to the first entry whose key is `key` or greater.
    pub fn seek(&mut self, key: &[u8]) -> DBResult<bool> {
        self.go(|cursor| cursor.seek(key), |merge, cursor| merge.seek(cursor, key))
    }

    /// The key at the cursor, if it is at an entry.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        match &self.merge {
            None => self.cursor().key(),
            Some(merge) => merge.key_with_nul(self.cursor()).map(without_nul),
        }
    }

    /// The value at the cursor, if it is at an entry.
    #[inline]
    pub fn value(&self) -> Option<&[u8]> {
        match &self.merge {
            None => self.cursor().value(),
            Some(merge) => merge.value_with_nul(self.cursor()).map(without_nul),
        }
    }

    /// The key at the cursor and a NUL after it.
    #[inline]
    pub(crate) fn key_with_nul(&self) -> Option<&[u8]> {
        match &self.merge {
            None => self.cursor().key_with_nul(),
            Some(merge) => merge.key_with_nul(self.cursor()),
        }
    }

    /// The value at the cursor and a NUL after it.
    #[inline]
    pub(crate) fn value_with_nul(&self) -> Option<&[u8]> {
        match &self.merge {
            None => self.cursor().value_with_nul(),
            Some(merge) => merge.value_with_nul(self.cursor()),
        }
    }

    /// Does what `next` does, and returns the entry's key and value, each with a NUL,
    /// if that takes a few steps only. Else it does nothing.
    #[inline(always)]
    pub(crate) fn next_in_leaf(&mut self) -> Option<(&[u8], &[u8])> {
        if self.merge.is_some() {
            return None;
        }
        self.cursor.as_mut()?.next_in_leaf()
    }

    /// Hands the entries after the cursor to `sink` as far as they fit.
    pub(crate) fn read(&mut self, sink: &mut impl Sink) -> DBResult<bool> {
        let cursor = self.cursor.as_mut().expect("a cursor is there until it is dropped");
        match &mut self.merge {
            None => Ok(cursor.read(sink)?),
            Some(merge) => merge.read(cursor, sink),
        }
    }
}

impl Cursor {
    /// Drops the cursor without a lock: what only it kept stays until the store
    /// goes. It must not be used afterwards.
    pub(crate) fn abandon(&mut self) {
        self.cursor = None;
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            let pinned_epoch = cursor.pinned_epoch();
            self.store.let_go(cursor, pinned_epoch);
        }
    }
}

fn without_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len() - 1]
}

/// Iterates over the entries of a view in key order. It holds its own snapshot,
/// so writing meanwhile changes nothing for it, and it may outlive the database.
pub struct DBIterator {
    cursor: Cursor,
}

impl Iterator for DBIterator {
    type Item = DBResult<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.cursor.next() {
            Ok(false) => None,
            Ok(true) => {
                let copy = |bytes: Option<&[u8]>| to_vec(bytes.unwrap_or_default());
                let entry =
                    copy(self.cursor.key()).and_then(|key| Ok((key, copy(self.cursor.value())?)));
                Some(entry)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// What is shown of them: not the engine inside.
macro_rules! plain_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

plain_debug!(Snapshot, Cursor, DBIterator);
