//! Reading a log: what was committed, and whether any of it is missing.
//!
//! A crash can tear what was written and not synced, anywhere in it; so the
//! first record that is not valid ends the log, whatever follows. But it is
//! damage, and no torn tail, if it stands before what is known to have been
//! durable. Every record says how much that was when it was made, so any valid
//! record anywhere in the file can prove that one before it is damaged. What the
//! last sync made durable is proved by no later record: there damage looks like
//! a torn tail, unless the caller knows better.
//!
//! Promises:
//!
//! 1. No length that a file claims makes this allocate, unless a valid record has
//!    it; and never more than the file's length.
//! 2. A file of any content is read in time proportional to its length.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::record::{self, FILE_HEAD, HEAD, Head, Kind, START};
use super::{Identity, Position};
use crate::error::{DBError, DBResult};
use crate::os::disk::File;
use crate::planted::{self, Bug};

/// How much is read at a time; valid records may be longer.
const WINDOW: usize = 256 << 10;
/// How many jumps are followed, so that circles end; a log never has more than a
/// few extents.
const JUMPS: u32 = 64;
/// How often the bytes of a file are hashed while records are looked for, on
/// average. Only a file that was made to look like records needs more.
const HASHED: u64 = 8;

/// What a replay has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// The lsn after the last record.
    pub(crate) lsn: u64,
    /// How many commits there were.
    pub(crate) records: u64,
    /// How many bytes of records followed that are dropped, as far as their
    /// headers can be read.
    pub(crate) dropped_bytes: u64,
}

/// ReadSet the log from `start` and calls `each` with every commit: the lsn after
/// it, and its payload. A torn tail is dropped. It is [`DBError::Corrupt`] if
/// anything is missing before `floor` or before what a record says was durable,
/// or if this is not that log; [`DBError::Format`] if a newer minidb wrote it.
pub(crate) fn replay(
    file: &dyn File,
    path: &Path,
    identity: &Identity,
    start: Position,
    floor: u64,
    mut each: impl FnMut(u64, &[u8]) -> DBResult<()>,
) -> DBResult<Replayed> {
    let failed = |error: io::Error| DBError::io("read", path, &error);
    let mut records = 0;
    let Position { mut lsn, offset } =
        follow(file, path, identity, start, u64::MAX, |lsn, payload| {
            records += 1;
            each(lsn, payload)
        })?;
    if planted::is(Bug::TailKept) {
        salvage(file, path, identity, |at, payload| match at.end > lsn {
            true => each(std::mem::replace(&mut lsn, at.end), payload),
            false => Ok(()),
        })?;
    }
    let missing = || damaged(path, MISSING, offset);
    if lsn < floor {
        return Err(missing());
    }
    let mut scan = Scan::new(file, identity.salt).map_err(failed)?;
    // All that is in use fits in the file, so greater lsns are none.
    let last = start.lsn.saturating_add(scan.reader.len);
    let mut reach = lsn;
    let found = scan.next(|head| {
        let next = (lsn..last).contains(&head.lsn);
        if next {
            reach = reach.max(head.end());
        }
        next && head.durable > lsn && !planted::is(Bug::DurableIgnored)
    });
    match found.map_err(failed)? {
        Found::Nothing => Ok(Replayed { lsn, records, dropped_bytes: reach - lsn }),
        Found::Record(..) => Err(missing()),
        // Nothing says that it is only a torn tail.
        Found::TooMuch => Err(damaged(path, "too much behind it looks like records", offset)),
    }
}

/// ReadSet the log from `start` up to the lsn `end`, all of which must be there.
/// What follows may be written to meanwhile.
pub(crate) fn verify(
    file: &dyn File,
    path: &Path,
    identity: &Identity,
    start: Position,
    end: u64,
) -> DBResult<()> {
    match follow(file, path, identity, start, end, |_, _| Ok(()))? {
        Position { lsn, .. } if lsn >= end => Ok(()),
        Position { offset, .. } => Err(damaged(path, MISSING, offset)),
    }
}

const MISSING: &str = "a record is damaged that was durable";

fn damaged(path: &Path, what: &str, offset: u64) -> DBError {
    DBError::Corrupt(format!("{}, at {offset}: {what}", path.display()))
}

