//! The log: the commits since the last checkpoint, in order.
//!
//! Every commit is a record with an opaque payload, written at the end of the
//! log. A log sequence number (lsn) counts bytes of records over the whole life of
//! the database; each record takes as many lsns as it takes bytes. [`Log`] writes,
//! [`mod@replay`] reads, and [`record`] has the bytes.
//!
//! Writing has three steps, so that many commits can share one sync:
//! [`Log::append`] adds records in memory; [`Log::begin_flush`] takes all of them as
//! a [`Flush`], which is written and synced while others append; and
//! [`Log::finish_flush`] takes its outcome. The caller holds a lock around the log;
//! a flush in flight needs none.
//!
//! The space of retired records is used again ([`space`]). The records
//! then stand in several extents, each of which ends with a jump to the next:
//!
//! ```text
//! header | newest extent -> free | retired | oldest extent, jump to 4096 |
//! ```
//!
//! Promises:
//!
//! 1. Records are replayed in the order in which they were appended, without
//!    gaps, up to some point after everything that was durable.
//! 2. A record that is not retired is never overwritten, nor is a position that
//!    [`Log::position`] gave for an lsn that is not retired.
//! 3. A record whose append, write or sync was reported as failed is not
//!    replayed, as long as the log has not failed.
//! 4. After a failed sync, or a write that cannot be undone, the log refuses
//!    everything. It never syncs again after a failed sync.
//!
//! Not here: what payloads mean, locks, and when to sync or to checkpoint.

mod record;
mod replay;
mod space;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::error::{DBError, DBResult, text};
use crate::fallible::filled;
use crate::os::disk::File;
use crate::planted::{self, Bug};
use crate::sync::Arc;
use record::{HEAD, JUMP, Kind, START};

pub(crate) use replay::{has_records, identify, is_foreign, replay, salvage, verify};

/// The length of a log without records.
pub(crate) const EMPTY_BYTES: u64 = START;

/// Bytes that the file has from the first on, behind its header.
const ROOM: u64 = if cfg!(minidb_shuttle) { 512 } else { 32 << 10 };

/// A buffer with a larger capacity is not kept for the next flush.
const SPARE_MAX: usize = 4 << 20;

/// Zeros that are written ahead in one call.
const ZEROS: usize = 16 << 10;

/// Identifies a log among those of all databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The uuid of the database.
    pub(crate) database: [u8; 16],
    /// The number of the log among those of its database.
    pub(crate) generation: u64,
    /// Random, so that no bytes of another log pass as a record.
    pub(crate) salt: u64,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) lsn: u64,
    pub(crate) offset: u64,
}

/// A log that is appended to.
///
/// `retired <= durable <= written <= end`, all of them lsns.
#[derive(Debug)]
pub(crate) struct Log {
    file: Arc<Box<dyn File>>,
    path: PathBuf,
    salt: u64,
    /// Bytes of zeros that are written ahead of the records.
    ahead: u64,
    /// Zeros that are written with records that make the file longer: then the jump from
    /// there needs no space.
    pad: usize,
    /// The length of the file.
    bytes: u64,
    retired: u64,
    durable: u64,
    written: u64,
    end: u64,
    /// The latest record, as long as it can be rolled back.
    latest: Option<u64>,
    /// Where live records begin, the oldest extent first. An extent goes up to the
    /// lsn of the next, and ends with a jump to it.
    extents: VecDeque<Position>,
    /// The records from `written` on, or from the end of the flush in flight.
    pending: Vec<u8>,
    /// An empty buffer for the records after the next flush.
    spare: Vec<u8>,
    /// The end of what the flush in flight writes, if there is one.
    in_flight: Option<u64>,
    /// The latest place for records, from where a jump led to it or it was looked at up to
    /// the next place in use or the end of the file; empty if it is to be found anew.
    room: Range<u64>,
    /// The live bytes before the last records retired.
    peak: u64,
    failed: Option<DBError>,
}

