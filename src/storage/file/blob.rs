//! Blobs in a file: long byte strings, written once to sectors wherever they are free.
//!
//! A blob of up to 512 bytes is one sector; a longer one is an array of sectors
//! (see [`super::array`]) whose number of levels follows from its length. The last
//! sector is filled up with zeros. Records, 32 to a sector, say where blobs begin:
//!
//! ```text
//! 0   length in bytes, u32; 0 if there is no such blob
//! 4   pointer to its sector, or to the top table of its array, 12 bytes
//! ```

use std::cmp::Ordering;

use super::array::{Array, ArrayBuilder, ArrayRoot, FANOUT};
use super::io::{Reader, Writer, damaged};
use super::pointer::{BlockPointer, Numbered, POINTER, SECTOR, Sector, sort};
use crate::error::{DBResult, OutOfMemory};
use crate::fallible::{collect, push};

/// Records in a sector.
pub(super) const RECORDS: u32 = (SECTOR / RECORD) as u32;
const RECORD: usize = 4 + POINTER;

/// Where a blob is.
#[derive(Debug, Default)]
pub(super) struct Blob {
    pub(super) id: u32,
    pub(super) len: u32,
    pub(super) pointer: BlockPointer,
    /// Its sectors, tables included, as runs: the first one and how many. A blob
    /// that only its record is known of has none yet.
    runs: Vec<(u32, u32)>,
}

/// The blob of that number, among blobs in the order of their numbers.
pub(super) fn find(blobs: &[Blob], id: u32) -> Option<&Blob> {
    let at = blobs.binary_search_by_key(&id, |blob| blob.id).ok()?;
    Some(&blobs[at])
}

impl Blob {
    /// The order of the list of blobs.
    pub(super) fn order(&self, other: &Blob) -> Ordering {
        self.id.cmp(&other.id)
    }

    pub(super) fn new(id: u32, len: u32, pointer: BlockPointer) -> Blob {
        Blob { id, len, pointer, runs: Vec::new() }
    }

