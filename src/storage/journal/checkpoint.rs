//! Checkpoints: folding the log into the data file, now and then and at the end.
//!
//! A checkpoint works from a snapshot, so readers and writers go on. It folds what is
//! published: with sync, commits that may yet be rolled back stay in the log only.

use super::super::file::{DataFile, Fields, LogMark};
use super::super::index::{ImagePart, Snapshot};
use super::super::log::{Position, verify};
use super::super::{image, log};
use super::pressure::Attempt;
use super::{CheckpointMode, Files, Journal};
use crate::error::{DBError, DBResult};
use crate::planted::{self, Bug};
use crate::sync::atomic::Ordering;

/// The data file, and what is in it.
#[derive(Debug)]
pub(super) struct CheckpointTarget {
    pub(super) data: DataFile,
    /// The epoch of the checkpoint that the file holds; none if all of it is to be
    /// written anew.
    pub(super) since: Option<u64>,
    /// The log that the newest root names.
    pub(super) log: Option<log::Identity>,
}

/// Makes `data` the image of a snapshot, with these fields in its root. Pages that are
/// not newer than the checkpoint epoch `since` are in the file already.
pub(in super::super) fn write_snapshot(
    data: &mut DataFile,
    snapshot: &Snapshot,
    since: Option<u64>,
    fields: Fields,
) -> DBResult<()> {
    let fields = Fields { meta: image::encode(&snapshot.image_meta()), ..fields };
    data.checkpoint(fields, &|next| {
        snapshot.image_parts(since, &mut |part| match part {
            // All that stays comes first, so that nothing new takes its place.
            ImagePart::KeptPage { unit, units } => next.keep_blocks(unit, units),
            ImagePart::KeptBlob(id) => next.keep_blob(id),
            ImagePart::ChangedPage { unit, origin, units } => next.put_blocks(unit, origin, units),
            ImagePart::NewBlob { id, bytes } => next.put_blob(id, bytes),
        })
    })
}

impl CheckpointTarget {
    /// Makes the data file the image of a snapshot, which the log goes on from `lsn`.
    pub(super) fn checkpoint(
        &mut self,
        snapshot: &Snapshot,
        lsn: u64,
        log: Option<LogMark>,
    ) -> DBResult<()> {
        let fields = Fields { lsn, log, ..*self.data.fields() };
        write_snapshot(&mut self.data, snapshot, self.since, fields)?;
        self.since = Some(snapshot.checkpoint_epoch());
        Ok(())
    }

    /// Folds the log up to a position, whose state the snapshot is, into the data file.
    fn fold(
        &mut self,
        snapshot: &Snapshot,
        Position { lsn, offset }: Position,
        synced: bool,
    ) -> DBResult<()> {
        let mark =
            |log::Identity { generation, salt, .. }| LogMark { generation, salt, offset, synced };
        let (fields, log) = (*self.data.fields(), self.log.map(mark));
        if lsn != fields.lsn {
            self.checkpoint(snapshot, lsn, log)?;
        } else if fields.log.is_some_and(|old| old.offset != offset) {
            // A lap has begun since, so that the end of the log is not needed any more.
            self.data.mark(Fields { log, ..fields })?;
        }
        // If that fails, the file is as large as it was.
        let _ = self.data.compact(true);
        Ok(())
    }
}

impl Journal {
    pub(in super::super) fn checkpoint(&self) -> DBResult<()> {
        self.files.checkpoint()
    }

    /// Requests a checkpoint: from the worker, or inline where there is none or it
    /// cannot wait.
    pub(super) fn request_checkpoint(&self, mode: CheckpointMode) {
        let files = &*self.files;
        let in_background = files.options.background && mode != CheckpointMode::Inline;
        if !in_background || !self.request_from_worker(mode == CheckpointMode::Urgent) {
            // It reports to nobody: what it could not fold is in the log.
            let _ = files.checkpoint();
        }
    }

    /// Waits until the checkpoint and the group in flight have ended, whose snapshots keep
    /// memory.
    pub(in super::super) fn wait_for_snapshots(&self) -> DBResult<()> {
        drop(self.files.target.lock()?);
        if self.files.options.no_sync { Ok(()) } else { self.sync() }
    }