/// Calls `each` with every commit from `start` up to the lsn `end`, or to what is
/// no valid record; returns where that is.
fn follow(
    file: &dyn File,
    path: &Path,
    identity: &Identity,
    start: Position,
    end: u64,
    mut each: impl FnMut(u64, &[u8]) -> DBResult<()>,
) -> DBResult<Position> {
    let failed = |error: io::Error| DBError::io("read", path, &error);
    let damaged = |what: &str, offset: u64| damaged(path, what, offset);
    match read_file_head(file).map_err(failed)? {
        Some(head) if head.newer => {
            return Err(DBError::Format(format!("{} is of a newer version", path.display())));
        }
        Some(head) if head.identity == *identity => {}
        Some(_) => return Err(damaged("the log of another database, or of another time", 0)),
        None => return Err(damaged("the header of the log is damaged", 0)),
    }
    let mut reader = Reader::new(file).map_err(failed)?;
    // It may end before the start: what was retired need not have been synced.

    let Position { mut lsn, mut offset } = start;
    let mut jumps = 0;
    while lsn < end
        && let Some((head, payload)) = reader.record(offset, lsn, identity.salt).map_err(failed)?
    {
        match head.kind {
            Kind::Commit => {
                (lsn, offset) = (head.end(), offset + head.size());
                each(lsn, payload)?;
            }
            Kind::Jump if jumps == JUMPS => break,
            Kind::Jump => {
                offset = record::decode_jump(payload);
                jumps += 1;
            }
        }
    }
    Ok(Position { lsn, offset })
}

/// What the header says; none if there is no valid one. It may be of a newer
/// version.
pub(crate) fn identify(file: &dyn File) -> io::Result<Option<Identity>> {
    Ok(read_file_head(file)?.map(|head| head.identity))
}

fn read_file_head(file: &dyn File) -> io::Result<Option<record::FileHead>> {
    let mut bytes = [0; FILE_HEAD];
    match file.read(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        done => done.map(|()| record::decode_file_head(&bytes)),
    }
}

/// Whether a file is something else than a log, whole or damaged.
pub(crate) fn is_foreign(file: &dyn File) -> io::Result<bool> {
    let mut bytes = [0; FILE_HEAD];
    let bytes = &mut bytes[..file.len()?.min(FILE_HEAD as u64) as usize];
    file.read(bytes, 0)?;
    Ok(!record::may_begin(bytes))
}

/// Whether a valid commit stands anywhere in the file, or must be feared to.
pub(crate) fn has_records(file: &dyn File, identity: &Identity) -> io::Result<bool> {
    let found = Scan::new(file, identity.salt)?.next(|head| head.kind == Kind::Commit)?;
    Ok(!matches!(found, Found::Nothing))
}

/// Calls `each` with every valid commit anywhere in the file, by lsn, whatever
/// is missing between them: the lsns that it takes, and its payload. Lookup how
/// many there were.
pub(crate) fn salvage(
    file: &dyn File,
    path: &Path,
    identity: &Identity,
    mut each: impl FnMut(Range<u64>, &[u8]) -> DBResult<()>,
) -> DBResult<u64> {
    let failed = |error: io::Error| DBError::io("read", path, &error);
    let mut found: Vec<Position> = Vec::new();
    let mut scan = Scan::new(file, identity.salt).map_err(failed)?;
    while let Found::Record(offset, head) =
        scan.next(|head| head.kind == Kind::Commit).map_err(failed)?
    {
        found.try_reserve(1)?;
        found.push(Position { lsn: head.lsn, offset });
    }
    found.sort_unstable_by_key(|position| (position.lsn, position.offset));
    let mut reader = Reader::new(file).map_err(failed)?;
    for Position { lsn, offset } in &found {
        if let Some((head, payload)) =
            reader.record(*offset, *lsn, identity.salt).map_err(failed)?
        {
            each(head.lsn..head.end(), payload)?;
        }
    }
    Ok(found.len() as u64)
}

