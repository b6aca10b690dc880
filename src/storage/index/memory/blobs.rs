//! Blobs: allocations of any length, for keys and values too long for a page.
//!
//! A blob of up to 64 KiB is an item of a slab, in one of two spaces. A longer one is a
//! mapping of its own; a few mappings that were given back are kept for reuse. So the memory
//! of what is deleted goes back to the system, whatever remains beside it.

use std::mem::take;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::page::BlobId;
use super::slabs::SLAB_UNITS;
use super::space::{Chunks, LEFT, Space};
use crate::error::OutOfMemory;
use crate::os::memory::{PAGE, Region};
use crate::segments::Segments;

/// The spaces for blobs: bytes of a unit, and the most bytes of an item.
const SPACES: [(usize, usize); 2] = [(128, 4 << 10), (2 << 10, 64 << 10)];

/// Slabs of each space that are left for blobs which replace one of the same length.
pub(super) const RESERVE: usize = 2;

/// Numbers that are looked at for a blob to be moved.
const LOOKED_AT: usize = 64;

/// The most mappings that are kept for reuse, and the most bytes of them, beside 1/16 of
/// those in use.
const KEPT: usize = 16;
const KEPT_BYTES: usize = 4 << 20;

/// A blob: its allocation is one byte longer than `len`, for the NUL.
#[derive(Debug, Default)]
pub(super) struct Blob {
    /// Null if there is no blob with this number.
    start: AtomicPtr<u8>,
    birth: AtomicU64,
    len: AtomicU32,
    /// Its first unit, if it lies in a space; else the pages of its mapping.
    place: AtomicU32,
}

impl Blob {
    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize
    }

    /// Takes the mapping of a blob that has one.
    ///
    /// # Safety
    ///
    /// Nobody holds the bytes of the blob.
    unsafe fn take_mapping(&self) -> Region {
        let start = self.start.swap(std::ptr::null_mut(), Ordering::Relaxed);
        let pages = self.place.load(Ordering::Relaxed) as usize;
        // SAFETY: `Blobs::allocate` made it from a region, and the null now in the place of its
        // start keeps it from being taken again.
        unsafe { Region::from_parts(start, pages * PAGE) }
    }
}

/// The blobs by their numbers, and their bytes, shared by the live tree and its snapshots.
#[derive(Debug, Default)]
pub(super) struct BlobTable {
    blobs: Segments<Blob, 64, 26>,
    chunks: [Chunks; SPACES.len()],
}

/// The free blobs: the books of the one who changes them.
#[derive(Debug)]
pub(super) struct Blobs {
    spaces: [Space; SPACES.len()],
    /// Numbers that can be used; room for all that were ever made is reserved.
    free: Vec<u32>,
    segments: usize,
    /// All numbers, used or free.
    numbers: u32,
    pub(super) count: usize,
    /// Bytes of the mappings in use.
    mapped: usize,
    kept: [Option<Region>; KEPT],
    /// The number that a blob to be moved is looked for from, and the numbers that were looked
    /// at since a blob was freed.
    hand: u32,
    passed: u32,
}

/// The space for a blob of `len` bytes, and the units that it takes there; `None` if it has
/// a mapping of its own.
fn space_of(len: usize) -> Option<(usize, u32)> {
    let at = SPACES.iter().position(|(_, most)| len < *most)?;
    Some((at, (len + 1).div_ceil(SPACES[at].0) as u32))
}

impl BlobTable {
    /// Whether the table has grown as far as a number.
    pub(super) fn has_number(&self, id: BlobId) -> bool {
        self.blobs.get(id.0).is_some()
    }

    /// Whether there is a blob with a number.
    pub(super) fn has(&self, id: BlobId) -> bool {
        self.blobs.get(id.0).is_some_and(|blob| !blob.start.load(Ordering::Relaxed).is_null())
    }

    fn entry(&self, id: BlobId) -> &Blob {
        self.blobs.get(id.0).expect("a blob id from another store")
    }

    /// The epoch in which a blob was made.
    pub(super) fn birth(&self, id: BlobId) -> u64 {
        self.entry(id).birth.load(Ordering::Relaxed)
    }

