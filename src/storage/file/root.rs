//! The two root slots: where everything else in the file begins.
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
//! 80   the array of blocks: levels u32, pointer to its top table 12 bytes
//! 96   the array of blob records: levels u32, pointer to its top table 12 bytes
//! 112  40 bytes about the tree, which only the engine understands
//!      zeros
//! 4088 checksum (XXH3) of all before, u64
//! ```
//!
//! Slot 0 begins at byte 0 of the file, slot 1 at 4096. Numbers are
//! little-endian. A version that writes something else changes the version, or
//! a feature bit, and never the magic or the place of the checksum.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::array::{ArrayRoot, LEVELS_MAX};
use super::pointer::BlockPointer;
use crate::error::{DBError, DBResult};
use crate::os::disk::File;
use crate::planted::{self, Bug};
use crate::sort::heap_sort;

const SLOT: usize = 4096;
const MAGIC: &[u8; 8] = b"minidb\r\n";
const VERSION: u32 = 1;
const HASHED: usize = SLOT - 8;

const COUNT_MAX: u64 = 1 << 62;

/// Bytes that the engine keeps in a root.
pub(crate) const META: usize = 40;

/// The log that holds the commits after a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogMark {
    pub(crate) generation: u64,
    pub(crate) salt: u64,
    pub(crate) offset: u64,
    /// Whether the log was synced up to the offset, so that it cannot be shorter.
    pub(crate) synced: bool,
}

/// The part of a root that the engine reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) database: [u8; 16],
    /// All commits before this log sequence number are in the file.
    pub(crate) lsn: u64,
    pub(crate) log: Option<LogMark>,
    pub(crate) meta: [u8; META],
}

/// A root: where all that a file holds begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) sequence: u64,
    pub(crate) fields: Fields,
    pub(super) blocks: ArrayRoot,
    pub(super) records: ArrayRoot,
}

/// A root slot, read.
#[derive(Debug, PartialEq, Eq)]
enum RootSlot {
    Root(Root),
    /// Zeros, or nothing.
    Blank,
    /// A whole slot of another version.
    Newer(u32),
    /// The magic is there, but not all is right.
    Damaged,
    /// The magic is not there.
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
        for array in [self.blocks, self.records] {
            put(&array.levels.to_le_bytes());
            put(&array.pointer.to_bytes());
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
        let array = |at| {
            let pointer = BlockPointer::from_bytes(&take(slot, at + 4));
            ArrayRoot { levels: u32_at(at), pointer }
        };
        let (generation, salt, offset) = (u64_at(56), u64_at(64), u64_at(72));
        let log = match (u32_at(48), u32_at(52)) {
            (0, 0) => None,
            (1, synced @ 0..2) => Some(LogMark { generation, salt, offset, synced: synced == 1 }),
            _ => return None,
        };
        let fields =
            Fields { database: take(slot, 24), lsn: u64_at(40), log, meta: take(slot, 112) };
        let root = Root { sequence: u64_at(16), fields, blocks: array(80), records: array(96) };
        let plain = |ArrayRoot { levels, pointer }| {
            levels as usize <= LEVELS_MAX && (levels == 0) == pointer.is_none()
        };
        // No database lives as long, so counting on never overflows.
        let counted = root.sequence < COUNT_MAX && root.fields.lsn < COUNT_MAX;
        let possible = counted && plain(root.blocks) && plain(root.records);
        let whole = root.to_bytes() == *slot || planted::is(Bug::RootUnchecked);
        (possible && whole).then_some(root)
    }
}

