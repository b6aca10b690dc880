//! The layout of leaves to be built, and where to cut one that is full.

use std::cmp::Ordering;
use std::ops::Range;

use super::super::key::common_prefix;
use super::super::{get16, slots_start};
use super::{LAST, Leaf, NO_INSERTION, NewEntry, RUN, RUN_MAX, SLOT};
use crate::storage::index::memory::BODY_MAX;

/// The layout of a leaf to be built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafLayout {
    /// Length of its prefix.
    pub(crate) prefix: usize,
    /// Bytes of its block.
    pub(crate) len: usize,
}

impl LeafLayout {
    pub(crate) fn fits(self) -> bool {
        self.len <= BODY_MAX
    }
}

impl Leaf<'_> {
    /// Bytes that entries take in a leaf with a prefix of `prefix` bytes.
    fn space(self, range: Range<usize>, prefix: usize) -> usize {
        let own = self.prefix_len();
        range.map(|i| SLOT + self.heap_space(i) + own - prefix).sum()
    }

    /// Bytes of the leaf with one more entry, if its bytes are copied unchanged; `None`
    /// if they cannot be, or do not fit.
    pub(crate) fn grown(self, entry: &NewEntry<'_>) -> Option<usize> {
        if self.dead() != 0 || !entry.key.inline.starts_with(self.prefix()) {
            return None;
        }
        let len = self.used() + entry.space(self.prefix_len());
        (len <= BODY_MAX).then_some(len)
    }

    /// The layout of the leaf with one more entry.
    pub(crate) fn with_entry(self, entry: &NewEntry<'_>) -> LeafLayout {
        let prefix = match self.len() {
            0 => 0,
            n => self.shared(0..n).min(common_prefix(&self.inline_key(0), entry.key.inline)),
        };
        let entries = self.space(0..self.len(), prefix) + entry.space(prefix);
        LeafLayout { prefix, len: slots_start(prefix) + entries }
    }

    /// Length of the prefix that the entries in a range share.
    fn shared(self, range: Range<usize>) -> usize {
        match range.len() {
            // One key would be all prefix, and the next insertion would shorten it.
            0 | 1 => 0,
            _ => common_prefix(&self.inline_key(range.start), &self.inline_key(range.end - 1)),
        }
    }

    /// Whether an insertion at `at` continues a run of insertions at the end.
    pub(crate) fn is_append(self, at: usize) -> bool {
        at == self.len()
            && at > 0
            && get16(self.body, LAST) + 1 == at
            && get16(self.body, RUN) >= RUN_MAX
    }

    /// Whether the leaf has shrunk, and only lost bytes since.
    pub(crate) fn is_shrinking(self) -> bool {
        get16(self.body, LAST) == NO_INSERTION
    }

    /// Finds where to cut the leaf in two, with one more entry at `at`: the number of
    /// entries on the left, and whether the new one is among them.
    pub(crate) fn cut(self, at: usize, entry: &NewEntry<'_>) -> (usize, bool) {
        if !entry.key.inline.starts_with(self.prefix()) {
            return (at, at == 0);
        }
        let new = entry.space(self.prefix_len());
        // The entries with the new one among them; each side gets one at least.
        let item = |i: usize| match i.cmp(&at) {
            Ordering::Less => SLOT + self.heap_space(i),
            Ordering::Equal => new,
            Ordering::Greater => SLOT + self.heap_space(i - 1),
        };
        let half = (0..=self.len()).map(item).sum::<usize>() / 2;
        let (mut left, mut taken) = (1, item(0));
        while left < self.len() && taken + item(left) / 2 <= half {
            taken += item(left);
            left += 1;
        }
        (left - usize::from(at < left), at < left)
    }

    /// The layout of a leaf with some of the entries, and perhaps a new one.
    pub(crate) fn part(self, range: Range<usize>, new: Option<&NewEntry<'_>>) -> LeafLayout {
        let prefix = match (range.len(), new) {
            (0, _) | (1, None) => 0,
            (1, Some(new)) => common_prefix(&self.inline_key(range.start), new.key.inline),
            (_, None) => self.shared(range.clone()),
            (_, Some(new)) => self
                .shared(range.clone())
                .min(common_prefix(&self.inline_key(range.start), new.key.inline)),
        };
        let new = new.map_or(0, |new| new.space(prefix));
        LeafLayout { prefix, len: slots_start(prefix) + self.space(range, prefix) + new }
    }

    /// The layout of the leaf joined with the one after it.
    pub(crate) fn joined(self, next: Leaf<'_>) -> LeafLayout {
        let prefix = match (self.len(), next.len()) {
            (0, n) => next.shared(0..n),
            (n, 0) => self.shared(0..n),
            (_, n) => common_prefix(&self.inline_key(0), &next.inline_key(n - 1)),
        };
        let entries = self.space(0..self.len(), prefix) + next.space(0..next.len(), prefix);
        LeafLayout { prefix, len: slots_start(prefix) + entries }
    }
}
