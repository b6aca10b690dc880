//! How a commit gets into the log, and then before everybody's eyes.
//!
//! One lock orders commits. Without sync, a record is handed to the operating
//! system under it, then applied, then acknowledged.
//!
//! With sync, a commit is applied at once but hidden from readers, and its
//! thread waits. One of those who wait leads: it takes all records there are,
//! writes and syncs them while others go on adding theirs, and then shows what
//! they have changed. So threads share syncs (group commit), commits see what
//! those before them have done, and nobody sees what a crash could undo. If a
//! sync fails, everything that is hidden is undone.

use super::super::change::Change;
use super::super::in_memory_db::InMemoryDB;
use super::super::log::{Log, Outcome};
use super::Shared;
use crate::error::{DBError, DBResult};
use crate::planted::{self, Bug};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, MutexGuard, OnceLock};

/// The log, and who waits for it.
pub(super) struct Commits {
    pub(super) log: Log,
    /// What becomes of the commits that were added last.
    batch: Arc<Batch>,
    /// What becomes of those that are being written, while somebody leads.
    out: Arc<Batch>,
    /// Whether somebody is writing and syncing.
    leading: bool,
    /// A checkpoint is due when so many bytes of log are to be replayed,
    checkpoint_at: u64,
    /// or sooner: after so many it is looked whether there is space enough.
    look_at: u64,
}

/// When a checkpoint is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckpointMode {
    Soon,
    /// Before the thread that it is due on goes on.
    Now,
}

/// After so many bytes of log the space is looked at.
const LOOK: u64 = if cfg!(minidb_shuttle) { 1 << 10 } else { 32 << 10 };

/// Commits that are synced together; set once that is known.
#[derive(Default)]
struct Batch(OnceLock<DBResult<()>>);

impl Commits {
    pub(super) fn new(log: Log, checkpoint_at: u64) -> Commits {
        let (batch, out, look_at) = (Arc::default(), Arc::default(), 0);
        let mut commits = Commits { log, batch, out, leading: false, checkpoint_at, look_at };
        commits.set_due(checkpoint_at);
        commits
    }

    /// Lookup when the next checkpoint is due.
    pub(super) fn set_due(&mut self, living_bytes: u64) {
        self.checkpoint_at = living_bytes;
        self.look_at = living_bytes.min(self.log.living_bytes() + LOOK);
    }
}

type Held<'a> = MutexGuard<'a, Commits>;

impl Shared {
    /// Commits one change, which `apply` makes.
    pub(super) fn commit_change<T>(
        &self,
        change: Change<'_>,
        apply: impl FnOnce(&InMemoryDB) -> DBResult<T>,
    ) -> DBResult<T> {
        let (head, first, second) = change.encode();
        let commits = self.commits()?.lock()?;
        self.commit(commits, &[&head, first, second], apply)
    }

    /// Commits a change if, at its turn, there is reason to.
    pub(super) fn commit_change_if<T>(
        &self,
        reason: impl FnOnce(&InMemoryDB) -> DBResult<bool>,
        change: Change<'_>,
        apply: impl FnOnce(&InMemoryDB) -> DBResult<Option<T>>,
    ) -> DBResult<Option<T>> {
        let (head, first, second) = change.encode();
        self.commit_if(reason, &[&head, first, second], apply)
    }

    fn commit_if<T>(
        &self,
        reason: impl FnOnce(&InMemoryDB) -> DBResult<bool>,
        record: &[&[u8]],
        apply: impl FnOnce(&InMemoryDB) -> DBResult<Option<T>>,
    ) -> DBResult<Option<T>> {
        let commits = self.usable()?;
        if reason(&self.memory)? {
            return self.commit(commits, record, apply);
        }
        // The answer may depend on what a crash could still undo.
        if !self.options.no_sync {
            self.wait(commits)?;
        }
        Ok(None)
    }

    /// Commits changes that are encoded already.
    pub(super) fn commit_payload(&self, payload: &[u8]) -> DBResult<()> {
        let commits = self.commits()?.lock()?;
        self.commit(commits, &[payload], |memory| memory.apply(payload))
    }

    /// The same, if at its turn they are `valid`; says whether they were.
    pub(super) fn commit_payload_if(
        &self,
        payload: &[u8],
        valid: impl FnOnce() -> DBResult<bool>,
    ) -> DBResult<bool> {
        let apply = |memory: &InMemoryDB| memory.apply(payload).map(Some);
        Ok(self.commit_if(|_| valid(), &[payload], apply)?.is_some())
    }

    fn commit<T>(
        &self,
        mut commits: Held<'_>,
        record: &[&[u8]],
        apply: impl FnOnce(&InMemoryDB) -> DBResult<T>,
    ) -> DBResult<T> {
        if let Err(error) = self.announce(&mut commits, record) {
            drop(commits);
            return Err(self.make_space(error));
        }
        match apply(&self.memory) {
            Ok(result) => self.settle(commits).map(|()| result),
            Err(error) => {
                commits.log.cancel()?;
                Err(error)
            }
        }
    }

