//! Beginning to write to a database that was read: what was found is made safe in
//! its file, and a new log takes the place of the old one.

use std::io;
use std::path::{Path, PathBuf};

use super::super::commit::Commits;
use super::super::fold::Folder;
use super::{Fields, Found, Identity, InMemoryDB, LogMark, Opened, Opening, failed, log};
use crate::error::{DBError, DBResult};
use crate::os::disk::{File, How};
use crate::planted::{self, Bug};

impl Opening<'_> {
    /// Makes what was found safe in the file, and begins a new log.
    pub(super) fn begin(&self, mut found: Found) -> DBResult<Opened> {
        let mut folder = Folder { data: found.data, since: found.since, log: None };
        let snapshot = found.index.snapshot_for_image()?;
        if planted::is(Bug::LogBegunTooEarly) {
            folder.since = None; // which leaves the folding to the end
        }
        if folder.since.is_some() && found.has_log {
            // The root may have been read from a cache that never reached the disk,
            // where an older one needs the log that is there.
            folder.data.confirm()?;
        }
        if folder.since.is_some() && (found.needs_log || !found.other_is_whole) {
            folder.fold(&snapshot, found.lsn, None)?;
        }
        let identity = Identity {
            database: folder.data.fields().database,
            generation: folder.data.sequence() + 1,
            salt: if planted::is(Bug::LogNotRenewed) { 0 } else { self.random()? },
        };
        let log = self.new_log(identity, found.lsn)?;
        // With this the name of a new database is on disk, too.
        let synced = self.disk.sync_folder(self.path);
        synced.map_err(failed("sync the folder of", self.path))?;
        let Identity { generation, salt, .. } = identity;
        let offset = log.position(found.lsn).offset;
        let mark = LogMark { generation, salt, offset, synced: true };
        match folder.since {
            None => folder.fold(&snapshot, found.lsn, Some(mark))?,
            Some(_) => {
                let fields = Fields { log: Some(mark), ..*folder.data.fields() };
                folder.data.mark(fields)?;
            }
        }
        folder.log = Some(identity);
        let commits = Commits::new(log, self.options.due_after(folder.data.bytes()));
        let memory = InMemoryDB::of(found.index);
        if !self.options.no_sync {
            memory.history().always()?;
        }
        memory.let_go(snapshot);
        Ok((folder, memory, Some(commits)))
    }

    /// Makes a new log in the place of the old one, which nothing needs any more. It
    /// has its name only once its header is on disk: so what has that name is a log,
    /// or nothing of minidb's.
    fn new_log(&self, identity: Identity, lsn: u64) -> DBResult<log::Log> {
        let ahead = if self.options.no_sync { 0 } else { self.options.ahead() };
        let create = |file| log::Log::create(file, self.log_path.to_owned(), identity, lsn, ahead);
        let old = self.lock_old_log()?;
        if let Some(old) = old {
            if planted::is(Bug::LogNotRenewed) {
                return create(old);
            }
            self.disk.remove(self.log_path).map_err(failed("remove", self.log_path))?;
        }
        let making = unfinished_of(self.log_path);
        let create_failed = failed("create", &making);
        let open = || self.disk.open(&making, How::Create).map_err(&create_failed);
        let file = self.lock_at(&making, &open)?;
        // A crash may leave anything where a header was being written, but no more.
        if file.len().map_err(&create_failed)? > log::EMPTY_BYTES
            && log::is_foreign(&*file).map_err(&create_failed)?
        {
            return Err(self.in_the_way(&making));
        }
        // What is in the file is in the log.
        let permitted = file.permit_as(self.path).map_err(&create_failed);
        let made = permitted.and_then(|()| create(file)).and_then(|log| {
            self.disk.rename_new(&making, self.log_path).map_err(|error| self.unnamed(&error))?;
            self.log_begun.set(true);
            Ok(log)
        });
        if made.is_err() {
            let _ = self.disk.remove(&making); // as far as can be
        }
        made
    }

    /// Why a log cannot have its name.
    fn unnamed(&self, error: &io::Error) -> DBError {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return DBError::io("create", self.log_path, error);
        }
        match self.disk.open(self.log_path, How::Read) {
            // A link to nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.in_the_way(self.log_path),
            // Of somebody who uses a file that had this one's name before.
            _ => DBError::Busy(self.log_path.display().to_string()),
        }
    }

    /// The log that is there, locked. Else, had the file been replaced while it was
    /// in use, two would write to one log.
    fn lock_old_log(&self) -> DBResult<Option<Box<dyn File>>> {
        let open = || {
            self.disk.open(self.log_path, How::Write).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => DBError::NotFound(String::new()),
                _ => failed("open", self.log_path)(error),
            })
        };
        match self.lock_at(self.log_path, &open) {
            Err(DBError::NotFound(_)) => Ok(None),
            locked => locked.map(Some),
        }
    }
}

/// The name of a file until it is whole.
pub(in super::super::super) fn unfinished_of(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push("-unfinished");
    PathBuf::from(name)
}
