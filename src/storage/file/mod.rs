//! The database file: a tree's units and blobs, and roots that say where they are.
//!
//! The file consists of sectors of 512 bytes. The first 16 are two root slots
//! ([`root`]); all others are reached from the newest root, through arrays in
//! which whoever refers to a sector has its checksum ([`array`]). A checkpoint
//! ([`checkpoint`]) writes what has changed into sectors that the newest root
//! does not reach ([`space`]), waits for the disk, and then writes the other
//! root slot; so at each moment one root is whole, and all that it reaches. Of a
//! file that was damaged, [`mod@salvage`] reads what is left.
//!
//! Promises:
//!
//! 1. What is read has its checksum, or the reading fails.
//! 2. A checkpoint that fails leaves what the newest root reaches as it was.
//! 3. A sector can be read without any other but the tables above it.
//!
//! Not here: what units and blobs mean, the log, and which thread does what.

mod array;
mod blob;
mod checkpoint;
mod io;
mod root;
mod salvage;
mod space;
#[cfg(test)]
mod tests;

pub(crate) use root::{Fields, LogMark, META, Root};
pub(crate) use salvage::{ReadableSectors, roots};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use array::{Array, FANOUT, Place, Table, Top};
use blob::Blob;
use root::{SLOT, Slot, read_slot};
use space::{Bits, RESERVED, SECTOR, Space};

use crate::error::{DBError, DBResult};
use crate::fallible::{collect, push};
use crate::os::disk::File;

/// A database file, open.
#[derive(Debug)]
pub(crate) struct DataFile {
    file: Arc<dyn File>,
    path: PathBuf,
    root: Root,
    units: Array,
    records: Array,
    blobs: BTreeMap<u32, Blob>,
    space: Space,
}

/// What loading a file may take, beside twice the file.
const ALLOWANCE: u64 = 1 << 20;

/// Who takes what a file holds.
pub(crate) trait Receiver {
    /// The numbers of all units and blobs to come, in order, and how much memory
    /// there may be for what grows with the numbers.
    fn room(&mut self, units: Vec<u32>, blobs: Vec<u32>, memory: u64) -> DBResult<()>;
    fn unit(&mut self, unit: u32, bytes: &[u8; SECTOR]) -> DBResult<()>;
    /// A blob of `len` bytes, which `fill` provides.
    fn blob(
        &mut self,
        id: u32,
        len: u32,
        fill: &mut dyn FnMut(&mut [u8]) -> DBResult<()>,
    ) -> DBResult<()>;
}

/// What the root slots of a file say.
#[derive(Debug)]
pub(crate) struct Roots {
    newest: Option<Root>,
    /// Whether the other slot is as it must be if nothing was being written.
    pub(crate) other_is_whole: bool,
    /// Whether anything in the slots is minidb's.
    is_minidb: bool,
    /// Whether they are as a backup leaves them, or is about to.
    pub(crate) is_backup: bool,
}

impl Roots {
    pub(crate) fn read(file: &dyn File, path: &Path) -> DBResult<Roots> {
        let read = |error| DBError::io("read", path, &error);
        let len = file.len().map_err(read)?.min(2 * SLOT as u64) as usize;
        let mut bytes = [0; 2 * SLOT];
        file.read(&mut bytes[..len], 0).map_err(read)?;
        let (first, second) = bytes[..len].split_at(len.min(SLOT));
        let slots = [read_slot(first, 0), read_slot(second, 1)];
        if let Some(version) = slots.iter().find_map(|slot| match slot {
            Slot::Newer(version) => Some(version),
            _ => None,
        }) {
            let path = path.display();
            return Err(DBError::Format(format!("{path} is of version {version}, or uses more")));
        }
        let is_minidb = slots.iter().any(|slot| matches!(slot, Slot::Root(_) | Slot::Damaged));
        let is_backup = match &slots {
            [Slot::Blank, Slot::Blank | Slot::Damaged] => true,
            [Slot::Blank, Slot::Root(root)] => root.sequence == 1 && root.fields.log.is_none(),
            _ => false,
        };
        let sequence = |slot: &Slot| match slot {
            Slot::Root(root) => Some(root.sequence),
            _ => None,
        };
        let newest = usize::from(sequence(&slots[1]) > sequence(&slots[0]));
        let other = &slots[1 - newest];
        let other_is_whole = match sequence(&slots[newest]) {
            Some(1) => matches!(other, Slot::Blank),
            Some(number) => sequence(other) == number.checked_sub(1),
            None => false,
        };
        let newest = match &slots[newest] {
            Slot::Root(root) => Some(**root),
            _ => None,
        };
        Ok(Roots { newest, other_is_whole, is_minidb, is_backup })
    }

