//! What recent commits have written, for as long as an open transaction may ask.
//!
//! Where commits are visible at once, nothing is noted while no transaction is
//! open, so plain writes pay for it with one look at a flag. The notes are bounded:
//! what is older than they reach counts as having changed everything.

use std::collections::VecDeque;

use super::change::{Change, Changes};
use crate::error::DBResult;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Bytes that the notes may take.
pub(super) const BYTES_MAX: usize = 16 << 20;

/// The notes of one store.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Whether commits are to be noted.
    watched: AtomicBool,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// By the number of the commit: the keys and ranges that it wrote, as deletes
    /// and clears.
    commits: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    /// Everything after this commit is noted.
    since: u64,
    /// The views of open transactions: how many began with each commit, in order.
    open: VecDeque<(u64, usize)>,
    /// Note without a transaction, too.
    always: bool,
}

impl Notes {
    /// Whether only one transaction is open, and began with that commit.
    fn is_only(&self, begun: Option<u64>) -> bool {
        let only = begun.is_some_and(|begun| self.open.front() == Some(&(begun, 1)));
        only && self.open.len() == 1 && !self.always
    }

    /// Forgets what no transaction asks about that is open or can begin.
    fn forget_unasked(&mut self, visible: u64) {
        let oldest = self.open.front().map_or(visible, |(begun, _)| *begun).min(visible);
        self.forget_until(oldest);
    }

    fn forget_until(&mut self, commit: u64) {
        while let Some((first, note)) = self.commits.front()
            && *first <= commit
        {
            self.bytes -= note.capacity();
            self.since = *first;
            self.commits.pop_front();
        }
    }
}

impl History {
    /// Whether commits are to be noted.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Notes what a commit has changed, `by` a transaction that began with that one.
    /// The caller holds the lock that orders commits; `visible` is the latest one
    /// that a transaction can begin with.
    #[cold]
    pub(super) fn note(
        &self,
        commit: u64,
        visible: u64,
        by: Option<u64>,
        changes: &mut dyn Iterator<Item = Change<'_>>,
    ) {
        let Ok(mut notes) = self.notes.lock() else {
            return; // then no transaction can commit either
        };
        if visible == commit && notes.is_only(by) {
            notes.forget_until(u64::MAX);
            notes.since = commit;
            return; // nobody will ask
        }
        notes.forget_unasked(visible);
        let mut note = Vec::new();
        let noted: DBResult<()> = changes
            .map(|change| change.key().map_or(Ok(change), Change::delete))
            .try_for_each(|change| match note.len() > BYTES_MAX {
                true => Ok(()), // it will not be kept
                false => change?.add_to(&mut note),
            });
        notes.bytes += note.capacity();
        notes.commits.push_back((commit, note));
        if noted.is_err() {
            notes.forget_until(commit);
        }
        while notes.bytes > BYTES_MAX {
            let first = notes.commits.front().map_or(commit, |(first, _)| *first);
            notes.forget_until(first);
        }
    }

    /// Forgets commits that were undone: all after this one.
    pub(super) fn undo_until(&self, commit: u64) {
        if let Ok(mut notes) = self.notes.lock() {
            let kept = notes.commits.partition_point(|(number, _)| *number <= commit);
            let undone = notes.commits.split_off(kept);
            notes.bytes -= undone.iter().map(|(_, note)| note.capacity()).sum::<usize>();
        }
    }

    /// Notes from now on, also while no transaction is open: where commits are not
    /// visible at once, one may begin before some that there are already.
    pub(super) fn always(&self) -> DBResult<()> {
        self.notes.lock()?.always = true;
        self.watched.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Lookup that transactions begin with that commit, or a later one, from now on.
    pub(super) fn shown(&self, commit: u64) {
        if let Ok(mut notes) = self.notes.lock() {
            notes.forget_unasked(commit);
        }
    }

    /// Begins to note for a transaction whose view is of commit `begun`, where
    /// the latest commit is `latest`. The caller holds the lock that orders
    /// commits.
    pub(super) fn open(&self, begun: u64, latest: u64) -> DBResult<()> {
        let mut notes = self.notes.lock()?;
        if !self.is_watched() {
            notes.commits.clear();
            (notes.bytes, notes.since) = (0, latest);
            self.watched.store(true, Ordering::Relaxed);
        }
        match notes.open.back_mut() {
            Some((last, count)) if *last == begun => *count += 1,
            _ => notes.open.push_back((begun, 1)), // what is visible never goes back
        }
        Ok(())
    }

    /// Lookup that a transaction with such a view has ended.
    pub(super) fn close(&self, begun: u64) {
        let Ok(mut notes) = self.notes.lock() else {
            return;
        };
        let at = notes.open.partition_point(|(other, _)| *other < begun);
        if let Some((_, count)) = notes.open.get_mut(at) {
            *count -= 1;
            if *count == 0 {
                notes.open.remove(at);
            }
        }
        if notes.open.is_empty() && !notes.always {
            self.watched.store(false, Ordering::Relaxed);
            notes.commits = VecDeque::new();
            notes.bytes = 0;
        }
    }

    /// Whether any change that was committed after `begun` is `relevant`, or may
    /// be.
    pub(super) fn any_since(
        &self,
        begun: u64,
        mut relevant: impl FnMut(Change<'_>) -> bool,
    ) -> DBResult<bool> {
        let notes = self.notes.lock()?;
        if begun < notes.since {
            return Ok(true);
        }
        let first = notes.commits.partition_point(|(commit, _)| *commit <= begun);
        let mut later = notes.commits.range(first..).flat_map(|(_, note)| Changes::of(note));
        Ok(later.any(|change| change.is_ok_and(&mut relevant)))
    }

    /// Bytes that the notes take.
    pub(super) fn bytes(&self) -> usize {
        self.notes.lock().map_or(0, |notes| notes.bytes)
    }
}
