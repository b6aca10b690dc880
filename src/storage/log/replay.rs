//! Reading a log: the commits, and whether any is missing.
//!
//! A crash can tear records that were written and not synced, at any place; so the
//! first record that is not valid ends the log, whatever follows. Such a record is
//! not a torn tail but damage if it was durable. Every record says up to which lsn
//! the log was durable when it was made, so any valid record anywhere in the file
//! can prove that one before it is damaged. No later record proves what the last
//! sync made durable: there damage looks like a torn tail, unless the caller knows
//! better.
//!
//! Promises:
//!
//! 1. A length that a file claims takes no memory unless a valid record has it, and
//!    never more than the file's length.
//! 2. A file of any content is read in time proportional to its length.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::record::{self, FILE_HEAD, FileHead, HEAD, Head, Kind, START};
use super::{Identity, Position};
use crate::error::{DBError, DBResult};
use crate::fallible::push;
use crate::os::disk::File;
use crate::planted::{self, Bug};
use crate::sort::heap_sort;

/// Bytes that are read at a time. Valid records may be longer.
const WINDOW: usize = 256 << 10;
/// Jumps that are followed, so that a circle of them ends. A log has few extents.
const JUMPS: u32 = 64;
/// How often a search for records hashes the bytes of a file, on average. Only a file
/// that was made to look like records needs more.
const HASHED: u64 = 8;

/// The outcome of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// The lsn after the last record.
    pub(crate) lsn: u64,
    /// Bytes of records that follow and are dropped, as far as their headers can be
    /// read.
    pub(crate) dropped_bytes: u64,
}

/// Reads the log from `start` and calls `each` with every commit: the lsn after it,
/// and its payload. A torn tail is dropped. It is [`DBError::Corrupt`] if a record is
/// missing before `floor` or before the lsn up to which the log was durable, or if this
/// is another log; [`DBError::Format`] if a newer minidb wrote it.
pub(crate) fn replay(
    file: &dyn File,
    path: &Path,
    identity: &Identity,
    start: Position,
    floor: u64,
    mut each: impl FnMut(u64, &[u8]) -> DBResult<()>,
) -> DBResult<Replayed> {
    let Position { mut lsn, offset } =
        follow(file, path, identity, start, u64::MAX, |lsn, payload| each(lsn, payload))?;
    if planted::is(Bug::TailKept) {
        salvage(file, path, identity, |at, payload| {
            if at.end <= lsn {
                return Ok(());
            }
            each(std::mem::replace(&mut lsn, at.end), payload)
        })?;
    }
    let missing = || damaged(path, MISSING, offset);
    if lsn < floor {
        return Err(missing());
    }
    let mut scan = Scan::new(file, path, identity.salt)?;
    // As far as replay goes on from here: all records in use fit in the file.
    let last = start.lsn.saturating_add(scan.window.file_len);
    let mut reach = lsn;
    let found = scan.next(|head| {
        if (lsn..last).contains(&head.lsn) {
            reach = reach.max(head.end());
        }
        // The log may have given back those before it, if the newest root is not read.
        head.lsn >= lsn && head.durable > lsn && !planted::is(Bug::DurableIgnored)
    })?;
    match found {
        Found::Nothing => Ok(Replayed { lsn, dropped_bytes: reach - lsn }),
        Found::Record(..) => Err(missing()),
        // It may be more than a torn tail.
        Found::TooMuch => Err(damaged(path, "too much behind it looks like records", offset)),
    }
}

/// Reads the log from `start` up to the lsn `end`, where no record may be missing.
/// The log behind that may be written to meanwhile.
pub(crate) fn verify(
    file: &dyn File,
    path: &Path,
    identity: &Identity,
    start: Position,
    end: u64,
) -> DBResult<()> {
    let Position { lsn, offset } = follow(file, path, identity, start, end, |_, _| Ok(()))?;
    if lsn < end { Err(damaged(path, MISSING, offset)) } else { Ok(()) }
}

const MISSING: &str = "a record is damaged that was durable";

fn damaged(path: &Path, what: &str, offset: u64) -> DBError {
    DBError::Corrupt(format!("{}, at {offset}: {what}", path.display()))
}

