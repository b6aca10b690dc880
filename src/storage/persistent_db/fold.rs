//! Checkpoints: folding the log into the file, now and then and at the end.
//!
//! A checkpoint works from a snapshot, so readers and writers go on. What it
//! folds is what readers see: with sync, commits that may yet be undone stay in
//! the log only.

use super::super::file::{Checkpoint, DataFile, Fields, LogMark};
use super::super::index::{Piece, Snapshot};
use super::super::log::{Position, verify};
use super::super::{image, log};
use super::commit::CheckpointMode;
use super::{Closer, Shared};
use crate::error::{DBError, DBResult};
use crate::os::thread::spawn;
use crate::planted::{self, Bug};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, Condvar, JoinHandle, Mutex};

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) data: DataFile,
    /// The moment that the file is an image of, or one before all that is in it.
    pub(super) since: Option<u64>,
    /// The log that the newest root names.
    pub(super) log: Option<log::Identity>,
}

/// Gives a checkpoint all parts of a tree, those first that are in the file.
pub(in super::super) fn fill(
    snapshot: &Snapshot,
    since: Option<u64>,
    next: &mut Checkpoint<'_>,
) -> DBResult<()> {
    snapshot.pieces(since, &mut |piece| match piece {
        Piece::OldPage { unit, units } => next.keep_units(unit, units),
        Piece::OldBlob(id) => next.keep_blob(id),
        _ => Ok(()),
    })?;
    snapshot.pieces(since, &mut |piece| match piece {
        Piece::NewPage { unit, origin, units } => next.put_units(unit, origin, units),
        Piece::NewBlob { id, bytes } => next.put_blob(id, bytes),
        _ => Ok(()),
    })
}

impl Folder {
    /// Makes a snapshot what the file holds.
    pub(super) fn fold(
        &mut self,
        snapshot: &Snapshot,
        lsn: u64,
        log: Option<LogMark>,
    ) -> DBResult<()> {
        let meta = image::encode(&snapshot.image());
        let fields = Fields { lsn, log, meta, ..*self.data.fields() };
        self.data.checkpoint(fields, &|next| fill(snapshot, self.since, next))?;
        self.since = Some(snapshot.moment());
        Ok(())
    }
}

impl Shared {
    /// What readers see now, and where in the log it ends.
    fn moment(&self) -> DBResult<(Snapshot, Position)> {
        let commits = self.commits()?.lock()?;
        let lsn = match self.options.no_sync {
            true => commits.log.written(),
            false => commits.log.durable(),
        };
        Ok((self.memory.write()?.checkpoint_snapshot()?, commits.log.position(lsn)))
    }

    pub(super) fn checkpoint(&self) -> DBResult<()> {
        self.commits()?;
        let mut folder = self.folder.lock()?;
        let folder = &mut *folder;
        let (snapshot, Position { lsn, offset }) = self.moment()?;
        if planted::is(Bug::RetiredTooEarly) {
            self.commits()?.lock()?.log.retire(lsn);
        }
        if lsn != folder.data.fields().lsn {
            let mark = |log: log::Identity| {
                let log::Identity { generation, salt, .. } = log;
                LogMark { generation, salt, offset, synced: !self.options.no_sync }
            };
            let folded = folder.fold(&snapshot, lsn, folder.log.map(mark));
            self.file_bytes.store(folder.data.bytes(), Ordering::Relaxed);
            folded?;
        }
        self.memory.let_go(snapshot);
        let mut commits = self.commits()?.lock()?;
        commits.log.retire(lsn);
        commits.set_due(self.options.due_after(folder.data.bytes()));
        Ok(())
    }

    /// ReadSet all there is on disk.
    pub(super) fn check_files(&self) -> DBResult<()> {
        let folder = self.folder.lock()?;
        folder.data.verify()?;
        let (Some(commits), Some(identity)) = (&self.commits, &folder.log) else {
            return Ok(());
        };
        // While the folder is locked nothing is retired, and so not overwritten.
        let (file, start, end) = {
            let commits = commits.lock()?;
            let log = &commits.log;
            (log.file(), log.position(folder.data.fields().lsn), log.written())
        };
        verify(&**file, &self.log_path, identity, start, end)
    }

