//! Sparse arrays of sectors, each verified by who refers to it.
//!
//! A place says where a sector lies in the file, and what its checksum is. The
//! places of a row of [`FANOUT`] sectors make a table, which is a sector itself;
//! so an array is a tree of tables, and its top place verifies all of it, as in
//! a Merkle tree. A sector that was misplaced, or is of another time, is told by
//! its content.
//!
//! ```text
//! a table: 42 places of 12 bytes, then 8 zeros
//! a place: sector u32, 0 if there is nothing; checksum (XXH3) u64
//! ```
//!
//! Numbers are little-endian. Table `t` of level `l` has the places of tables
//! 42 t to 42 t + 41 of level `l - 1`, or on level 0 of elements of the array.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::space::SECTOR;
use crate::error::DBResult;
use crate::fallible::push;
use crate::planted::{self, Bug};

/// Places in a table.
pub(super) const FANOUT: u32 = 42;

const PLACE: usize = 12;

/// What a sector holds.
pub(super) type Sector = [u8; SECTOR];

/// Where a sector is and what its content must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// 0 if there is nothing.
    pub(super) sector: u32,
    pub(super) hash: u64,
}

impl Place {
    pub(super) fn is_none(self) -> bool {
        self.sector == 0
    }

    pub(super) fn fits(self, sector: &Sector) -> bool {
        hash(sector) == self.hash || planted::is(Bug::SectorUnchecked)
    }

    pub(super) fn to_bytes(self) -> [u8; PLACE] {
        let mut bytes = [0; PLACE];
        bytes[..4].copy_from_slice(&self.sector.to_le_bytes());
        bytes[4..].copy_from_slice(&self.hash.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; PLACE]) -> Place {
        let (sector, hash) = bytes.split_at(4);
        Place {
            sector: u32::from_le_bytes(sector.try_into().expect("4 bytes")),
            hash: u64::from_le_bytes(hash.try_into().expect("8 bytes")),
        }
    }
}

pub(super) fn hash(sector: &Sector) -> u64 {
    xxh3_64(sector)
}

/// The places of a row of sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    sectors: [u32; FANOUT as usize],
    hashes: [u64; FANOUT as usize],
}

impl Table {
    pub(super) fn new() -> Table {
        Table { sectors: [0; FANOUT as usize], hashes: [0; FANOUT as usize] }
    }

    pub(super) fn get(&self, at: u32) -> Place {
        let at = at as usize;
        Place { sector: self.sectors[at], hash: self.hashes[at] }
    }

    pub(super) fn set(&mut self, at: u32, place: Place) {
        self.sectors[at as usize] = place.sector;
        self.hashes[at as usize] = place.hash;
    }

    fn is_empty(&self) -> bool {
        self.sectors == [0; FANOUT as usize]
    }

    /// The places that there are, with their numbers in the row.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, Place)> + '_ {
        (0..FANOUT).map(|at| (at, self.get(at))).filter(|(_, place)| !place.is_none())
    }

    pub(super) fn to_sector(&self) -> Sector {
        let mut sector = [0; SECTOR];
        for (at, bytes) in sector.as_chunks_mut::<PLACE>().0.iter_mut().enumerate() {
            *bytes = self.get(at as u32).to_bytes();
        }
        sector
    }

    pub(super) fn from_sector(sector: &Sector) -> Table {
        let mut table = Table::new();
        for (at, bytes) in sector.as_chunks::<PLACE>().0.iter().enumerate() {
            table.set(at as u32, Place::from_bytes(bytes));
        }
        table
    }
}

/// Where an array begins in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Top {
    pub(super) levels: u32,
    pub(super) place: Place,
}

/// So many levels have places for every number of 32 bits.
pub(super) const LEVELS_MAX: u32 = 6;

/// The tables of an array, by level and number.
pub(super) type Tables = Vec<BTreeMap<u32, Box<Table>>>;

/// An array as it is in the file.
#[derive(Debug, Default)]
pub(super) struct Array {
    pub(super) tables: Tables,
    pub(super) top: Top,
}

impl Array {
    pub(super) fn get(&self, element: u32) -> Place {
        let table = self.tables.first().and_then(|tables| tables.get(&(element / FANOUT)));
        table.map_or(Place::default(), |table| table.get(element % FANOUT))
    }

    /// All elements that there are.
    pub(super) fn elements(&self) -> impl Iterator<Item = (u32, Place)> + '_ {
        let tables = self.tables.iter().take(1).flatten();
        tables.flat_map(|(number, table)| {
            table.places().map(move |(at, place)| (number * FANOUT + at, place))
        })
    }

    pub(super) fn table_count(&self) -> usize {
        self.tables.iter().map(BTreeMap::len).sum()
    }

    /// Adds all places that it refers to, of tables and of elements, to some others.
    pub(super) fn add_places(&self, all: &mut Vec<(Place, u32)>) -> DBResult<()> {
        if !self.top.place.is_none() {
            push(all, (self.top.place, 0))?;
        }
        for table in self.tables.iter().flat_map(BTreeMap::values) {
            table.places().try_for_each(|(_, place)| push(all, (place, 0)))?;
        }
        Ok(())
    }
}

/// An array that is being changed: what is new, over what is in the file.
#[derive(Debug)]
pub(super) struct ArrayBuilder<'a> {
    base: &'a Array,
    new: Tables,
}

