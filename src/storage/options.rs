//! `Options`: how a database is opened, and who is told of its progress.

use std::fmt;

/// The length of a log that need not be shorter.
const SMALL_LOG: u64 = if cfg!(minidb_shuttle) { 4 << 10 } else { 1 << 20 };

/// Bytes of log at which a checkpoint is due, unless there are many data.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// How a database is opened. By default it is read and written, created if it is
/// not there, and each commit waits for the disk.
#[derive(Clone)]
pub struct Options {
    pub(super) read_only: bool,
    pub(super) existing: bool,
    pub(super) new: bool,
    pub(super) no_sync: bool,
    pub(super) background: bool,
    checkpoint_bytes: u64,
    progress: Option<std::sync::Arc<dyn Fn(Progress) + Send + Sync>>,
}

/// The progress of opening a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// So many bytes of so many of the file are loaded.
    Loading(u64, u64),
    /// So many bytes of a log of so many are replayed.
    Replaying(u64, u64),
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// The default.
    pub fn new() -> Options {
        Options {
            read_only: false,
            existing: false,
            new: false,
            no_sync: false,
            background: true,
            checkpoint_bytes: CHECKPOINT_BYTES,
            progress: None,
        }
    }

    /// Never writes to the file, nor creates it. Others may read it, too.
    pub fn read_only(mut self) -> Options {
        self.read_only = true;
        self
    }

    /// Fails with [`DBError::NotFound`](crate::DBError::NotFound) rather than create the file.
    pub fn existing(mut self) -> Options {
        self.existing = true;
        self
    }

    /// Fails with [`DBError::Exists`](crate::DBError::Exists) if the file is already there.
    pub fn create_new(mut self) -> Options {
        self.new = true;
        self
    }

    /// Does not wait for the disk at each commit. A crash of the process still
    /// loses nothing; one of the machine may lose the latest commits, each whole
    /// and none before an older one.
    pub fn no_sync(mut self) -> Options {
        self.no_sync = true;
        self
    }

    /// Makes checkpoints on the thread whose commit calls for one, rather than on
    /// a thread for that.
    pub fn no_threads(mut self) -> Options {
        self.background = false;
        self
    }

    /// Makes a checkpoint whenever the log has so many bytes, or five eighths of those of all
    /// keys and values if that is more; 64 MiB by default.
    pub fn checkpoint_bytes(mut self, bytes: u64) -> Options {
        self.checkpoint_bytes = bytes;
        self
    }

    /// Calls `watch` now and then while a database is loaded and its log is
    /// replayed.
    pub fn on_progress(mut self, watch: impl Fn(Progress) + Send + Sync + 'static) -> Options {
        self.progress = Some(std::sync::Arc::new(watch));
        self
    }

    /// Live bytes of log at which a checkpoint is due beside `data` bytes of keys and values.
    pub(super) fn due_after(&self, data: u64) -> u64 {
        let due = data / 8 * 5;
        self.checkpoint_bytes.max(due.min(self.checkpoint_bytes.saturating_mul(1024)))
    }

    /// Bytes of a small log, which are kept, and with sync written ahead as zeros.
    pub(super) fn small_log(&self) -> u64 {
        SMALL_LOG.min(self.checkpoint_bytes)
    }

    pub(super) fn tell(&self, progress: Progress) {
        if let Some(watch) = &self.progress {
            watch(progress);
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").finish_non_exhaustive()
    }
}
