//! `PersistentDB`: a database in a file.

use std::ops::Deref;
use std::path::Path;

use super::database::Database;
use super::journal::Journal;
use super::options::Options;
use crate::error::DBResult;
use crate::os::disk::Disk;

/// An ordered key-value store in a file: a handle on a [`Database`], which has its
/// operations.
///
/// Cloning it gives another handle on the same data. The file is closed, and the log
/// folded into it, with the last handle.
///
/// ```
/// use minidb::{DB, Options, PersistentDB};
///
/// # let folder = std::env::temp_dir().join(format!("minidb-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # std::env::set_current_dir(&folder).unwrap();
/// let db = PersistentDB::open("app.db", Options::new())?;
/// db.put(b"user-1", b"John")?; // on disk when this returns
/// drop(db);
///
/// let db = PersistentDB::open("app.db", Options::new().existing())?;
/// assert_eq!(db.get(b"user-1")?, Some(b"John".to_vec()));
/// # drop(db);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), minidb::DBError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PersistentDB(Database);

impl PersistentDB {
    /// Opens the database file at `path`.
    pub fn open(path: impl AsRef<Path>, options: Options) -> DBResult<PersistentDB> {
        let disk = std::sync::Arc::new(crate::os::system::System);
        PersistentDB::open_on(disk, path, options)
    }

    /// Opens the database file at `path` on a disk of the caller's making.
    pub fn open_on(
        disk: std::sync::Arc<dyn Disk>,
        path: impl AsRef<Path>,
        options: Options,
    ) -> DBResult<PersistentDB> {
        let (store, journal) = Journal::open(disk, path.as_ref(), options)?;
        Ok(PersistentDB(Database::new(store, Some(journal))))
    }
}

impl From<PersistentDB> for Database {
    fn from(db: PersistentDB) -> Database {
        db.0
    }
}

impl Deref for PersistentDB {
    type Target = Database;

    #[inline]
    fn deref(&self) -> &Database {
        &self.0
    }
}
