//! Sparse arrays of sectors, each verified by the pointer to it.
//!
//! The pointers to a row of [`FANOUT`] sectors make a table, which is a sector
//! itself; so an array is a tree of tables, and the pointer to the top table
//! verifies all of it, as in a Merkle tree.
//!
//! ```text
//! a table: 42 block pointers of 12 bytes, then 8 zeros
//! ```
//!
//! Table `t` of level `l` points to tables 42 t to 42 t + 41 of level `l - 1`, or
//! on level 0 to elements of the array.

use std::cmp::Ordering;

use super::io::{Reader, Writer, damaged};
use super::pointer::{BlockPointer, Numbered, POINTER, SECTOR, Sector, sort};
use crate::error::{DBError, DBResult, OutOfMemory};
use crate::fallible::{collect, filled, push};
use crate::sort::heap_sort;

/// Pointers in a table.
pub(super) const FANOUT: u32 = 42;

/// As many levels reach every number of 32 bits.
pub(super) const LEVELS_MAX: usize = 6;

/// Where an array begins in a file. The default is that of an empty array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ArrayRoot {
    pub(super) levels: u32,
    /// Points to the top table.
    pub(super) pointer: BlockPointer,
}

/// Pointers to a row of sectors.
#[derive(Debug)]
pub(super) struct Table {
    number: u32,
    /// Points to the table itself.
    pub(super) pointer: BlockPointer,
    entries: Box<[BlockPointer]>,
}

/// The tables of an array by level, each level in the order of their numbers.
pub(super) type Levels = [Vec<Table>; LEVELS_MAX];

/// An array as it is in the file.
#[derive(Debug, Default)]
pub(super) struct Array {
    pub(super) root: ArrayRoot,
    pub(super) levels: Levels,
}

impl Table {
    fn new(number: u32) -> Result<Table, OutOfMemory> {
        let entries = filled(BlockPointer::default(), FANOUT as usize)?.into_boxed_slice();
        Ok(Table { number, pointer: BlockPointer::default(), entries })
    }

    fn from_sector((number, pointer): Numbered, sector: &Sector) -> Result<Table, OutOfMemory> {
        let mut table = Table { pointer, ..Table::new(number)? };
        for (entry, bytes) in table.entries.iter_mut().zip(sector.as_chunks::<POINTER>().0) {
            *entry = BlockPointer::from_bytes(bytes);
        }
        Ok(table)
    }

    fn order(&self, other: &Table) -> Ordering {
        self.number.cmp(&other.number)
    }

    fn to_sector(&self) -> Sector {
        let mut sector = [0; SECTOR];
        for (entry, bytes) in self.entries.iter().zip(sector.as_chunks_mut::<POINTER>().0) {
            *bytes = entry.to_bytes();
        }
        sector
    }

    /// The pointers in use, with their numbers in the row.
    fn pointers(&self) -> impl Iterator<Item = Numbered> + '_ {
        (0..).zip(self.entries.iter().copied()).filter(|(_, pointer)| !pointer.is_none())
    }
}

fn find(level: &[Table], number: u32) -> Option<&Table> {
    let at = level.binary_search_by_key(&number, |table| table.number).ok()?;
    Some(&level[at])
}

impl Array {
    /// Reads the tables of an array, and returns the pointers to its elements: no more
    /// than the file has sectors.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        root: ArrayRoot,
    ) -> DBResult<(Array, Vec<Numbered>)> {
        let (mut levels, end) = (Levels::default(), reader.sectors());
        let mut wanted = Vec::new();
        if !root.pointer.is_none() {
            push(&mut wanted, (0, root.pointer))?;
        }
        for level in levels[..root.levels as usize].iter_mut().rev() {
            let (mut below, mut beyond, mut first) = (Vec::new(), 0, 0);
            reader.read(wanted, &mut |(number, pointer), sector| {
                let table = Table::from_sector((number, pointer), sector)?;
                for (at, pointer) in table.pointers() {
                    let element = number.checked_mul(FANOUT).and_then(|it| it.checked_add(at));
                    let has_place = pointer.sector < end && below.len() < end as usize;
                    match element.filter(|_| has_place) {
                        Some(element) => push(&mut below, (element, pointer))?,
                        None => {
                            first = if beyond == 0 { pointer.sector } else { first };
                            beyond += 1;
                        }
                    }
                }
                Ok(push(level, table)?)
            })?;
            if beyond > 0 {
                let path = reader.path;
                reader.skip(beyond, || damaged(path, first))?;
            }
            heap_sort(level, Table::order);
            wanted = below;
        }
        Ok((Array { root, levels }, wanted))
    }

    /// The pointer to an element; to nothing if there is none.
    pub(super) fn get(&self, element: u32) -> BlockPointer {
        let table = find(&self.levels[0], element / FANOUT);
        table.map_or(BlockPointer::default(), |table| table.entries[(element % FANOUT) as usize])
    }

    /// The pointers to all elements.
    pub(super) fn elements(&self) -> impl Iterator<Item = Numbered> + '_ {
        self.levels[0].iter().flat_map(|table| {
            table.pointers().map(|(at, pointer)| (table.number * FANOUT + at, pointer))
        })
    }

    /// Takes the memory that [`Array::accept`] needs.
    pub(super) fn reserve(&mut self, new: &Levels) -> Result<(), OutOfMemory> {
        for (tables, new) in self.levels.iter_mut().zip(new) {
            tables.try_reserve(new.len())?;
        }
        Ok(())
    }

    /// Takes over the tables that a builder has written.
    pub(super) fn accept(&mut self, root: ArrayRoot, new: Levels) {
        self.root = root;
        for (tables, new) in self.levels.iter_mut().zip(new) {
            let count = tables.len();
            for table in new {
                match tables[..count].binary_search_by_key(&table.number, |it| it.number) {
                    Ok(at) => tables[at] = table,
                    Err(_) => tables.push(table), // reserved
                }
            }
            if !tables.is_sorted_by_key(|table| table.number) {
                heap_sort(tables, Table::order);
            }
            tables.retain(|table| !table.pointer.is_none());
        }
    }
}

