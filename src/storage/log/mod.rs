//! The log: what was committed since the last checkpoint, in order.
//!
//! Every commit is a record with an opaque payload, written at the end of the
//! log. A place in the log is an lsn, a count of bytes that grows for the whole
//! life of the database; each record takes as many lsns as it takes bytes.
//! [`Log`] writes; [`mod@replay`] has what reads; [`record`] has the bytes.
//!
//! Writing has three steps, so that many commits can share one sync:
//! [`Log::append`] adds records in memory, [`Log::plan`] takes all of them, the
//! [`Plan`] is written and synced while others append, and [`Log::finish`] says
//! how that went. The lock around the log is the caller's; a plan needs none.
//!
//! The file is used again from its head once checkpoints have retired what was
//! there. The records then stand in several extents, each of which ends with a
//! jump to the next:
//!
//! ```text
//! header | newest extent -> free | retired | oldest extent, jump to 4096 |
//! ```
//!
//! Promises:
//!
//! 1. Records are replayed in the order in which they were appended, without
//!    gaps, up to some point after everything that was durable.
//! 2. What is not retired is never overwritten, nor is a place that
//!    [`Log::position`] named for an lsn that is not retired.
//! 3. A record whose append, write or sync was reported as failed is not
//!    replayed, as long as the log has not failed.
//! 4. After a failed sync, or a write that cannot be undone, the log refuses
//!    everything. It never syncs again what a sync has failed for.
//!
//! Not here: what payloads mean, locks, and when to sync or to checkpoint.

mod record;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::error::{DBError, DBResult};
use crate::os::disk::File;
use crate::planted::{self, Bug};
use crate::sync::Arc;
use record::{HEAD, JUMP, Kind, START};

pub(crate) use replay::{has_records, identify, is_foreign, replay, salvage, verify};

/// The length of a log without records.
pub(crate) const EMPTY_BYTES: u64 = START;

/// The jump back to the head waits until this much is free there.
const WORTH_A_JUMP: u64 = if cfg!(minidb_shuttle) { 1 << 10 } else { 64 << 10 };
/// A buffer that has grown past this is not kept.
const KEEP: usize = 4 << 20;

/// Zeros are written so many bytes at a time.
const ZEROS: usize = 16 << 10;

/// Tells one log from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The uuid of the database.
    pub(crate) database: [u8; 16],
    /// Counts the logs of that database.
    pub(crate) generation: u64,
    /// Random, so that no bytes of another log pass for a record.
    pub(crate) salt: u64,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) lsn: u64,
    pub(crate) offset: u64,
}

/// The end of a log that is written to.
///
/// `retired <= durable <= written <= end`, all of them lsns.
#[derive(Debug)]
pub(crate) struct Log {
    file: Arc<Box<dyn File>>,
    path: PathBuf,
    salt: u64,
    /// How far zeros are written ahead.
    ahead: u64,
    /// The length of the file.
    bytes: u64,
    retired: u64,
    durable: u64,
    written: u64,
    end: u64,
    /// The latest record, as long as it can be cancelled.
    latest: Option<u64>,
    /// Where records stand, from the oldest that lives: each extent goes as far
    /// as the lsn of the next, and ends with a jump to that.
    extents: VecDeque<Position>,
    /// The records from `written`, or from the end of the plan that is out.
    pending: Vec<u8>,
    /// What the next plan leaves here for `pending`.
    spare: Vec<u8>,
    /// Whether there is a plan that is not finished.
    planned: bool,
    failed: Option<DBError>,
}

