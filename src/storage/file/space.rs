//! Which sectors of a file are free: bookkeeping only, no I/O.
//!
//! A sector that the newest root reaches is never handed out, so whatever a
//! checkpoint writes, that root stays whole until the next one has replaced it.

use crate::planted::{self, Bug};

/// Bytes of a sector: the unit that everything in the file is a multiple of.
pub(super) const SECTOR: usize = 512;

/// Sectors of the two root slots at the start of the file.
pub(super) const RESERVED: u32 = 16;

/// Sectors that are written together if possible: a page of the system's cache.
const GROUP: u32 = 8;

/// Rather than fill small gaps a file grows, so that what is written together
/// lies together, up to twice what it holds and this many sectors.
const SLACK: u32 = 1 << 9;

/// A set of numbers, as those of sectors.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    count: u32,
}

impl Bits {
    pub(super) fn has(&self, at: u32) -> bool {
        self.words.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 != 0)
    }

    /// Adds a number; false if it was there.
    pub(super) fn add(&mut self, at: u32) -> bool {
        if self.has(at) {
            return false;
        }
        let word = at as usize / 64;
        if word >= self.words.len() {
            self.words.resize((word + 1).next_power_of_two(), 0);
        }
        self.words[word] |= 1 << (at % 64);
        self.count += 1;
        true
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// All numbers, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.end()).filter(|&at| self.has(at))
    }

    /// One more than the greatest number, 0 if there is none.
    pub(super) fn end(&self) -> u32 {
        let last = self.words.iter().rposition(|&word| word != 0);
        last.map_or(0, |at| at as u32 * 64 + 64 - self.words[at].leading_zeros())
    }
}

/// The sectors of a file.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// What the newest root reaches.
    used: Bits,
    /// What the next root will reach.
    taken: Bits,
    /// What a root reaches of which nobody knows whether it is on disk.
    stranded: Option<Bits>,
    /// One more than the greatest sector in use since the file was last cut off.
    end: u32,
    /// Where to look next: for whole groups, and for anything.
    groups_from: u32,
    singles_from: u32,
    /// Free sectors in a row that are to be handed out.
    run: std::ops::Range<u32>,
    /// Hand out the lowest free sectors rather than groups or new ones.
    lowest: bool,
}

impl Space {
    /// The space of a file of which `used` is in use.
    pub(super) fn of(used: Bits) -> Space {
        Space { end: used.end().max(RESERVED), used, ..Space::default() }
    }

    /// Begins to collect what the next root will reach.
    pub(super) fn begin(&mut self, lowest: bool) {
        self.taken = Bits::default();
        (self.groups_from, self.singles_from) = (RESERVED, RESERVED);
        self.run = 0..0;
        self.lowest = lowest;
    }

    /// Lookup that the next root reaches a sector that the newest does. False if
    /// that was said before.
    pub(super) fn keep(&mut self, sector: u32) -> bool {
        debug_assert!(self.used.has(sector));
        self.taken.add(sector)
    }

    /// A free sector for the next root; `None` if the numbers are used up.
    pub(super) fn alloc(&mut self) -> Option<u32> {
        if self.run.is_empty() {
            self.run = self.next_run()?;
        }
        let sector = self.run.next()?;
        self.end = self.end.max(sector + 1);
        self.taken.add(sector);
        Some(sector)
    }

    fn is_free(&self, sector: u32) -> bool {
        let stranded = self.stranded.as_ref().is_some_and(|bits| bits.has(sector));
        let used = self.used.has(sector) && !planted::is(Bug::FreedTooEarly);
        !used && !self.taken.has(sector) && !stranded
    }