    /// Adds a record to the log, for what is to be applied now.
    fn announce(&self, commits: &mut Held<'_>, record: &[&[u8]]) -> DBResult<()> {
        commits.log.append(record)?;
        if self.options.no_sync {
            return self.hand_over(commits);
        }
        if planted::is(Bug::ShownBeforeSync) {
            return Ok(());
        }
        let hidden = self.memory.write()?.hide();
        if hidden.is_err() {
            commits.log.cancel()?;
        }
        Ok(hidden?)
    }

    /// Waits, if commits do, until what was applied is on disk.
    fn settle(&self, mut commits: Held<'_>) -> DBResult<()> {
        let due = match commits.log.living_bytes() >= commits.look_at {
            true => self.is_due(&mut commits),
            false => None,
        };
        match self.options.no_sync {
            true => drop(commits),
            false => self.wait(commits).map_err(|error| self.make_space(error))?,
        }
        if let Some(haste) = due {
            self.checkpoint_is_due(haste);
        }
        Ok(())
    }

    /// The log, unless it has failed.
    fn usable(&self) -> DBResult<Held<'_>> {
        let commits = self.commits()?.lock()?;
        match commits.log.failed() {
            Some(error) => Err(error),
            None => Ok(commits),
        }
    }

    /// Whether a checkpoint is due, and whether it cannot wait for the thread for
    /// that: there might soon be no space for one, and so no end to that.
    #[cold]
    fn is_due(&self, commits: &mut Commits) -> Option<CheckpointMode> {
        let living = commits.log.living_bytes();
        // No more than all anew, and no more than some sectors for each change.
        let all = self.file_bytes.load(Ordering::Relaxed).saturating_add(living * 3);
        let needed = all.min(living * 100) + 4 * LOOK;
        let is_long = living >= commits.checkpoint_at;
        commits.set_due(commits.checkpoint_at);
        match commits.log.file().room() < needed {
            true => Some(CheckpointMode::Now),
            false => is_long.then_some(CheckpointMode::Soon),
        }
    }

    /// If there was no space for a commit, there may be when the log is folded.
    #[cold]
    fn make_space(&self, error: DBError) -> DBError {
        if let DBError::Full(_) = error {
            self.checkpoint_is_due(CheckpointMode::Now);
        }
        error
    }

    /// Writes what was added to the log, as far as to the operating system.
    fn hand_over(&self, commits: &mut Held<'_>) -> DBResult<()> {
        let plan = commits.log.plan();
        let outcome = plan.run(false);
        commits.log.finish(plan, outcome)?;
        self.log_bytes.store(commits.log.bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// Waits until all that was added to the log is on disk.
    fn wait<'a>(&'a self, mut commits: Held<'a>) -> DBResult<()> {
        let batch = match commits.log.is_pending() {
            true => commits.batch.clone(),
            // What is not safe yet is on its way with whoever leads.
            false if commits.leading => commits.out.clone(),
            false => return Ok(()),
        };
        loop {
            if let Some(result) = batch.0.get() {
                return result.clone();
            }
            commits = match commits.leading {
                true => self.settled.wait(commits)?,
                false => self.lead(commits)?,
            };
        }
    }

    /// Writes and syncs all that was added to the log, and shows it to readers.
    fn lead<'a>(&'a self, mut commits: Held<'a>) -> DBResult<Held<'a>> {
        commits.leading = true;
        let batch = std::mem::take(&mut commits.batch);
        commits.out = batch.clone();
        let plan = commits.log.plan();
        let sealed = self.memory.write()?.seal();
        drop(commits);
        let outcome = match &sealed {
            Ok(_) => plan.run(!planted::is(Bug::AcknowledgedBeforeSync)),
            Err(_) => Outcome { write: Err(std::io::ErrorKind::OutOfMemory.into()), sync: None },
        };
        let mut commits = self.commits()?.lock()?;
        let done = commits.log.finish(plan, outcome);
        self.log_bytes.store(commits.log.bytes(), Ordering::Relaxed);
        match (sealed, &done) {
            (Ok(sealed), Ok(())) => {
                let mut index = self.memory.write()?;
                index.show(sealed);
                self.memory.history().shown(index.commits());
            }
            (Ok(sealed), _) if planted::is(Bug::ShownAfterFailure) => {
                self.memory.write()?.show(sealed);
            }
            (sealed, _) => {
                drop(sealed);
                let mut index = self.memory.write()?;
                index.undo();
                self.memory.history().undo_until(index.commits());
                drop(index);
                // Those who have come meanwhile build on what is gone.
                let later = std::mem::take(&mut commits.batch);
                let _ = later.0.set(done.clone());
            }
        }
        self.memory.store.collect();
        let _ = batch.0.set(done);
        commits.leading = false;
        self.settled.notify_all();
        Ok(commits)
    }

    /// Waits until every commit so far is on disk.
    pub(super) fn sync(&self) -> DBResult<()> {
        if self.commits.is_none() {
            return Ok(()); // nothing is ever written
        }
        let commits = self.usable()?;
        if !self.options.no_sync {
            return self.wait(commits);
        }
        if commits.log.durable() == commits.log.written() {
            return Ok(());
        }
        let plan = commits.log.sync_plan();
        drop(commits);
        let synced = plan.sync();
        self.commits()?.lock()?.log.finish_sync(plan, synced)
    }
}