    /// What the newest root says, if there is one.
    pub(crate) fn newest(&self) -> Option<&Fields> {
        self.newest.as_ref().map(|root| &root.fields)
    }

    /// The sequence number of the newest root.
    pub(crate) fn sequence(&self) -> u64 {
        self.newest.map_or(0, |root| root.sequence)
    }

    /// Why a file without a root cannot be opened.
    pub(crate) fn refuse(&self, path: &Path) -> DBError {
        let path = path.display();
        match self.is_minidb {
            true => {
                DBError::Corrupt(format!("{path}: neither root slot (bytes 0 to 8191) is whole"))
            }
            false => DBError::Format(format!("{path}")),
        }
    }
}

impl DataFile {
    /// Makes a file without a root one of an empty tree, once its first
    /// checkpoint is done.
    pub(crate) fn create(file: Arc<dyn File>, path: PathBuf, fields: Fields) -> DataFile {
        let (units, records) = (Top::default(), Top::default());
        DataFile {
            file,
            path,
            root: Root { sequence: 0, fields, units, records },
            units: Array::default(),
            records: Array::default(),
            blobs: BTreeMap::new(),
            space: Space::of(Bits::default()),
        }
    }

    /// ReadSet all that the newest root reaches.
    pub(crate) fn load(
        file: Arc<dyn File>,
        path: PathBuf,
        roots: &Roots,
        receiver: &mut dyn Receiver,
    ) -> DBResult<DataFile> {
        let root = roots.newest.ok_or_else(|| roots.refuse(&path))?;
        let file_len = file.len().map_err(|error| DBError::io("read", &path, &error))?;
        let mut claims = AllocationCheck { path: &path, used: Bits::default(), file_len };
        let units = load_array(&*file, root.units, &mut claims)?;
        let records = load_array(&*file, root.records, &mut claims)?;
        let unit_numbers = numbers(&path, &units, 1)?;
        numbers(&path, &records, blob::RECORDS)?;
        let found = read_records(&*file, &path, &records)?;
        // Each has sectors of its own, so no memory is taken for more than that.
        let content = found.iter().map(|(_, len, _)| u64::from(*len)).sum();
        let left = file_len.checked_sub(content);
        let left = left.ok_or_else(|| io::damaged(&path, records.top.place.sector))?;
        let mut blob_numbers = collect(found.iter().map(|(id, ..)| *id))?;
        blob_numbers.sort_unstable();
        receiver.room(
            unit_numbers,
            blob_numbers,
            file_len.saturating_add(left).saturating_add(ALLOWANCE),
        )?;
        io::read_all(&*file, &path, elements(&units)?, &mut |unit, sector| {
            receiver.unit(unit, sector?)
        })?;
        let blobs = read_blobs(&*file, &path, &found, receiver)?;
        for sector in blobs.values().flat_map(Blob::sectors) {
            claims.add(sector)?;
        }
        let space = Space::of(claims.used);
        Ok(DataFile { file, path, root, units, records, blobs, space })
    }

    /// ReadSet everything again, and verifies that it has its checksum.
    pub(crate) fn verify(&self) -> DBResult<()> {
        let roots = Roots::read(&*self.file, &self.path)?;
        let whole = match self.root.sequence {
            0 => roots.newest.is_none(), // an empty file that is only read
            _ => roots.newest == Some(self.root) && roots.other_is_whole,
        };
        if !whole && !self.space.is_in_doubt() {
            let path = self.path.display();
            return Err(DBError::Corrupt(format!(
                "{path}: a root slot (bytes 0 to 8191) has changed"
            )));
        }
        let mut all = Vec::new();
        self.units.add_places(&mut all)?;
        self.records.add_places(&mut all)?;
        io::read_all(&*self.file, &self.path, all, &mut |_, sector| sector.map(drop))?;
        let mut bytes = Vec::new();
        for blob in self.blobs.values() {
            bytes.try_reserve(blob.len as usize)?;
            bytes.resize(blob.len as usize, 0);
            Blob::read(&*self.file, &self.path, blob.top, &mut bytes)?;
        }
        Ok(())
    }

