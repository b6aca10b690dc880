//! Checkpoints: writing what has changed, and then a root that reaches it.
//!
//! The parts of a tree that have not changed are given first, so that their sectors are
//! kept, then those that are new. A new block may have the bytes
//! of a block that is in the file: of the one with its number, or of one in the
//! page that it comes from, counted from the end, where entries gather. Then that
//! sector is kept. So a page in which one entry has changed costs one sector or
//! two, not all of its sectors.

use super::DataFile;
use super::array::{Array, ArrayBuilder, ArrayRoot, Levels};
use super::blob::{self, Blob, RECORDS};
use super::io::{Reader, Writer, offset};
use super::pointer::{BlockPointer, SECTOR, Sector, hash};
use super::root::{Fields, Root};
use super::space::{Bits, RESERVED, SLACK};
use crate::error::{DBError, DBResult, text};
use crate::fallible::{collect, push};
use crate::planted::{self, Bug};
use crate::sort::{heap_sort, merge};

/// A file in use shrinks by up to as many sectors at a time: 32 MiB.
const STEP: u32 = 1 << 16;

/// A checkpoint in the making: what the next root will reach.
#[derive(Debug)]
pub(crate) struct Checkpoint<'a> {
    writer: Writer<'a>,
    blocks: ArrayBuilder<'a>,
    /// Blocks that the next root has.
    live: Bits,
    records: &'a Array,
    blobs: &'a [Blob],
    kept_blobs: Bits,
    new_blobs: Vec<Blob>,
}

/// Gives a checkpoint all that the file is to hold.
type Fill<'a> = dyn Fn(&mut Checkpoint<'_>) -> DBResult<()> + 'a;

/// The result of a checkpoint, which no root reaches yet.
struct Written {
    blocks: (ArrayRoot, Levels),
    records: (ArrayRoot, Levels),
    kept_blobs: Bits,
    new_blobs: Vec<Blob>,
    bytes: u64,
}

