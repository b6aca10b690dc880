//! The start of writing to a database that was read: a checkpoint makes safe what recovery
//! has found, and a new log takes the place of the old one.

use std::cell::RefCell;
use std::io;
use std::path::Path;

use super::super::super::log::{self, Log};
use super::{
    CheckpointTarget, DataFile, Fields, Files, Found, Identity, LogMark, LogWriter, Opened,
    Opening, expect_log, failed, in_the_way,
};
use crate::error::{DBError, DBResult, text};
use crate::os::disk::{File, OpenMode, unfinished};
use crate::planted::{self, Bug};
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, Rank};

impl Opening<'_> {
    /// Makes the state that was found safe in the data file, and begins a new log.
    pub(super) fn begin(&self, mut found: Found) -> DBResult<Opened> {
        let mut target = CheckpointTarget { data: found.data, since: found.since, log: None };
        let snapshot = found.index.checkpoint_snapshot()?;
        if planted::is(Bug::LogBegunTooEarly) {
            target.since = None; // the checkpoint comes last then
        }
        if target.since.is_some() && found.has_log {
            // The root may have been read from a cache that never reached the disk,
            // where an older one needs the log that is there.
            target.data.confirm()?;
        }
        if target.since.is_some() && (found.needs_log || !found.other_is_whole) {
            target.checkpoint(&snapshot, found.lsn, None)?;
        }
        let (log, identity, mark) = self.log_after(&target.data, found.lsn)?;
        match target.since {
            None => target.checkpoint(&snapshot, found.lsn, Some(mark))?,
            Some(_) => target.name_log(mark)?,
        }
        target.log = Some(identity);
        let bytes = snapshot.image_meta().bytes;
        let store = self.store(found.index)?;
        let pinned_epoch = snapshot.pinned_epoch();
        store.release_snapshot(snapshot, pinned_epoch);
        let writer = LogWriter::new(log, &target.data, self.options.due_after(bytes));
        Ok((target, store, Some(writer)))
    }

    /// Makes a new log that goes on from a data file at `lsn`. Returns how a root names it.
    fn log_after(&self, data: &DataFile, lsn: u64) -> DBResult<(Log, Identity, LogMark)> {
        let identity = Identity {
            database: data.fields().database,
            generation: data.sequence() + 1,
            salt: if planted::is(Bug::LogNotRenewed) { 0 } else { self.random()? },
        };
        let mut log = self.new_log(identity, lsn, data.file())?;
        log.make_room();
        // With this the name of a new database is on disk, too.
        self.disk.sync_folder(self.path).map_err(|error| {
            let path = self.path.display(); // as with all syncs, no lack of space passes
            DBError::Io(text(format_args!("cannot sync the folder of {path}: {error}")))
        })?;
        let Identity { generation, salt, .. } = identity;
        let offset = log.position(lsn).offset;
        Ok((log, identity, LogMark { generation, salt, offset, synced: true }))
    }

    /// Makes a new log in the place of the old one, which nothing needs any more, with the
    /// permissions of the data file. It gets its name once its header is on disk; so a file of
    /// that name that is no log is not minidb's.
    fn new_log(&self, identity: Identity, lsn: u64, like: &dyn File) -> DBResult<Log> {
        let ahead = if self.options.no_sync { 0 } else { self.options.small_log() };
        let create = |file, path: &Path| Log::create(file, path.to_owned(), identity, lsn, ahead);
        if planted::is(Bug::LogNotRenewed)
            && let Some(old) = self.open_log(self.log_path, OpenMode::Write)?
        {
            return create(old, self.log_path);
        }
        let unfinished = unfinished(self.log_path);
        self.clear_away(self.log_path, 0)?;
        self.clear_away(&unfinished, log::EMPTY_BYTES)?;
        let file = self.disk.open(&unfinished, OpenMode::Private);
        let file = file.map_err(|error| unmade(&unfinished, &error))?;
        let ours = file.lock(false).and_then(|locked| Ok(locked && file.is_at(&unfinished)?));
        if !ours.map_err(failed("lock", &unfinished))? {
            // Another process clears the same name away.
            return Err(DBError::Busy(unfinished.display().to_string()));
        }
        let made = self.make_log(file, like, &unfinished, create);
        if made.is_err() {
            let _ = self.disk.remove(&unfinished); // as far as can be
        }
        made
    }

    /// Makes a log of an empty file, and gives it its name.
    fn make_log(
        &self,
        file: Box<dyn File>,
        like: &dyn File,
        path: &Path,
        create: impl FnOnce(Box<dyn File>, &Path) -> DBResult<Log>,
    ) -> DBResult<Log> {
        let failed = failed("create", path);
        // The content of the data file will be in the log.
        like.permissions().and_then(|permits| file.set_permissions(permits)).map_err(&failed)?;
        let log = create(file, path)?;
        let named = self.disk.rename_new(path, self.log_path);
        named.map_err(|error| unmade(self.log_path, &error))?;
        self.log.replace(Some(log.file()));
        Ok(log.named(self.log_path.to_owned()))
    }

    /// Removes a log, or one in the making, that nobody uses. A database whose file was
    /// replaced while it was open still uses its log: two writers must not share one.
    fn clear_away(&self, path: &Path, short: u64) -> DBResult<()> {
        let none = || DBError::NotFound(path.display().to_string());
        let open = || self.open_log(path, OpenMode::Write)?.ok_or_else(none);
        let file = match self.lock_at(path, &open) {
            Err(DBError::NotFound(_)) => return Ok(()),
            file => file?,
        };
        expect_log(&*file, path, short)?; // again: only now it is locked
        self.disk.remove(path).map_err(failed("remove", path))
    }
}

