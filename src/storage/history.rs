//! The keys and ranges that recent commits have written, for the validation of
//! transactions.
//!
//! Where commits are visible at once, nothing is recorded while no transaction is
//! open, so plain writes pay for it with one look at a flag. The memory for the
//! records is bounded: a transaction that began before the oldest record counts as
//! overtaken.
//!
//! Records stand in a row in chunks, which are dropped whole from the front:
//!
//! ```text
//! a record:  number of the commit u64, a change (see `change.rs`): a deletion or a clear
//! ```

use std::collections::VecDeque;

use super::change::{Change, Changes};
use crate::error::{DBError, DBResult};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, Rank};

/// The most bytes of memory that the records take.
pub(super) const BYTES_MAX: usize = 16 << 20;

/// The most bytes of a chunk, but for one with a longer record.
const CHUNK: usize = 64 << 10;

/// The recent commits of one store.
#[derive(Debug)]
pub(super) struct History {
    /// Whether commits are to be recorded.
    watched: AtomicBool,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    chunks: VecDeque<Chunk>,
    /// Bytes of memory of the chunks.
    bytes: usize,
    /// Every commit after this one is recorded.
    since: u64,
    /// The commits that the open transactions began with, in order, each with the number
    /// of these transactions.
    open: VecDeque<(u64, usize)>,
    /// Commits are recorded without an open transaction, too.
    always: bool,
}

#[derive(Debug)]
struct Chunk {
    /// The commit of the last record.
    last: u64,
    records: Vec<u8>,
}

impl Chunk {
    /// The records, each with the place where it ends.
    fn iter(&self) -> impl Iterator<Item = (u64, Change<'_>, usize)> {
        let mut rest = &self.records[..];
        std::iter::from_fn(move || {
            let (commit, changes) = rest.split_first_chunk()?;
            let mut changes = Changes::of(changes);
            let change = changes.next()?.ok()?;
            rest = changes.rest();
            Some((u64::from_le_bytes(*commit), change, self.records.len() - rest.len()))
        })
    }
}

impl Recent {
    /// Whether only one transaction is open, and it began with that commit.
    fn is_only(&self, begun: Option<u64>) -> bool {
        let only = begun.is_some_and(|begun| self.open.front() == Some(&(begun, 1)));
        only && self.open.len() == 1 && !self.always
    }

    /// Drops the records that no transaction needs that is open or can begin.
    fn drop_unneeded(&mut self, visible: u64) {
        let oldest = self.open.front().map_or(visible, |(begun, _)| *begun).min(visible);
        while self.chunks.front().is_some_and(|chunk| chunk.last <= oldest) {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.bytes -= chunk.records.capacity();
            self.since = chunk.last;
        }
    }

    fn drop_all(&mut self, since: u64) {
        (self.chunks, self.bytes, self.since) = (VecDeque::new(), 0, since);
    }

    /// Records one change of a commit; an error if the commit cannot be recorded whole.
    fn push(&mut self, commit: u64, change: Change<'_>) -> DBResult<()> {
        let (head, first, second) = change.key().map_or(Ok(change), Change::delete)?.encode();
        let record = [&commit.to_le_bytes()[..], &head, first, second];
        let len = record.iter().map(|part| part.len()).sum::<usize>();
        if self.chunks.back().is_none_or(|chunk| chunk.records.len() + len > CHUNK) {
            while self.bytes + len.max(CHUNK) > BYTES_MAX {
                if self.chunks.front().is_none_or(|chunk| chunk.last == commit) {
                    return Err(DBError::OutOfMemory);
                }
                self.drop_front();
            }
            self.chunks.try_reserve(1)?;
            self.chunks.push_back(Chunk { last: commit, records: Vec::new() });
        }
        let is_only = self.chunks.len() == 1;
        let chunk = self.chunks.back_mut().expect("there is a chunk, or one was just added");
        let (filled, before) = (chunk.records.len(), chunk.records.capacity());
        if before - filled < len {
            // A chunk behind others is going to be filled.
            let capacity = if is_only { CHUNK.min(2 * before) } else { CHUNK }.max(filled + len);
            chunk.records.try_reserve_exact(capacity - filled)?;
            self.bytes += chunk.records.capacity() - before;
        }
        record.iter().for_each(|part| chunk.records.extend_from_slice(part));
        chunk.last = commit;
        Ok(())
    }
}

/// The records of one commit of many changes, to be added in constant time.
#[derive(Debug)]
pub(super) struct Records {
    /// None if they are too many, or without memory for them.
    recorded: Option<Recent>,
}

