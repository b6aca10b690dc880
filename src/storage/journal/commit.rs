//! Group commit: how a write gets into the log, and then before the readers.
//!
//! One lock orders commits. Without sync, a record is handed to the operating system
//! under it, then applied, then acknowledged.
//!
//! With sync, a commit is applied at once but unpublished, and its thread waits for its
//! group: all commits that one sync makes durable. The first thread that finds no group
//! in flight flushes the pending one while others append to the next, and then publishes
//! it. So threads share syncs, commits see those before them, and no reader sees what a
//! crash could undo. If a flush fails, all that is unpublished is rolled back.
//!
//! Group commit is described by DeWitt et al., "Implementation techniques for main
//! memory database systems", SIGMOD 1984.

use std::mem::replace;

use super::super::change::Change;
use super::super::file::DataFile;
use super::super::index::Snapshot;
use super::super::log::Log;
use super::super::store::Store;
use super::pressure::{Due, Limits};
use super::space::{Space, Weight};
use super::{CheckpointMode, Files, Journal};
use crate::error::{DBError, DBResult, text};
use crate::fallible::shared;
use crate::planted::{self, Bug};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, MutexGuard, OnceLock};

/// The log, and the groups of commits that are on their way into it.
#[derive(Debug)]
pub(super) struct LogWriter {
    pub(super) log: Log,
    /// The commits that are appended and not yet flushed.
    pending: Arc<Group>,
    /// The group after the pending one, made with a commit of the pending one.
    next: Option<Arc<Group>>,
    in_flight: Option<InFlight>,
    pub(super) limits: Limits,
    pub(super) space: Space,
}

/// Commits that become durable with one sync: their outcome, once it is known.
#[derive(Debug, Default)]
struct Group(OnceLock<DBResult<()>>);

/// The group that a thread is writing and syncing.
#[derive(Debug)]
struct InFlight {
    group: Arc<Group>,
    /// The state of the store at the group's end, if commits were applied since.
    end: Option<Snapshot>,
}