    /// The bytes of a blob, and the NUL.
    ///
    /// # Safety
    ///
    /// While the slice lives, nobody frees the blob.
    pub(super) unsafe fn bytes(&self, id: BlobId) -> &[u8] {
        let blob = self.entry(id);
        let start = blob.start.load(Ordering::Relaxed);
        assert!(!start.is_null(), "a blob that is not there");
        // SAFETY: `start` and `len` were set together by `Blobs::add` for an allocation of
        // len + 1 bytes, which is there until freed.
        unsafe { std::slice::from_raw_parts(start, blob.len() + 1) }
    }

    /// Overwrites a blob with as many bytes, as if it were made in the epoch `birth`.
    ///
    /// # Safety
    ///
    /// Nobody holds its bytes.
    pub(super) unsafe fn overwrite(&self, id: BlobId, bytes: &[u8], birth: u64) {
        let blob = self.entry(id);
        assert!(self.has(id) && blob.len() == bytes.len(), "a blob keeps its length");
        blob.birth.store(birth, Ordering::Relaxed);
        // SAFETY: the allocation has as many bytes, and the caller promises that nobody else
        // holds them.
        unsafe {
            let start = blob.start.load(Ordering::Relaxed);
            start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }
}

impl Drop for BlobTable {
    fn drop(&mut self) {
        for blob in self.blobs.iter() {
            if !blob.start.load(Ordering::Relaxed).is_null() && space_of(blob.len()).is_none() {
                // SAFETY: with `self` going, nobody is left who could hold a slice.
                drop(unsafe { blob.take_mapping() });
            }
        }
    }
}

impl Blobs {
    pub(super) fn new() -> Blobs {
        Blobs {
            spaces: SPACES.map(|(unit, _)| Space::new(unit, false)),
            free: Vec::new(),
            segments: 0,
            numbers: 0,
            count: 0,
            mapped: 0,
            kept: Default::default(),
            hand: 0,
            passed: 0,
        }
    }

    /// Makes room in the table for one more blob; returns its number.
    pub(super) fn next(&mut self, table: &BlobTable) -> Result<BlobId, OutOfMemory> {
        if self.free.is_empty() {
            self.add_segment(table)?;
        }
        Ok(BlobId(*self.free.last().expect("a segment has numbers")))
    }

    #[cold]
    pub(super) fn add_segment(&mut self, table: &BlobTable) -> Result<(), OutOfMemory> {
        let ids = table.blobs.grow(self.segments)?;
        // Room for every id there is, so that freeing a blob never allocates.
        self.free.try_reserve(ids.end as usize)?;
        self.numbers = ids.end;
        self.free.extend(ids.rev());
        self.segments += 1;
        Ok(())
    }

    /// Makes the blob with a number that no blob has. `fill` provides its bytes, which are
    /// arbitrary ones before. Leaves `left` slabs.
    pub(super) fn add<E: From<OutOfMemory>>(
        &mut self,
        table: &BlobTable,
        id: BlobId,
        len: u32,
        birth: u64,
        left: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let blob = table.entry(id);
        assert!(!table.has(id), "a number has one blob");
        let (start, place) = self.allocate(table, len as usize, left)?;
        blob.birth.store(birth, Ordering::Relaxed);
        blob.len.store(len, Ordering::Relaxed);
        blob.place.store(place, Ordering::Relaxed);
        blob.start.store(start, Ordering::Relaxed);
        if self.free.last() == Some(&id.0) {
            self.free.pop();
        }
        self.count += 1;
        // SAFETY: the allocation has one byte more than `len`. All of it was initialised by
        // the system, and nobody else knows it yet.
        fill(unsafe {
            start.add(len as usize).write(0);
            std::slice::from_raw_parts_mut(start, len as usize)
        })
    }

    /// Memory for a blob, and its [`Blob::place`].
    fn allocate(
        &mut self,
        table: &BlobTable,
        len: usize,
        left: usize,
    ) -> Result<(*mut u8, u32), OutOfMemory> {
        if let Some((at, units)) = space_of(len) {
            let (space, chunks) = (&mut self.spaces[at], &table.chunks[at]);
            let unit = space.take(chunks, units, left)?;
            let place = chunks.place(unit as usize * SPACES[at].0, len + 1);
            return Ok((place.expect("it lies in a chunk"), unit));
        }
        let len = (len + 1).next_multiple_of(PAGE);
        let fits = |kept: &&mut Option<Region>| {
            kept.as_ref().is_some_and(|kept| (len..=len + len / 4).contains(&kept.len()))
        };
        let region = match self.kept.iter_mut().find(fits).and_then(Option::take) {
            Some(region) => region,
            None => Region::map_to_fill(len, left * LEFT).ok_or(OutOfMemory)?,
        };
        self.mapped += region.len();
        let pages = (region.len() / PAGE) as u32;
        Ok((region.into_start(), pages))
    }