    /// Its sectors, once it was read or written.
    pub(super) fn sectors(&self) -> impl Iterator<Item = u32> + '_ {
        self.runs.iter().flat_map(|&(first, len)| first..first + len)
    }

    fn add_sector(&mut self, sector: u32) -> Result<(), OutOfMemory> {
        match self.runs.last_mut() {
            Some((first, len)) if *first + *len == sector => *len += 1,
            _ => push(&mut self.runs, (sector, 1))?,
        }
        Ok(())
    }

    pub(super) fn record(&self) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[..4].copy_from_slice(&self.len.to_le_bytes());
        record[4..].copy_from_slice(&self.pointer.to_bytes());
        record
    }

    /// Reads the blobs of all records, as far as they are known from them: no more than
    /// the file has sectors.
    pub(super) fn read_records(
        reader: &mut Reader<'_>,
        records: Vec<Numbered>,
    ) -> DBResult<Vec<Blob>> {
        let (mut blobs, mut beyond, end) = (Vec::new(), None, reader.sectors());
        reader.read(records, &mut |(number, _), sector| {
            // A strict reader's caller has refused other numbers.
            if let Some(first) = number.checked_mul(RECORDS) {
                for (at, len, pointer) in parse_records(sector) {
                    if pointer.sector < end && blobs.len() < end as usize {
                        push(&mut blobs, Blob::new(first + at, len, pointer))?;
                    } else {
                        beyond = Some(pointer.sector);
                    }
                }
            }
            Ok(())
        })?;
        if let Some(sector) = beyond {
            let path = reader.path;
            reader.skip(0, || damaged(path, sector))?;
        }
        Ok(blobs)
    }

    /// Writes a blob.
    pub(super) fn write(id: u32, bytes: &[u8], writer: &mut Writer<'_>) -> DBResult<Blob> {
        let len = u32::try_from(bytes.len()).expect("no value is as long");
        let mut pointers = Vec::new();
        for (number, part) in (0..).zip(bytes.chunks(SECTOR)) {
            let mut sector = [0; SECTOR];
            sector[..part.len()].copy_from_slice(part);
            push(&mut pointers, (number, writer.write(&sector)?))?;
        }
        Blob::of(id, len, &pointers, writer)
    }

    /// Writes a blob anew but for those sectors of its content that the writer keeps.
    pub(super) fn relocate(
        &self,
        reader: &mut Reader<'_>,
        writer: &mut Writer<'_>,
    ) -> DBResult<Blob> {
        let mut far = Blob::new(self.id, self.len, self.pointer).elements(reader)?;
        let is_near = |it: &Numbered| it.1.sector < writer.limit;
        let mut pointers = collect(far.iter().copied().filter(is_near))?;
        far.retain(|it| !is_near(it));
        pointers.iter().try_for_each(|(_, pointer)| writer.keep(pointer.sector))?;
        reader.read(far, &mut |(number, _), sector| {
            Ok(push(&mut pointers, (number, writer.write(sector)?))?)
        })?;
        sort(&mut pointers, |(number, _)| *number);
        Blob::of(self.id, self.len, &pointers, writer)
    }

    /// A blob whose content these pointers lead to, with its tables, which are written.
    fn of(id: u32, len: u32, pointers: &[Numbered], writer: &mut Writer<'_>) -> DBResult<Blob> {
        let mut blob = Blob::new(id, len, BlockPointer::default());
        let empty = Array::default();
        let mut array = ArrayBuilder::new(&empty);
        for &(number, pointer) in pointers {
            blob.pointer = pointer;
            blob.add_sector(pointer.sector)?;
            array.set(number, pointer)?;
        }
        if pointers.len() > 1 {
            let (root, tables) = array.finish(writer)?;
            blob.pointer = root.pointer;
            tables.iter().flatten().try_for_each(|it| blob.add_sector(it.pointer.sector))?;
        }
        Ok(blob)
    }

    /// The pointers to its content, by the tables in the file.
    fn elements(&mut self, reader: &mut Reader<'_>) -> DBResult<Vec<Numbered>> {
        let count = self.len.div_ceil(SECTOR as u32);
        let (mut levels, mut reach) = (0, 1u64);
        while reach < u64::from(count) {
            (levels, reach) = (levels + 1, reach * u64::from(FANOUT));
        }
        let root = ArrayRoot { levels, pointer: self.pointer };
        let (array, mut elements) = Array::read(reader, root)?;
        sort(&mut elements, |(number, _)| *number);
        if !elements.iter().map(|(number, _)| *number).eq(0..count) {
            return Err(damaged(reader.path, self.pointer.sector));
        }
        let tables = array.levels.iter().flatten().map(|table| table.pointer);
        for pointer in tables.chain(elements.iter().map(|(_, pointer)| *pointer)) {
            self.add_sector(pointer.sector)?;
        }
        Ok(elements)
    }

    /// Claims its sectors for the blob; an error if one of them is another's, or not there.
    pub(super) fn claim(&mut self, reader: &mut Reader<'_>) -> DBResult<()> {
        let elements = self.elements(reader)?;
        elements.iter().try_for_each(|(_, pointer)| {
            let is_its_own = reader.see(pointer.sector)?;
            if is_its_own { Ok(()) } else { Err(damaged(reader.path, pointer.sector)) }
        })
    }

    /// Reads the content into `bytes`, which has the blob's length.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, bytes: &mut [u8]) -> DBResult<()> {
        let elements = self.elements(reader)?;
        reader.read(elements, &mut |(number, _), sector| {
            let part = bytes.chunks_mut(SECTOR).nth(number as usize).expect("it was counted");
            part.copy_from_slice(&sector[..part.len()]);
            Ok(())
        })
    }
}

/// The records in a sector: the number of each there, a blob's length and pointer.
pub(super) fn parse_records(
    sector: &Sector,
) -> impl Iterator<Item = (u32, u32, BlockPointer)> + '_ {
    let records = sector.as_chunks::<RECORD>().0.iter();
    (0..).zip(records).filter_map(|(at, record)| {
        let (len, pointer) = record.split_first_chunk::<4>().expect("4 of 16 bytes");
        let len = u32::from_le_bytes(*len);
        let pointer = BlockPointer::from_bytes(pointer.try_into().expect("12 bytes are left"));
        (len > 0).then_some((at, len, pointer))
    })
}
