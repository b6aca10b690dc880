//! Long byte strings in a file: written once, in sectors wherever they are free.
//!
//! A blob of up to 512 bytes is one sector; a longer one is an array of sectors
//! (see [`super::array`]) whose number of levels follows from its length. What
//! of the last sector is not the blob's is zero. Records, 32 to a sector, say
//! where blobs begin:
//!
//! ```text
//! 0   length in bytes, u32; 0 if there is no such blob
//! 4   place of its top, 12 bytes
//! ```

use std::path::Path;

use super::array::{FANOUT, Place, Sector, Table};
use super::io::{damaged, read_all};
use super::space::SECTOR;
use crate::error::DBResult;
use crate::fallible::push;
use crate::os::disk::File;

/// Records in a sector.
pub(super) const RECORDS: u32 = (SECTOR / RECORD) as u32;
const RECORD: usize = 16;

/// Where a blob is.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) len: u32,
    pub(super) top: Place,
    /// All its sectors, as first ones and lengths of rows.
    pub(super) rows: Vec<(u32, u32)>,
}

impl Blob {
    pub(super) fn sectors(&self) -> impl Iterator<Item = u32> + '_ {
        self.rows.iter().flat_map(|&(first, len)| first..first + len)
    }

    fn add(&mut self, sector: u32) {
        match self.rows.last_mut() {
            Some((first, len)) if *first + *len == sector => *len += 1,
            _ => self.rows.push((sector, 1)),
        }
    }

    /// Takes a row of sectors for the blob's, and numbers them.
    fn claim(&mut self, row: &[Place], path: &Path) -> DBResult<Vec<(Place, u32)>> {
        if row.iter().any(|place| place.is_none()) {
            return Err(damaged(path, self.top.sector));
        }
        row.iter().for_each(|place| self.add(place.sector));
        let mut numbered = Vec::new();
        numbered.try_reserve_exact(row.len())?;
        numbered.extend(row.iter().copied().zip(0..));
        Ok(numbered)
    }

    pub(super) fn record(&self) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[..4].copy_from_slice(&self.len.to_le_bytes());
        record[4..].copy_from_slice(&self.top.to_bytes());
        record
    }

    /// Writes a blob, each sector by `write`.
    pub(super) fn write(
        bytes: &[u8],
        write: &mut dyn FnMut(&Sector) -> DBResult<Place>,
    ) -> DBResult<Blob> {
        let len = u32::try_from(bytes.len()).expect("no value is as long");
        let mut blob = Blob { len, top: Place::default(), rows: Vec::new() };
        let mut places = Vec::new();
        places.try_reserve_exact(bytes.len().div_ceil(SECTOR))?;
        for part in bytes.chunks(SECTOR) {
            let mut sector = [0; SECTOR];
            sector[..part.len()].copy_from_slice(part);
            let place = write(&sector)?;
            blob.add(place.sector);
            places.push(place);
        }
        while places.len() > 1 {
            let mut above = Vec::new();
            for row in places.chunks(FANOUT as usize) {
                let mut table = Table::new();
                (0..).zip(row).for_each(|(at, place)| table.set(at, *place));
                let place = write(&table.to_sector())?;
                blob.add(place.sector);
                push(&mut above, place)?;
            }
            places = above;
        }
        blob.top = places.pop().unwrap_or_default();
        Ok(blob)
    }

    /// ReadSet what a record refers to into `bytes`, which has the blob's length.
    pub(super) fn read(
        file: &dyn File,
        path: &Path,
        top: Place,
        bytes: &mut [u8],
    ) -> DBResult<Blob> {
        let mut blob = Blob { len: bytes.len() as u32, top, rows: Vec::new() };
        let sectors = bytes.len().div_ceil(SECTOR);
        let mut levels = 0;
        while (FANOUT as usize).pow(levels) < sectors {
            levels += 1;
        }
        let mut row = vec![top];
        for level in (0..levels).rev() {
            let needed = sectors.div_ceil((FANOUT as usize).pow(level));
            let mut below = Vec::new();
            below.try_reserve_exact(needed)?;
            below.resize(needed, Place::default());
            let wanted = blob.claim(&row, path)?;
            read_all(file, path, wanted, &mut |number, sector| {
                let table = Table::from_sector(sector?);
                let places = below.chunks_mut(FANOUT as usize).nth(number as usize);
                (0..).zip(places.into_iter().flatten()).for_each(|(at, it)| *it = table.get(at));
                Ok(())
            })?;
            row = below;
        }
        let wanted = blob.claim(&row, path)?;
        read_all(file, path, wanted, &mut |number, sector| {
            let part = bytes.chunks_mut(SECTOR).nth(number as usize).expect("as many as sectors");
            part.copy_from_slice(&sector?[..part.len()]);
            Ok(())
        })?;
        Ok(blob)
    }
}

/// The records in a sector: for each its number there, and a blob's length and top.
pub(super) fn records(sector: &Sector) -> impl Iterator<Item = (u32, u32, Place)> + '_ {
    let records = sector.as_chunks::<RECORD>().0.iter();
    (0..).zip(records).filter_map(|(at, record)| {
        let (len, place) = record.split_first_chunk::<4>().expect("4 of 16 bytes");
        let len = u32::from_le_bytes(*len);
        let place = Place::from_bytes(place.try_into().expect("12 bytes are left"));
        (len > 0).then_some((at, len, place))
    })
}
