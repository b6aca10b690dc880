//! Opening a database, whatever state its files are in.
//!
//! The newest root tells whether the log holds more than the data file does. If so the
//! log is replayed, and a checkpoint makes it safe in the data file before anything else
//! is written: recovery never goes on with a log that it has found, and all that it
//! publishes is on disk. Then a new log begins, and a root names it ([`begin`]). Where
//! the data file has everything, and was closed, nothing is written before the first commit.
//!
//! A log is made before the first root that names it. So where a root is torn, a log
//! without records whose generation is that root's tells an interruption from damage.

mod begin;

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};

use super::super::change::Changes;
use super::super::file::{DataFile, Fields, LogMark, META, Roots};
use super::super::image;
use super::super::index::Index;
use super::super::log::{self, Identity, Position};
use super::super::options::{Options, Progress};
use super::super::store::Store;
use super::{CheckpointTarget, Files, Journal, LogWriter};
use crate::error::{DBError, DBResult};
use crate::os::disk::{Disk, File, OpenMode, unfinished};
use crate::sync::atomic::AtomicU64;
use crate::sync::{Arc, Condvar, Mutex, OnceLock, Rank};

/// The greatest length of a data file before its first root is written: two root slots, and
/// the few sectors of an empty tree.
const FIRST_BYTES: u64 = 8192 + 16 * 512;

/// The log that lies beside a data file.
struct FoundLog {
    file: Box<dyn File>,
    identity: Option<Identity>,
    has_records: bool,
}

/// A database whose files are read and not written to yet.
struct Found {
    data: DataFile,
    index: Index,
    /// The epoch of the checkpoint that the data file holds, if it holds one.
    since: Option<u64>,
    /// The end of the log.
    lsn: u64,
    /// The data file needs its log.
    needs_log: bool,
    /// The older root slot is whole.
    other_is_whole: bool,
    /// A log lies there, needed, unfinished or not: the database was not closed, or not quite.
    has_log: bool,
}

impl Found {
    /// The data file has everything, and nothing is in doubt.
    fn is_folded(&self) -> bool {
        self.since.is_some() && !self.needs_log && self.other_is_whole && !self.has_log
    }
}

/// A database, its data file, and its log unless it is only read, or begins later.
type Opened = (CheckpointTarget, Arc<Store>, Option<LogWriter>);

/// A database that is being opened.
struct Opening<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    log_path: &'a Path,
    options: &'a Options,
    /// The new log, locked, once it has its name.
    log: RefCell<Option<Arc<Box<dyn File>>>>,
}

impl Journal {
    /// Opens the database file at `path` on a disk: its content, and its journal.
    pub(in super::super) fn open(
        disk: std::sync::Arc<dyn Disk>,
        path: &Path,
        options: Options,
    ) -> DBResult<(Arc<Store>, Arc<Journal>)> {
        if options.new && (options.existing || options.read_only) {
            return Err(DBError::Invalid("a new file is neither existing nor read-only".into()));
        }
        let path = disk.resolve(path).map_err(|error| refused(path, &options, &error))?;
        let mut name = path.clone().into_os_string();
        name.push("-log");
        let log_path = PathBuf::from(name);
        let opening = Opening {
            disk: &*disk,
            path: &path,
            log_path: &log_path,
            options: &options,
            log: RefCell::default(),
        };
        let (target, store, log) = opening.run()?;
        let files = Files {
            store: store.clone(),
            file_bytes: AtomicU64::new(target.data.bytes()),
            log_bytes: AtomicU64::new(0),
            log: OnceLock::new(),
            log_failed: OnceLock::new(),
            flushed: Condvar::default(),
            checkpointed: Condvar::default(),
            target: Mutex::ranked(Rank::DataFile, target),
            disk,
            path,
            log_path,
            options,
        };
        if let Some(log) = log {
            files.set_log(log);
        }
        Ok((store, Arc::new(Journal { files: Arc::new(files) })))
    }
}

