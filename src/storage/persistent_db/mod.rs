//! `PersistentDB`: an [`InMemoryDB`], a log and a file.
//!
//! What the database holds is in memory; reading touches no file. A commit is a
//! record of the log first, and visible after that; checkpoints fold the log
//! into the file.
//!
//! Promises, for a file and a log that nobody else changes:
//!
//! 1. A commit is on disk when its call returns; with [`Options::no_sync`] it is
//!    the operating system's then.
//! 2. What a reader has seen is on disk, or with `no_sync` the system's.
//! 3. Commits have one order, and what is found after a crash is all of them up
//!    to some one, each whole.
//! 4. A call that fails has changed nothing; after [`DBError::Io`] from a write
//!    that is not certain until the database is opened again, and until then it
//!    refuses writes.
//! 5. Damage is found, not passed on: what was read from files had its checksum.
//!
//! Where things are: [`open`] opens and recovers as [`options`] say, [`commit`]
//! writes commits, [`fold`] makes checkpoints and closes.

mod commit;
mod fold;
mod open;
mod options;
#[cfg(test)]
mod tests;

pub(super) use open::{open_to_read, write_all_of};
pub use options::{Options, Progress};

use std::fmt;
use std::path::{Path, PathBuf};

use super::change::{Change, Changes};
use super::in_memory_db::{InMemoryDB, check_len, puts, to_vec};
use super::snapshot::{Cursor, DBIterator, Snapshot};
use crate::DB;
use crate::error::{DBError, DBResult};
use crate::os::disk::Disk;
use crate::planted::{self, Bug};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Condvar, Mutex};
use commit::Commits;
use fold::{Checkpointer, Folder, Wake};

/// An ordered key-value store in a file.
///
/// Cloning it gives another handle on the same data. The file is closed, and
/// the log folded into it, with the last handle.
///
/// ```
/// use minidb::{DB, Options, PersistentDB};
///
/// # let folder = std::env::temp_dir().join(format!("minidb-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("app.db");
/// let db = PersistentDB::open(&path, Options::new())?;
/// db.put(b"user-1", b"John")?; // on disk when this returns
/// drop(db);
///
/// let db = PersistentDB::open(&path, Options::new().existing())?;
/// assert_eq!(db.get(b"user-1")?, Some(b"John".to_vec()));
/// # drop(db);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), minidb::DBError>(())
/// ```
#[derive(Clone)]
pub struct PersistentDB {
    closer: Arc<Closer>,
}

/// Closes the database with its last handle.
struct Closer {
    shared: Arc<Shared>,
    checkpointer: Checkpointer,
}

/// What the handles and the thread that makes checkpoints share.
struct Shared {
    memory: InMemoryDB,
    disk: std::sync::Arc<dyn Disk>,
    path: PathBuf,
    log_path: PathBuf,
    options: Options,
    /// None if it was opened to be read only.
    commits: Option<Mutex<Commits>>,
    /// Notified when commits have become durable, or have failed.
    settled: Condvar,
    folder: Mutex<Folder>,
    /// Bytes of the file and of the log.
    file_bytes: AtomicU64,
    log_bytes: AtomicU64,
    wake: Wake,
}

impl PersistentDB {
    /// Opens the database file at `path`.
    pub fn open(path: impl AsRef<Path>, options: Options) -> DBResult<PersistentDB> {
        let disk = std::sync::Arc::new(crate::os::system::System);
        PersistentDB::open_on(disk, path.as_ref(), options)
    }

    fn shared(&self) -> &Shared {
        &self.closer.shared
    }

    /// What readers see, without the files.
    #[inline]
    pub(crate) fn memory(&self) -> &InMemoryDB {
        &self.closer.shared.memory
    }

    /// Shows `view` the value of `key`, without a copy, as
    /// [`InMemoryDB::get_with`] does.
    pub fn get_with<T>(&self, key: &[u8], view: impl FnOnce(Option<&[u8]>) -> T) -> DBResult<T> {
        self.memory().get_with(key, view)
    }

    /// Sets the value of `key`, as [`InMemoryDB::put_with`] does.
    pub fn put_with<T>(
        &self,
        key: &[u8],
        value: &[u8],
        old: impl FnOnce(Option<&[u8]>) -> DBResult<T>,
    ) -> DBResult<T> {
        check_len("key", key)?;
        check_len("value", value)?;
        let change = Change::Put(key, value);
        self.shared().commit_change(change, |memory| memory.put_with(key, value, old))
    }

    /// Removes `key`, as [`InMemoryDB::delete_with`] does.
    pub fn delete_with<T>(
        &self,
        key: &[u8],
        old: impl FnOnce(&[u8]) -> DBResult<T>,
    ) -> DBResult<Option<T>> {
        self.shared().commit_change_if(
            |memory| Ok(memory.upgradable()?.get_latest(key).is_some()),
            Change::Delete(key),
            |memory| memory.delete_with(key, old),
        )
    }