impl Records {
    pub(super) fn of<'a>(commit: u64, mut changes: impl Iterator<Item = Change<'a>>) -> Records {
        let mut recent = Recent::default();
        let whole = changes.try_for_each(|change| recent.push(commit, change));
        Records { recorded: whole.is_ok().then_some(recent) }
    }
}

impl Default for History {
    fn default() -> History {
        let recent = Mutex::ranked(Rank::History, Recent::default());
        History { watched: AtomicBool::new(false), recent }
    }
}

impl History {
    /// Whether commits are to be recorded.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Records the changes of a commit, `by` a transaction that began with that
    /// commit. The caller holds the lock that orders commits; `visible` is the newest
    /// commit that a transaction can begin with.
    #[cold]
    pub(super) fn record(
        &self,
        commit: u64,
        visible: u64,
        by: Option<u64>,
        changes: &mut dyn Iterator<Item = Change<'_>>,
    ) {
        let Ok(mut recent) = self.recent.lock() else {
            return; // then no transaction can commit either
        };
        if visible == commit && recent.is_only(by) {
            recent.drop_all(commit); // no transaction will ask
            return;
        }
        recent.drop_unneeded(visible);
        if changes.map(|change| recent.push(commit, change)).any(|pushed| pushed.is_err()) {
            recent.drop_all(commit);
        }
    }

    /// Whether the records of a commit are needed, `by` a transaction that began with that
    /// commit. `at_once` tells whether the commit is visible as soon as it is recorded.
    pub(super) fn needs_records(&self, by: Option<u64>, at_once: bool) -> bool {
        let is_only = || self.recent.lock().is_ok_and(|recent| recent.is_only(by));
        self.is_watched() && !(at_once && is_only())
    }

    /// Adds the records of a commit, under the rules of [`History::record`].
    pub(super) fn add(&self, commit: u64, visible: u64, records: Records) {
        let Ok(mut recent) = self.recent.lock() else {
            return; // then no transaction can commit either
        };
        if recent.open.is_empty() && !recent.always {
            return; // the transaction that was open has ended meanwhile
        }
        recent.drop_unneeded(visible);
        let Some(mut new) = records.recorded else {
            return recent.drop_all(commit);
        };
        while recent.bytes + new.bytes > BYTES_MAX && !recent.chunks.is_empty() {
            recent.drop_front();
        }
        if recent.chunks.try_reserve(new.chunks.len()).is_err() {
            return recent.drop_all(commit);
        }
        recent.bytes += new.bytes;
        recent.chunks.append(&mut new.chunks);
    }

    /// Drops the records of all commits after this one, which were rolled back.
    pub(super) fn roll_back(&self, commit: u64) {
        let Ok(mut recent) = self.recent.lock() else {
            return;
        };
        let recent = &mut *recent;
        recent.since = recent.since.min(commit);
        while let Some(chunk) = recent.chunks.back_mut().filter(|chunk| chunk.last > commit) {
            let kept = chunk.iter().take_while(|(number, ..)| *number <= commit).last();
            if let Some((last, end)) = kept.map(|(last, _, end)| (last, end)) {
                chunk.records.truncate(end);
                chunk.last = last;
            } else {
                recent.bytes -= chunk.records.capacity();
                recent.chunks.pop_back();
            }
        }
    }