impl Log {
    /// Makes `file` an empty log whose first record will have the given lsn,
    /// and syncs it; that it has a name is the caller's to sync. Whatever was in
    /// it is gone. With `ahead`, so many zeros
    /// are written behind the records whenever the file grows, so that a sync
    /// rarely has a new length to record; if there is no space for them, they are
    /// done without.
    pub(crate) fn create(
        file: Box<dyn File>,
        path: PathBuf,
        identity: Identity,
        lsn: u64,
        ahead: u64,
    ) -> DBResult<Log> {
        let old = file.len().map_err(|error| DBError::io("look at", &path, &error))?;
        let emptied = match old > 0 && !planted::is(Bug::LogNotRenewed) {
            true => file.set_len(0),
            false => Ok(()),
        };
        emptied
            .and_then(|()| file.write(&record::encode_file_head(&identity, lsn), 0))
            .map_err(|error| DBError::io("write", &path, &error))?;
        if !planted::is(Bug::LogNamedTooEarly) {
            file.sync().map_err(|error| DBError::io("sync", &path, &error))?;
        }
        Ok(Log {
            file: Arc::new(file),
            path,
            salt: identity.salt,
            ahead,
            bytes: START,
            retired: lsn,
            durable: lsn,
            written: lsn,
            end: lsn,
            latest: None,
            extents: VecDeque::from([Position { lsn, offset: START }]),
            pending: Vec::new(),
            spare: Vec::new(),
            planned: false,
            failed: None,
        })
    }

    /// The same, by another name of its file.
    pub(crate) fn named(self, path: PathBuf) -> Log {
        Log { path, ..self }
    }