    /// Removes every key from `from` up to, but not including, `to`; `None` is
    /// no bound.
    pub fn clear(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<()> {
        if planted::is(Bug::ClearNotLogged) {
            return self.memory().clear(from, to);
        }
        self.shared().commit_change(Change::Clear(from, to), |memory| memory.clear(from, to))
    }

    /// Compares and swaps, as [`InMemoryDB::cas`] does.
    pub fn cas(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        desired: Option<&[u8]>,
    ) -> DBResult<bool> {
        check_len("key", key)?;
        check_len("value", desired.unwrap_or_default())?;
        let change = desired.map_or(Change::Delete(key), |value| Change::Put(key, value));
        let done = self.shared().commit_change_if(
            |memory| Ok(memory.upgradable()?.get_latest(key) == expected),
            change,
            |memory| memory.cas(key, expected, desired).map(Some),
        )?;
        Ok(done.is_some())
    }

    /// Puts every entry in one atomic step; of entries with the same key the
    /// last one counts.
    pub fn write_all<'a>(
        &self,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> DBResult<()> {
        let payload = puts(entries)?;
        if planted::is(Bug::HalfBatch) {
            let mut one = Vec::new();
            for change in Changes::of(&payload) {
                change?.add_to(&mut one)?;
                self.shared().commit_payload(&std::mem::take(&mut one))?;
            }
        }
        self.shared().commit_payload(&payload)
    }

    /// Makes all changes of a payload as one step, if they are `valid` at its
    /// turn; says whether they were.
    pub(super) fn commit_if(
        &self,
        payload: &[u8],
        valid: impl FnOnce() -> DBResult<bool>,
    ) -> DBResult<bool> {
        self.shared().commit_payload_if(payload, valid)
    }

    /// Refuses to write to a database that was opened to be read only.
    pub(super) fn refuse_if_read_only(&self) -> DBResult<()> {
        self.shared().commits().map(drop)
    }

    /// Makes a frozen view of what the database holds now, in constant time.
    pub fn snapshot(&self) -> DBResult<Snapshot> {
        self.memory().snapshot()
    }

    /// Opens a cursor on the keys from `from` up to, but not including, `to`,
    /// as they are now; `None` is no bound.
    pub fn scan(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<Cursor> {
        self.memory().scan(from, to)
    }

    /// Opens a cursor on the keys that begin with `prefix`, as they are now.
    pub fn scan_prefix(&self, prefix: &[u8]) -> DBResult<Cursor> {
        self.memory().scan_prefix(prefix)
    }

    /// Number of keys.
    pub fn count(&self) -> DBResult<u64> {
        self.memory().count()
    }

    /// Bytes of all keys and values.
    pub fn data_bytes(&self) -> DBResult<u64> {
        self.memory().data_bytes()
    }

    /// Bytes of memory held, by snapshots too.
    pub fn memory_bytes(&self) -> DBResult<u64> {
        self.memory().memory_bytes()
    }

    /// Number of commits since the database was made.
    pub fn commits(&self) -> DBResult<u64> {
        self.memory().commits()
    }

    /// Bytes of the file and of its log.
    pub fn file_bytes(&self) -> u64 {
        let shared = self.shared();
        shared.file_bytes.load(Ordering::Relaxed) + shared.log_bytes.load(Ordering::Relaxed)
    }

    /// Waits until every commit so far is on disk.
    pub fn sync(&self) -> DBResult<()> {
        self.shared().sync()
    }

    /// Folds the log into the file. If it fails, the file and the log are as they
    /// were, and writing goes on.
    pub fn checkpoint(&self) -> DBResult<()> {
        self.shared().checkpoint()
    }

    /// ReadSet all there is in memory and on disk, and verifies it.
    pub fn check(&self) -> DBResult<()> {
        self.memory().check()?;
        self.check_files()
    }

    /// ReadSet all there is on disk, and verifies every checksum.
    pub(crate) fn check_files(&self) -> DBResult<()> {
        self.shared().check_files()
    }
}

impl DB for PersistentDB {
    fn put(&self, key: &[u8], value: &[u8]) -> DBResult {
        self.put_with(key, value, |old| old.map(to_vec).transpose())
    }

    fn get(&self, key: &[u8]) -> DBResult {
        self.memory().get(key)
    }

    fn delete(&self, key: &[u8]) -> DBResult {
        self.delete_with(key, to_vec)
    }

    fn iter(&self) -> DBResult<DBIterator> {
        self.memory().iter()
    }
}

impl fmt::Debug for PersistentDB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersistentDB").field("path", &self.shared().path).finish_non_exhaustive()
    }
}

impl Shared {
    fn commits(&self) -> DBResult<&Mutex<Commits>> {
        self.commits.as_ref().ok_or_else(|| {
            DBError::ReadOnly(format!("{} was opened read-only", self.path.display()))
        })
    }
}