impl CheckpointTarget {
    /// Has the newest root name a log.
    fn name_log(&mut self, mark: LogMark) -> DBResult<()> {
        self.data.mark(Fields { log: Some(mark), ..*self.data.fields() })
    }
}

impl Files {
    /// Sets the log writer; there is none.
    pub(super) fn set_log(&self, writer: LogWriter) {
        self.log_bytes.store(writer.log.bytes(), Ordering::Relaxed);
        let _ = self.log.set(Mutex::ranked(Rank::Log, writer));
    }

    /// Makes the log of a database that had none when it was opened, for its first commit.
    #[cold]
    pub(in super::super) fn begin_log(&self) -> DBResult<&Mutex<LogWriter>> {
        self.refuse_if_read_only()?;
        let mut target = self.target.lock()?;
        if self.begun()?.is_none() {
            let made = self.make_log(&mut target);
            if let Err(error @ (DBError::Io(_) | DBError::Internal)) = &made {
                let _ = self.log_failed.set(error.clone());
            }
            self.set_log(made?);
        }
        drop(target);
        self.log.get().ok_or(DBError::Internal)
    }

    fn opening(&self) -> Opening<'_> {
        let (disk, path, log_path) = (&*self.disk, &*self.path, &*self.log_path);
        Opening { disk, path, log_path, options: &self.options, log: RefCell::default() }
    }

    /// Removes what is left of a log that could not be made.
    pub(in super::super) fn clear_leftovers(&self) -> DBResult<()> {
        let target = self.target.lock()?;
        let is_there = || target.data.file().is_at(&self.path).unwrap_or(false);
        if self.options.read_only || self.begun()?.is_some() || !is_there() {
            return Ok(());
        }
        self.opening().clear_away(&unfinished(&self.log_path), log::EMPTY_BYTES)
    }

    fn make_log(&self, target: &mut CheckpointTarget) -> DBResult<LogWriter> {
        // A log that lies there may be needed by the file that has replaced this one.
        if !target.data.file().is_at(&self.path).map_err(failed("look at", &self.path))? {
            let path = self.path.display();
            return Err(DBError::Io(text(format_args!("{path} was removed or replaced"))));
        }
        let opening = self.opening();
        let bytes = self.store.latest_totals()?.bytes;
        let (log, identity, mark) = opening.log_after(&target.data, target.data.fields().lsn)?;
        // If that fails, a root on disk may need the log, which stays.
        target.name_log(mark).map_err(|error| DBError::Io(text(format_args!("{error}"))))?;
        target.log = Some(identity);
        Ok(LogWriter::new(log, &target.data, self.options.due_after(bytes)))
    }
}

/// The error of a file that cannot be created where another one was cleared away.
fn unmade(path: &Path, error: &io::Error) -> DBError {
    match error.kind() {
        // A link to nowhere, or a log for another file that replaces this one.
        io::ErrorKind::AlreadyExists => in_the_way(path),
        _ => DBError::io("create", path, error),
    }
}
