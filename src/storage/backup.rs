//! Writing what a view holds to a new file.

use std::io;
use std::path::Path;

use super::database::Database;
use super::file::{DataFile, Fields, META, Roots};
use super::journal::write_snapshot;
use super::snapshot::Snapshot;
use crate::error::{DBError, DBResult};
use crate::os::disk::{Disk, OpenMode, unfinished};
use crate::os::system::System;

impl Snapshot {
    /// Writes all that the view holds to a new database file at `path`, which
    /// appears there complete or not at all; [`DBError::Exists`] if there is a
    /// file already.
    pub fn backup(&self, path: impl AsRef<Path>) -> DBResult<()> {
        self.backup_on(&System, path.as_ref())
    }

    /// Writes all that the view holds to a new database file, as [`Snapshot::backup`] does,
    /// on a disk of the caller's making.
    pub fn backup_on(&self, disk: &dyn Disk, path: &Path) -> DBResult<()> {
        let failed = |error| DBError::io("create", path, &error);
        let exists = || DBError::Exists(path.display().to_string());
        let resolved = disk.resolve(path).map_err(failed)?;
        // A link to nowhere is there, too: its own name is not the one it leads to.
        let making = disk.resolve(&unfinished(path)).map_err(failed)?;
        if making != unfinished(&resolved) {
            return Err(exists());
        }
        let path = &resolved;
        match disk.open(path, OpenMode::Read) {
            Ok(_) => return Err(exists()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A folder, say, or a file that may not be read.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Err(exists()),
            Err(error) => return Err(failed(error)),
        }
        // Keeps the file locked to the end.
        let mut data = begin(disk, &making)?;
        let fields = *data.fields();
        let done = write_snapshot(&mut data, self.view(), None, fields).and_then(|()| {
            disk.rename_new(&making, path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => exists(),
                _ => failed(error),
            })
        });
        match done {
            Ok(()) => disk.sync_folder(path).map_err(|error| {
                let _ = disk.remove(path);
                failed(error)
            }),
            Err(error) => {
                let _ = disk.remove(&making);
                Err(error)
            }
        }
    }
}

/// Makes a file that becomes a database with its first checkpoint.
fn begin(disk: &dyn Disk, path: &Path) -> DBResult<DataFile> {
    let failed = |error| DBError::io("write", path, &error);
    let mut database = [0; 16];
    for half in database.as_chunks_mut::<8>().0 {
        *half = disk.random().map_err(failed)?.to_le_bytes();
    }
    let file = disk.open(path, OpenMode::Create).map_err(failed)?;
    // What lies there was left by a backup that was interrupted, or belongs to
    // one that goes on, or has a moment ago: then it has another name now.
    if !file.lock(false).map_err(failed)? || !file.is_at(path).map_err(failed)? {
        return Err(DBError::Busy(path.display().to_string()));
    }
    // A database that is in use, or was, is another thing, whatever its name.
    let is_backup = match Roots::read(&*file, path) {
        Ok(roots) => roots.is_backup,
        Err(DBError::Format(_)) => false,
        Err(error) => return Err(error),
    };
    if !is_backup {
        let path = path.display();
        return Err(DBError::Exists(format!("{path}, which is no unfinished backup")));
    }
    if let Err(error) = file.set_len(0) {
        let _ = disk.remove(path);
        return Err(failed(error));
    }
    let fields = Fields { database, lsn: 0, log: None, meta: [0; META] };
    Ok(DataFile::create(file.into(), path.to_owned(), fields))
}

impl Database {
    /// Writes all that the database holds to another file, as [`Snapshot::backup`]
    /// does; readers and writers go on meanwhile.
    pub fn backup(&self, path: impl AsRef<Path>) -> DBResult<()> {
        self.snapshot()?.backup(path)
    }
}