/// The content of a commit's record in the log.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Record<'a> {
    Change(Change<'a>),
    /// Changes that are encoded already.
    Payload(&'a [u8]),
}

pub(super) type LogGuard<'a> = MutexGuard<'a, LogWriter>;

impl LogWriter {
    /// A writer of a log without records, which a checkpoint is to retire at `size` live bytes.
    pub(super) fn new(log: Log, data: &DataFile, size: u64) -> LogWriter {
        let (mut limits, mut space) = (Limits::default(), Space::default());
        limits.set(size);
        space.note_checkpoint(data, 0, 0);
        LogWriter { log, pending: Arc::default(), next: None, in_flight: None, limits, space }
    }

    /// The tasks of a commit that was just appended.
    fn due(&mut self) -> Option<Due> {
        self.limits.due(&self.log)
    }

    fn has_space(&mut self, weight: Weight) -> bool {
        self.space.suffices(&self.log, weight)
    }

    /// Adds a record to the pending group, for a commit that `waits` for that, or not.
    fn append(&mut self, record: Record<'_>, waits: bool) -> DBResult<()> {
        if waits && self.next.is_none() {
            self.next = Some(shared(Group::default())?);
        }
        match record {
            Record::Payload(payload) => self.log.append(&[payload]),
            Record::Change(change) => {
                let (head, first, second) = change.encode();
                self.log.append(&[&head, first, second])
            }
        }
    }

    /// The group to wait for until all that was appended is durable.
    fn last_group(&self) -> Option<Arc<Group>> {
        if self.log.is_pending() {
            return Some(self.pending.clone());
        }
        self.in_flight.as_ref().map(|flight| flight.group.clone())
    }
}

impl Journal {
    /// Commits one write. `answer` returns what the call answers if it would change
    /// nothing, which is not logged; else `apply` makes the change in the store.
    pub(in super::super) fn commit<T>(
        &self,
        record: Record<'_>,
        answer: impl FnOnce(&Store) -> DBResult<Option<T>>,
        apply: impl FnOnce(&Store) -> DBResult<T>,
    ) -> DBResult<T> {
        let files = &*self.files;
        // 1. Commits have one order: that in which they hold this lock.
        let (mut log, has_space) = self.lock_log_for(record)?;
        // 2. An answer may rest on commits that are not durable yet.
        if let Some(answer) = answer(&files.store)? {
            files.wait_durable(log)?;
            return Ok(answer);
        }
        has_space?; // a full disk refuses only what would change something
        // 3. Logged first ...
        if let Err(error) = files.log_record(&mut log, record) {
            drop(log);
            return Err(self.make_space(error));
        }
        // 4. ... then applied: with sync unpublished, else before all readers.
        let result = match apply(&files.store) {
            Ok(result) => result,
            Err(error) => {
                log.log.roll_back()?;
                return Err(error);
            }
        };
        let due = log.due();
        // 5. With sync, the group is flushed, and published or rolled back.
        let durable = files.wait_durable(log);
        // 6. A commit that makes the log long has it folded, and waits if that is too slow.
        if let Some(due) = due {
            self.request_checkpoint(due.checkpoint);
            if due.pause {
                files.pause();
            }
        }
        durable.map_err(|error| self.make_space(error))?;
        Ok(result)
    }

    /// Locks the log for a commit, and says whether there is space for it: if not, a
    /// checkpoint is made first.
    fn lock_log_for(&self, record: Record<'_>) -> DBResult<(LogGuard<'_>, DBResult<()>)> {
        let weight = match record {
            Record::Change(change) => Weight::of_change(change),
            Record::Payload(payload) => Weight::of_payload(payload),
        };
        let files = &*self.files;
        let mut log = files.lock_log()?;
        let mut has_space = log.has_space(weight);
        if !has_space && log.log.live_bytes() > 0 {
            drop(log);
            self.request_checkpoint(CheckpointMode::Inline);
            log = files.lock_log()?;
            has_space = log.has_space(weight);
        }
        log.space.note_commit(weight);
        if has_space || weight.is_deletion() {
            return Ok((log, Ok(())));
        }
        let path = files.path.display();
        let full = text(format_args!("{path}: what is left of the disk is kept for deletions"));
        Ok((log, Err(DBError::Full(full))))
    }

    /// Makes space by a checkpoint if there was none for a commit.
    #[cold]
    fn make_space(&self, error: DBError) -> DBError {
        if let DBError::Full(_) = error {
            self.request_checkpoint(CheckpointMode::Inline);
        }
        error
    }

    /// Waits until every commit so far is on disk.
    pub(in super::super) fn sync(&self) -> DBResult<()> {
        let files = &*self.files;
        if files.begun()?.is_none() {
            return Ok(());
        }
        let log = files.lock_log()?;
        if !files.options.no_sync {
            return files.wait_durable(log);
        }
        if log.log.durable() == log.log.written() {
            return Ok(());
        }
        let sync = log.log.begin_sync();
        drop(log);
        let synced = sync.run();
        files.writer()?.lock()?.log.finish_sync(sync, synced)
    }
}

impl Files {
    /// The log, unless it has failed.
    pub(super) fn lock_log(&self) -> DBResult<LogGuard<'_>> {
        let log = self.writer()?.lock()?;
        match log.log.failed() {
            Some(error) => Err(error),
            None => Ok(log),
        }
    }

    /// Adds a record to the log, for a change that is applied next. Without sync the
    /// operating system has it then; with sync the change will be unpublished.
    fn log_record(&self, log: &mut LogWriter, record: Record<'_>) -> DBResult<()> {
        if !self.options.no_sync && !planted::is(Bug::PublishedBeforeSync) {
            self.store.begin_unpublished()?;
            if let Some(flight) = log.in_flight.as_mut().filter(|flight| flight.end.is_none()) {
                flight.end = Some(self.store.freeze_latest()?);
            }
        }
        log.append(record, !self.options.no_sync)?;
        if self.options.no_sync { self.write_through(log) } else { Ok(()) }
    }

    /// Writes the pending records to the log, as far as to the operating system.
    fn write_through(&self, log: &mut LogWriter) -> DBResult<()> {
        let flush = log.log.begin_flush();
        let outcome = flush.run(false);
        log.log.finish_flush(flush, outcome)?;
        self.log_bytes.store(log.log.bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// Waits, if commits do, until all that was appended to the log is on disk.
    fn wait_durable<'a>(&'a self, mut log: LogGuard<'a>) -> DBResult<()> {
        let Some(group) = log.last_group().filter(|_| !self.options.no_sync) else {
            return Ok(());
        };
        loop {
            if let Some(outcome) = group.0.get() {
                return outcome.clone();
            }
            log = match log.in_flight {
                // The outcome counts, also if another call has panicked since.
                Some(_) => match self.flushed.wait(log) {
                    Ok(log) => log,
                    Err(error) => return group.0.get().cloned().unwrap_or(Err(error)),
                },
                None => self.flush_group(log)?,
            };
        }
    }

    /// Writes and syncs the pending group while others append to the next one, and
    /// publishes it, or rolls back all that is unpublished.
    fn flush_group<'a>(&'a self, mut log: LogGuard<'a>) -> DBResult<LogGuard<'a>> {
        let flush = log.log.begin_flush();
        let next = log.next.take().unwrap_or_default(); // it is there
        let group = replace(&mut log.pending, next);
        log.in_flight = Some(InFlight { group: group.clone(), end: None });
        let flight = Flight { files: self };
        drop(log);
        let outcome = flush.run(!planted::is(Bug::AcknowledgedBeforeSync));
        let mut log = self.writer()?.lock()?;
        let done = log.log.finish_flush(flush, outcome);
        self.log_bytes.store(log.log.bytes(), Ordering::Relaxed);
        self.end_flight(&mut log, done);
        std::mem::forget(flight);
        Ok(log)
    }

    /// Ends the flight of a group with its outcome, and wakes all that wait for it.
    fn end_flight(&self, log: &mut LogWriter, mut done: DBResult<()>) {
        let end = log.in_flight.as_mut().and_then(|flight| flight.end.take());
        let settled = if done.is_ok() || planted::is(Bug::PublishedAfterFailure) {
            self.store.publish(end)
        } else {
            drop(end);
            self.store.roll_back()
        };
        if let Err(error) = &settled {
            log.log.abandon(error.clone()); // after a panic under the lock of the store
        }
        done = done.and(settled);
        if done.is_err()
            && let Some(next) = log.next.take()
        {
            // The next group builds on what is gone.
            let _ = replace(&mut log.pending, next).0.set(done.clone());
        }
        // Last, so that a panic above leaves the group to be failed by its flight.
        if let Some(flight) = log.in_flight.take() {
            let _ = flight.group.0.set(done);
        }
        self.flushed.notify_all();
    }
}

/// Fails the group in flight when the thread that flushes it unwinds or cannot have the
/// log back: so that nobody waits for ever.
struct Flight<'a> {
    files: &'a Files,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if planted::is(Bug::FlightForgotten) {
            return;
        }
        if let Some(log) = self.files.log.get() {
            let mut log = log.lock_ignoring_poison();
            log.log.abandon(DBError::Internal);
            self.files.end_flight(&mut log, Err(DBError::Internal));
        }
    }
}