    /// What the newest root says.
    pub(crate) fn fields(&self) -> &Fields {
        &self.root.fields
    }

    /// The sequence number of the newest root.
    pub(crate) fn sequence(&self) -> u64 {
        self.root.sequence
    }

    /// Length of the file in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        io::offset(self.space.end())
    }
}

/// The sectors that are in use, each of them once.
struct AllocationCheck<'a> {
    path: &'a Path,
    used: Bits,
    file_len: u64,
}

impl AllocationCheck<'_> {
    fn add(&mut self, sector: u32) -> DBResult<()> {
        let is_in_file = sector >= RESERVED && io::offset(sector) < self.file_len;
        if !is_in_file || !self.used.add(sector) {
            return Err(io::damaged(self.path, sector));
        }
        Ok(())
    }
}

/// The numbers of all elements of an array, each of which is to stand for so many
/// things.
fn numbers(path: &Path, array: &Array, each: u32) -> DBResult<Vec<u32>> {
    let numbers = collect(array.elements().map(|(number, _)| number))?;
    let end = numbers.last().map_or(Some(0), |last| last.checked_add(1));
    let end = end.and_then(|end| end.checked_mul(each));
    end.map(|_| numbers).ok_or_else(|| io::damaged(path, array.top.place.sector))
}

fn elements(array: &Array) -> DBResult<Vec<(Place, u32)>> {
    Ok(collect(array.elements().map(|(number, place)| (place, number)))?)
}

/// A blob's number, its length, and where its content begins.
type Record = (u32, u32, Place);

fn read_records(file: &dyn File, path: &Path, records: &Array) -> DBResult<Vec<Record>> {
    let mut found = Vec::new();
    io::read_all(file, path, elements(records)?, &mut |number, sector| {
        blob::records(sector?).try_for_each(|(at, len, top)| {
            Ok(push(&mut found, (number * blob::RECORDS + at, len, top))?)
        })
    })?;
    Ok(found)
}

/// Hands over all blobs, in the order in which they lie in the file.
fn read_blobs(
    file: &dyn File,
    path: &Path,
    records: &[Record],
    receiver: &mut dyn Receiver,
) -> DBResult<BTreeMap<u32, Blob>> {
    let mut order = collect(records.iter().map(|(_, _, top)| *top).zip(0..))?;
    io::sort(&mut order);
    let mut blobs = BTreeMap::new();
    for (_, at) in order {
        let (id, len, top) = records[at as usize];
        receiver.blob(id, len, &mut |bytes| {
            blobs.insert(id, Blob::read(file, path, top, bytes)?);
            Ok(())
        })?;
    }
    Ok(blobs)
}

/// ReadSet the tables of an array.
fn load_array(file: &dyn File, top: Top, claims: &mut AllocationCheck<'_>) -> DBResult<Array> {
    let path = claims.path;
    let mut tables = Vec::new();
    let mut wanted = Vec::new();
    if top.levels > 0 {
        wanted.push((top.place, 0u32));
    }
    for _ in 0..top.levels {
        let (mut level, mut below) = (BTreeMap::new(), Vec::new());
        io::read_all(file, path, wanted, &mut |number, sector| {
            let table = Table::from_sector(sector?);
            for (at, place) in table.places() {
                let element = number.checked_mul(FANOUT).and_then(|it| it.checked_add(at));
                let element = element.ok_or_else(|| io::damaged(path, place.sector))?;
                claims.add(place.sector)?;
                push(&mut below, (place, element))?;
            }
            level.insert(number, Box::new(table));
            Ok(())
        })?;
        tables.push(level);
        wanted = below;
    }
    if top.levels > 0 {
        claims.add(top.place.sector)?;
    }
    tables.reverse();
    Ok(Array { tables, top })
}
