//! Reading and writing many sectors: adjacent ones in one call, by their order in
//! the file.

use std::path::Path;

use super::pointer::{BlockPointer, Numbered, SECTOR, Sector, hash, sort};
use super::space::{Bits, RESERVED, Space};
use crate::error::{DBError, DBResult, text};
use crate::os::disk::File;

/// The most bytes that one call reads or writes.
const ROW: usize = 1 << 18;

/// A gap of up to as many sectors is read rather than skipped.
const GAP: u32 = 8;

/// Where a sector begins in the file.
pub(super) fn offset(sector: u32) -> u64 {
    u64::from(sector) * SECTOR as u64
}

/// The error for a sector that does not have its checksum.
pub(super) fn damaged(path: &Path, sector: u32) -> DBError {
    let at = offset(sector);
    let path = path.display();
    DBError::Corrupt(text(format_args!("{path}: the bytes at {at} do not have their checksum")))
}

/// Writes the sectors of a checkpoint to free space, adjacent ones together.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) file: &'a dyn File,
    pub(super) path: &'a Path,
    pub(super) space: &'a mut Space,
    /// Sectors from here on are not kept; their content is written elsewhere.
    pub(super) limit: u32,
    /// Where the buffered sectors go in the file.
    start: u64,
    buffer: Vec<u8>,
    /// Bytes that were written to the file.
    pub(super) written: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        file: &'a dyn File,
        path: &'a Path,
        space: &'a mut Space,
        limit: u32,
    ) -> Writer<'a> {
        Writer { file, path, space, limit, start: 0, buffer: Vec::new(), written: 0 }
    }

    /// Writes a sector to free space.
    pub(super) fn write(&mut self, content: &Sector) -> DBResult<BlockPointer> {
        let sector = self.space.alloc()?.ok_or_else(|| {
            let path = self.path.display();
            DBError::Full(text(format_args!("{path} cannot be larger than 2 TiB")))
        })?;
        let at = offset(sector);
        if at != self.start + self.buffer.len() as u64 || self.buffer.len() >= ROW {
            self.flush()?;
            self.start = at;
        }
        self.buffer.try_reserve(SECTOR)?;
        self.buffer.extend_from_slice(content);
        Ok(BlockPointer { sector, hash: hash(content) })
    }

    /// Keeps a sector of the newest root for the next one.
    pub(super) fn keep(&mut self, sector: u32) -> DBResult<()> {
        if sector == 0 || !self.space.keep(sector)? {
            return Err(DBError::Internal);
        }
        Ok(())
    }

    /// Writes the buffered sectors to the file.
    pub(super) fn flush(&mut self) -> DBResult<()> {
        let written = self.file.write(&self.buffer, self.start);
        written.map_err(|error| DBError::io("write", self.path, &error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads sectors and verifies them.
///
/// A strict reader fails at the first sector that is damaged; a lenient one counts
/// such sectors and goes on. A sector that two pointers lead to is damaged.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    file: &'a dyn File,
    pub(super) path: &'a Path,
    pub(super) file_len: u64,
    is_lenient: bool,
    /// Sectors that a lenient reader has left out.
    pub(super) damaged: u64,
    /// Sectors that were read; `None` if a sector may be read again.
    pub(super) seen: Option<Bits>,
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn strict(file: &'a dyn File, path: &'a Path) -> DBResult<Reader<'a>> {
        let file_len = file.len().map_err(|error| DBError::io("read", path, &error))?;
        Ok(Reader {
            file,
            path,
            file_len,
            is_lenient: false,
            damaged: 0,
            seen: Some(Bits::default()),
            buffer: Vec::new(),
        })
    }

    pub(super) fn lenient(file: &'a dyn File, path: &'a Path) -> DBResult<Reader<'a>> {
        Ok(Reader { is_lenient: true, ..Reader::strict(file, path)? })
    }

    /// Goes on without what cannot be read, if the reader is lenient, and counts the
    /// sectors.
    pub(super) fn skip(&mut self, count: u64, error: impl FnOnce() -> DBError) -> DBResult<()> {
        if !self.is_lenient {
            return Err(error());
        }
        self.damaged += count;
        Ok(())
    }

    /// The sectors of the file. No more pointers than these can lead to a sector each.
    pub(super) fn sectors(&self) -> u32 {
        u32::try_from(self.file_len / SECTOR as u64).unwrap_or(u32::MAX)
    }

    /// Notes that a sector is read; false if it cannot be a block, or was read before.
    pub(super) fn see(&mut self, sector: u32) -> DBResult<bool> {
        let is_there = (RESERVED..self.sectors()).contains(&sector);
        match &mut self.seen {
            Some(seen) => Ok(is_there && seen.add(sector)?),
            None => Ok(true),
        }
    }

    /// Reads sectors, given in any order, and calls `each` with every one of them.
    pub(super) fn read(
        &mut self,
        mut wanted: Vec<Numbered>,
        each: &mut dyn FnMut(Numbered, &Sector) -> DBResult<()>,
    ) -> DBResult<()> {
        sort(&mut wanted, |(_, pointer)| pointer.sector);
        let (mut buffer, path) = (std::mem::take(&mut self.buffer), self.path);
        let mut rest = &wanted[..];
        while let Some((_, BlockPointer { sector: first, .. })) = rest.first() {
            let within = |pair: &[Numbered]| {
                let (here, next) = (pair[0].1.sector, pair[1].1.sector);
                next - here <= GAP && (next - first) as usize * SECTOR < ROW
            };
            let count = 1 + rest.windows(2).take_while(|pair| within(pair)).count();
            let (row, after) = rest.split_at(count);
            let bytes = (u64::from(row[count - 1].1.sector - first) + 1) * SECTOR as u64;
            // A file that was cut off is read up to its end.
            let there = self.file_len.saturating_sub(offset(*first)).min(bytes) as usize;
            buffer.clear();
            buffer.try_reserve(there)?;
            buffer.resize(there, 0);
            let read = self.file.read(&mut buffer, offset(*first));
            let (sectors, _) = buffer.as_chunks::<SECTOR>();
            for &(number, pointer) in row {
                let content = sectors.get((pointer.sector - first) as usize);
                match (&read, content) {
                    (Err(error), _) => self.skip(1, || DBError::io("read", path, error))?,
                    (Ok(()), Some(content))
                        if pointer.fits(content) && self.see(pointer.sector)? =>
                    {
                        each((number, pointer), content)?;
                    }
                    _ => self.skip(1, || damaged(path, pointer.sector))?,
                }
            }
            rest = after;
        }
        self.buffer = buffer;
        Ok(())
    }
}
