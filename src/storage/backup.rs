//! Writing what a view holds to a new file.

use std::io;
use std::path::{Path, PathBuf};

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
        self.backup_on(&System, path)
    }

    /// Writes a backup as [`Snapshot::backup`] does, to a given disk.
    pub fn backup_on(&self, disk: &dyn Disk, path: impl AsRef<Path>) -> DBResult<()> {
        NewFile::create(disk, path.as_ref())?.finish(self)
    }
}

/// A database file that is being made: locked, and named like the finished one with
/// "-unfinished" added. Dropping it removes it.
pub(super) struct NewFile<'a> {
    disk: &'a dyn Disk,
    /// The name of the finished file, with symbolic links followed, and the name
    /// that the file has until then.
    path: PathBuf,
    unfinished: PathBuf,
    data: DataFile,
    is_finished: bool,
}

impl NewFile<'_> {
    /// Begins a file. [`DBError::Exists`] if there is one at `path`, or one with the
    /// unfinished name that is no unfinished backup.
    pub(super) fn create<'a>(disk: &'a dyn Disk, path: &Path) -> DBResult<NewFile<'a>> {
        let failed = |error| DBError::io("create", path, &error);
        let exists = || DBError::Exists(path.display().to_string());
        let resolved = disk.resolve(path).map_err(failed)?;
        // A link to nowhere is there, too: its own name is not the one it leads to.
        let making = disk.resolve(&unfinished(path)).map_err(failed)?;
        if making != unfinished(&resolved) {
            return Err(exists());
        }
        match disk.open(&resolved, OpenMode::Read) {
            Ok(_) => return Err(exists()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A folder, say, or a file that may not be read.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Err(exists()),
            Err(error) => return Err(failed(error)),
        }
        let failed = |error| DBError::io("write", &making, &error);
        let mut database = [0; 16];
        for half in database.as_chunks_mut::<8>().0 {
            *half = disk.random().map_err(failed)?.to_le_bytes();
        }
        let file = disk.open(&making, OpenMode::Create).map_err(failed)?;
        // The file may be left by a backup that was interrupted. A backup that goes on
        // has it locked, and one that has just finished has renamed it.
        if !file.lock(false).map_err(failed)? || !file.is_at(&making).map_err(failed)? {
            return Err(DBError::Busy(making.display().to_string()));
        }
        // The name does not make a database that has been in use a backup.
        let is_backup = match Roots::read(&*file, &making) {
            Ok(roots) => roots.is_backup,
            Err(DBError::Format(_)) => false,
            Err(error) => return Err(error),
        };
        if !is_backup {
            let name = making.display();
            return Err(DBError::Exists(format!("{name}, which is no unfinished backup")));
        }
        let emptied = file.set_len(0);
        let fields = Fields { database, lsn: 0, log: None, meta: [0; META] };
        let data = DataFile::create(file.into(), making.clone(), fields);
        let new = NewFile { disk, path: resolved, unfinished: making, data, is_finished: false };
        emptied.map_err(|error| DBError::io("write", &new.unfinished, &error))?;
        Ok(new)
    }

    /// Writes all that a view holds, and gives the file its name.
    pub(super) fn finish(mut self, view: &Snapshot) -> DBResult<()> {
        let fields = *self.data.fields();
        write_snapshot(&mut self.data, view.view(), None, fields)?;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => DBError::Exists(self.path.display().to_string()),
            _ => DBError::io("create", &self.path, &error),
        };
        self.disk.rename_new(&self.unfinished, &self.path).map_err(failed)?;
        self.is_finished = true;
        self.disk.sync_folder(&self.path).map_err(|error| {
            let _ = self.disk.remove(&self.path);
            failed(error)
        })
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = self.disk.remove(&self.unfinished);
        }
    }
}

impl Database {
    /// Writes all that the database holds to another file, as [`Snapshot::backup`]
    /// does; readers and writers go on meanwhile.
    pub fn backup(&self, path: impl AsRef<Path>) -> DBResult<()> {
        self.snapshot()?.backup(path)
    }
}