    /// Frees a blob.
    ///
    /// # Safety
    ///
    /// Nobody holds its bytes.
    pub(super) unsafe fn free(&mut self, table: &BlobTable, id: BlobId) {
        let blob = table.entry(id);
        assert!(table.has(id), "a blob is freed once");
        match space_of(blob.len()) {
            Some((at, units)) => {
                blob.start.store(std::ptr::null_mut(), Ordering::Relaxed);
                let unit = blob.place.load(Ordering::Relaxed);
                // SAFETY: the caller promises that nobody holds the bytes.
                unsafe { self.spaces[at].give(&table.chunks[at], unit, units) };
            }
            None => {
                // SAFETY: as for an item of a slab.
                let region = unsafe { blob.take_mapping() };
                self.mapped -= region.len();
                self.keep(region);
            }
        }
        self.count -= 1;
        self.passed = 0;
        self.free.push(id.0);
    }

    /// Whether so much memory of the spaces is idle that blobs should move.
    pub(super) fn is_sparse(&self) -> bool {
        self.passed < self.numbers && self.spaces.iter().any(|space| space.slabs.is_sparse())
    }

    /// A blob in a thin slab of a space of which much is idle; `None` if there is none among
    /// some numbers.
    pub(super) fn next_thin(&mut self, table: &BlobTable) -> Option<BlobId> {
        if !self.is_sparse() {
            return None;
        }
        for _ in 0..LOOKED_AT {
            if self.passed >= self.numbers {
                break;
            }
            let id = BlobId(self.hand);
            self.hand = (self.hand + 1) % self.numbers;
            self.passed += 1;
            let blob = table.entry(id);
            let at = space_of(blob.len()).filter(|_| table.has(id)).map(|(at, _)| at);
            let slab = blob.place.load(Ordering::Relaxed) / SLAB_UNITS;
            if let Some(slabs) = at.map(|at| &mut self.spaces[at].slabs)
                && slabs.is_sparse()
                && slabs.is_thin(slab as usize)
            {
                return Some(id);
            }
        }
        None
    }

    /// Moves a blob of a thin slab. Returns its length.
    ///
    /// # Safety
    ///
    /// Nobody holds its bytes.
    pub(super) unsafe fn relocate(&mut self, table: &BlobTable, id: BlobId) -> usize {
        let (blob, len) = (table.entry(id), table.entry(id).len());
        let (at, units) = space_of(len).expect("it lies in a slab");
        let Ok((start, place)) = self.allocate(table, len, 0) else {
            return 0; // a lower slab has room, so none is refused
        };
        let from = blob.start.swap(start, Ordering::Relaxed);
        let old = blob.place.swap(place, Ordering::Relaxed);
        self.passed = 0;
        // SAFETY: both allocations have a byte more than `len`, and the caller promises that
        // nobody holds the old one, which the blob has left.
        unsafe {
            start.copy_from_nonoverlapping(from, len + 1);
            self.spaces[at].give(&table.chunks[at], old, units);
        }
        len
    }

    /// Keeps a mapping for reuse, in the place of the oldest one that is kept; but no more
    /// than is worth it.
    fn keep(&mut self, region: Region) {
        self.kept.rotate_right(1);
        self.kept[0] = Some(region);
        let mut bytes = 0;
        for kept in &mut self.kept {
            bytes += kept.as_ref().map_or(0, Region::len);
            if bytes > KEPT_BYTES + self.mapped / 16 {
                drop(take(kept));
            }
        }
    }

    /// Forgets the numbers of the blobs that there are.
    pub(super) fn take_numbers(&mut self, table: &BlobTable) {
        self.free.retain(|&id| !table.has(BlobId(id)));
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        let spaces = self.spaces.iter().map(|space| space.slabs.resident_bytes());
        let kept = self.kept.iter().flatten().map(Region::len);
        let table = self.free.capacity() * (size_of::<u32>() + size_of::<Blob>());
        self.mapped + spaces.chain(kept).sum::<usize>() + table
    }
}