/// Reads a slot, which may be cut off by the end of the file.
fn read_slot(bytes: &[u8], number: u64) -> RootSlot {
    if bytes.iter().all(|&byte| byte == 0) {
        return RootSlot::Blank;
    }
    if !bytes.starts_with(MAGIC) {
        return RootSlot::Foreign;
    }
    let Some(slot) = bytes.first_chunk::<SLOT>() else {
        return RootSlot::Damaged;
    };
    let whole = xxh3_64(&slot[..HASHED]).to_le_bytes() == slot[HASHED..];
    if !whole && !planted::is(Bug::RootUnchecked) {
        return RootSlot::Damaged;
    }
    let (version, features) = (&slot[8..12], &slot[12..16]);
    if version != VERSION.to_le_bytes() || features != [0; 4] {
        return RootSlot::Newer(u32::from_le_bytes(version.try_into().expect("4 bytes")));
    }
    match Root::from_bytes(slot) {
        Some(root) if root.sequence % 2 == number => RootSlot::Root(root),
        _ => RootSlot::Damaged,
    }
}

/// Reads a slot, mending it where all roots have the same bytes.
fn mend_slot(bytes: &[u8; SLOT], number: u64) -> RootSlot {
    let mut slot = *bytes;
    slot[..8].copy_from_slice(MAGIC);
    slot[8..12].copy_from_slice(&VERSION.to_le_bytes());
    slot[12..16].fill(0);
    slot[112 + META..HASHED].fill(0);
    read_slot(&slot, number)
}

/// The root slots of a file, read.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(super) newest: Option<Root>,
    /// Whether the other slot is as it must be if nothing was being written.
    pub(crate) other_is_whole: bool,
    /// Whether anything in the slots is minidb's.
    is_minidb: bool,
    /// Whether the slots are as a backup leaves them, or is about to.
    pub(crate) is_backup: bool,
}

/// Reads both slots as far as the file goes: the bytes, zeros behind its end, and
/// how many there are.
fn read_slots(file: &dyn File, path: &Path) -> DBResult<([u8; 2 * SLOT], usize)> {
    let failed = |error| DBError::io("read", path, &error);
    let len = file.len().map_err(failed)?.min(2 * SLOT as u64) as usize;
    let mut bytes = [0; 2 * SLOT];
    file.read(&mut bytes[..len], 0).map_err(failed)?;
    Ok((bytes, len))
}

impl Roots {
    pub(crate) fn read(file: &dyn File, path: &Path) -> DBResult<Roots> {
        let (bytes, len) = read_slots(file, path)?;
        let (first, second) = bytes[..len].split_at(len.min(SLOT));
        let slots = [read_slot(first, 0), read_slot(second, 1)];
        if let Some(version) = slots.iter().find_map(|slot| match slot {
            RootSlot::Newer(version) => Some(version),
            _ => None,
        }) {
            let path = path.display();
            return Err(DBError::Format(format!("{path} is of version {version}, or uses more")));
        }
        let is_minidb =
            slots.iter().any(|slot| matches!(slot, RootSlot::Root(_) | RootSlot::Damaged));
        let is_backup = match &slots {
            [RootSlot::Blank, RootSlot::Blank | RootSlot::Damaged] => true,
            [RootSlot::Blank, RootSlot::Root(root)] => {
                root.sequence == 1 && root.fields.log.is_none()
            }
            _ => false,
        };
        let [first, second] = slots.each_ref().map(|slot| match slot {
            RootSlot::Root(root) => Some(*root),
            _ => None,
        });
        let sequence = |root: Option<Root>| root.map(|root| root.sequence);
        let is_second = sequence(second) > sequence(first);
        let (newest, other) = if is_second { (second, first) } else { (first, second) };
        let other_is_whole = match sequence(newest) {
            Some(1) => matches!(slots[usize::from(!is_second)], RootSlot::Blank),
            Some(number) => sequence(other) == number.checked_sub(1),
            None => false,
        };
        Ok(Roots { newest, other_is_whole, is_minidb, is_backup })
    }

    /// The fields of the newest root, if there is one.
    pub(crate) fn newest(&self) -> Option<&Fields> {
        self.newest.as_ref().map(|root| &root.fields)
    }

    /// The sequence number of the newest root; 0 if there is none.
    pub(crate) fn sequence(&self) -> u64 {
        self.newest.map_or(0, |root| root.sequence)
    }