impl Log {
    /// Makes `file` an empty log whose first record will have the given lsn, and
    /// syncs it. The caller syncs its name. Whenever the file grows, `ahead` bytes of
    /// zeros are written behind the records, if there is space, so that a sync rarely
    /// has a new length to record.
    pub(crate) fn create(
        file: Box<dyn File>,
        path: PathBuf,
        identity: Identity,
        lsn: u64,
        ahead: u64,
    ) -> DBResult<Log> {
        let old = file.len().map_err(|error| DBError::io("look at", &path, &error))?;
        let write = |error| DBError::io("write", &path, &error);
        if old > 0 && !planted::is(Bug::LogNotRenewed) {
            file.set_len(0).map_err(write)?;
        }
        file.write(&record::encode_file_head(&identity, lsn), 0).map_err(write)?;
        if !planted::is(Bug::LogNamedTooEarly) {
            file.sync().map_err(|error| DBError::io("sync", &path, &error))?;
        }
        Ok(Log {
            file: Arc::new(file),
            path,
            salt: identity.salt,
            ahead,
            pad: 0,
            bytes: START,
            retired: lsn,
            durable: lsn,
            written: lsn,
            end: lsn,
            latest: None,
            extents: VecDeque::from([Position { lsn, offset: START }]),
            pending: Vec::new(),
            spare: Vec::new(),
            in_flight: None,
            room: 0..0,
            peak: 0,
            failed: None,
        })
    }

    /// Gives the log the new name of its file.
    pub(crate) fn named(self, path: PathBuf) -> Log {
        Log { path, ..self }
    }

    /// Writes zeros to a log without records, if there is space for them: so that it takes some
    /// records when the disk is full.
    pub(crate) fn make_room(&mut self) {
        match filled(0, ROOM as usize).map(|zeros| self.file.write(&zeros, START)) {
            Ok(Ok(())) => (self.bytes, self.pad) = (START + ROOM, JUMP),
            _ => drop(self.file.set_len(START)),
        }
    }

    /// Adds a commit in memory. Its payload is the parts in a row.
    pub(crate) fn append(&mut self, parts: &[&[u8]]) -> DBResult<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let size = HEAD + len.next_multiple_of(8);
        self.pending.try_reserve(size + JUMP)?;
        self.extents.try_reserve(2)?; // for the jump to it, and that of a flush in flight
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