    /// Has a checkpoint made, if that may wait by the thread for that.
    pub(super) fn checkpoint_is_due(&self, haste: CheckpointMode) {
        let later = |bytes: u64| bytes.saturating_add(self.options.due_after(0));
        if let Ok(mut commits) = self.commits().and_then(Mutex::lock) {
            // Not again with the next commit, should it fail.
            let living = commits.log.living_bytes();
            commits.set_due(later(living));
        }
        match self.options.background && haste == CheckpointMode::Soon {
            true => self.wake.call(),
            // It reports to nobody: what it could not fold is in the log.
            false => drop(self.checkpoint()),
        }
    }

    /// Folds everything in, so that the file alone holds it.
    fn close(&self) -> DBResult<()> {
        let Some(commits) = &self.commits else {
            return Ok(());
        };
        let mut folder = self.folder.lock()?;
        let failed = commits.lock()?.log.failed();
        if let Some(error) = failed {
            return Err(error); // the next open finds out what is on disk
        }
        let (snapshot, Position { lsn, .. }) = self.moment()?;
        let fields = Fields { log: None, ..*folder.data.fields() };
        if planted::is(Bug::LogRemovedTooEarly) {
            let _ = self.disk.remove(&self.log_path);
        }
        match lsn == fields.lsn {
            true => folder.data.mark(fields)?,
            false => folder.fold(&snapshot, lsn, None)?,
        }
        self.memory.let_go(snapshot);
        // Large numbers that were only read would take much memory now.
        if folder.since != Some(0) {
            // If that fails, the log stays, to tell a torn root from a damaged one.
            folder.data.compact()?;
        }
        let log = commits.lock()?.log.file();
        match log.is_at(&self.log_path) {
            Ok(true) => self.disk.remove(&self.log_path),
            other => other.map(drop), // it is gone, or another lies there
        }
        .map_err(|error| DBError::io("remove", &self.log_path, &error))
    }
}

/// Calls the thread that makes checkpoints.
#[derive(Debug, Default)]
pub(super) struct Wake {
    state: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wanted {
    #[default]
    Nothing,
    Checkpoint,
    End,
}

impl Wake {
    fn call(&self) {
        self.set(Wanted::Checkpoint);
    }

    fn set(&self, wanted: Wanted) {
        if let Ok(mut state) = self.state.lock() {
            if *state != Wanted::End {
                *state = wanted;
            }
            self.changed.notify_all();
        }
    }

    /// Waits until something is wanted.
    fn wait(&self) -> DBResult<Wanted> {
        let mut state = self.state.lock()?;
        loop {
            match *state {
                Wanted::Nothing => state = self.changed.wait(state)?,
                Wanted::Checkpoint => {
                    *state = Wanted::Nothing;
                    return Ok(Wanted::Checkpoint);
                }
                Wanted::End => return Ok(Wanted::End),
            }
        }
    }
}

/// The thread that makes checkpoints.
#[derive(Debug, Default)]
pub(super) struct Checkpointer(Option<JoinHandle<()>>);

impl Checkpointer {
    /// Starts it, if there can be one.
    pub(super) fn start(shared: &Arc<Shared>) -> Checkpointer {
        if !shared.options.background || shared.commits.is_none() {
            return Checkpointer(None);
        }
        let shared = shared.clone();
        let work = move || {
            while shared.wake.wait() == Ok(Wanted::Checkpoint) {
                // It reports to nobody: what it could not fold is in the log.
                let _ = shared.checkpoint();
            }
        };
        Checkpointer(spawn("minidb", work).ok())
    }

    fn end(&mut self, shared: &Shared) {
        if let Some(thread) = self.0.take() {
            shared.wake.set(Wanted::End);
            let _ = thread.join(); // a panic of it is not this thread's
        }
    }
}

impl Closer {
    pub(super) fn new(shared: Shared) -> Closer {
        let shared = Arc::new(shared);
        let checkpointer = Checkpointer::start(&shared);
        Closer { shared, checkpointer }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.checkpointer.end(&self.shared);
        // Nobody is left who could be told: what is not folded is in the log.
        let _ = self.shared.close();
    }
}