/// The error of a call whose file could not be opened.
fn refused(path: &Path, options: &Options, error: &io::Error) -> DBError {
    let name = || path.display().to_string();
    match error.kind() {
        io::ErrorKind::NotFound if options.existing || options.read_only => {
            DBError::NotFound(name())
        }
        io::ErrorKind::AlreadyExists => DBError::Exists(name()),
        io::ErrorKind::IsADirectory => DBError::Format(format!("{} is a folder", name())),
        io::ErrorKind::InvalidInput => DBError::Invalid(format!("{}: {error}", name())),
        _ => DBError::io("open", path, error),
    }
}

/// Makes a [`DBError`] of a failure to do something with a file.
fn failed(doing: &str, path: &Path) -> impl Fn(io::Error) -> DBError {
    move |error| DBError::io(doing, path, &error)
}

fn in_the_way(path: &Path) -> DBError {
    DBError::Format(format!("{} is no log, and in the way of one", path.display()))
}

/// Refuses a file that is neither a log nor a damaged one, unless it has no more than `short`
/// bytes: then it may be left of a log in the making.
fn expect_log(file: &dyn File, path: &Path, short: u64) -> DBResult<()> {
    if file.len().map_err(failed("read", path))? > short && log::is_foreign(file, path)? {
        return Err(in_the_way(path));
    }
    Ok(())
}