    /// Rolls back the latest append: of a record that is pending, or that was written
    /// without a sync under the lock that the caller still holds. Appends before it
    /// stay. If a written record cannot be erased, the log has failed.
    pub(crate) fn roll_back(&mut self) -> DBResult<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let lsn = self.latest.take().expect("only the latest append can be rolled back");
        if !self.pending.is_empty() {
            let size = (self.end - lsn) as usize;
            self.pending.truncate(self.pending.len() - size);
            self.end = lsn;
            return Ok(());
        }
        assert!(
            self.in_flight.is_none() && self.durable <= lsn,
            "an append is rolled back too late"
        );
        let offset = self.position(lsn).offset;
        self.end = lsn;
        self.written = lsn;
        self.file
            .write(&[0; HEAD], offset)
            .map_err(|error| self.fail(DBError::io("write", &self.path, &error)))
    }

    /// The lsn after the last record.
    #[cfg(test)]
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether there are records that no flush has taken.
    pub(crate) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The lsn up to which records were written to the file.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The lsn up to which records survive a crash of the machine.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// The error that every call gets, once the log has failed.
    pub(crate) fn failed(&self) -> Option<DBError> {
        self.failed.clone()
    }

    /// Takes all pending records, to be written without the log's lock. At most one
    /// flush is in flight.
    pub(crate) fn begin_flush(&mut self) -> Flush {
        assert!(self.in_flight.is_none(), "one flush is in flight at a time");
        let mut records = std::mem::replace(&mut self.pending, std::mem::take(&mut self.spare));
        let mut rest = &mut records[..];
        while !rest.is_empty() {
            let (record, after) = rest.split_at_mut(record::size(rest));
            record::finalize(record, self.durable, self.salt);
            rest = after;
        }
        let (here, len) = (self.position(self.written).offset, records.len() as u64);
        let offset = self.choose_offset(here, len);
        let jump = (offset != here)
            .then(|| (here, record::encode_jump(self.written, offset, self.durable, self.salt)));
        let end = offset + len;
        let grows = end > self.bytes && self.ahead > 0;
        let zeros_end = if grows { (end + self.ahead).next_multiple_of(START) } else { end };
        if len > 0 && end + self.pad as u64 > self.bytes {
            records.resize(records.len() + self.pad, 0); // reserved
        }
        let file = self.file.clone();
        let flush =
            Flush { file, start: self.written, len, offset, records, jump, zeros: end..zeros_end };
        self.in_flight = Some(flush.file_end().max(zeros_end));
        flush
    }

    /// Ends a flush. If it has failed, its records are dropped with all that were
    /// appended since; the error is for each of them. After [`DBError::Full`] and
    /// [`DBError::OutOfMemory`] the log goes on without them; after any other error
    /// it has failed.
    pub(crate) fn finish_flush(&mut self, flush: Flush, outcome: Outcome) -> DBResult<()> {
        self.in_flight = None;
        let done = self.complete(&flush, outcome);
        if done.is_err() {
            self.drop_pending();
        }
        let mut records = flush.records;
        if records.capacity() <= SPARE_MAX {
            records.clear();
            self.spare = records;
        }
        done
    }

    fn complete(&mut self, flush: &Flush, outcome: Outcome) -> DBResult<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if let Err(error) = outcome.write {
            let undone = self.erase(flush).and_then(|()| self.file.sync());
            return Err(match DBError::io("write", &self.path, &error) {
                passing @ (DBError::Full(_) | DBError::OutOfMemory) if undone.is_ok() => {
                    self.durable = self.written;
                    passing
                }
                lasting => self.fail(lasting),
            });
        }
        if let Some(Err(error)) = outcome.sync {
            // So that its records, which are not acknowledged, are gone if no crash follows.
            let _ = self.erase(flush);
            if planted::is(Bug::FailedSyncForgotten) {
                return Err(DBError::io("sync", &self.path, &error));
            }
            return Err(self.fail(DBError::io("sync", &self.path, &error)));
        }
        if flush.jump.is_some() {
            self.extents.push_back(Position { lsn: flush.start, offset: flush.offset });
        }
        self.written = flush.end();
        if outcome.sync.is_some() || planted::is(Bug::DurableClaimed) {
            self.durable = self.durable.max(self.written);
        }
        self.bytes = self.bytes.max(flush.file_end());
        if !flush.zeros.is_empty() {
            self.bytes = self.file.len().unwrap_or(self.bytes);
            if self.bytes < flush.zeros.end {
                self.ahead = 0; // not again and again
            }
        }
        Ok(())
    }

    /// Overwrites the headers of a flush that may have reached the file: of all its
    /// records, since new ones of the same lengths may come to stand between them. A
    /// jump may stay: it leads to no record, and the next flush begins there.
    fn erase(&mut self, flush: &Flush) -> io::Result<()> {
        self.bytes = self.file.len()?;
        // Not past the file's end: there may be no space for that.
        let erase = |offset| {
            let reached = self.bytes.saturating_sub(offset).min(HEAD as u64);
            self.file.write(&[0; HEAD][..reached as usize], offset)
        };
        let mut at = 0;
        while at < flush.len as usize {
            erase(flush.offset + at as u64)?;
            at += record::size(&flush.records[at..]);
        }
        Ok(())
    }

    /// Takes the records that are written already, to be synced without the log's
    /// lock, whether a flush is in flight or not.
    pub(crate) fn begin_sync(&self) -> LogSync {
        LogSync { file: self.file.clone(), end: self.written }
    }

    /// Ends a sync. If it has failed, so has the log.
    pub(crate) fn finish_sync(&mut self, sync: LogSync, outcome: io::Result<()>) -> DBResult<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if let Err(error) = outcome {
            let error = self.fail(DBError::io("sync", &self.path, &error));
            if self.in_flight.is_none() {
                self.drop_pending();
            }
            return Err(error);
        }
        self.durable = self.durable.max(sync.end);
        Ok(())
    }

    /// Makes the log fail with `error`, and drops the pending records: a flush was
    /// interrupted, and how much of it has reached the file is unknown.
    pub(crate) fn abandon(&mut self, error: DBError) {
        self.fail(error);
        self.drop_pending();
    }

    fn drop_pending(&mut self) {
        self.pending.clear();
        self.end = self.written;
        self.latest = None;
    }

    /// Makes the log fail, and returns the error that every call gets from now on.
    #[cold]
    fn fail(&mut self, error: DBError) -> DBError {
        let error = match error {
            DBError::Full(why) => DBError::Io(why),
            DBError::OutOfMemory => {
                let path = self.path.display();
                DBError::Io(text(format_args!("cannot write {path}: out of memory")))
            }
            other => other,
        };
        self.failed.get_or_insert(error).clone()
    }

    /// Where replay can begin to find the record with this lsn, which is not retired,
    /// and written or the next to be written.
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

    /// Bytes of records that are written and not retired.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written - self.retired
    }

    /// Bytes of records that are not retired.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.end - self.retired
    }
}

