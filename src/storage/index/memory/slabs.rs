//! Slabs: which parts of an arena are free. Bookkeeping only.
//!
//! An arena is counted in units. A slab is 128 units that hold items of one size: pages, or
//! blobs. An item is taken from the lowest slab of its size that has room for it, so that
//! what remains after many deletions gathers at the low end. Some empty slabs keep their
//! memory, and are used first. A slab in which few items remain gives back the memory
//! between them; its items move to lower slabs while much memory is idle.

use std::ops::Range;

use crate::error::OutOfMemory;
use crate::os::memory::PAGE;

/// Units in a slab.
pub(crate) const SLAB_UNITS: u32 = 128;

/// Units of the largest item.
pub(crate) const ITEM_MAX: usize = 32;

/// Bytes of free memory that is kept for reuse, beside a share of what is in use.
const KEPT: usize = if cfg!(test) { 64 << 10 } else { 512 << 10 };

/// The part of what is taken that may be idle before items are moved, as its divisor.
const SPARSE: usize = 8;

/// One slab: which of its items are taken.
#[derive(Clone, Copy, Debug, Default)]
struct Slab {
    taken: u128,
    /// The pages of the system that may hold memory.
    held: u128,
    /// Items of this many units; 0 while the slab is empty.
    units: u8,
}

/// Slabs that [`Slabs::next_thin`] looks at, at most.
const LOOKED_AT: usize = 16;

/// The units of items where no slab is.
const NOWHERE: u8 = u8::MAX;

/// All slabs of an arena.
#[derive(Debug)]
pub(crate) struct Slabs {
    /// Bytes of a unit.
    unit: usize,
    slabs: Vec<Slab>,
    /// For each size, the slabs of that size that have room.
    with_room: [LowSet; ITEM_MAX],
    /// Empty slabs that hold no memory, and those that still may.
    bare: LowSet,
    kept: LowSet,
    in_use: usize,
    /// A slab that has lost another eighth of its items, or half of the last eighth.
    thin: Option<usize>,
    /// Pages of the system that may hold memory.
    held: usize,
    /// Units that are taken.
    taken: usize,
    /// The slab in which [`Slabs::next_thin`] looks next, and the first item there.
    hand: (usize, u32),
    /// The slabs that the hand has passed since an item was given back.
    passed: usize,
}

impl Slabs {
    /// No slabs, of units of so many bytes.
    pub(crate) fn of(unit: usize) -> Slabs {
        Slabs {
            unit,
            slabs: Vec::new(),
            with_room: Default::default(),
            bare: LowSet::default(),
            kept: LowSet::default(),
            in_use: 0,
            thin: None,
            held: 0,
            taken: 0,
            hand: (0, 0),
            passed: 0,
        }
    }

    /// Reserves memory for the books of the slabs below a byte of the arena.
    pub(crate) fn reserve(&mut self, end: usize) -> Result<(), OutOfMemory> {
        let slabs = end / self.slab_bytes();
        self.slabs.try_reserve(slabs.saturating_sub(self.slabs.len()))?;
        let mut sets = self.with_room.iter_mut().chain([&mut self.bare, &mut self.kept]);
        sets.try_for_each(|set| set.reserve(slabs))
    }

    /// Adds empty slabs in a range of bytes, for which [`Slabs::reserve`] made room. Between
    /// it and the slabs before there may be bytes that are in no slab.
    pub(crate) fn add(&mut self, bytes: Range<usize>) {
        let slabs = bytes.start / self.slab_bytes()..bytes.end / self.slab_bytes();
        self.slabs.resize(slabs.start, Slab { units: NOWHERE, ..Slab::default() });
        self.slabs.resize(slabs.end, Slab::default());
        slabs.for_each(|slab| self.bare.insert(slab));
    }

    /// Empty slabs.
    pub(crate) fn spare(&self) -> usize {
        self.bare.count + self.kept.count
    }

    /// Whether an item of `units` units can be taken, and `left` empty slabs are left then.
    pub(crate) fn has_room(&self, units: u32, left: usize) -> bool {
        let is_new = self.with_room[size_of_item(units) as usize - 1].count == 0;
        self.spare() >= left + usize::from(is_new)
    }

    /// Bytes of memory that the slabs may hold, with the books.
    pub(crate) fn resident_bytes(&self) -> usize {
        self.held * PAGE + self.slabs.capacity() * size_of::<Slab>()
    }

    fn slab_bytes(&self) -> usize {
        SLAB_UNITS as usize * self.unit
    }

