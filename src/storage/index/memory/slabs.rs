//! Slabs: which parts of the arena are free. Bookkeeping only.
//!
//! The arena is counted in units of 512 bytes. A slab is 128 units (64 KiB)
//! that hold pages of one size. A page is taken from the lowest slab of its size
//! that has room for it, so that what remains after many deletions gathers at
//! the low end. Some empty slabs keep their memory, and are used first.

use crate::error::OutOfMemory;

/// Units in a slab.
pub(crate) const SLAB_UNITS: u32 = 128;

/// The sizes that a page can have: 1 to 8 units.
pub(crate) const CLASSES: usize = 8;

/// Empty slabs whose memory is kept for reuse, beside 1/16 of those in use.
const KEPT_EMPTY: usize = 8;

/// One slab: which of its pages are taken.
#[derive(Clone, Copy, Debug)]
struct Slab {
    taken: u128,
    /// Pages of this many units; 0 while the slab is empty.
    units: u8,
}

/// All slabs of an arena.
#[derive(Debug, Default)]
pub(crate) struct Slabs {
    slabs: Vec<Slab>,
    /// For each size, the slabs of that size that have room.
    with_room: [LowSet; CLASSES],
    /// Empty slabs that hold no memory, and those that still may.
    bare: LowSet,
    kept: LowSet,
    in_use: usize,
}

impl Slabs {
    /// Adds `count` empty slabs at the end.
    pub(crate) fn grow(&mut self, count: usize) -> Result<(), OutOfMemory> {
        let len = self.slabs.len() + count;
        self.slabs.try_reserve(count)?;
        for set in self.with_room.iter_mut().chain([&mut self.bare, &mut self.kept]) {
            set.reserve(len)?;
        }
        for slab in self.slabs.len()..len {
            self.slabs.push(Slab { taken: 0, units: 0 });
            self.bare.insert(slab);
        }
        Ok(())
    }

    /// Empty slabs.
    pub(crate) fn spare(&self) -> usize {
        self.bare.count + self.kept.count
    }

    /// Bytes of memory that the slabs may hold.
    pub(crate) fn resident_bytes(&self) -> usize {
        (self.in_use + self.kept.count) * SLAB_UNITS as usize * super::page::UNIT
            + self.slabs.len() * size_of::<Slab>()
    }

    /// Takes a page of `units` units; returns its first unit. There must be a
    /// spare slab.
    pub(crate) fn take(&mut self, units: u32) -> u32 {
        let room = &mut self.with_room[units as usize - 1];
        let at = match room.first() {
            Some(at) => at,
            None => {
                let from = if self.kept.count > 0 { &mut self.kept } else { &mut self.bare };
                let at = from.first().expect("a spare slab was reserved");
                from.remove(at);
                room.insert(at);
                self.slabs[at].units = units as u8;
                self.in_use += 1;
                at
            }
        };
        let slab = &mut self.slabs[at];
        let page = slab.taken.trailing_ones();
        slab.taken |= 1 << page;
        if slab.taken == full(units) {
            room.remove(at);
        }
        at as u32 * SLAB_UNITS + page * units
    }

    /// Takes the page with this first unit. False if it is taken, or not a page.
    pub(crate) fn claim(&mut self, unit: u32, units: u32) -> bool {
        let (at, within) = ((unit / SLAB_UNITS) as usize, unit % SLAB_UNITS);
        let Some(slab) = self.slabs.get_mut(at) else {
            return false;
        };
        let bit = 1 << (within / units);
        if within % units != 0 || bit & full(units) == 0 || slab.taken & bit != 0 {
            return false;
        }
        let room = &mut self.with_room[units as usize - 1];
        if slab.units == 0 {
            self.bare.remove(at);
            room.insert(at);
            slab.units = units as u8;
            self.in_use += 1;
        } else if slab.units != units as u8 {
            return false;
        }
        slab.taken |= bit;
        if slab.taken == full(units) {
            room.remove(at);
        }
        true
    }