    /// The error for a file without a root.
    pub(crate) fn refuse(&self, path: &Path) -> DBError {
        let path = path.display();
        if !self.is_minidb {
            return DBError::Format(format!("{path}"));
        }
        DBError::Corrupt(format!("{path}: neither root slot (bytes 0 to 8191) is whole"))
    }
}

/// The roots of a damaged file that can be read, the newest first, and how many
/// slots are damaged.
pub(crate) fn readable_roots(file: &dyn File, path: &Path) -> DBResult<(Vec<Root>, u64)> {
    let (bytes, _) = read_slots(file, path)?;
    let (mut roots, mut damaged) = (Vec::new(), 0);
    for (number, slot) in (0..).zip(bytes.as_chunks::<SLOT>().0) {
        damaged += u64::from(!matches!(read_slot(slot, number), RootSlot::Root(_)));
        if let RootSlot::Root(root) = mend_slot(slot, number) {
            roots.push(root);
        }
    }
    heap_sort(&mut roots, |one, other| other.sequence.cmp(&one.sequence));
    // The first root is in the second slot; until there is another, the first is blank.
    let is_young = roots.first().is_some_and(|root| root.sequence == 1);
    if is_young && read_slot(&bytes[..SLOT], 0) == RootSlot::Blank {
        damaged -= 1;
    }
    Ok((roots, damaged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_comes_back_and_no_byte_of_its_slot_can_change() {
        let log = Some(LogMark { generation: 7, salt: 8, offset: 9, synced: true });
        let fields = Fields { database: [1; 16], lsn: 2, log, meta: [3; META] };
        let pointer = BlockPointer { sector: 40, hash: [5; 8] };
        let (blocks, records) = (ArrayRoot { levels: 2, pointer }, ArrayRoot::default());
        let root = Root { sequence: 6, fields, blocks, records };
        let slot = root.to_bytes();
        assert_eq!(read_slot(&slot, 0), RootSlot::Root(root));
        assert_eq!(read_slot(&slot, 1), RootSlot::Damaged);
        for at in 0..SLOT {
            let mut bad = slot;
            bad[at] ^= 1 << (at % 8);
            let found = read_slot(&bad, 0);
            let expected = if at < MAGIC.len() { RootSlot::Foreign } else { RootSlot::Damaged };
            assert_eq!(found, expected, "byte {at}");
            assert!(!matches!(read_slot(&slot[..at], 0), RootSlot::Root(_)));
            let alike = matches!(at, 0..16 | 152..HASHED);
            assert_eq!(matches!(mend_slot(&bad, 0), RootSlot::Root(_)), alike, "byte {at}");
        }
    }

    #[test]
    fn a_count_that_is_about_to_overflow_is_none() {
        let (blocks, records) = (ArrayRoot::default(), ArrayRoot::default());
        let fields = Fields { database: [1; 16], lsn: 0, log: None, meta: [0; META] };
        for (sequence, lsn) in [(u64::MAX - 1, 0), (1 << 62, 0), (0, u64::MAX), (0, 1 << 62)] {
            let fields = Fields { lsn, ..fields };
            let slot = Root { sequence, fields, blocks, records }.to_bytes();
            assert_eq!(read_slot(&slot, 0), RootSlot::Damaged);
        }
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let fields = Fields { database: [1; 16], lsn: 0, log: None, meta: [0; META] };
        let (blocks, records) = (ArrayRoot::default(), ArrayRoot::default());
        for at in [8, 12] {
            let mut slot = Root { sequence: 0, fields, blocks, records }.to_bytes();
            slot[at] = 2;
            let hash = xxh3_64(&slot[..HASHED]).to_le_bytes();
            slot[HASHED..].copy_from_slice(&hash);
            assert!(matches!(read_slot(&slot, 0), RootSlot::Newer(_)));
        }
        assert_eq!(read_slot(&[0; 4096], 0), RootSlot::Blank);
        assert_eq!(read_slot(&[], 0), RootSlot::Blank);
        assert_eq!(read_slot(b"SQLite format 3", 0), RootSlot::Foreign);
    }
}
