//! The two root slots: where everything else begins.
//!
//! ```text
//! 0    magic "minidb\r\n"
//! 8    format version, u32: 1
//! 12   features that a reader must know, u32: 0
//! 16   sequence number of the root, u64; it stands in slot sequence % 2
//! 24   the database's own number, 16 bytes
//! 40   all commits before this log sequence number are in the file, u64
//! 48   whether a log holds later ones, u32: 0 or 1
//! 52   whether that log was synced as far as replay begins, u32: 0 or 1
//! 56   that log's generation, u64; its salt, u64; where in it to begin, u64
//! 80   the array of units: levels u32, place of its top 12 bytes
//! 96   the array of blob records: the same
//! 112  40 bytes about the tree, which only the engine understands
//!      zeros
//! 4088 checksum (XXH3) of all before, u64
//! ```
//!
//! Slot 0 begins at byte 0 of the file, slot 1 at 4096. Numbers are
//! little-endian. A version that writes something else changes the version, or
//! a feature bit, and never the magic or the place of the checksum.

use xxhash_rust::xxh3::xxh3_64;

use super::array::{LEVELS_MAX, Place, Top};
use crate::planted::{self, Bug};

pub(super) const SLOT: usize = 4096;
const MAGIC: &[u8; 8] = b"minidb\r\n";
const VERSION: u32 = 1;
const HASHED: usize = SLOT - 8;

const COUNT_MAX: u64 = 1 << 62;

/// Bytes that the engine keeps in a root.
pub(crate) const META: usize = 40;

/// The log that holds what came after a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogMark {
    pub(crate) generation: u64,
    pub(crate) salt: u64,
    pub(crate) offset: u64,
    /// Whether the log was synced as far as that: then it cannot be shorter.
    pub(crate) synced: bool,
}

/// What a root says to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) database: [u8; 16],
    /// All commits before this log sequence number are in the file.
    pub(crate) lsn: u64,
    pub(crate) log: Option<LogMark>,
    pub(crate) meta: [u8; META],
}

/// Where all that a file holds begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) sequence: u64,
    pub(crate) fields: Fields,
    pub(super) units: Top,
    pub(super) records: Top,
}

/// What a slot holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Root(Box<Root>),
    /// Zeros, or nothing.
    Blank,
    /// Whole, but of another version.
    Newer(u32),
    /// The magic is there, but not all is right.
    Damaged,
    /// Not even the magic.
    Foreign,
}

impl Root {
    pub(super) fn slot_start(&self) -> u64 {
        self.sequence % 2 * SLOT as u64
    }

