//! The database file: a tree's blocks and blobs, and roots that say where they are.
//!
//! The file consists of sectors of 512 bytes. The first 16 are two root slots
//! ([`root`]); all others are reached from the newest root, through arrays in
//! which every pointer to a sector has its checksum ([`pointer`], [`array`]). A
//! checkpoint ([`checkpoint`]) writes what has changed into sectors that the newest
//! root does not reach ([`space`]), waits for the disk, and then writes the other
//! root slot; so at any time one root is whole, and all that it reaches.
//! [`mod@salvage`] reads the whole sectors of a damaged file.
//!
//! Promises:
//!
//! 1. A sector that is read has its checksum, or the reading fails.
//! 2. A checkpoint that fails leaves what the newest root reaches as it was.
//! 3. A sector can be read without any other but the tables above it.
//!
//! Not here: what blocks and blobs mean, the log, and which thread does what.

mod array;
mod blob;
mod checkpoint;
mod io;
mod pointer;
mod root;
mod salvage;
mod space;
#[cfg(test)]
mod tests;

pub(crate) use root::{Fields, LogMark, META, Root, Roots, readable_roots};
pub(crate) use salvage::ReadableSectors;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use array::{Array, ArrayRoot};
use blob::Blob;
use io::{Reader, damaged};
use pointer::{Numbered, SECTOR, Sector};
use space::{Bits, RESERVED, Space};

use crate::error::{DBError, DBResult};
use crate::fallible::{collect, filled};
use crate::os::disk::File;
use crate::sort::heap_sort;

/// A database file, open.
#[derive(Debug)]
pub(crate) struct DataFile {
    file: Arc<dyn File>,
    path: PathBuf,
    root: Root,
    blocks: Array,
    records: Array,
    /// In the order of their numbers.
    blobs: Vec<Blob>,
    space: Space,
}

/// Memory that loading a file may take, beside twice the file.
const ALLOWANCE: u64 = 1 << 20;

/// Takes the content of a file that is loaded.
pub(crate) trait Receiver {
    /// Takes the numbers of all blocks and blobs to come, in order, and how much
    /// memory there may be for what grows with the numbers.
    fn reserve(&mut self, blocks: Vec<u32>, blobs: Vec<u32>, memory: u64) -> DBResult<()>;
    fn block(&mut self, block: u32, bytes: &Sector) -> DBResult<()>;
    /// Takes a blob of `len` bytes, which `fill` provides. It calls that once.
    fn blob(
        &mut self,
        id: u32,
        len: u32,
        fill: &mut dyn FnMut(&mut [u8]) -> DBResult<()>,
    ) -> DBResult<()>;
}

/// A receiver for reading that only verifies.
struct Discard;

impl Receiver for Discard {
    fn reserve(&mut self, _: Vec<u32>, _: Vec<u32>, _: u64) -> DBResult<()> {
        Ok(())
    }

    fn block(&mut self, _: u32, _: &Sector) -> DBResult<()> {
        Ok(())
    }

    fn blob(
        &mut self,
        _: u32,
        len: u32,
        fill: &mut dyn FnMut(&mut [u8]) -> DBResult<()>,
    ) -> DBResult<()> {
        fill(&mut filled(0, len as usize)?)
    }
}

impl DataFile {
    /// Makes a file without a root one of an empty tree, once its first
    /// checkpoint is done.
    pub(crate) fn create(file: Arc<dyn File>, path: PathBuf, fields: Fields) -> DataFile {
        let (blocks, records) = (ArrayRoot::default(), ArrayRoot::default());
        DataFile {
            file,
            path,
            root: Root { sequence: 0, fields, blocks, records },
            blocks: Array::default(),
            records: Array::default(),
            blobs: Vec::new(),
            space: Space::of(Bits::default()),
        }
    }