    /// Reads all there is on disk, and verifies every checksum.
    pub(in super::super) fn check_files(&self) -> DBResult<()> {
        let files = &*self.files;
        let target = files.target.lock()?;
        target.data.verify()?;
        let (Some(log), Some(identity)) = (files.log.get(), &target.log) else {
            return Ok(());
        };
        // While the data file is locked nothing is retired, and so not overwritten.
        let (file, start, end) = {
            let log = &log.lock()?.log;
            (log.file(), log.position(target.data.fields().lsn), log.written())
        };
        verify(&**file, &files.log_path, identity, start, end)
    }
}

impl Files {
    /// The published state, and where in the log it ends.
    fn checkpoint_snapshot(&self) -> DBResult<(Snapshot, Position)> {
        let log = self.writer()?.lock()?;
        let lsn = if self.options.no_sync { log.log.written() } else { log.log.durable() };
        Ok((self.store.freeze_for_checkpoint()?, log.log.position(lsn)))
    }

    /// Makes a checkpoint: the published state goes to the data file, and what the log
    /// has of it is retired.
    pub(super) fn checkpoint(&self) -> DBResult<()> {
        self.refuse_if_read_only()?;
        if self.begun()?.is_none() {
            return Ok(());
        }
        let mut attempt = Attempt { files: self, is_done: false };
        let mut target = self.target.lock()?;
        self.writer()?.lock()?.log.begin_lap();
        let (snapshot, position) = self.checkpoint_snapshot()?;
        if planted::is(Bug::RetiredTooEarly) {
            self.writer()?.lock()?.log.retire(position);
        }
        let done = target.fold(&snapshot, position, !self.options.no_sync);
        self.file_bytes.store(target.data.bytes(), Ordering::Relaxed);
        let data = snapshot.image_meta().bytes;
        let pinned_epoch = snapshot.pinned_epoch();
        self.store.release_snapshot(snapshot, pinned_epoch);
        let mut log = self.writer()?.lock()?;
        let live = log.log.live_bytes();
        if done.is_ok() {
            log.log.retire(position);
        }
        let left = log.log.live_bytes();
        log.space.note_checkpoint(&target.data, live - left, left);
        done?;
        log.limits.set(self.options.due_after(data));
        attempt.is_done = true;
        drop(log);
        self.shrink_log(&mut target)
    }

    /// Gives back the end of a log that is longer than it need be.
    fn shrink_log(&self, target: &mut CheckpointTarget) -> DBResult<()> {
        let least = self.options.small_log();
        if !self.writer()?.lock()?.log.is_long(least) {
            return Ok(());
        }
        // The root before would need the end of the log, should the newest be damaged.
        if !planted::is(Bug::LogCutForOneRoot) && target.data.mark(*target.data.fields()).is_err() {
            return Ok(()); // the checkpoint is done, and the log stays as long as it is
        }
        loop {
            // One part at a time, for the sake of those who wait for the lock.
            let mut log = self.writer()?.lock()?;
            let is_done = !log.log.shrink(least);
            self.log_bytes.store(log.log.bytes(), Ordering::Relaxed);
            if is_done {
                return Ok(());
            }
        }
    }

    /// Folds everything into the data file, so that it alone holds the database.
    pub(super) fn close(&self) -> DBResult<()> {
        let Some(log) = self.log.get() else {
            return self.clear_leftovers();
        };
        let mut target = self.target.lock()?;
        let failed = log.lock()?.log.failed();
        if let Some(error) = failed {
            return Err(error); // the next open finds out what is on disk
        }
        let (snapshot, Position { lsn, .. }) = self.checkpoint_snapshot()?;
        let fields = Fields { log: None, ..*target.data.fields() };
        if planted::is(Bug::LogRemovedTooEarly) {
            let _ = self.disk.remove(&self.log_path);
        }
        if lsn == fields.lsn {
            target.data.mark(fields)?;
        } else {
            target.checkpoint(&snapshot, lsn, None)?;
        }
        let pinned_epoch = snapshot.pinned_epoch();
        self.store.release_snapshot(snapshot, pinned_epoch);
        // Large numbers that were only read would take much memory now.
        if target.since != Some(0) {
            // If that fails, the log stays, to tell a torn root from a damaged one.
            target.data.compact(false)?;
        }
        let log = log.lock()?.log.file();
        match log.is_at(&self.log_path) {
            Ok(true) => self.disk.remove(&self.log_path),
            other => other.map(drop), // it is gone, or another lies there
        }
        .map_err(|error| DBError::io("remove", &self.log_path, &error))
    }
}
