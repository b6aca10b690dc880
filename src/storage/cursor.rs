//! `Cursor` and `DBIterator`: walking a frozen view.
//!
//! Both keep the store, read without any lock, and show the same entries for as long as
//! they live.

use std::fmt;

use super::index::{self, Bounds, Sink};
use super::store::Store;
use super::transaction::Merge;
use crate::error::{DBResult, OutOfMemory};
use crate::fallible;
use crate::sync::Arc;

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
    /// Some until the drop; in a box, since it is large and cursors are moved.
    cursor: Option<Box<index::Cursor>>,
    /// The own writes of a transaction, if it is a cursor of one.
    merge: Option<Box<Merge>>,
    store: Arc<Store>,
}

impl Cursor {
    pub(super) fn new(view: index::Snapshot, bounds: Bounds, store: Arc<Store>) -> Cursor {
        Cursor { cursor: Some(Box::new(index::Cursor::new(view, bounds))), merge: None, store }
    }

    /// A cursor that has the own writes of a transaction merged in.
    pub(super) fn merged(mut self, merge: Merge) -> Cursor {
        self.merge = Some(Box::new(merge));
        self
    }

    #[inline]
    fn cursor(&self) -> &index::Cursor {
        self.cursor.as_ref().expect("a cursor is there until it is dropped")
    }

    /// Moves the cursor, with the own writes of a transaction merged in if it has some.
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

    /// Goes to the next entry if it stands in the same leaf and is plain, and returns its key
    /// and value, each with a NUL. Otherwise the cursor stays.
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
    /// Drops the cursor without taking a lock: the pages that only it keeps stay until the store
    /// goes. The cursor must not be used afterwards.
    pub(crate) fn abandon(&mut self) {
        self.cursor = None;
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            let pinned_epoch = cursor.pinned_epoch();
            self.store.release_snapshot(cursor, pinned_epoch);
        }
    }
}

fn without_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len() - 1]
}

/// An iterator over the entries of a view in key order. It holds its own snapshot: writes
/// meanwhile do not change it, and it may outlive the database.
pub struct DBIterator {
    pub(super) cursor: Cursor,
}

impl Iterator for DBIterator {
    type Item = DBResult<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.cursor.next() {
            Ok(false) => None,
            Ok(true) => {
                let copy = |bytes: Option<&[u8]>| fallible::copy(bytes.unwrap_or_default());
                let key = copy(self.cursor.key());
                Some(key.and_then(|key| Ok((key, copy(self.cursor.value())?))).map_err(Into::into))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").finish_non_exhaustive()
    }
}

impl fmt::Debug for DBIterator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DBIterator").finish_non_exhaustive()
    }
}