impl Opening<'_> {
    fn run(&self) -> DBResult<Opened> {
        let (file, created) = self.lock()?;
        let file: std::sync::Arc<dyn File> = file.into();
        let opened = self.find(file).and_then(|found| {
            if !self.options.read_only && !found.is_folded() {
                return self.begin(found);
            }
            let target = CheckpointTarget { data: found.data, since: found.since, log: None };
            Ok((target, self.store(found.index)?, None))
        });
        if opened.is_err() && created {
            let _ = self.remove_created(); // as far as can be
        }
        opened
    }

    /// Removes the files that were created, which are still locked: nobody uses them.
    fn remove_created(&self) -> io::Result<()> {
        self.disk.remove(self.path)?;
        if let Some(log) = self.log.take() {
            // A data file without the log that it needs would seem to be damaged.
            self.disk.sync_folder(self.path)?;
            if log.is_at(self.log_path)? {
                self.disk.remove(self.log_path)?;
            }
        }
        Ok(())
    }

    /// Opens and locks the data file; returns whether it was created for that.
    fn lock(&self) -> DBResult<(Box<dyn File>, bool)> {
        let created = Cell::new(false);
        let open = |how| {
            created.set(how == OpenMode::New);
            self.disk.open(self.path, how)
        };
        let open = || match self.options {
            Options { read_only: true, .. } => open(OpenMode::Read),
            Options { existing: true, .. } => open(OpenMode::Write),
            Options { new: true, .. } => open(OpenMode::New),
            _ => match open(OpenMode::Write) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match open(OpenMode::New) {
                        // Another process was faster.
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                            open(OpenMode::Write)
                        }
                        done => done,
                    }
                }
                done => done,
            },
        };
        let refused = |error| refused(self.path, self.options, &error);
        let file = self.lock_at(self.path, &|| open().map_err(refused))?;
        Ok((file, created.get()))
    }

    /// Opens the ordinary file at `path`, and locks it.
    fn lock_at(
        &self,
        path: &Path,
        open: &dyn Fn() -> DBResult<Box<dyn File>>,
    ) -> DBResult<Box<dyn File>> {
        for _ in 0..100 {
            let file = open()?;
            if !file.is_ordinary().map_err(failed("look at", path))? {
                return Err(DBError::Format(format!("{} is not an ordinary file", path.display())));
            }
            if !file.lock(self.options.read_only).map_err(failed("lock", path))? {
                break;
            }
            // The file may have been replaced meanwhile.
            if file.is_at(path).map_err(failed("look at", path))? {
                return Ok(file);
            }
        }
        Err(DBError::Busy(path.display().to_string()))
    }

    /// Opens the file at the name of a log, or of one in the making.
    fn open_log(&self, path: &Path, how: OpenMode) -> DBResult<Option<Box<dyn File>>> {
        let file = match self.disk.open(path, how) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let target = self.disk.resolve(path).map_err(failed("look at", path))?;
                // A link to nowhere would be in the way of a log, too.
                return if target == path { Ok(None) } else { Err(in_the_way(path)) };
            }
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                return Err(in_the_way(path));
            }
            Err(error) => return Err(DBError::io("open", path, &error)),
        };
        if !file.is_ordinary().map_err(failed("look at", path))? {
            return Err(in_the_way(path));
        }
        Ok(Some(file))
    }

    /// The log beside the data file.
    fn find_log(&self) -> DBResult<Option<FoundLog>> {
        let how = if self.options.read_only { OpenMode::Read } else { OpenMode::Write };
        let file = match self.open_log(self.log_path, how) {
            // A reader needs no log in its place.
            Err(DBError::Format(_)) if self.options.read_only => None,
            file => file?,
        };
        let Some(file) = file else { return Ok(None) };
        let identity = log::identify(&*file, self.log_path)?;
        let has_records = match &identity {
            Some(identity) => log::has_records(&*file, self.log_path, identity)?,
            None => false,
        };
        Ok(Some(FoundLog { file, identity, has_records }))
    }

    /// Reads the data file, and replays the log if it holds more.
    fn find(&self, file: std::sync::Arc<dyn File>) -> DBResult<Found> {
        let len = file.len().map_err(failed("read", self.path))?;
        let roots = Roots::read(&*file, self.path)?;
        let log = self.find_log()?;
        let is_unfinished = self.refuse_to_replace(log.as_ref(), roots.newest())?;
        let Some(fields) = roots.newest().copied() else {
            return self.find_empty(file, len, &roots, log.as_ref());
        };
        let mut tell = |bytes| {
            if bytes % (1 << 20) < 512 {
                self.options.tell(Progress::Loading(bytes, len));
            }
        };
        if fields.log.is_none() {
            self.check_alone(&roots, &fields, log.as_ref())?;
        } else if log.is_none() {
            let (path, log) = (self.path.display(), self.log_path.display());
            return Err(DBError::Corrupt(format!("{path} needs its log {log}, which is missing")));
        }
        let (data, index, epoch) = image::load(file, self.path, &roots, &mut tell)?;
        let mut found = Found {
            data,
            index,
            since: Some(epoch),
            lsn: fields.lsn,
            needs_log: fields.log.is_some(),
            other_is_whole: roots.other_is_whole,
            has_log: log.is_some() || is_unfinished,
        };
        if let (Some(mark), Some(log)) = (fields.log, log) {
            self.replay(&mut found, &fields, mark, &*log.file)?;
        }
        Ok(found)
    }

    /// Refuses if a new log would replace a file that may be of use to somebody: one that is
    /// no log, or a log with commits of another database. Returns whether an unfinished log
    /// lies there.
    fn refuse_to_replace(&self, log: Option<&FoundLog>, fields: Option<&Fields>) -> DBResult<bool> {
        if self.options.read_only {
            return Ok(false);
        }
        let path = unfinished(self.log_path);
        let unfinished = self.open_log(&path, OpenMode::Read)?;
        if let Some(file) = &unfinished {
            expect_log(&**file, &path, log::EMPTY_BYTES)?;
        }
        let Some(log) = log else { return Ok(unfinished.is_some()) };
        let is_other = |it: Identity| fields.is_some_and(|fields| fields.database != it.database);
        match log.identity {
            Some(identity) if log.has_records && is_other(identity) => {
                let name = self.log_path.display();
                let what = "holds commits of another database, and is in the way of a log";
                Err(DBError::Corrupt(format!("{name} {what}")))
            }
            _ => expect_log(&*log.file, self.log_path, 0).map(|()| true),
        }
    }

    /// A data file without a root: empty, or interrupted before its first root was written.
    fn find_empty(
        &self,
        file: std::sync::Arc<dyn File>,
        len: u64,
        roots: &Roots,
        log: Option<&FoundLog>,
    ) -> DBResult<Found> {
        let first = |log: &FoundLog| log.identity.is_some_and(|it| it.generation == 1);
        let interrupted =
            len <= FIRST_BYTES && log.is_some_and(|log| first(log) && !log.has_records);
        if len > 0 && !interrupted {
            return Err(roots.refuse(self.path));
        }
        if log.is_some_and(|log| log.has_records) {
            let (path, log) = (self.path.display(), self.log_path.display());
            return Err(DBError::Corrupt(format!("{path} holds nothing, but its log {log} does")));
        }
        if len > 0 && !self.options.read_only {
            // Without a log, too, the next open will know that nothing is lost.
            file.set_len(0).and_then(|()| file.sync()).map_err(failed("empty", self.path))?;
        }
        let (low, high) = (self.random()?.to_le_bytes(), self.random()?.to_le_bytes());
        let mut database = [0; 16];
        database[..8].copy_from_slice(&low);
        database[8..].copy_from_slice(&high);
        let fields = Fields { database, lsn: 0, log: None, meta: [0; META] };
        Ok(Found {
            data: DataFile::create(file, self.path.to_owned(), fields),
            index: Index::new()?.without_compaction(),
            since: None,
            lsn: 0,
            needs_log: false,
            other_is_whole: true,
            has_log: false,
        })
    }

    fn store(&self, index: Index) -> DBResult<Arc<Store>> {
        let store = Store::new(index);
        if !self.options.no_sync && !self.options.read_only {
            store.history().record_always()?;
        }
        Ok(store)
    }

    fn random(&self) -> DBResult<u64> {
        self.disk.random().map_err(failed("get a random number for", self.path))
    }

    /// Verifies that a data file whose newest root names no log has lost none.
    fn check_alone(&self, roots: &Roots, fields: &Fields, log: Option<&FoundLog>) -> DBResult<()> {
        let path = self.path.display();
        let its = log.filter(|log| log.identity.is_some_and(|it| it.database == fields.database));
        let later =
            its.filter(|log| log.identity.is_some_and(|it| it.generation > roots.sequence()));
        if later.is_some_and(|log| log.has_records) {
            let log = self.log_path.display();
            return Err(DBError::Corrupt(format!("{log} belongs to a later state of {path}")));
        }
        // Beside a log that goes as far as this root, the other root can only be one that
        // was being written after the file was made smaller: both name the same content.
        if !roots.other_is_whole && its.is_none() {
            let what = "a root slot (bytes 0 to 8191) is damaged";
            return Err(DBError::Corrupt(format!("{path}: {what}")));
        }
        Ok(())
    }

    /// Applies the records of the log that the data file does not hold.
    fn replay(
        &self,
        found: &mut Found,
        fields: &Fields,
        mark: LogMark,
        file: &dyn File,
    ) -> DBResult<()> {
        let LogMark { generation, salt, offset, synced } = mark;
        let identity = Identity { database: fields.database, generation, salt };
        let start = Position { lsn: fields.lsn, offset };
        let len = file.len().map_err(failed("read", self.log_path))?;
        if synced && offset > len {
            let log = self.log_path.display();
            return Err(DBError::Corrupt(format!("{log} is shorter than it was: {len} bytes")));
        }
        let (mut records, index) = (0u64, &mut found.index);
        let end =
            log::replay(file, self.log_path, &identity, start, fields.lsn, |lsn, payload| {
                records += 1;
                if records.is_multiple_of(1 << 14) {
                    self.options.tell(Progress::Replaying(lsn - fields.lsn, len));
                }
                for change in Changes::of(payload) {
                    index.apply_change(change?)?;
                }
                index.committed();
                Ok(())
            })?;
        found.lsn = end.lsn;
        Ok(())
    }
}

/// Opens a data file to be salvaged: its path with symbolic links followed, and the file,
/// locked against writers.
pub(in super::super::super) fn open_to_read(
    disk: &dyn Disk,
    path: &Path,
) -> DBResult<(PathBuf, Box<dyn File>)> {
    let options = &Options::new().read_only();
    let path = disk.resolve(path).map_err(|error| refused(path, options, &error))?;
    let log_path = Path::new("");
    let opening = Opening { disk, path: &path, log_path, options, log: RefCell::default() };
    let (file, _) = opening.lock()?;
    Ok((path, file))
}