/// Changes of an array that are yet to be written.
#[derive(Debug)]
pub(super) struct ArrayBuilder<'a> {
    pub(super) base: &'a Array,
    changes: Vec<Numbered>,
}

impl<'a> ArrayBuilder<'a> {
    pub(super) fn new(base: &'a Array) -> ArrayBuilder<'a> {
        ArrayBuilder { base, changes: Vec::new() }
    }

    /// Changes the pointer to an element. An element is changed at most once.
    pub(super) fn set(&mut self, element: u32, pointer: BlockPointer) -> Result<(), OutOfMemory> {
        if self.base.get(element) == pointer {
            return Ok(());
        }
        push(&mut self.changes, (element, pointer))
    }

    /// Writes the tables that change, the lowest level first, and keeps the others.
    pub(super) fn finish(self, writer: &mut Writer<'_>) -> DBResult<(ArrayRoot, Levels)> {
        let ArrayBuilder { base, mut changes } = self;
        let mut new = Levels::default();
        for level in 0..LEVELS_MAX {
            let old = &base.levels[level];
            sort(&mut changes, |(number, _)| *number);
            let mut tables = changed_tables(old, &changes, writer.limit)?;
            changes.clear();
            for table in &mut tables {
                if table.pointers().next().is_some() {
                    table.pointer = writer.write(&table.to_sector())?;
                }
                push(&mut changes, (table.number, table.pointer))?;
            }
            for table in old.iter().filter(|table| find(&tables, table.number).is_none()) {
                writer.keep(table.pointer.sector)?;
            }
            new[level] = tables;
            let (levels, old_levels) = (level as u32 + 1, base.root.levels);
            match changes[..] {
                [] if levels >= old_levels => return Ok((base.root, new)),
                [(0, pointer)] if levels >= old_levels => {
                    let root = ArrayRoot { levels, pointer };
                    let is_empty = pointer.is_none();
                    return Ok((if is_empty { ArrayRoot::default() } else { root }, new));
                }
                // The tree grows: its old top becomes the first table below the new one.
                [(1.., _), ..] if levels == old_levels => {
                    push(&mut changes, (0, base.root.pointer))?;
                }
                _ => {}
            }
        }
        Err(DBError::Internal)
    }
}

/// Copies of the tables of a level that have changes or lie beyond the limit, with
/// their changes. The changes are sorted.
fn changed_tables(
    old: &[Table],
    changes: &[Numbered],
    limit: u32,
) -> Result<Vec<Table>, OutOfMemory> {
    let beyond = old.iter().filter(|table| table.pointer.sector >= limit);
    let changed = changes.iter().map(|(element, _)| element / FANOUT);
    let mut numbers = collect(changed.chain(beyond.map(|table| table.number)))?;
    numbers.sort_unstable();
    numbers.dedup();
    let mut changes = changes.iter().peekable();
    let mut tables = Vec::new();
    tables.try_reserve_exact(numbers.len())?;
    for number in numbers {
        let mut table = Table::new(number)?;
        if let Some(old) = find(old, number) {
            table.entries.copy_from_slice(&old.entries);
        }
        while let Some((element, pointer)) = changes.next_if(|it| it.0 / FANOUT == number) {
            table.entries[(element % FANOUT) as usize] = *pointer;
        }
        tables.push(table);
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::super::space::{Bits, Space};
    use super::*;
    use crate::os::disk::{Disk, OpenMode};
    use crate::os::sim::{Random, SimDisk};

    #[test]
    fn an_array_grows_shrinks_and_is_read_back_from_its_top() {
        let (mut array, mut model) = (Array::default(), BTreeMap::new());
        let (mut random, mut space) = (Random::new(1), Space::of(Bits::default()));
        let path = Path::new("db");
        let file = SimDisk::new(1).open(path, OpenMode::Create).unwrap();
        file.set_len(16 << 20).unwrap(); // so that pointers lead into the file
        for round in 0..200u32 {
            let mut changes = BTreeMap::new();
            for _ in 0..20 {
                let element = random.below(1 + round * round * 40);
                let sector = 1 + random.below((1u32 << 15) - 1);
                let pointer = BlockPointer { sector, hash: random.next().to_le_bytes() };
                let is_gone = random.below(3) == 0;
                changes.insert(element, if is_gone { BlockPointer::default() } else { pointer });
            }
            if round == 150 {
                let all = model.keys().chain(changes.keys());
                changes = all.map(|&element| (element, BlockPointer::default())).collect();
            }
            let mut builder = ArrayBuilder::new(&array);
            changes.iter().for_each(|(&element, &it)| builder.set(element, it).unwrap());
            model.extend(changes);
            model.retain(|_, pointer: &mut BlockPointer| !pointer.is_none());
            space.begin(false);
            let mut writer = Writer::new(&*file, path, &mut space, u32::MAX);
            let (root, new) = builder.finish(&mut writer).unwrap();
            writer.flush().unwrap();
            space.commit();
            array.reserve(&new).unwrap();
            array.accept(root, new);
            let expected = || model.iter().map(|(&element, &pointer)| (element, pointer));
            assert!(array.elements().eq(expected()));
            let mut reader = Reader::strict(&*file, path).unwrap();
            let (again, mut elements) = Array::read(&mut reader, root).unwrap();
            elements.sort_unstable_by_key(|(element, _)| *element);
            assert!(elements.into_iter().eq(expected()) && again.elements().eq(expected()));
        }
    }
}