    /// Reads all that the newest root reaches.
    pub(crate) fn load(
        file: Arc<dyn File>,
        path: PathBuf,
        roots: &Roots,
        receiver: &mut dyn Receiver,
    ) -> DBResult<DataFile> {
        let root = roots.newest.ok_or_else(|| roots.refuse(&path))?;
        DataFile::load_root(file, path, root, receiver)
    }

    fn load_root(
        file: Arc<dyn File>,
        path: PathBuf,
        root: Root,
        receiver: &mut dyn Receiver,
    ) -> DBResult<DataFile> {
        let mut reader = Reader::strict(&*file, &path)?;
        let (blocks, elements) = Array::read(&mut reader, root.blocks)?;
        let (records, record_elements) = Array::read(&mut reader, root.records)?;
        let block_numbers = numbers(&path, &elements, 1)?;
        numbers(&path, &record_elements, blob::RECORDS)?;
        let mut blobs = Blob::read_records(&mut reader, record_elements)?;
        // Each has sectors of its own, so no memory is taken for more than that.
        let content: u64 = blobs.iter().map(|blob| u64::from(blob.len)).sum();
        let (file_len, block_bytes) = (reader.file_len, (elements.len() * SECTOR) as u64);
        if content.saturating_add(block_bytes) > file_len {
            return Err(damaged(&path, root.records.pointer.sector));
        }
        let mut blob_numbers = collect(blobs.iter().map(|blob| blob.id))?;
        blob_numbers.sort_unstable();
        let memory = file_len.saturating_add(file_len - content).saturating_add(ALLOWANCE);
        receiver.reserve(block_numbers, blob_numbers, memory)?;
        reader.read(elements, &mut |(block, _), sector| receiver.block(block, sector))?;
        heap_sort(&mut blobs, |one, other| one.pointer.sector.cmp(&other.pointer.sector));
        for blob in &mut blobs {
            receiver.blob(blob.id, blob.len, &mut |bytes| blob.read(&mut reader, bytes))?;
        }
        heap_sort(&mut blobs, Blob::order);
        let space = Space::of(reader.seen.unwrap_or_default());
        Ok(DataFile { file, path, root, blocks, records, blobs, space })
    }

    /// Reads everything again, and verifies that it has its checksum.
    pub(crate) fn verify(&self) -> DBResult<()> {
        let roots = Roots::read(&*self.file, &self.path)?;
        let is_empty = self.root.sequence == 0; // and only read
        let whole = if is_empty {
            roots.newest.is_none()
        } else {
            roots.newest == Some(self.root) && roots.other_is_whole
        };
        if !whole && !self.space.is_in_doubt() {
            let path = self.path.display();
            return Err(DBError::Corrupt(format!(
                "{path}: a root slot (bytes 0 to 8191) has changed"
            )));
        }
        let (file, path) = (self.file.clone(), self.path.clone());
        DataFile::load_root(file, path, self.root, &mut Discard).map(drop)
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &dyn File {
        &*self.file
    }

    /// The fields of the newest root.
    pub(crate) fn fields(&self) -> &Fields {
        &self.root.fields
    }

    /// The sequence number of the newest root.
    pub(crate) fn sequence(&self) -> u64 {
        self.root.sequence
    }

    /// Bytes of the file that the newest root reaches, with the root slots.
    pub(crate) fn used_bytes(&self) -> u64 {
        io::offset(self.space.used_count() + RESERVED).min(self.bytes())
    }

    /// Length of the file in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        io::offset(self.space.end())
    }
}

/// The numbers of an array's elements, in order. Each stands for `each` things,
/// whose numbers have 32 bits.
fn numbers(path: &Path, elements: &[Numbered], each: u32) -> DBResult<Vec<u32>> {
    let mut numbers = collect(elements.iter().map(|(number, _)| *number))?;
    numbers.sort_unstable();
    if numbers.last().is_some_and(|&last| last >= u32::MAX / each) {
        return Err(damaged(path, elements[0].1.sector));
    }
    Ok(numbers)
}