    /// The pages of the system that a range of the units of a slab lies on.
    fn pages_of(&self, units: Range<u32>) -> u128 {
        let (start, end) = (units.start as usize * self.unit, units.end as usize * self.unit);
        bits(start / PAGE..end.div_ceil(PAGE))
    }

    /// Takes a free item of a slab, of which `units` units are going to be written.
    fn take_at(&mut self, at: usize, item: u32, units: u32) {
        let size = u32::from(self.slabs[at].units);
        let pages = self.pages_of(item * size..item * size + units);
        let slab = &mut self.slabs[at];
        self.held += (pages & !slab.held).count_ones() as usize;
        self.taken += units as usize;
        slab.held |= pages;
        slab.taken |= 1 << item;
        if slab.taken == full(size) {
            self.with_room[size as usize - 1].remove(at);
        }
    }

    /// Makes an empty slab one of items of a size.
    fn begin(&mut self, at: usize, size: u32) {
        self.slabs[at].units = size as u8;
        self.with_room[size as usize - 1].insert(at);
        self.in_use += 1;
    }

    /// Takes an item of `units` units; returns its first unit. There must be a spare slab.
    pub(crate) fn take(&mut self, units: u32) -> u32 {
        let size = size_of_item(units);
        let at = match self.with_room[size as usize - 1].first() {
            Some(at) => at,
            None => {
                let from = if self.kept.count > 0 { &mut self.kept } else { &mut self.bare };
                let at = from.first().expect("a spare slab was reserved");
                from.remove(at);
                self.begin(at, size);
                at
            }
        };
        let item = self.slabs[at].taken.trailing_ones();
        self.take_at(at, item, units);
        at as u32 * SLAB_UNITS + item * size
    }

    /// Takes the page with this first unit. False if it is taken, or not a page.
    pub(crate) fn claim(&mut self, unit: u32, units: u32) -> bool {
        let (at, within) = ((unit / SLAB_UNITS) as usize, unit % SLAB_UNITS);
        let Some(slab) = self.slabs.get(at) else {
            return false;
        };
        let bit = 1 << (within / units);
        if within % units != 0 || bit & full(units) == 0 || slab.taken & bit != 0 {
            return false;
        }
        if slab.units == 0 {
            self.bare.remove(at);
            self.begin(at, units);
        } else if slab.units != units as u8 {
            return false;
        }
        self.take_at(at, within / units, units);
        true
    }