    /// Records commits from now on, also while no transaction is open: where commits
    /// are not visible at once, a transaction may begin before some of them.
    pub(super) fn record_always(&self) -> DBResult<()> {
        self.recent.lock()?.always = true;
        self.watched.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Drops the records that no transaction needs once transactions begin with this
    /// commit or a later one.
    pub(super) fn publish(&self, commit: u64) {
        if let Ok(mut recent) = self.recent.lock() {
            recent.drop_unneeded(commit);
        }
    }

    /// Records commits from now on for a transaction that begins with commit `begun`,
    /// where the latest commit is `latest`. The caller holds the lock that orders
    /// commits.
    pub(super) fn open(&self, begun: u64, latest: u64) -> DBResult<()> {
        let mut recent = self.recent.lock()?;
        recent.open.try_reserve(1)?;
        if !self.is_watched() {
            recent.drop_all(latest);
            self.watched.store(true, Ordering::Relaxed);
        }
        match recent.open.back_mut() {
            Some((last, count)) if *last == begun => *count += 1,
            _ => recent.open.push_back((begun, 1)), // what is visible never goes back
        }
        Ok(())
    }

    /// Ends the recording for a transaction that began with commit `begun`.
    pub(super) fn close(&self, begun: u64) {
        let Ok(mut recent) = self.recent.lock() else {
            return;
        };
        let at = recent.open.partition_point(|(other, _)| *other < begun);
        if let Some((_, count)) = recent.open.get_mut(at) {
            *count -= 1;
            if *count == 0 {
                recent.open.remove(at);
            }
        }
        if recent.open.is_empty() && !recent.always {
            self.watched.store(false, Ordering::Relaxed);
            recent.drop_all(0);
        }
    }

    /// Whether any change that was committed after `begun` is `relevant`, or may
    /// be.
    pub(super) fn any_since(
        &self,
        begun: u64,
        mut relevant: impl FnMut(Change<'_>) -> bool,
    ) -> DBResult<bool> {
        let recent = self.recent.lock()?;
        if begun < recent.since {
            return Ok(true);
        }
        let first = recent.chunks.partition_point(|chunk| chunk.last <= begun);
        let mut records = recent.chunks.range(first..).flat_map(Chunk::iter);
        Ok(records.any(|(commit, change, _)| commit > begun && relevant(change)))
    }

    /// Bytes of memory that the records take.
    pub(super) fn bytes(&self) -> usize {
        self.recent.lock().map_or(0, |recent| recent.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recorded commits after `begun`, with the lengths of their keys; none if they are
    /// not all there.
    fn read(history: &History, begun: u64) -> Option<Vec<(u64, usize)>> {
        let mut all = Vec::new();
        let unknown = history.any_since(begun, |change| {
            let key = change.key().unwrap();
            all.push((u64::from_be_bytes(*key.first_chunk().unwrap()), key.len()));
            false
        });
        (!unknown.unwrap()).then_some(all)
    }

    #[test]
    fn records_are_read_back_across_chunks_and_dropped_ones_are_known_to_be() {
        let history = History::default();
        history.open(0, 0).unwrap();
        let mut recorded = Vec::new();
        let record = |recorded: &mut Vec<(u64, usize)>, commit: u64, lens: &[usize]| {
            let keys = lens.iter().map(|len| {
                let mut key = vec![7; *len];
                key[..8].copy_from_slice(&commit.to_be_bytes());
                recorded.push((commit, *len));
                key
            });
            let keys: Vec<_> = keys.collect();
            let mut puts = keys.iter().map(|key| Change::put(key, b"value").unwrap());
            history.record(commit, commit, None, &mut puts);
        };
        for commit in 1..10_000 {
            let len = if commit % 1_000 == 0 { 2 * CHUNK } else { 8 + commit as usize % 50 };
            record(&mut recorded, commit, &[len, 8][..1 + commit as usize % 2]);
            assert!(history.bytes() <= BYTES_MAX);
        }
        let mut latest = 9_999;
        for kept in [9_990, 9_000, 8_999, 5_555, 5_001] {
            history.roll_back(kept);
            recorded.retain(|(commit, _)| *commit <= kept);
            record(&mut recorded, kept + 1, &[8, 2 * CHUNK, 8]);
            latest = kept + 1;
            for begun in [0, 1, 999, 1_000, 4_321, kept - 1, kept, latest] {
                let later = recorded.iter().filter(|(commit, _)| *commit > begun).copied();
                assert_eq!(read(&history, begun), Some(later.collect()), "{kept} {begun}");
            }
        }
        latest += 1;
        let keys = vec![latest.to_be_bytes(); 10_000];
        let deletions = keys.iter().map(|key| Change::delete(key).unwrap());
        history.add(latest, latest, Records::of(latest, deletions));
        assert_eq!(read(&history, latest - 1), Some(vec![(latest, 8); 10_000]));
        assert!(history.bytes() <= BYTES_MAX);
        record(&mut recorded, latest + 1, &[BYTES_MAX]);
        assert_eq!((read(&history, latest), history.bytes()), (None, 0));
        assert_eq!(read(&history, latest + 1), Some(Vec::new()));
        record(&mut recorded, latest + 2, &[100]);
        record(&mut recorded, latest + 3, &vec![CHUNK - 100; BYTES_MAX / CHUNK]);
        assert!(read(&history, latest + 1).is_none() && history.bytes() <= BYTES_MAX);
        assert_eq!(read(&history, latest + 2).unwrap().len(), BYTES_MAX / CHUNK);
        record(&mut recorded, latest + 4, &vec![CHUNK - 100; BYTES_MAX / CHUNK + 1]);
        assert_eq!((read(&history, latest + 3), history.bytes()), (None, 0));
        history.close(0);
        assert!(!history.is_watched() && history.bytes() == 0);
    }
}
