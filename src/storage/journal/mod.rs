//! `Journal`: the files of a database, and the way of a write through them.
//!
//! A database in a file is held in memory; reading touches no file. A commit is a record
//! of the log first and published after that; checkpoints fold the log into the data file.
//!
//! Promises, for a file and a log that nobody else changes:
//!
//! 1. A commit is on disk when its call returns; with [`Options::no_sync`] the operating
//!    system has it then.
//! 2. What a reader has seen is on disk, or with `no_sync` the system's.
//! 3. Commits have one order. A crash leaves all of them up to some one, each whole.
//! 4. A call that fails has changed nothing. After [`DBError::Io`] or [`DBError::Internal`]
//!    from a write that is not certain until the database is opened again, and until then
//!    it refuses writes.
//! 5. Damage is found, not passed on: what was read from files had its checksum.
//!
//! Where things are: [`open`] opens and recovers, [`commit`] has the life of a commit,
//! [`checkpoint`] makes checkpoints and closes, [`worker`] is the thread for them,
//! [`pressure`] bounds the log while they are behind, and [`space`] keeps the space that they
//! need.

mod checkpoint;
mod commit;
mod open;
mod pressure;
mod space;
#[cfg(test)]
mod tests;
mod worker;

pub(super) use checkpoint::write_snapshot;
pub(super) use commit::Record;
pub(super) use open::open_to_read;

use std::fmt;
use std::path::PathBuf;

use super::options::Options;
use super::store::Store;
use crate::error::{DBError, DBResult, text};
use crate::os::disk::Disk;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Condvar, Mutex, OnceLock};
use checkpoint::CheckpointTarget;
use commit::LogWriter;

/// The journal of a database; dropped, it folds the log into the data file and closes both.
pub(super) struct Journal {
    files: Arc<Files>,
}

/// The files of a database, shared by commits, checkpoints and the worker.
struct Files {
    store: Arc<Store>,
    disk: std::sync::Arc<dyn Disk>,
    path: PathBuf,
    log_path: PathBuf,
    options: Options,
    /// Set by the first commit, or by opening where something must be made safe; never if
    /// the database was opened read-only.
    log: OnceLock<Mutex<LogWriter>>,
    /// The error that every write gets once the log could not be made: files are in doubt.
    log_failed: OnceLock<DBError>,
    /// Notified when the group in flight has its outcome.
    flushed: Condvar,
    /// Notified when a checkpoint ends, well or not.
    checkpointed: Condvar,
    target: Mutex<CheckpointTarget>,
    /// Bytes of the data file and of the log.
    file_bytes: AtomicU64,
    log_bytes: AtomicU64,
}

/// Which thread makes a checkpoint that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckpointMode {
    Background,
    /// The worker, unless it is busy with another database.
    Urgent,
    /// The thread whose commit calls for it, before it goes on.
    Inline,
}

impl Journal {
    /// Bytes of the data file and of the log.
    pub(super) fn file_bytes(&self) -> u64 {
        let files = &*self.files;
        files.file_bytes.load(Ordering::Relaxed) + files.log_bytes.load(Ordering::Relaxed)
    }

    /// Refuses a database that was opened read-only.
    pub(super) fn refuse_if_read_only(&self) -> DBResult<()> {
        self.files.refuse_if_read_only()
    }
}

impl Files {
    fn refuse_if_read_only(&self) -> DBResult<()> {
        if !self.options.read_only {
            return Ok(());
        }
        let path = self.path.display();
        Err(DBError::ReadOnly(text(format_args!("{path} was opened read-only"))))
    }

    /// The log writer, if anything was committed, or had to be made safe.
    fn begun(&self) -> DBResult<Option<&Mutex<LogWriter>>> {
        self.log_failed.get().map_or(Ok(self.log.get()), |error| Err(error.clone()))
    }

    /// The log writer, whose log is made if there is none yet.
    fn writer(&self) -> DBResult<&Mutex<LogWriter>> {
        match self.log.get() {
            Some(log) => Ok(log),
            None => self.begin_log(),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.leave_worker();
        // Nobody is left who could be told: what is not folded is in the log.
        let _ = self.files.close();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("path", &self.files.path).finish_non_exhaustive()
    }
}