    /// Adds a commit, in memory; its payload is the parts in a row.
    pub(crate) fn append(&mut self, parts: &[&[u8]]) -> DBResult<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let size = HEAD + len.next_multiple_of(8);
        self.pending.try_reserve(size)?;
        let after = self.pending.len() + size;
        self.pending.extend_from_slice(&record::encode_head(Kind::Commit, self.end, len as u64));
        for part in parts {
            self.pending.extend_from_slice(part);
        }
        self.pending.resize(after, 0);
        self.latest = Some(self.end);
        self.end += size as u64;
        Ok(())
    }

    /// Takes the latest record back: one that is pending, or one that was written
    /// without a sync, before the lock is let go; and only one in a row. If a
    /// written one cannot be taken back, the log has failed.
    pub(crate) fn cancel(&mut self) -> DBResult<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let lsn = self.latest.take().expect("only the latest record can be cancelled");
        if !self.pending.is_empty() {
            let size = (self.end - lsn) as usize;
            self.pending.truncate(self.pending.len() - size);
            self.end = lsn;
            return Ok(());
        }
        assert!(!self.planned && self.durable <= lsn, "a record is cancelled too late");
        let offset = self.position(lsn).offset;
        self.end = lsn;
        self.written = lsn;
        self.file
            .write(&[0; HEAD], offset)
            .map_err(|error| self.fail(DBError::io("write", &self.path, &error)))
    }

    #[cfg(test)]
    /// The lsn after the last record.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether there are records that no plan has taken.
    pub(crate) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The lsn up to which records were handed to the file.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The lsn up to which a crash of the machine loses nothing.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// Why the log refuses everything, if it does.
    pub(crate) fn failed(&self) -> Option<DBError> {
        self.failed.clone()
    }

    /// Takes all pending records, to be written without the log's lock. The plan
    /// before must be finished.
    pub(crate) fn plan(&mut self) -> Plan {
        assert!(!self.planned, "there is one plan at a time");
        self.planned = true;
        let mut records = std::mem::replace(&mut self.pending, std::mem::take(&mut self.spare));
        let mut rest = &mut records[..];
        while !rest.is_empty() {
            let (record, after) = rest.split_at_mut(record::size(rest));
            record::seal(record, self.durable, self.salt);
            rest = after;
        }
        let here = self.position(self.written).offset;
        let offset = self.place(here, records.len() as u64);
        let jump = (offset != here)
            .then(|| (here, record::encode_jump(self.written, offset, self.durable, self.salt)));
        let end = offset + records.len() as u64;
        let zeros = match end > self.bytes && self.ahead > 0 {
            true => end..(end + self.ahead).next_multiple_of(START),
            false => end..end,
        };
        let file = self.file.clone();
        Plan { file, start: self.written, offset, records, jump, zeros }
    }

    /// Where the next records go, if they take `len` bytes: `here`, which is
    /// behind the last ones, or elsewhere if there is reason to jump. Wherever
    /// that is, a jump fits behind them.
    fn place(&self, here: u64, len: u64) -> u64 {
        if len == 0 {
            return here;
        }
        let len = len + JUMP as u64;
        let (mut lowest, mut limit, mut top) = (here, u64::MAX, here + JUMP as u64);
        for (i, extent) in self.extents.iter().enumerate() {
            let living = extent.offset + self.retired.saturating_sub(extent.lsn);
            lowest = lowest.min(living);
            if let Some(next) = self.extents.get(i + 1) {
                top = top.max(extent.offset + (next.lsn - extent.lsn) + JUMP as u64);
                if living >= here {
                    limit = limit.min(living);
                }
            }
        }
        let free = lowest - START;
        if planted::is(Bug::LapOverLive) || free >= len.max(WORTH_A_JUMP).max(self.living_bytes()) {
            START
        } else if here + len <= limit {
            here
        } else {
            top
        }
    }

    /// Ends a plan. If it failed, all its records are dropped, and all that were
    /// appended since; the error is for each of them. After
    /// [`DBError::Full`] and [`DBError::OutOfMemory`] the log goes on as if they had
    /// never been; after any other it has failed.
    pub(crate) fn finish(&mut self, plan: Plan, outcome: Outcome) -> DBResult<()> {
        self.planned = false;
        let done = self.settle(&plan, outcome);
        if done.is_err() {
            self.drop_pending();
        }
        let mut records = plan.records;
        if records.capacity() <= KEEP {
            records.clear();
            self.spare = records;
        }
        done
    }

    fn settle(&mut self, plan: &Plan, outcome: Outcome) -> DBResult<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if let Err(error) = outcome.write {
            let undone = self.invalidate(plan).and_then(|()| self.file.sync());
            return Err(match DBError::io("write", &self.path, &error) {
                passing @ (DBError::Full(_) | DBError::OutOfMemory) if undone.is_ok() => {
                    self.durable = self.written;
                    passing
                }
                lasting => self.fail(lasting),
            });
        }
        if let Some(Err(error)) = outcome.sync {
            // So that, if no crash follows, what was not acknowledged is gone.
            let _ = self.invalidate(plan);
            if planted::is(Bug::FailedSyncForgotten) {
                return Err(DBError::io("sync", &self.path, &error));
            }
            return Err(self.fail(DBError::io("sync", &self.path, &error)));
        }
        if plan.jump.is_some() {
            self.extents.push_back(Position { lsn: plan.start, offset: plan.offset });
        }
        self.written = plan.end();
        if outcome.sync.is_some() || planted::is(Bug::DurableClaimed) {
            self.durable = self.durable.max(self.written);
        }
        self.bytes = self.bytes.max(plan.reach());
        if !plan.zeros.is_empty() {
            self.bytes = self.file.len().unwrap_or(self.bytes);
            if self.bytes < plan.zeros.end {
                self.ahead = 0; // not again and again
            }
        }
        Ok(())
    }

    /// Overwrites the headers of a plan that may have reached the file: of all
    /// its records, since new ones of the same lengths may come to stand between
    /// them. A jump may stay: it leads to nothing, and the next plan begins there.
    fn invalidate(&mut self, plan: &Plan) -> io::Result<()> {
        self.bytes = self.file.len()?;
        // Not past the file's end: there may be no space for that.
        let erase = |offset| {
            let reached = self.bytes.saturating_sub(offset).min(HEAD as u64);
            self.file.write(&[0; HEAD][..reached as usize], offset)
        };
        let mut at = 0;
        while at < plan.records.len() {
            erase(plan.offset + at as u64)?;
            at += record::size(&plan.records[at..]);
        }
        Ok(())
    }

    /// Takes what is written already to be synced without the log's lock,
    /// whether a plan is out or not.
    pub(crate) fn sync_plan(&self) -> SyncPlan {
        SyncPlan { file: self.file.clone(), end: self.written }
    }

    /// Ends a sync. If it failed, the log has failed.
    pub(crate) fn finish_sync(&mut self, plan: SyncPlan, outcome: io::Result<()>) -> DBResult<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if let Err(error) = outcome {
            let error = self.fail(DBError::io("sync", &self.path, &error));
            if !self.planned {
                self.drop_pending();
            }
            return Err(error);
        }
        self.durable = self.durable.max(plan.end);
        Ok(())
    }

    /// Makes the log refuse everything from now on with `error`, and drops what is pending:
    /// nobody knows how far its plan has come.
    pub(crate) fn abandon(&mut self, error: DBError) {
        self.fail(error);
        self.drop_pending();
    }

    fn drop_pending(&mut self) {
        self.pending.clear();
        self.end = self.written;
        self.latest = None;
    }

    /// Notes that nothing can be relied on any more, and returns what every call
    /// gets from now on.
    #[cold]
    fn fail(&mut self, error: DBError) -> DBError {
        let error = match error {
            DBError::Full(why) => DBError::Io(why),
            DBError::OutOfMemory => {
                DBError::Io(format!("cannot write {}: out of memory", self.path.display()))
            }
            other => other,
        };
        self.failed.get_or_insert(error).clone()
    }

    /// Lookup that all before `lsn` is durable elsewhere: its space may be used
    /// again. No more than what is written can be retired.
    pub(crate) fn retire(&mut self, lsn: u64) {
        assert!(lsn <= self.written, "what is not written is retired");
        self.retired = self.retired.max(lsn);
        self.durable = self.durable.max(lsn);
        // Not the extent that ends just there: replay may begin at its jump.
        while self.extents.get(1).is_some_and(|next| next.lsn < self.retired) {
            self.extents.pop_front();
        }
    }

    /// Where replay can begin to find the record with this lsn, which is not
    /// retired, and written or the next to be.
    pub(crate) fn position(&self, lsn: u64) -> Position {
        debug_assert!((self.retired..=self.written).contains(&lsn));
        let extent = self.extents.iter().rev().find(|extent| extent.lsn <= lsn);
        let extent = extent.expect("the record is retired");
        Position { lsn, offset: extent.offset + (lsn - extent.lsn) }
    }

    /// The file, to be read.
    pub(crate) fn file(&self) -> Arc<Box<dyn File>> {
        self.file.clone()
    }

    /// The length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much there is to replay.
    pub(crate) fn living_bytes(&self) -> u64 {
        self.end - self.retired
    }
}