    /// Whether no item is taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_use == 0
    }

    /// Gives an item of `units` units back.
    pub(crate) fn give(&mut self, unit: u32, units: u32) {
        let (at, size) = ((unit / SLAB_UNITS) as usize, size_of_item(units));
        let slab = &mut self.slabs[at];
        let bit = 1 << (unit % SLAB_UNITS / size);
        assert!(slab.units == size as u8 && slab.taken & bit != 0, "an item given back twice");
        let room = &mut self.with_room[size as usize - 1];
        if slab.taken == full(size) {
            room.insert(at);
        }
        slab.taken &= !bit;
        self.taken -= units as usize;
        self.passed = 0;
        let left = slab.taken.count_ones();
        if left == 0 {
            room.remove(at);
            slab.units = 0;
            self.in_use -= 1;
            self.kept.insert(at);
        } else if left.is_multiple_of((SLAB_UNITS / size).div_ceil(8))
            || left.is_power_of_two() && left * size <= SLAB_UNITS / 8
        {
            self.thin = Some(at);
        }
    }

    /// Bytes of memory that may be held where no item is.
    fn idle_bytes(&self) -> usize {
        self.held * PAGE - self.taken * self.unit
    }

    /// Whether so much is idle that items should move to other slabs, and some slab may be thin.
    #[inline]
    pub(crate) fn is_sparse(&self) -> bool {
        self.idle_bytes() > KEPT + self.taken * self.unit / SPARSE && self.passed < self.slabs.len()
    }

    /// Whether a slab should lose its items to a lower one that has room.
    pub(crate) fn is_thin(&mut self, at: usize) -> bool {
        let Slab { taken, units, .. } = self.slabs[at];
        let Some(room) = self.with_room.get_mut(usize::from(units).wrapping_sub(1)) else {
            return false;
        };
        taken.count_ones() * 4 <= SLAB_UNITS / u32::from(units) * 3
            && room.first().is_some_and(|lower| lower < at)
    }

    /// The next item of a thin slab: its first unit, and the units of each item there. The
    /// search goes from the highest slab down, and round; `None` if a few slabs have none.
    pub(crate) fn next_thin(&mut self) -> Option<(u32, u32)> {
        for _ in 0..LOOKED_AT {
            if !self.is_sparse() {
                break;
            }
            let (at, from) = self.hand;
            if self.is_thin(at) {
                let rest = self.slabs[at].taken.checked_shr(from).unwrap_or(0);
                if rest != 0 {
                    let (item, size) = (from + rest.trailing_zeros(), self.slabs[at].units);
                    self.hand.1 = item + 1;
                    let size = u32::from(size);
                    return Some((at as u32 * SLAB_UNITS + item * size, size));
                }
            }
            self.pass();
        }
        None
    }

    /// Goes on to the next slab.
    pub(crate) fn pass(&mut self) {
        self.hand = (self.hand.0.checked_sub(1).unwrap_or(self.slabs.len() - 1), 0);
        self.passed += 1;
    }

    /// The bytes of a range of the arena whose memory the caller discards: nothing lies
    /// there, and more is free than is worth keeping.
    pub(crate) fn surplus(&mut self) -> Option<Range<usize>> {
        let taken = self.taken * self.unit;
        if let Some(at) = self.thin
            && self.idle_bytes() > KEPT + taken / 4
            && let Some(range) = self.discard_in(at)
        {
            return Some(range);
        }
        self.thin = None;
        while self.kept.count * self.slab_bytes() > KEPT + self.in_use * self.slab_bytes() / 16 {
            let at = self.kept.first()?;
            if let Some(range) = self.discard_in(at) {
                return Some(range);
            }
            self.kept.remove(at);
            self.bare.insert(at);
        }
        None
    }

    /// The first range of a slab that holds memory and no item: it holds none from now on.
    fn discard_in(&mut self, at: usize) -> Option<Range<usize>> {
        let (size, mut idle) = (u32::from(self.slabs[at].units), self.slabs[at].held);
        let mut taken = self.slabs[at].taken;
        while taken != 0 {
            let item = taken.trailing_zeros();
            idle &= !self.pages_of(item * size..(item + 1) * size);
            taken &= taken - 1;
        }
        let first = idle.trailing_zeros() as usize;
        let range = first..first + (idle.checked_shr(first as u32)?).trailing_ones() as usize;
        self.slabs[at].held &= !bits(range.clone());
        self.held -= range.len();
        let start = at * self.slab_bytes();
        Some(start + range.start * PAGE..start + range.end * PAGE)
    }

    /// Number of items taken; for the invariants.
    pub(crate) fn items(&self) -> usize {
        self.slabs.iter().map(|slab| slab.taken.count_ones() as usize).sum()
    }
}

/// The numbers in a range, as bits.
fn bits(range: Range<usize>) -> u128 {
    (u128::MAX >> (128 - range.len())) << range.start
}

/// The units of the items among which one of `units` units is: as many of them fit a slab.
fn size_of_item(units: u32) -> u32 {
    SLAB_UNITS / (SLAB_UNITS / units)
}

