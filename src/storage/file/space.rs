//! Which sectors of a file are free: bookkeeping only, no I/O.
//!
//! A sector that the newest root reaches is never handed out, so that root stays
//! whole until the next one has replaced it.

use crate::error::OutOfMemory;
use crate::planted::{self, Bug};

/// Sectors of the two root slots at the start of the file.
pub(super) const RESERVED: u32 = 16;

/// Sectors that are written together if possible: a page of the system's cache.
const GROUP: u32 = 8;

/// A file grows rather than fill small gaps, so that sectors written together lie
/// together: up to twice what it holds and as many sectors more.
pub(super) const SLACK: u32 = 1 << 9;

/// A set of numbers, of sectors for example.
#[derive(Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    count: u32,
}

impl Bits {
    pub(super) fn has(&self, at: u32) -> bool {
        self.words.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 != 0)
    }

    /// Adds a number; false if the set had it.
    pub(super) fn add(&mut self, at: u32) -> Result<bool, OutOfMemory> {
        if self.has(at) {
            return Ok(false);
        }
        let word = at as usize / 64;
        if word >= self.words.len() {
            self.words.try_reserve(word + 1 - self.words.len())?;
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (at % 64);
        self.count += 1;
        Ok(true)
    }

    /// The numbers of two sets. It takes no memory.
    fn union(self, other: Bits) -> Bits {
        let is_longer = self.words.len() >= other.words.len();
        let (mut long, short) = if is_longer { (self, other) } else { (other, self) };
        for (word, more) in long.words.iter_mut().zip(short.words) {
            long.count += (more & !*word).count_ones();
            *word |= more;
        }
        long
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// One more than the greatest number, 0 if there is none. The greatest of all
    /// numbers of 32 bits is never added.
    pub(super) fn end(&self) -> u32 {
        let last = self.words.iter().rposition(|&word| word != 0);
        last.map_or(0, |at| at as u32 * 64 + (64 - self.words[at].leading_zeros()))
    }
}

/// The sectors of a file.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// Sectors that the newest root reaches.
    used: Bits,
    /// Sectors that the next root will reach.
    taken: Bits,
    /// Sectors of roots whose writing has failed: they may be on disk or not.
    stranded: Option<Bits>,
    /// One more than the greatest sector in use since the file was last cut off.
    end: u32,
    /// Where the search for free groups, and for free sectors, goes on.
    groups_from: u32,
    singles_from: u32,
    /// Free sectors in a row that are handed out next.
    run: std::ops::Range<u32>,
    /// Whether the lowest free sectors are handed out, rather than groups or new ones.
    lowest: bool,
}

impl Space {
    /// The space of a file of which some sectors are in use.
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

    /// Keeps a sector of the newest root for the next one; false if it is kept
    /// already.
    pub(super) fn keep(&mut self, sector: u32) -> Result<bool, OutOfMemory> {
        debug_assert!(self.used.has(sector));
        self.taken.add(sector)
    }

    /// A free sector for the next root; `None` if the numbers are used up.
    pub(super) fn alloc(&mut self) -> Result<Option<u32>, OutOfMemory> {
        if self.run.is_empty() {
            let Some(run) = self.next_run() else {
                return Ok(None);
            };
            self.run = run;
        }
        let sector = self.run.start;
        self.taken.add(sector)?;
        self.run.start += 1;
        self.end = self.end.max(self.run.start);
        Ok(Some(sector))
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

    /// Ends a checkpoint whose root is on disk.
    pub(super) fn commit(&mut self) {
        self.used = std::mem::take(&mut self.taken);
        self.stranded = None;
    }

    /// Ends a checkpoint that has failed. Returns the end of what roots may reach.
    pub(super) fn give_up(&mut self) -> u32 {
        let stranded = self.stranded.as_ref().map_or(0, Bits::end);
        self.end = self.used.end().max(stranded).max(RESERVED);
        self.end
    }

    /// Reserves what the next root reaches, since writing that root has failed and
    /// it may be on disk or not.
    pub(super) fn strand(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.stranded = Some(self.stranded.take().unwrap_or_default().union(taken));
    }

    /// Forgets what lies behind the last sector in use. Returns where that is.
    pub(super) fn cut(&mut self) -> u32 {
        self.end = self.used.end().max(RESERVED);
        self.end
    }

    /// Whether the newest root on disk is unknown.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.stranded.is_some()
    }

    /// Number of sectors that the newest root reaches.
    pub(super) fn used_count(&self) -> u32 {
        self.used.count()
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
            assert!(next.iter().all(|&it| space.keep(it).unwrap() && !space.keep(it).unwrap()));
            for _ in 0..5000 {
                let sector = space.alloc().unwrap().unwrap();
                assert!(sector >= RESERVED && !newest.contains(&sector) && !next.contains(&sector));
                next.push(sector);
            }
            if round % 5 == 4 {
                space.strand();
                continue;
            }
            space.commit();
            assert_eq!(space.used_count(), next.len() as u32);
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
            assert!(bits.add(at).unwrap() && bits.has(at) && !bits.add(at).unwrap());
        }
        assert_eq!((bits.end(), bits.count()), (701, 4));
        let mut more = Bits::default();
        assert!([4, 65, 1000].iter().all(|&at| more.add(at).unwrap()));
        let both = more.union(bits);
        assert_eq!((both.end(), both.count()), (1001, 6));
        assert!([3, 4, 64, 65, 700, 1000].iter().all(|&at| both.has(at)));
    }
}