/// Records on their way into the file.
#[derive(Debug)]
pub(crate) struct Plan {
    file: Arc<Box<dyn File>>,
    /// The lsn of the first one.
    start: u64,
    offset: u64,
    records: Vec<u8>,
    /// What leads to them, and where it goes, if they are not behind the last.
    jump: Option<(u64, [u8; JUMP])>,
    /// Where zeros are to be written, behind the records.
    zeros: Range<u64>,
}

/// How a plan went: the sync is none if there was no call for it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) write: io::Result<()>,
    pub(crate) sync: Option<io::Result<()>>,
}

impl Plan {
    /// Writes the records to the file.
    pub(crate) fn write(&self) -> io::Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        self.file.write(&self.records, self.offset)?;
        let len = self.zeros.end - self.zeros.start;
        if len > 0 && self.file.room() < 16 * len {
            return self.write_jump(); // others need the space more
        }
        let zeros = vec![0; if len > 0 { ZEROS } else { 0 }];
        for at in self.zeros.clone().step_by(ZEROS) {
            let some = (self.zeros.end - at).min(ZEROS as u64);
            if self.file.write(&zeros[..some as usize], at).is_err() {
                // Others need the space that is left more.
                let _ = self.file.set_len(self.zeros.start);
                break;
            }
        }
        self.write_jump()
    }

    /// Last, so that it never leads to what is not there.
    fn write_jump(&self) -> io::Result<()> {
        match &self.jump {
            Some((offset, jump)) => self.file.write(jump, *offset),
            None => Ok(()),
        }
    }

    /// Makes all that was written to the file durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Both, or only the write.
    pub(crate) fn run(&self, sync: bool) -> Outcome {
        let write = self.write();
        let sync = (sync && write.is_ok()).then(|| self.sync());
        Outcome { write, sync }
    }

    /// The lsn after its records.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.records.len() as u64
    }

    /// How long the file is at least, once it is written.
    fn reach(&self) -> u64 {
        let jump = self.jump.map_or(0, |(offset, jump)| offset + jump.len() as u64);
        jump.max(self.offset + self.records.len() as u64)
    }
}

/// What is written, on its way to be durable.
#[derive(Debug)]
pub(crate) struct SyncPlan {
    file: Arc<Box<dyn File>>,
    end: u64,
}

impl SyncPlan {
    /// Makes all that was written to the file durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