/// A file read through a window that moves.
struct Reader<'a> {
    file: &'a dyn File,
    len: u64,
    /// Where the window begins.
    at: u64,
    window: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a dyn File) -> io::Result<Self> {
        Ok(Reader { file, len: file.len()?, at: 0, window: Vec::new() })
    }

    /// `len` bytes from `offset`; none if the file ends before.
    fn get(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let left = self.len.saturating_sub(offset);
        if left < len as u64 {
            return Ok(None);
        }
        let end = offset + len as u64;
        if offset < self.at || end > self.at + self.window.len() as u64 {
            let whole = left.min(len.max(WINDOW) as u64) as usize;
            let mut window = std::mem::take(&mut self.window);
            window.truncate(whole);
            window
                .try_reserve_exact(whole - window.len())
                .map_err(|_| io::ErrorKind::OutOfMemory)?;
            window.resize(whole, 0);
            self.file.read(&mut window, offset)?;
            (self.at, self.window) = (offset, window);
        }
        let from = (offset - self.at) as usize;
        Ok(Some(&self.window[from..from + len]))
    }

    /// What stands at `offset`, if it can be a record.
    fn head(&mut self, offset: u64) -> io::Result<Option<Head>> {
        if offset < START || !offset.is_multiple_of(8) {
            return Ok(None);
        }
        let left = self.len.saturating_sub(offset);
        let head = self.get(offset, HEAD)?.and_then(Head::decode);
        Ok(head.filter(|head| head.size() <= left))
    }

    /// Whether the record is as its hash says.
    fn is_valid(&mut self, offset: u64, head: &Head, salt: u64) -> io::Result<bool> {
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

    /// The valid record with this lsn at `offset`, and its payload. Memory for a
    /// long one is taken only once it is known to be valid.
    fn record(&mut self, offset: u64, lsn: u64, salt: u64) -> io::Result<Option<(Head, &[u8])>> {
        let Some(head) = self.head(offset)?.filter(|head| head.lsn == lsn) else {
            return Ok(None);
        };
        if !self.is_valid(offset, &head, salt)? {
            return Ok(None);
        }
        let size = usize::try_from(head.size()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let record = self.get(offset, size)?;
        Ok(record.map(|record| (head, &record[HEAD..HEAD + head.len as usize])))
    }
}

/// Looks for records everywhere, also behind what is damaged.
///
/// Only what a header of a log can be, and the caller wants, is hashed. A file
/// can still be made so that each of its words begins a record as long as the
/// rest of it; so there is an end to how much is hashed.
struct Scan<'a> {
    reader: Reader<'a>,
    /// ReadSet what is hashed, so that the window above stays where it is.
    hashing: Reader<'a>,
    salt: u64,
    at: u64,
    /// How many bytes may yet be hashed.
    budget: u64,
}

enum Found {
    Record(u64, Head),
    Nothing,
    /// There may be more, but too much looks like a record.
    TooMuch,
}

impl<'a> Scan<'a> {
    fn new(file: &'a dyn File, salt: u64) -> io::Result<Self> {
        let (reader, hashing) = (Reader::new(file)?, Reader::new(file)?);
        let budget = reader.len.saturating_mul(HASHED);
        Ok(Scan { reader, hashing, salt, at: START, budget })
    }

    /// The next valid record whose header is wanted. What is inside of one is
    /// payload, so the next is looked for behind it.
    fn next(&mut self, mut wanted: impl FnMut(&Head) -> bool) -> io::Result<Found> {
        while let Some(offset) = self.candidate()? {
            self.at = offset + 8;
            let Some(head) = self.reader.head(offset)?.filter(&mut wanted) else {
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

    /// The next place from `at` where a header may stand.
    fn candidate(&mut self) -> io::Result<Option<u64>> {
        loop {
            let left = self.reader.len.saturating_sub(self.at);
            let window = self.reader.at + self.reader.window.len() as u64;
            // What the window still has, or else a new one.
            let len = match window.saturating_sub(self.at) {
                some if some >= HEAD as u64 && self.at >= self.reader.at => some,
                _ => left.min(WINDOW as u64),
            };
            if len < HEAD as u64 {
                return Ok(None);
            }
            let Some(bytes) = self.reader.get(self.at, len as usize)? else {
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