impl<'a> ArrayBuilder<'a> {
    pub(super) fn new(base: &'a Array) -> ArrayBuilder<'a> {
        let levels = base.top.levels.max(1);
        ArrayBuilder { base, new: (0..levels).map(|_| BTreeMap::new()).collect() }
    }

    fn table(&self, level: usize, number: u32) -> Option<&Table> {
        let find =
            |tables: &'_ Tables| tables.get(level).is_some_and(|it| it.contains_key(&number));
        let tables = if find(&self.new) { &self.new } else { &self.base.tables };
        tables.get(level)?.get(&number).map(|table| &**table)
    }

    fn table_mut(&mut self, level: usize, number: u32) -> &mut Table {
        if self.new.len() <= level {
            self.new.resize_with(level + 1, BTreeMap::new);
        }
        let base = self.base.tables.get(level).and_then(|tables| tables.get(&number));
        let table = self.new[level].entry(number);
        table.or_insert_with(|| base.cloned().unwrap_or_else(|| Box::new(Table::new())))
    }

    pub(super) fn get(&self, element: u32) -> Place {
        let table = self.table(0, element / FANOUT);
        table.map_or(Place::default(), |table| table.get(element % FANOUT))
    }

    pub(super) fn set(&mut self, element: u32, place: Place) {
        if self.get(element) != place {
            self.table_mut(0, element / FANOUT).set(element % FANOUT, place);
        }
    }

    /// Has a table of the array written again, though nothing in it has changed.
    pub(super) fn touch(&mut self, level: usize, number: u32) {
        self.table_mut(level, number);
    }

    /// Has `write` write all tables that are new, and returns where the array
    /// begins then, and the new tables.
    pub(super) fn finish(
        mut self,
        write: &mut dyn FnMut(&Sector) -> DBResult<Place>,
    ) -> DBResult<(Top, Tables)> {
        if self.new.iter().all(BTreeMap::is_empty) {
            return Ok((self.base.top, Vec::new()));
        }
        let mut level = 0;
        loop {
            let numbers: Vec<u32> = self.new[level].keys().copied().collect();
            let is_top = level + 1 >= self.base.top.levels as usize
                && numbers.last().is_none_or(|&last| last == 0);
            let mut top = Place::default();
            for number in numbers {
                let table = &self.new[level][&number];
                let place = match table.is_empty() {
                    true => Place::default(),
                    false => write(&table.to_sector())?,
                };
                top = place;
                if !is_top {
                    self.table_mut(level + 1, number / FANOUT).set(number % FANOUT, place);
                }
            }
            let levels = level as u32 + 1;
            if is_top {
                let top = if top.is_none() { Top::default() } else { Top { levels, place: top } };
                return Ok((top, self.new));
            }
            // A tree that grows has its old top as the first below the new one.
            if levels == self.base.top.levels && !self.new[level].contains_key(&0) {
                let old = self.base.top.place;
                self.table_mut(level + 1, 0).set(0, old);
            }
            level += 1;
        }
    }
}

impl Array {
    /// Takes over what a draft has written.
    pub(super) fn accept(&mut self, top: Top, new: Tables) {
        self.top = top;
        for (level, tables) in new.into_iter().enumerate() {
            if self.tables.len() <= level {
                self.tables.push(BTreeMap::new());
            }
            for (number, table) in tables {
                if table.is_empty() {
                    self.tables[level].remove(&number);
                } else {
                    self.tables[level].insert(number, table);
                }
            }
        }
        self.tables.truncate(top.levels as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_grows_shrinks_and_is_read_back_from_its_top() {
        let mut sectors: Vec<Sector> = vec![[0; SECTOR]];
        let (mut array, mut model) = (Array::default(), BTreeMap::new());
        let mut seed = 1u64;
        for round in 0..200u32 {
            let mut draft = ArrayBuilder::new(&array);
            for _ in 0..20 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let element = (seed >> 33) as u32 % (1 + round * round * 40);
                let place = match seed % 3 {
                    0 => Place::default(),
                    _ => Place { sector: 1 + (seed >> 40) as u32, hash: seed },
                };
                draft.set(element, place);
                model.insert(element, place);
                assert_eq!(draft.get(element), place);
            }
            if round == 150 {
                model.values_mut().for_each(|place| *place = Place::default());
                model.keys().for_each(|&element| draft.set(element, Place::default()));
            }
            let (top, new) = draft
                .finish(&mut |sector| {
                    sectors.push(*sector);
                    Ok(Place { sector: sectors.len() as u32 - 1, hash: hash(sector) })
                })
                .unwrap();
            array.accept(top, new);
            model.retain(|_, place| !place.is_none());
            assert!(array.elements().eq(model.iter().map(|(&element, &place)| (element, place))));
            assert_eq!(from_top(&sectors, top), model);
        }
    }

    fn from_top(sectors: &[Sector], top: Top) -> BTreeMap<u32, Place> {
        let mut level = BTreeMap::from([(0, top.place)]);
        level.retain(|_, place| !place.is_none());
        for _ in 0..top.levels {
            let below = level.iter().flat_map(|(&number, place)| {
                let sector = &sectors[place.sector as usize];
                assert!(place.fits(sector));
                let table = Table::from_sector(sector);
                let places: Vec<_> = table.places().collect();
                places.into_iter().map(move |(at, place)| (number * FANOUT + at, place))
            });
            level = below.collect();
        }
        level
    }
}