/// Calls `each` with every commit from `start` up to the lsn `end`, or up to the first
/// record that is not valid. Returns where that is.
fn follow(
    file: &dyn File,
    path: &Path,
    identity: &Identity,
    start: Position,
    end: u64,
    mut each: impl FnMut(u64, &[u8]) -> DBResult<()>,
) -> DBResult<Position> {
    match read_file_head(file, path)? {
        Some(head) if head.newer => {
            return Err(DBError::Format(format!("{} is of a newer version", path.display())));
        }
        Some(head) if head.identity == *identity => {}
        Some(_) => {
            return Err(damaged(path, "the log of another database, or of another time", 0));
        }
        None => return Err(damaged(path, "the header of the log is damaged", 0)),
    }
    let mut window = Window::new(file, path)?;
    // The file may end before the start: retired records need not have been synced.
    let Position { mut lsn, mut offset } = start;
    let mut jumps = 0;
    while lsn < end
        && let Some((head, payload)) = window.record(offset, lsn, identity.salt)?
    {
        match head.kind {
            Kind::Commit => {
                (lsn, offset) = (head.end(), offset + head.size());
                each(lsn, payload)?;
            }
            Kind::Jump if jumps == JUMPS => return Err(damaged(path, "too many jumps", offset)),
            Kind::Jump => {
                offset = record::decode_jump(payload);
                jumps += 1;
            }
        }
    }
    Ok(Position { lsn, offset })
}

/// The identity in the log's header; `None` if there is no valid header. The log may
/// be of a newer version.
pub(crate) fn identify(file: &dyn File, path: &Path) -> DBResult<Option<Identity>> {
    Ok(read_file_head(file, path)?.map(|head| head.identity))
}

fn read_file_head(file: &dyn File, path: &Path) -> DBResult<Option<FileHead>> {
    let mut bytes = [0; FILE_HEAD];
    match file.read(&mut bytes, 0) {
        Ok(()) => Ok(record::decode_file_head(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(DBError::io("read", path, &error)),
    }
}

/// Whether a file is something else than a log, whole or damaged.
pub(crate) fn is_foreign(file: &dyn File, path: &Path) -> DBResult<bool> {
    let failed = |error| DBError::io("read", path, &error);
    let mut bytes = [0; FILE_HEAD];
    let len = file.len().map_err(failed)?.min(FILE_HEAD as u64) as usize;
    file.read(&mut bytes[..len], 0).map_err(failed)?;
    Ok(!record::may_begin(&bytes[..len]))
}

/// Whether a valid commit stands anywhere in the file, or may stand there.
pub(crate) fn has_records(file: &dyn File, path: &Path, identity: &Identity) -> DBResult<bool> {
    let found = Scan::new(file, path, identity.salt)?.next(|head| head.kind == Kind::Commit)?;
    Ok(!matches!(found, Found::Nothing))
}

/// Calls `each` with every valid commit anywhere in the file, by lsn, though records
/// between them may be missing: the lsns that it takes, and its payload. Returns how
/// many there are.
pub(crate) fn salvage(
    file: &dyn File,
    path: &Path,
    identity: &Identity,
    mut each: impl FnMut(Range<u64>, &[u8]) -> DBResult<()>,
) -> DBResult<u64> {
    let mut found = Vec::new();
    let mut scan = Scan::new(file, path, identity.salt)?;
    while let Found::Record(offset, head) = scan.next(|head| head.kind == Kind::Commit)? {
        push(&mut found, Position { lsn: head.lsn, offset })?;
    }
    let by = |it: &Position| (it.lsn, it.offset);
    heap_sort(&mut found, |one, other| by(one).cmp(&by(other)));
    for Position { lsn, offset } in &found {
        if let Some((head, payload)) = scan.window.record(*offset, *lsn, identity.salt)? {
            each(head.lsn..head.end(), payload)?;
        }
    }
    Ok(found.len() as u64)
}

/// The part of a file that is in memory, which moves as the file is read.
struct Window<'a> {
    file: &'a dyn File,
    path: &'a Path,
    file_len: u64,
    /// Where the window begins in the file.
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn File, path: &'a Path) -> DBResult<Self> {
        let file_len = file.len().map_err(|error| DBError::io("read", path, &error))?;
        Ok(Window { file, path, file_len, at: 0, bytes: Vec::new() })
    }

    /// `len` bytes from `offset`; `None` if the file ends before.
    fn get(&mut self, offset: u64, len: usize) -> DBResult<Option<&[u8]>> {
        let left = self.file_len.saturating_sub(offset);
        if left < len as u64 {
            return Ok(None);
        }
        let end = offset + len as u64;
        if offset < self.at || end > self.at + self.bytes.len() as u64 {
            let whole = left.min(len.max(WINDOW) as u64) as usize;
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.truncate(whole);
            bytes.try_reserve_exact(whole - bytes.len())?;
            bytes.resize(whole, 0);
            let read = self.file.read(&mut bytes, offset);
            read.map_err(|error| DBError::io("read", self.path, &error))?;
            (self.at, self.bytes) = (offset, bytes);
        }
        let from = (offset - self.at) as usize;
        Ok(Some(&self.bytes[from..from + len]))
    }

    /// The header at `offset`, if it can be a record's.
    fn head(&mut self, offset: u64) -> DBResult<Option<Head>> {
        if offset < START || !offset.is_multiple_of(8) {
            return Ok(None);
        }
        let left = self.file_len.saturating_sub(offset);
        let head = self.get(offset, HEAD)?.and_then(Head::decode);
        Ok(head.filter(|head| head.size() <= left))
    }

    /// Whether the record at `offset` has its checksum.
    fn is_valid(&mut self, offset: u64, head: &Head, salt: u64) -> DBResult<bool> {
        let size = head.size();
        if size <= WINDOW as u64 {
            let record = self.get(offset, size as usize)?;
            let fits = |record: &[u8]| record::hash(record, salt) == head.hash;
            return Ok(record.is_some_and(|it| fits(it) || planted::is(Bug::RecordUnchecked)));
        }
        let mut hasher = record::hasher(salt);
        let (mut at, end) = (offset + 8, offset + size);
        while at < end {
            let some = (end - at).min(WINDOW as u64);
            match self.get(at, some as usize)? {
                Some(bytes) => hasher.update(bytes),
                None => return Ok(false),
            }
            at += some;
        }
        Ok(hasher.digest() == head.hash)
    }

    /// The valid record with this lsn at `offset`, and its payload. A long record is
    /// verified before memory for it is taken.
    fn record(&mut self, offset: u64, lsn: u64, salt: u64) -> DBResult<Option<(Head, &[u8])>> {
        let Some(head) = self.head(offset)?.filter(|head| head.lsn == lsn) else {
            return Ok(None);
        };
        if !self.is_valid(offset, &head, salt)? {
            return Ok(None);
        }
        let size = usize::try_from(head.size()).map_err(|_| DBError::OutOfMemory)?;
        let record = self.get(offset, size)?;
        Ok(record.map(|record| (head, &record[HEAD..HEAD + head.len as usize])))
    }
}