    fn next_run(&mut self) -> Option<std::ops::Range<u32>> {
        let grown = self.end.checked_add(GROUP).map(|end| self.end..end);
        if !self.lowest {
            if grown.is_some()
                && self.end < self.used.count().saturating_mul(2).saturating_add(SLACK)
            {
                return grown;
            }
            while self.end.saturating_sub(self.groups_from) >= GROUP {
                let group = self.groups_from..self.groups_from + GROUP;
                self.groups_from = group.end;
                if group.clone().all(|sector| self.is_free(sector)) {
                    return Some(group);
                }
            }
        }
        while self.singles_from < self.end {
            let sector = self.singles_from;
            self.singles_from += 1;
            if self.is_free(sector) {
                return Some(sector..sector + 1);
            }
        }
        grown
    }

    /// Lookup that the next root is the newest now.
    pub(super) fn commit(&mut self) {
        self.used = std::mem::take(&mut self.taken);
        self.stranded = None;
    }

    /// Lookup that there is no next root after all, and where what may be reached ends.
    pub(super) fn give_up(&mut self) -> u32 {
        let stranded = self.stranded.as_ref().map_or(0, Bits::end);
        self.end = self.used.end().max(stranded).max(RESERVED);
        self.end
    }

    /// Lookup that nobody knows whether the next root is the newest.
    pub(super) fn strand(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        if let Some(before) = self.stranded.take() {
            for at in before.all() {
                taken.add(at);
            }
        }
        self.stranded = Some(taken);
    }

    /// Lookup that the file was cut off where nothing is used any more.
    pub(super) fn cut(&mut self) -> u32 {
        self.end = self.used.end().max(RESERVED);
        self.end
    }

    /// Whether it is not known which root is the newest on disk.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.stranded.is_some()
    }

    pub(super) fn used(&self) -> &Bits {
        &self.used
    }

    /// Sectors of the file.
    pub(super) fn end(&self) -> u32 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_root_reaches_is_not_handed_out() {
        let mut space = Space::of(Bits::default());
        let mut newest: Vec<u32> = Vec::new();
        for round in 0..50u32 {
            space.begin(round % 9 == 8);
            let kept = newest.iter().copied().filter(|it| it % 3 == round % 3);
            let mut next: Vec<u32> = kept.collect();
            assert!(next.iter().all(|&it| space.keep(it) && !space.keep(it)));
            for _ in 0..5000 {
                let sector = space.alloc().unwrap();
                assert!(sector >= RESERVED && !newest.contains(&sector) && !next.contains(&sector));
                next.push(sector);
            }
            if round % 5 == 4 {
                space.strand();
                continue;
            }
            space.commit();
            assert_eq!(space.used().count(), next.len() as u32);
            newest = next;
        }
        assert!(space.end() < 5 * 7500, "{} sectors", space.end());
    }

    /// A file of so many sectors, of which so many are in use, as far as numbers go.
    fn large(end: u32, count: u32) -> Space {
        Space { used: Bits { words: Vec::new(), count }, end, groups_from: end, ..Space::default() }
    }

    #[test]
    fn a_file_of_over_a_tebibyte_grows_to_twice_what_it_holds() {
        let (end, count) = (3 << 30, (1 << 31) + 9);
        let mut space = large(end, count);
        space.groups_from = end - 64;
        assert_eq!(space.next_run(), Some(end..end + GROUP), "gaps wait: it is not twice as large");
        let mut space = large(end, 1 << 30);
        space.groups_from = end - 64;
        assert_eq!(space.next_run(), Some(end - 64..end - 64 + GROUP), "it is: a gap is filled");
    }

    #[test]
    fn at_the_last_number_gaps_are_filled() {
        let end = u32::MAX - 3;
        let mut space = large(end, u32::MAX);
        (space.groups_from, space.singles_from) = (end - 12, end - 1);
        assert_eq!(space.next_run(), Some(end - 12..end - 4));
        assert_eq!(space.next_run(), Some(end - 1..end));
        assert_eq!(space.next_run(), None);
    }

    #[test]
    fn bits_count() {
        let mut bits = Bits::default();
        assert_eq!((bits.end(), bits.count()), (0, 0));
        for at in [3, 64, 65, 700] {
            assert!(bits.add(at) && bits.has(at) && !bits.add(at));
        }
        assert_eq!((bits.end(), bits.count()), (701, 4));
    }
}
