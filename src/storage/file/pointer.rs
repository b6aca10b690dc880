//! Block pointers: where a sector lies in the file, and the checksum of its content.
//!
//! ```text
//! 0   number of the sector, u32; 0 in the pointer to nothing
//! 4   checksum (XXH3) of its 512 bytes, u64
//! ```
//!
//! Numbers are little-endian. A sector is verified by the pointer to it, so a
//! sector that was misplaced, or that is of another time, does not pass.

use xxhash_rust::xxh3::xxh3_64;

use crate::planted::{self, Bug};

/// Bytes of a sector. Everything in the file is a multiple of it.
pub(super) const SECTOR: usize = 512;

/// The content of a sector.
pub(super) type Sector = [u8; SECTOR];

/// Bytes of a block pointer in the file.
pub(super) const POINTER: usize = 12;

/// Where a sector lies, and its checksum. The default points to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BlockPointer {
    pub(super) sector: u32,
    pub(super) hash: [u8; 8],
}

/// A block pointer with the number of the element that it points to.
pub(super) type Numbered = (u32, BlockPointer);

/// Sorts block pointers, of which a file has many. Not generic, so that the code of the sort
/// stands in the library once.
pub(super) fn sort(pointers: &mut [Numbered], by: fn(&Numbered) -> u32) {
    pointers.sort_unstable_by_key(by);
}

impl BlockPointer {
    pub(super) fn is_none(self) -> bool {
        self.sector == 0
    }

    /// Whether a sector has the checksum of the pointer.
    pub(super) fn fits(self, content: &Sector) -> bool {
        hash(content) == self.hash || planted::is(Bug::SectorUnchecked)
    }

    pub(super) fn to_bytes(self) -> [u8; POINTER] {
        let mut bytes = [0; POINTER];
        bytes[..4].copy_from_slice(&self.sector.to_le_bytes());
        bytes[4..].copy_from_slice(&self.hash);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; POINTER]) -> BlockPointer {
        let (sector, hash) = bytes.split_first_chunk().expect("4 of 12 bytes");
        let hash = hash.try_into().expect("8 bytes are left");
        BlockPointer { sector: u32::from_le_bytes(*sector), hash }
    }
}

/// The checksum of a sector.
pub(super) fn hash(content: &Sector) -> [u8; 8] {
    xxh3_64(content).to_le_bytes()
}