    pub(super) fn to_bytes(self) -> [u8; SLOT] {
        let mut slot = [0; SLOT];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            slot[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(MAGIC);
        put(&VERSION.to_le_bytes());
        put(&0u32.to_le_bytes());
        put(&self.sequence.to_le_bytes());
        put(&self.fields.database);
        put(&self.fields.lsn.to_le_bytes());
        put(&u32::from(self.fields.log.is_some()).to_le_bytes());
        let none = LogMark { generation: 0, salt: 0, offset: 0, synced: false };
        let LogMark { generation, salt, offset, synced } = self.fields.log.unwrap_or(none);
        put(&u32::from(synced).to_le_bytes());
        for number in [generation, salt, offset] {
            put(&number.to_le_bytes());
        }
        for top in [self.units, self.records] {
            put(&top.levels.to_le_bytes());
            put(&top.place.to_bytes());
        }
        put(&self.fields.meta);
        let hash = xxh3_64(&slot[..HASHED]);
        slot[HASHED..].copy_from_slice(&hash.to_le_bytes());
        slot
    }

    fn from_bytes(slot: &[u8; SLOT]) -> Option<Root> {
        fn take<const N: usize>(slot: &[u8; SLOT], at: usize) -> [u8; N] {
            *slot[at..].first_chunk().expect("it lies in the slot")
        }
        let u32_at = |at| u32::from_le_bytes(take(slot, at));
        let u64_at = |at| u64::from_le_bytes(take(slot, at));
        let top = |at| Top { levels: u32_at(at), place: Place::from_bytes(&take(slot, at + 4)) };
        let (generation, salt, offset) = (u64_at(56), u64_at(64), u64_at(72));
        let log = match (u32_at(48), u32_at(52)) {
            (0, 0) => None,
            (1, synced @ 0..2) => Some(LogMark { generation, salt, offset, synced: synced == 1 }),
            _ => return None,
        };
        let fields =
            Fields { database: take(slot, 24), lsn: u64_at(40), log, meta: take(slot, 112) };
        let root = Root { sequence: u64_at(16), fields, units: top(80), records: top(96) };
        let plain = |top: Top| top.levels <= LEVELS_MAX && (top.levels == 0) == top.place.is_none();
        // No life is as long; so counting on never overflows.
        let counted = root.sequence < COUNT_MAX && root.fields.lsn < COUNT_MAX;
        let possible = counted && plain(root.units) && plain(root.records);
        let whole = root.to_bytes() == *slot || planted::is(Bug::RootUnchecked);
        (possible && whole).then_some(root)
    }
}

/// ReadSet a slot, which may be cut off by the end of the file.
pub(super) fn read_slot(bytes: &[u8], number: u64) -> Slot {
    if bytes.iter().all(|&byte| byte == 0) {
        return Slot::Blank;
    }
    if !bytes.starts_with(MAGIC) {
        return Slot::Foreign;
    }
    let Some(slot) = bytes.first_chunk::<SLOT>() else {
        return Slot::Damaged;
    };
    let whole = xxh3_64(&slot[..HASHED]).to_le_bytes() == slot[HASHED..];
    if !whole && !planted::is(Bug::RootUnchecked) {
        return Slot::Damaged;
    }
    let (version, features) = (&slot[8..12], &slot[12..16]);
    if version != VERSION.to_le_bytes() || features != [0; 4] {
        return Slot::Newer(u32::from_le_bytes(version.try_into().expect("4 bytes")));
    }
    match Root::from_bytes(slot) {
        Some(root) if root.sequence % 2 == number => Slot::Root(Box::new(root)),
        _ => Slot::Damaged,
    }
}

/// The same, of a slot that may be damaged where all roots are alike.
pub(super) fn mend_slot(bytes: &[u8; SLOT], number: u64) -> Slot {
    let mut slot = *bytes;
    slot[..8].copy_from_slice(MAGIC);
    slot[8..12].copy_from_slice(&VERSION.to_le_bytes());
    slot[12..16].fill(0);
    slot[112 + META..HASHED].fill(0);
    read_slot(&slot, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_comes_back_and_no_byte_of_its_slot_can_change() {
        let log = Some(LogMark { generation: 7, salt: 8, offset: 9, synced: true });
        let fields = Fields { database: [1; 16], lsn: 2, log, meta: [3; META] };
        let top = Top { levels: 2, place: Place { sector: 40, hash: 5 } };
        let root = Root { sequence: 6, fields, units: top, records: Top::default() };
        let slot = root.to_bytes();
        assert_eq!(read_slot(&slot, 0), Slot::Root(Box::new(root)));
        assert_eq!(read_slot(&slot, 1), Slot::Damaged);
        for at in 0..SLOT {
            let mut bad = slot;
            bad[at] ^= 1 << (at % 8);
            let found = read_slot(&bad, 0);
            let expected = if at < MAGIC.len() { Slot::Foreign } else { Slot::Damaged };
            assert_eq!(found, expected, "byte {at}");
            assert!(!matches!(read_slot(&slot[..at], 0), Slot::Root(_)));
            let alike = matches!(at, 0..16 | 152..HASHED);
            assert_eq!(matches!(mend_slot(&bad, 0), Slot::Root(_)), alike, "byte {at}");
        }
    }

    #[test]
    fn a_count_that_is_about_to_overflow_is_none() {
        let (units, records) = (Top::default(), Top::default());
        let fields = Fields { database: [1; 16], lsn: 0, log: None, meta: [0; META] };
        for (sequence, lsn) in [(u64::MAX - 1, 0), (1 << 62, 0), (0, u64::MAX), (0, 1 << 62)] {
            let fields = Fields { lsn, ..fields };
            let slot = Root { sequence, fields, units, records }.to_bytes();
            assert_eq!(read_slot(&slot, 0), Slot::Damaged);
        }
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let fields = Fields { database: [1; 16], lsn: 0, log: None, meta: [0; META] };
        let (units, records) = (Top::default(), Top::default());
        for at in [8, 12] {
            let mut slot = Root { sequence: 0, fields, units, records }.to_bytes();
            slot[at] = 2;
            let hash = xxh3_64(&slot[..HASHED]).to_le_bytes();
            slot[HASHED..].copy_from_slice(&hash);
            assert!(matches!(read_slot(&slot, 0), Slot::Newer(_)));
        }
        assert_eq!(read_slot(&[0; 4096], 0), Slot::Blank);
        assert_eq!(read_slot(&[], 0), Slot::Blank);
        assert_eq!(read_slot(b"SQLite format 3", 0), Slot::Foreign);
    }
}
