//! Reading a damaged file: what a root reaches and has its checksum.
//!
//! Promises:
//!
//! 1. What is given has its checksum, down from the root.
//! 2. A sector that is damaged takes nothing with it but what is reached through
//!    it; how many there are is known.
//! 3. Whatever the file holds, no sector is read as a table twice.
//!
//! Not here: what units and blobs mean, and files that cannot be read at all.

use std::cmp::Reverse;
use std::path::Path;

use super::array::{FANOUT, Place, Sector, Table, Top};
use super::blob::{self, Blob};
use super::io::{offset, read_all};
use super::root::{Root, SLOT, Slot, mend_slot, read_slot};
use super::space::{Bits, RESERVED, SECTOR};
use crate::error::{DBError, DBResult};
use crate::os::disk::File;

/// The roots that can be read, the newest first, and how many slots are damaged.
pub(crate) fn roots(file: &dyn File, path: &Path) -> DBResult<(Vec<Root>, u64)> {
    let read = |error| DBError::io("read", path, &error);
    let len = file.len().map_err(read)?.min(2 * SLOT as u64) as usize;
    let mut bytes = [0; 2 * SLOT];
    file.read(&mut bytes[..len], 0).map_err(read)?;
    let (mut roots, mut damaged) = (Vec::new(), 0);
    for (number, slot) in (0..).zip(bytes.as_chunks::<SLOT>().0) {
        damaged += u64::from(!matches!(read_slot(slot, number), Slot::Root(_)));
        if let Slot::Root(root) = mend_slot(slot, number) {
            roots.push(*root);
        }
    }
    roots.sort_unstable_by_key(|root| Reverse(root.sequence));
    // Coverage its second root a file has a blank slot, the first.
    let young = roots.first().is_some_and(|root| root.sequence == 1);
    if young && read_slot(&bytes[..SLOT], 0) == Slot::Blank {
        damaged -= 1;
    }
    Ok((roots, damaged))
}

/// What is left of all that a root reaches.
#[derive(Debug)]
pub(crate) struct ReadableSectors<'a> {
    file: &'a dyn File,
    path: &'a Path,
    file_len: u64,
    /// In the order of their numbers.
    units: Vec<(u32, Sector)>,
    /// Blobs that there are, with their lengths and tops; in order.
    blobs: Vec<(u32, u32, Place)>,
    /// Sectors that were tables.
    tables: Bits,
    /// Sectors that are damaged, those of blobs not counted.
    pub(crate) damaged: u64,
}

impl<'a> ReadableSectors<'a> {
    pub(crate) fn read(
        file: &'a dyn File,
        path: &'a Path,
        root: &Root,
    ) -> DBResult<ReadableSectors<'a>> {
        let file_len = file.len().map_err(|error| DBError::io("read", path, &error))?;
        let mut remains = ReadableSectors {
            file,
            path,
            file_len,
            units: Vec::new(),
            blobs: Vec::new(),
            tables: Bits::default(),
            damaged: 0,
        };
        let wanted = remains.elements(root.units)?;
        let mut units = Vec::new();
        units.try_reserve_exact(wanted.len())?;
        remains.each(wanted, |unit, sector| units.push((unit, *sector)))?;
        units.sort_unstable_by_key(|(unit, _)| *unit);
        let wanted = remains.elements(root.records)?;
        let mut blobs = Vec::new();
        remains.each(wanted, |number, sector| {
            let first = number.saturating_mul(blob::RECORDS);
            let records = blob::records(sector);
            blobs.extend(records.map(|(at, len, top)| (first.saturating_add(at), len, top)));
        })?;
        blobs.sort_unstable_by_key(|(id, ..)| *id);
        (remains.units, remains.blobs) = (units, blobs);
        Ok(remains)
    }

    /// ReadSet sectors, those that can be read.
    fn each(
        &mut self,
        wanted: Vec<(Place, u32)>,
        mut each: impl FnMut(u32, &Sector),
    ) -> DBResult<()> {
        read_all(self.file, self.path, wanted, &mut |number, sector| {
            match sector {
                Ok(sector) => each(number, sector),
                Err(_) => self.damaged += 1,
            }
            Ok(())
        })
    }

    /// The elements of an array whose tables can be read.
    fn elements(&mut self, top: Top) -> DBResult<Vec<(Place, u32)>> {
        let mut wanted = Vec::from_iter((top.levels > 0).then_some((top.place, 0)));
        for _ in 0..top.levels {
            let (file_len, mut tables) = (self.file_len, std::mem::take(&mut self.tables));
            // Else tables that share what is below them could make this endless.
            wanted.retain(|(place, _)| {
                let there = place.sector >= RESERVED && offset(place.sector) < file_len;
                there && tables.add(place.sector)
            });
            self.tables = tables;
            let mut below = Vec::new();
            self.each(wanted, |number, sector| {
                let table = Table::from_sector(sector);
                below.extend(table.places().filter_map(|(at, place)| {
                    Some((place, number.checked_mul(FANOUT)?.checked_add(at)?))
                }));
            })?;
            wanted = below;
        }
        Ok(wanted)
    }

    /// The numbers of all units.
    pub(crate) fn units(&self) -> impl Iterator<Item = u32> + '_ {
        self.units.iter().map(|(unit, _)| *unit)
    }

    pub(crate) fn unit(&self, unit: u32) -> Option<&[u8; SECTOR]> {
        let at = self.units.binary_search_by_key(&unit, |(unit, _)| *unit).ok()?;
        Some(&self.units[at].1)
    }

    /// A blob, if all of it can be read.
    pub(crate) fn blob(&self, id: u32) -> DBResult<Option<Vec<u8>>> {
        let Ok(at) = self.blobs.binary_search_by_key(&id, |(id, ..)| *id) else {
            return Ok(None);
        };
        let (_, len, top) = self.blobs[at];
        if u64::from(len) > self.file_len {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len as usize)?;
        bytes.resize(len as usize, 0);
        match Blob::read(self.file, self.path, top, &mut bytes) {
            Ok(_) => Ok(Some(bytes)),
            Err(DBError::OutOfMemory) => Err(DBError::OutOfMemory),
            Err(_) => Ok(None),
        }
    }
}