/// The bits of a slab all of whose items are taken.
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
    use crate::os::sim::Random;

    /// So many slabs of pages.
    fn slabs(count: usize) -> Slabs {
        let mut slabs = Slabs::of(512);
        let bytes = count * slabs.slab_bytes();
        slabs.reserve(bytes).unwrap();
        slabs.add(0..bytes);
        slabs
    }

    #[test]
    fn pages_come_from_the_lowest_slab_with_room() {
        let mut slabs = slabs(64);
        let pages: Vec<u32> = (0..100).map(|_| slabs.take(3)).collect();
        assert_eq!(pages[0], 0);
        assert_eq!(pages[41], 123, "42 pages of 3 units fit a slab");
        assert_eq!(pages[42], 128);
        assert_eq!(slabs.take(8), 3 * 128, "another size has a slab of its own");
        slabs.give(pages[50], 3);
        slabs.give(pages[7], 3);
        assert_eq!(slabs.take(3), pages[7]);
        assert_eq!(slabs.take(3), pages[50]);
        assert_eq!(slabs.items(), 101);
    }

    #[test]
    fn empty_slabs_beyond_a_few_are_discarded() {
        let mut slabs = slabs(1000);
        let pages: Vec<u32> = (0..160 * 16).map(|_| slabs.take(8)).collect();
        let full = slabs.resident_bytes();
        let mut discarded = 0;
        for page in pages {
            slabs.give(page, 8);
            discarded += std::iter::from_fn(|| slabs.surplus()).map(|it| it.len()).sum::<usize>();
        }
        assert_eq!(slabs.items(), 0);
        assert!(discarded >= 160 * slabs.slab_bytes() - KEPT);
        assert!(slabs.resident_bytes() < full / 4);
        assert_eq!(slabs.spare(), 1000);
    }

    /// Memory that holds an item is never discarded, and little else is held, in whichever
    /// order items of any size come and go.
    #[test]
    fn what_lies_between_the_items_of_thin_slabs_is_discarded() {
        for (seed, unit) in [(1, 128), (2, 512), (3, 2048)] {
            println!("seed {seed}, units of {unit} bytes");
            let (mut random, mut slabs) = (Random::new(seed), Slabs::of(unit));
            let bytes = 4000 * slabs.slab_bytes();
            slabs.reserve(bytes).unwrap();
            slabs.add(0..bytes);
            let mut held = vec![false; bytes / PAGE];
            let pages = |unit_no: u32, units: u32| {
                let start = unit_no as usize * unit;
                start / PAGE..(start + units as usize * unit).div_ceil(PAGE)
            };
            let mut items: Vec<(u32, u32)> = Vec::new();
            for step in 0..40_000 {
                if step < 20_000 {
                    let units = 1 + random.below(ITEM_MAX) as u32;
                    let item = slabs.take(units);
                    held[pages(item, units)].fill(true);
                    items.push((item, units));
                } else if items.len() > 200 {
                    let (item, units) = items.swap_remove(random.below(items.len()));
                    slabs.give(item, units);
                    for range in std::iter::from_fn(|| slabs.surplus()) {
                        held[range.start / PAGE..range.end / PAGE].fill(false);
                    }
                }
            }
            assert!(items.iter().all(|(item, units)| !held[pages(*item, *units)].contains(&false)));
            let held = held.iter().filter(|held| **held).count();
            assert_eq!(slabs.held, held);
            let needed: usize = items.iter().map(|(item, units)| pages(*item, *units).len()).sum();
            let most = needed * 3 + 2 * KEPT / PAGE;
            assert!(held <= most, "{held} pages are held where {needed} are needed");
        }
    }

    /// Every item of a thin slab is found, if a lower slab has room, and no other; without
    /// change nothing is looked for for ever.
    #[test]
    fn the_items_of_thin_slabs_are_found_once() {
        let mut slabs = slabs(100);
        let pages: Vec<u32> = (0..80 * 16).map(|_| slabs.take(8)).collect();
        let (full, rest) = pages.split_at(40 * 16);
        full.iter().step_by(16).for_each(|page| slabs.give(*page, 8)); // 15 of 16 are left
        rest.iter().filter(|page| **page / 8 % 4 > 0).for_each(|page| slabs.give(*page, 8));
        assert!(slabs.is_sparse());
        let mut found = Vec::new();
        while slabs.is_sparse() {
            found.extend(slabs.next_thin());
        }
        let left = || rest.iter().filter(|page| **page / 8 % 4 == 0);
        found.sort_unstable();
        assert_eq!(found, left().map(|page| (*page, 8)).collect::<Vec<_>>());
        // From when an item is given back, they are looked for again, and move.
        let item = slabs.take(8);
        slabs.give(item, 8);
        while slabs.is_sparse() {
            if let Some((page, units)) = slabs.next_thin() {
                assert!(slabs.take(units) < page, "a lower slab has room");
                slabs.give(page, units);
            }
        }
        assert_eq!(slabs.items(), 40 * 15 + left().count());
        assert!(slabs.in_use <= 55, "{} slabs are in use", slabs.in_use);
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn an_item_is_given_back_once() {
        let mut slabs = slabs(32);
        let (page, _other) = (slabs.take(2), slabs.take(2));
        slabs.give(page, 2);
        slabs.give(page, 2);
    }

    #[test]
    fn no_page_is_claimed_where_no_slab_is() {
        let mut slabs = slabs(2);
        let (start, end) = (4 * slabs.slab_bytes(), 5 * slabs.slab_bytes());
        slabs.reserve(end).unwrap();
        slabs.add(start..end);
        assert!(!slabs.claim(2 * SLAB_UNITS, 1) && !slabs.claim(5 * SLAB_UNITS, 1));
        assert!(slabs.claim(SLAB_UNITS, 1) && slabs.claim(4 * SLAB_UNITS, 8));
        assert!(!slabs.claim(SLAB_UNITS, 1) && !slabs.claim(SLAB_UNITS + 2, 2));
        assert_eq!((slabs.items(), slabs.spare()), (2, 1));
    }
}