impl Checkpoint<'_> {
    /// Keeps blocks in a row that have not changed.
    pub(crate) fn keep_blocks(&mut self, block: u32, count: u32) -> DBResult<()> {
        for block in block..block + count {
            self.writer.keep(self.blocks.base.get(block).sector)?;
            self.live.add(block)?;
        }
        Ok(())
    }

    /// Puts blocks in a row that may have changed. They come from a page that ended
    /// before block `origin`.
    pub(crate) fn put_blocks(
        &mut self,
        block: u32,
        origin: u32,
        contents: &[Sector],
    ) -> DBResult<()> {
        let first = origin.saturating_sub(contents.len() as u32);
        for (at, content) in (0..).zip(contents) {
            let hash = hash(content);
            let mut pointer = BlockPointer::default();
            for old in [block + at, first + at].map(|block| self.blocks.base.get(block)) {
                let is_same = !old.is_none() && old.hash == hash && old.sector < self.writer.limit;
                if is_same && self.writer.space.keep(old.sector)? {
                    pointer = old;
                    break;
                }
            }
            if pointer.is_none() {
                pointer = self.writer.write(content)?;
            }
            self.blocks.set(block + at, pointer)?;
            self.live.add(block + at)?;
        }
        Ok(())
    }

    /// Keeps a blob that is in the file.
    pub(crate) fn keep_blob(&mut self, id: u32) -> DBResult<()> {
        let blob = blob::find(self.blobs, id).ok_or(DBError::Internal)?;
        blob.sectors().try_for_each(|sector| self.writer.keep(sector))?;
        self.kept_blobs.add(id)?;
        Ok(())
    }

    /// Writes a blob that is not in the file yet.
    pub(crate) fn put_blob(&mut self, id: u32, bytes: &[u8]) -> DBResult<()> {
        let blob = Blob::write(id, bytes, &mut self.writer)?;
        Ok(push(&mut self.new_blobs, blob)?)
    }

    fn finish(mut self) -> DBResult<Written> {
        for (block, _) in self.blocks.base.elements() {
            if !self.live.has(block) {
                self.blocks.set(block, BlockPointer::default())?;
            }
        }
        let blocks = self.blocks.finish(&mut self.writer)?;
        heap_sort(&mut self.new_blobs, Blob::order);
        let mut records = ArrayBuilder::new(self.records);
        let gone = self.blobs.iter().filter(|blob| !self.kept_blobs.has(blob.id));
        let changed = gone.chain(&self.new_blobs).map(|blob| blob.id / RECORDS);
        let limit = self.writer.limit;
        let beyond = self.records.elements().filter(|(_, pointer)| pointer.sector >= limit);
        let mut changed = collect(changed.chain(beyond.map(|(number, _)| number)))?;
        changed.sort_unstable();
        changed.dedup();
        for (number, pointer) in self.records.elements() {
            if changed.binary_search(&number).is_err() {
                self.writer.keep(pointer.sector)?;
            }
        }
        for number in changed {
            let mut sector = [0; SECTOR];
            for (at, record) in (0..).zip(sector.as_chunks_mut().0) {
                let id = number * RECORDS + at;
                let kept = || blob::find(self.blobs, id).filter(|_| self.kept_blobs.has(id));
                if let Some(blob) = blob::find(&self.new_blobs, id).or_else(kept) {
                    *record = blob.record();
                }
            }
            let is_empty = blob::parse_records(&sector).next().is_none();
            let pointer =
                if is_empty { BlockPointer::default() } else { self.writer.write(&sector)? };
            records.set(number, pointer)?;
        }
        let records = records.finish(&mut self.writer)?;
        self.writer.flush()?;
        let (kept_blobs, new_blobs) = (self.kept_blobs, self.new_blobs);
        Ok(Written { blocks, records, kept_blobs, new_blobs, bytes: self.writer.written })
    }

    /// Keeps what lies before the limit, and copies all else.
    fn relocate(&mut self) -> DBResult<()> {
        let (blocks, blobs, limit) = (self.blocks.base, self.blobs, self.writer.limit);
        let mut far = Vec::new();
        for (block, pointer) in blocks.elements() {
            if pointer.sector < limit {
                self.keep_blocks(block, 1)?;
            } else {
                push(&mut far, (block, pointer))?;
            }
        }
        let is_near = |blob: &&Blob| blob.sectors().all(|sector| sector < limit);
        for blob in blobs.iter().filter(is_near) {
            self.keep_blob(blob.id)?;
        }
        let mut reader = Reader::strict(self.writer.file, self.writer.path)?;
        reader.read(far, &mut |(block, _), sector| {
            self.put_blocks(block, block + 1, std::slice::from_ref(sector))
        })?;
        for blob in blobs.iter().filter(|blob| !is_near(blob)) {
            let blob = blob.relocate(&mut reader, &mut self.writer)?;
            push(&mut self.new_blobs, blob)?;
        }
        Ok(())
    }
}

impl DataFile {
    /// Makes the file hold what `fill` gives, with these fields in its root. If that
    /// fails, the file holds what it did; or, if writing the new root has failed and
    /// it may be on disk or not, the one or the other.
    pub(crate) fn checkpoint(&mut self, fields: Fields, fill: &Fill<'_>) -> DBResult<()> {
        self.space.begin(false);
        match self.rewrite(fields, u32::MAX, fill) {
            // There may be gaps that suffice.
            Err(DBError::Full(_)) => {
                self.space.begin(true);
                self.rewrite(fields, u32::MAX, fill)
            }
            done => done,
        }
    }

    /// Writes a checkpoint. If it fails, what it has added to the file is cut off.
    fn rewrite(&mut self, fields: Fields, limit: u32, fill: &Fill<'_>) -> DBResult<()> {
        let done = self.write_new(limit, fill).and_then(|new| self.publish(fields, new));
        if done.is_err() {
            let end = offset(self.space.give_up());
            if self.file.len().is_ok_and(|len| len > end) {
                let _ = self.file.set_len(end);
            }
        }
        done
    }

