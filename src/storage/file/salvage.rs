//! Reading a damaged file: what a root reaches and has its checksum.
//!
//! Promises:
//!
//! 1. A sector that is given has its checksum, down from the root.
//! 2. With a damaged sector only that is lost which is reached through it. The
//!    damaged sectors are counted.
//! 3. A sector is of one block, table or blob only. The blobs that are given, each as
//!    often as a tree asks for it, are no longer than some times the file, whatever the
//!    file holds.
//!
//! Not here: what blocks and blobs mean, and files that cannot be read at all.

use std::cell::Cell;
use std::path::Path;

use super::array::Array;
use super::blob::{self, Blob};
use super::io::Reader;
use super::pointer::Sector;
use super::root::Root;
use crate::error::{DBError, DBResult};
use crate::fallible::{filled, push};
use crate::os::disk::File;
use crate::sort::heap_sort;

/// So often a salvage may ask for each blob, on average. Of a tree without damage it asks
/// for a value once, for a key twice.
const ASKED: u64 = 4;

/// The sectors that a root reaches and that are whole.
#[derive(Debug)]
pub(crate) struct ReadableSectors<'a> {
    file: &'a dyn File,
    path: &'a Path,
    /// The numbers of the blocks, in order, each with the place of its content.
    blocks: Vec<(u32, u32)>,
    contents: Vec<Sector>,
    /// Blobs as their records have them, in the order of their numbers. None has a sector
    /// of another.
    blobs: Vec<Blob>,
    /// Bytes of blobs that may yet be given.
    blob_bytes: Cell<u64>,
    /// Sectors that are damaged, those of blobs not counted.
    pub(crate) damaged: u64,
}

impl<'a> ReadableSectors<'a> {
    pub(crate) fn read(
        file: &'a dyn File,
        path: &'a Path,
        root: &Root,
    ) -> DBResult<ReadableSectors<'a>> {
        let mut reader = Reader::lenient(file, path)?;
        let (_, elements) = Array::read(&mut reader, root.blocks)?;
        let (mut blocks, mut contents) = (Vec::new(), Vec::new());
        contents.try_reserve_exact(elements.len())?;
        reader.read(elements, &mut |(block, _), sector| {
            push(&mut blocks, (block, contents.len() as u32))?;
            Ok(push(&mut contents, *sector)?)
        })?;
        heap_sort(&mut blocks, Ord::cmp);
        let (_, records) = Array::read(&mut reader, root.records)?;
        let (mut blobs, mut blob_bytes) = (Vec::new(), 0);
        let (found, damaged) = (Blob::read_records(&mut reader, records)?, reader.damaged);
        for mut blob in found {
            match blob.claim(&mut reader) {
                Err(DBError::OutOfMemory) => return Err(DBError::OutOfMemory),
                Err(_) => {}
                Ok(()) => {
                    blob_bytes += ASKED * u64::from(blob.len);
                    push(&mut blobs, blob)?;
                }
            }
        }
        heap_sort(&mut blobs, Blob::order);
        let blob_bytes = Cell::new(blob_bytes);
        Ok(ReadableSectors { file, path, blocks, contents, blobs, blob_bytes, damaged })
    }

    /// The numbers of all blocks.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = u32> + '_ {
        self.blocks.iter().map(|(block, _)| *block)
    }

    pub(crate) fn block(&self, block: u32) -> Option<&Sector> {
        let at = self.blocks.binary_search_by_key(&block, |(block, _)| *block).ok()?;
        self.contents.get(self.blocks[at].1 as usize)
    }

    /// A blob, if all of it can be read.
    pub(crate) fn blob(&self, id: u32) -> DBResult<Option<Vec<u8>>> {
        let left = |blob: &Blob| self.blob_bytes.get().checked_sub(u64::from(blob.len));
        let found = blob::find(&self.blobs, id).and_then(|blob| Some((blob, left(blob)?)));
        let Some((blob, left)) = found else {
            return Ok(None);
        };
        self.blob_bytes.set(left);
        let mut reader = Reader::strict(self.file, self.path)?;
        reader.seen = None;
        let mut bytes = filled(0, blob.len as usize)?;
        match Blob::new(id, blob.len, blob.pointer).read(&mut reader, &mut bytes) {
            Ok(()) => Ok(Some(bytes)),
            Err(DBError::OutOfMemory) => Err(DBError::OutOfMemory),
            Err(_) => Ok(None),
        }
    }
}