/// Records on their way to the file.
#[derive(Debug)]
pub(crate) struct Flush {
    file: Arc<Box<dyn File>>,
    /// The lsn of the first record.
    start: u64,
    /// The bytes of records; behind them there may be zeros.
    len: u64,
    offset: u64,
    records: Vec<u8>,
    /// If the records are not behind the last ones, where the jump to them goes, and
    /// its bytes.
    jump: Option<(u64, [u8; JUMP])>,
    /// Where zeros are written ahead, behind the records.
    zeros: Range<u64>,
}

/// How the write and the sync of a flush went; no sync if it was not asked for, or
/// if the write failed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) write: io::Result<()>,
    pub(crate) sync: Option<io::Result<()>>,
}

impl Flush {
    /// Writes the records, and syncs them if asked to.
    pub(crate) fn run(&self, sync: bool) -> Outcome {
        let write = self.write();
        let sync = (sync && write.is_ok()).then(|| self.file.sync());
        Outcome { write, sync }
    }

    fn write(&self) -> io::Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        self.file.write(&self.records, self.offset)?;
        self.write_zeros();
        // The jump comes last, so that it never leads to what is not there.
        match &self.jump {
            Some((offset, jump)) => self.file.write(jump, *offset),
            None => Ok(()),
        }
    }

    /// Writes zeros ahead, unless space or memory is short: others need them more.
    fn write_zeros(&self) {
        let len = self.zeros.end - self.zeros.start;
        if len == 0 || self.file.free_space() < 16 * len {
            return;
        }
        let Ok(zeros) = filled(0, ZEROS) else {
            return;
        };
        for at in self.zeros.clone().step_by(ZEROS) {
            let some = (self.zeros.end - at).min(ZEROS as u64);
            if self.file.write(&zeros[..some as usize], at).is_err() {
                let _ = self.file.set_len(self.zeros.start);
                return;
            }
        }
    }

    /// The lsn after the records.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.len
    }

    /// The least length of the file once the flush is written.
    fn file_end(&self) -> u64 {
        let jump = self.jump.map_or(0, |(offset, jump)| offset + jump.len() as u64);
        jump.max(self.offset + self.records.len() as u64)
    }
}

/// Written records on their way to be durable.
#[derive(Debug)]
pub(crate) struct LogSync {
    file: Arc<Box<dyn File>>,
    end: u64,
}

impl LogSync {
    /// Syncs the file.
    pub(crate) fn run(&self) -> io::Result<()> {
        self.file.sync()
    }
}