    fn write_new(&mut self, limit: u32, fill: &Fill<'_>) -> DBResult<Written> {
        let mut checkpoint = Checkpoint {
            writer: Writer::new(&*self.file, &self.path, &mut self.space, limit),
            blocks: ArrayBuilder::new(&self.blocks),
            live: Bits::default(),
            records: &self.records,
            blobs: &self.blobs,
            kept_blobs: Bits::default(),
            new_blobs: Vec::new(),
        };
        fill(&mut checkpoint)?;
        checkpoint.finish()
    }

    /// Waits until what was written is on disk, and makes it reachable.
    fn publish(&mut self, fields: Fields, written: Written) -> DBResult<()> {
        let Written { blocks, records, kept_blobs, new_blobs, bytes } = written;
        // Nothing may be refused once the root is written.
        self.blocks.reserve(&blocks.1)?;
        self.records.reserve(&records.1)?;
        self.blobs.try_reserve(new_blobs.len())?;
        if bytes > 0 {
            self.sync()?;
        }
        let (sequence, blocks_root, records_root) = (self.root.sequence + 1, blocks.0, records.0);
        let root = Root { sequence, fields, blocks: blocks_root, records: records_root };
        if let Err(error) = self.write_root(&root) {
            self.space.strand();
            return Err(error);
        }
        self.space.commit();
        self.root = root;
        self.blocks.accept(blocks.0, blocks.1);
        self.records.accept(records.0, records.1);
        self.blobs.retain(|blob| kept_blobs.has(blob.id));
        merge(&mut self.blobs, new_blobs, Blob::order);
        Ok(())
    }

    /// Writes a root to its slot, and syncs it.
    fn write_root(&self, root: &Root) -> DBResult<()> {
        let written = self.file.write(&root.to_bytes(), root.slot_start());
        written.map_err(|error| DBError::io("write", &self.path, &error))?;
        self.sync()
    }

    fn sync(&self) -> DBResult<()> {
        // A lack of space that shows only now is a failure like any other.
        self.file.sync().map_err(|error| {
            DBError::Io(text(format_args!("cannot sync {}: {error}", self.path.display())))
        })
    }

    /// Writes another root that reaches what the newest one does.
    pub(crate) fn mark(&mut self, fields: Fields) -> DBResult<()> {
        let root = Root { sequence: self.root.sequence + 1, fields, ..self.root };
        if let Err(error) = self.write_root(&root) {
            self.space.strand();
            return Err(error);
        }
        self.root = root;
        Ok(())
    }

    /// Writes the newest root once more where it is: after a crash it may have
    /// been read from a cache, and not be on disk.
    pub(crate) fn confirm(&mut self) -> DBResult<()> {
        if planted::is(Bug::RootNotConfirmed) {
            return Ok(());
        }
        self.write_root(&self.root)
    }

    /// Moves what lies at the end to free sectors before it and cuts the file
    /// off, if that makes it notably smaller. A file that is in use may be over twice as
    /// large as its content, and shrinks in steps.
    pub(crate) fn compact(&mut self, in_use: bool) -> DBResult<()> {
        // A file with the same content needs so many sectors, and some more.
        let tables = self.blocks.levels.iter().chain(&self.records.levels).map(Vec::len);
        let more = tables.sum::<usize>() as u32 + 2 * RECORDS + RESERVED;
        let (used, end) = (self.space.used_count(), self.space.end());
        let least = used.saturating_add(used / 32).saturating_add(more); // for tables of blobs
        let (most, limit) = if in_use {
            (
                (least / 8).saturating_mul(17).saturating_add(SLACK),
                least.max(end.saturating_sub(STEP)),
            )
        } else {
            ((least / 7).saturating_mul(8), least)
        };
        if end <= most {
            return Ok(());
        }
        self.space.begin(true);
        self.rewrite(self.root.fields, limit, &|checkpoint| checkpoint.relocate())?;
        let end = offset(self.space.cut());
        let cut = self.file.set_len(end);
        cut.map_err(|error| DBError::io("cut off", &self.path, &error))
    }
}