/// A search for records everywhere in a file, also behind damaged ones.
///
/// Only those bytes are hashed that can be a header of a log and that the caller wants.
/// A file can still be made so that each of its words begins a record as long as the
/// rest of it; so there is a bound on how much is hashed.
struct Scan<'a> {
    window: Window<'a>,
    /// Reads what is hashed, so that the other window stays where it is.
    hashing: Window<'a>,
    salt: u64,
    at: u64,
    /// Bytes that may yet be hashed.
    budget: u64,
}

enum Found {
    Record(u64, Head),
    Nothing,
    /// There may be more records, but too many bytes look like one.
    TooMuch,
}

impl<'a> Scan<'a> {
    fn new(file: &'a dyn File, path: &'a Path, salt: u64) -> DBResult<Self> {
        let (window, hashing) = (Window::new(file, path)?, Window::new(file, path)?);
        let budget = window.file_len.saturating_mul(HASHED);
        Ok(Scan { window, hashing, salt, at: START, budget })
    }

    /// The next valid record whose header is wanted. The search goes on behind it,
    /// since what is inside a record is payload.
    fn next(&mut self, mut wanted: impl FnMut(&Head) -> bool) -> DBResult<Found> {
        while let Some(offset) = self.candidate()? {
            self.at = offset + 8;
            let Some(head) = self.window.head(offset)?.filter(&mut wanted) else {
                continue;
            };
            let Some(budget) = self.budget.checked_sub(head.size()) else {
                return Ok(Found::TooMuch);
            };
            self.budget = budget;
            if self.hashing.is_valid(offset, &head, self.salt)? {
                self.at = offset + head.size();
                return Ok(Found::Record(offset, head));
            }
        }
        Ok(Found::Nothing)
    }

    /// The next offset from `at` on where a header may stand.
    fn candidate(&mut self) -> DBResult<Option<u64>> {
        loop {
            let left = self.window.file_len.saturating_sub(self.at);
            let window_end = self.window.at + self.window.bytes.len() as u64;
            // The rest of the window, or else a new one.
            let len = match window_end.saturating_sub(self.at) {
                some if some >= HEAD as u64 && self.at >= self.window.at => some,
                _ => left.min(WINDOW as u64),
            };
            if len < HEAD as u64 {
                return Ok(None);
            }
            let Some(bytes) = self.window.get(self.at, len as usize)? else {
                return Ok(None);
            };
            let last_words = bytes[HEAD - 8..].chunks_exact(8);
            let words = last_words.len() as u64;
            if let Some(i) = { last_words }.position(record::is_kind_and_len) {
                return Ok(Some(self.at + 8 * i as u64));
            }
            self.at += 8 * words;
        }
    }
}
