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
    /// A checkpoint is due when so many bytes of log are to be replayed.
    pub(super) checkpoint_at: u64,
}

/// Commits that are synced together; set once that is known.
#[derive(Default)]
struct Batch(OnceLock<DBResult<()>>);

impl Commits {
    pub(super) fn new(log: Log, checkpoint_at: u64) -> Commits {
        Commits { log, batch: Arc::default(), out: Arc::default(), leading: false, checkpoint_at }
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
        let commits = self.commits()?.lock()?;
        if let Some(error) = commits.log.failed() {
            return Err(error);
        }
        if !reason(&self.memory)? {
            // The answer may depend on what a crash could still undo.
            if !self.options.no_sync {
                self.wait(commits)?;
            }
            return Ok(None);
        }
        self.commit(commits, record, apply)
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
        commits.log.append(record)?;
        if self.options.no_sync {
            self.hand_over(&mut commits)?;
        }
        let hidden = match self.options.no_sync {
            true => Ok(()),
            false if planted::is(Bug::ShownBeforeSync) => Ok(()),
            false => self.memory.write()?.hide().map_err(DBError::from),
        };
        let result = match hidden.and_then(|()| apply(&self.memory)) {
            Ok(result) => result,
            Err(error) => {
                commits.log.cancel()?;
                return Err(error);
            }
        };
        let due = commits.log.living_bytes() >= commits.checkpoint_at;
        match self.options.no_sync {
            true => drop(commits),
            false => self.wait(commits)?,
        }
        if due {
            self.checkpoint_is_due();
        }
        Ok(result)
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
        let Some(commits) = &self.commits else {
            return Ok(()); // nothing is ever written
        };
        let commits = commits.lock()?;
        if let Some(error) = commits.log.failed() {
            return Err(error);
        }
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
