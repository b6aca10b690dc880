//! Many sectors at once: written in rows, read in the order in which they lie.

use std::io;
use std::path::Path;

use super::array::{Place, Sector};
use super::space::SECTOR;
use crate::error::{DBError, DBResult};
use crate::os::disk::File;

/// Bytes that are written or read together at most.
const ROW: usize = 1 << 18;

/// As many sectors that are not wanted are read over.
const GAP: u32 = 8;

pub(super) fn offset(sector: u32) -> u64 {
    u64::from(sector) * SECTOR as u64
}

pub(super) fn damaged(path: &Path, sector: u32) -> DBError {
    let at = offset(sector);
    DBError::Corrupt(format!("{}: the bytes at {at} do not have their checksum", path.display()))
}

/// Writes sectors, those in a row together.
#[derive(Debug)]
pub(super) struct Output<'a> {
    file: &'a dyn File,
    start: u64,
    row: Vec<u8>,
    pub(super) written: u64,
}

impl<'a> Output<'a> {
    pub(super) fn new(file: &'a dyn File) -> Output<'a> {
        Output { file, start: 0, row: Vec::new(), written: 0 }
    }

    pub(super) fn put(&mut self, sector: u32, content: &Sector) -> io::Result<()> {
        let at = offset(sector);
        if at != self.start + self.row.len() as u64 || self.row.len() >= ROW {
            self.flush()?;
            self.start = at;
        }
        self.row.try_reserve(SECTOR).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.row.extend_from_slice(content);
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.write(&self.row, self.start)?;
        self.written += self.row.len() as u64;
        self.row.clear();
        Ok(())
    }
}

/// Sorts numbered places by where they are.
pub(super) fn sort(places: &mut [(Place, u32)]) {
    places.sort_unstable_by_key(|(place, _)| place.sector);
}

/// ReadSet the sectors that are wanted, in no matter which order, and gives each
/// to `each` with its number, or why it cannot be given.
pub(super) fn read_all(
    file: &dyn File,
    path: &Path,
    mut wanted: Vec<(Place, u32)>,
    each: &mut dyn FnMut(u32, DBResult<&Sector>) -> DBResult<()>,
) -> DBResult<()> {
    sort(&mut wanted);
    let len = file.len().map_err(|error| DBError::io("read", path, &error))?;
    let mut row = Vec::new();
    let mut rest = &wanted[..];
    while let Some((first, _)) = rest.first() {
        let first = first.sector;
        let within = |pair: &[(Place, u32)]| {
            let (here, next) = (pair[0].0.sector, pair[1].0.sector);
            next - here <= GAP && (next - first) as usize * SECTOR < ROW
        };
        let count = 1 + rest.windows(2).take_while(|pair| within(pair)).count();
        let last = rest[count - 1].0.sector;
        // Of a file that was cut off, what is left is read.
        let bytes = ((last - first) as u64 + 1) * SECTOR as u64;
        let there = len.saturating_sub(offset(first)).min(bytes) as usize;
        row.clear();
        row.try_reserve(there)?;
        row.resize(there, 0);
        let read = file.read(&mut row, offset(first));
        let (sectors, _) = row.as_chunks::<SECTOR>();
        for &(place, number) in &rest[..count] {
            let found = match (&read, sectors.get((place.sector - first) as usize)) {
                (Err(error), _) => Err(DBError::io("read", path, error)),
                (Ok(()), Some(sector)) if place.fits(sector) => Ok(sector),
                _ => Err(damaged(path, place.sector)),
            };
            each(number, found)?;
        }
        rest = &rest[count..];
    }
    Ok(())
}
