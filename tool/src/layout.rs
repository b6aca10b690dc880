//! `Layout`: how the sectors of a database file are used, and how full its leaves are.
//!
//! It is read from the file itself, by `docs/FORMAT.md` and the docs of nodes. The library has
//! opened the file before, and holds it locked: so what is read has been verified. A file of
//! another version of the format has no layout here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

const SECTOR: u64 = 512;
const SLOT: usize = 4096;
const ROOT_SECTORS: u64 = 16;

/// Pointers in a table, and bytes of a pointer.
const FANOUT: usize = 42;
const POINTER: usize = 12;

/// Bytes at the beginning of a page before its node.
const PAGE_HEADER: usize = 16;

/// What the sectors of a file are used for.
#[derive(Debug, Default)]
pub struct Layout {
    pub file_bytes: u64,
    /// Bytes that nothing leads to.
    pub free_bytes: u64,
    /// Pages of the tree, and their bytes.
    pub pages: u64,
    pub page_bytes: u64,
    /// Bytes of blobs: long values, and the tails of long keys.
    pub blob_bytes: u64,
    /// Leaves that are used to less than 10, 20, ..., 100 per cent.
    pub fill: [u64; 10],
}

impl Layout {
    /// Reads the layout of a file; none if its format is not known here.
    pub fn read(path: &Path) -> io::Result<Option<Layout>> {
        let file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        let Some(root) = newest_root(&file)? else { return Ok(None) };
        let mut walk = Walk { file, sectors: ROOT_SECTORS, layout: Layout::default(), entries: 0 };
        let blocks = walk.array(&root[80..96])?;
        let page_sectors = blocks.iter().filter(|sector| **sector != 0).count() as u64;
        let before = walk.sectors;
        for sector in walk.array(&root[96..112])?.into_iter().filter(|sector| *sector != 0) {
            walk.blobs(sector)?;
        }
        let blob_sectors = walk.sectors - before;
        let (page, height, count) = (get32(&root, 112), get32(&root, 116), get64(&root, 120));
        if count > 0 {
            walk.page(&blocks, page, height)?;
        }
        let used = walk.sectors * SECTOR;
        if walk.entries != count || used > file_bytes {
            return Ok(None);
        }
        Ok(Some(Layout {
            file_bytes,
            free_bytes: file_bytes - used,
            page_bytes: page_sectors * SECTOR,
            blob_bytes: blob_sectors * SECTOR,
            ..walk.layout
        }))
    }
}

/// The newest root slot that is whole and of version 1.
fn newest_root(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut newest: Option<Vec<u8>> = None;
    for offset in [0, SLOT as u64] {
        let mut slot = vec![0; SLOT];
        match file.read_exact_at(&mut slot, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            read => read?,
        }
        let is_whole =
            slot.starts_with(b"minidb\r\n") && get64(&slot, 4088) == xxh3_64(&slot[..4088]);
        let is_known = get32(&slot, 8) == 1 && get32(&slot, 12) == 0;
        let is_newer = newest.as_ref().is_none_or(|it| get64(it, 16) < get64(&slot, 16));
        if is_whole && is_known && is_newer {
            newest = Some(slot);
        }
    }
    Ok(newest)
}

/// A walk over all that a root leads to.
struct Walk {
    file: File,
    /// Sectors that are used.
    sectors: u64,
    layout: Layout,
    /// Entries of leaves.
    entries: u64,
}

impl Walk {
    fn sector(&self, number: u32) -> io::Result<[u8; SECTOR as usize]> {
        let mut bytes = [0; SECTOR as usize];
        self.file.read_exact_at(&mut bytes, u64::from(number) * SECTOR)?;
        Ok(bytes)
    }

    /// The sectors of the elements of an array, 0 where there is none.
    fn array(&mut self, root: &[u8]) -> io::Result<Vec<u32>> {
        let mut elements = vec![get32(root, 4)];
        for _ in 0..get32(root, 0) {
            let mut below = Vec::with_capacity(elements.len() * FANOUT);
            for table in elements {
                match table {
                    0 => below.extend_from_slice(&[0; FANOUT]),
                    _ => {
                        self.sectors += 1;
                        let bytes = self.sector(table)?;
                        below.extend((0..FANOUT).map(|entry| get32(&bytes, entry * POINTER)));
                    }
                }
            }
            elements = below;
        }
        self.sectors += elements.iter().filter(|sector| **sector != 0).count() as u64;
        Ok(elements)
    }

    /// Counts the sectors of the blobs whose records stand in a sector.
    fn blobs(&mut self, sector: u32) -> io::Result<()> {
        let records = self.sector(sector)?;
        for record in records.chunks_exact(4 + POINTER) {
            let mut row = u64::from(get32(record, 0)).div_ceil(SECTOR);
            self.sectors += row;
            while row > 1 {
                row = row.div_ceil(FANOUT as u64);
                self.sectors += row;
            }
        }
        Ok(())
    }

    /// Counts a page and all below it. Leaves have height 0.
    fn page(&mut self, blocks: &[u32], id: u32, height: u32) -> io::Result<()> {
        let (first, len) = ((id >> 3) as usize, (id & 7) as usize + 1);
        let blocks_of_page = blocks.get(first..first + len).ok_or(io::ErrorKind::InvalidData)?;
        let mut page = Vec::with_capacity(len * SECTOR as usize);
        // The numbers of a leaf stand in its first block.
        for block in &blocks_of_page[..if height == 0 { 1 } else { len }] {
            page.extend_from_slice(&self.sector(*block)?);
        }
        self.layout.pages += 1;
        let node = &page[PAGE_HEADER..];
        let number = |at: usize| usize::from(u16::from_le_bytes([node[at], node[at + 1]]));
        let (count, slots, top, dead) =
            (number(0), 16 + number(2).next_multiple_of(8), number(4), number(6));
        if height == 0 {
            let room = len * SECTOR as usize - PAGE_HEADER;
            let free = top.saturating_sub(slots + count * 8) + dead;
            let used = room.saturating_sub(free);
            self.layout.fill[(used * 10 / room).min(9)] += 1;
            self.entries += count as u64;
            return Ok(());
        }
        self.page(blocks, get32(node, 8), height - 1)?;
        for slot in 0..count {
            let at = slots + slot * 16 + 8;
            let child = node.get(at..at + 4).ok_or(io::ErrorKind::InvalidData)?;
            self.page(blocks, get32(child, 0), height - 1)?;
        }
        Ok(())
    }
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("4 bytes are there"))
}

fn get64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("8 bytes are there"))
}