    /// Whether no page is taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_use == 0
    }

    /// Gives a page back.
    pub(crate) fn give(&mut self, unit: u32, units: u32) {
        let at = (unit / SLAB_UNITS) as usize;
        let slab = &mut self.slabs[at];
        let bit = 1 << (unit % SLAB_UNITS / units);
        assert!(slab.units == units as u8 && slab.taken & bit != 0, "a page given back twice");
        let room = &mut self.with_room[units as usize - 1];
        if slab.taken == full(units) {
            room.insert(at);
        }
        slab.taken &= !bit;
        if slab.taken == 0 {
            room.remove(at);
            slab.units = 0;
            self.in_use -= 1;
            self.kept.insert(at);
        }
    }

    /// An empty slab whose memory the caller discards: there are more than are worth keeping.
    pub(crate) fn surplus(&mut self) -> Option<u32> {
        if self.kept.count <= KEPT_EMPTY + self.in_use / 16 {
            return None;
        }
        let at = self.kept.first()?;
        self.kept.remove(at);
        self.bare.insert(at);
        Some(at as u32)
    }

    /// Number of pages taken; for the invariants.
    pub(crate) fn pages(&self) -> usize {
        self.slabs.iter().map(|slab| slab.taken.count_ones() as usize).sum()
    }
}

/// The bits of a slab all of whose pages are taken.
fn full(units: u32) -> u128 {
    u128::MAX >> (128 - SLAB_UNITS / units)
}

/// A set of small numbers that finds its least one quickly.
#[derive(Debug, Default)]
struct LowSet {
    words: Vec<u64>,
    /// No word before this one has a bit.
    low: usize,
    count: usize,
}

impl LowSet {
    fn reserve(&mut self, len: usize) -> Result<(), OutOfMemory> {
        let words = len.div_ceil(64);
        self.words.try_reserve(words.saturating_sub(self.words.len()))?;
        self.words.resize(words.max(self.words.len()), 0);
        Ok(())
    }

    fn first(&mut self) -> Option<usize> {
        if self.count == 0 {
            return None;
        }
        while self.words[self.low] == 0 {
            self.low += 1;
        }
        Some(self.low * 64 + self.words[self.low].trailing_zeros() as usize)
    }

    fn insert(&mut self, at: usize) {
        self.words[at / 64] |= 1 << (at % 64);
        self.low = self.low.min(at / 64);
        self.count += 1;
    }

    fn remove(&mut self, at: usize) {
        debug_assert!(self.words[at / 64] & 1 << (at % 64) != 0);
        self.words[at / 64] &= !(1 << (at % 64));
        self.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_from_the_lowest_slab_with_room() {
        let mut slabs = Slabs::default();
        slabs.grow(64).unwrap();
        let pages: Vec<u32> = (0..100).map(|_| slabs.take(3)).collect();
        assert_eq!(pages[0], 0);
        assert_eq!(pages[41], 123, "42 pages of 3 units fit a slab");
        assert_eq!(pages[42], 128);
        assert_eq!(slabs.take(8), 3 * 128, "another size has a slab of its own");
        slabs.give(pages[50], 3);
        slabs.give(pages[7], 3);
        assert_eq!(slabs.take(3), pages[7]);
        assert_eq!(slabs.take(3), pages[50]);
        assert_eq!(slabs.pages(), 101);
    }

    #[test]
    fn empty_slabs_beyond_a_few_are_discarded() {
        let mut slabs = Slabs::default();
        slabs.grow(1000).unwrap();
        let pages: Vec<u32> = (0..160 * 16).map(|_| slabs.take(8)).collect();
        let full = slabs.resident_bytes();
        let mut discarded = 0;
        for page in pages {
            slabs.give(page, 8);
            discarded += std::iter::from_fn(|| slabs.surplus()).count();
        }
        assert_eq!(slabs.pages(), 0);
        assert_eq!(discarded, 160 - KEPT_EMPTY);
        assert!(slabs.resident_bytes() < full / 4);
        assert_eq!(slabs.spare(), 1000);
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn a_page_is_given_back_once() {
        let mut slabs = Slabs::default();
        slabs.grow(32).unwrap();
        let (page, _other) = (slabs.take(2), slabs.take(2));
        slabs.give(page, 2);
        slabs.give(page, 2);
    }
}
