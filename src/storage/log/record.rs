//! The bytes of a log: its header and its records.
//!
//! Numbers are little-endian. The file begins with a header, in 4096 bytes:
//!
//! | at  | bytes | content                                           |
//! |-----|-------|---------------------------------------------------|
//! | 0   | 8     | `minidbL\n`                                       |
//! | 8   | 4     | version of the format, 1                          |
//! | 12  | 4     | 0                                                 |
//! | 16  | 16    | uuid of the database                              |
//! | 32  | 8     | generation                                        |
//! | 40  | 8     | salt                                              |
//! | 48  | 8     | lsn of the first record                           |
//! | 56  | 448   | 0                                                 |
//! | 504 | 8     | XXH3-64 of the bytes before                       |
//! | 512 | 3584  | 0                                                 |
//!
//! Its first 512 bytes keep this shape in every version. Records follow, each
//! at a multiple of 8:
//!
//! | at  | bytes | content                                           |
//! |-----|-------|---------------------------------------------------|
//! | 0   | 8     | XXH3-64, seeded with the salt, of all that follows |
//! | 8   | 8     | lsn                                               |
//! | 16  | 8     | the lsn up to which the log was durable when it was made |
//! | 24  | 7     | length of the payload                             |
//! | 31  | 1     | kind: 1 a commit, 2 a jump                        |
//! | 32  |       | payload, then zeros up to a multiple of 8         |
//!
//! The lsn of the next record is this one's plus its size. A jump's payload is
//! the offset of the record with the jump's own lsn: jumps take no lsns, so a jump
//! can stand wherever a record could.
//!
//! Promises:
//!
//! 1. Bytes of another generation are no record here, since the salt differs.
//! 2. Bytes of an earlier lap of this generation are not the next record, since
//!    the lsn differs.
//! 3. Zeros are neither a header nor a record.

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use super::Identity;

/// The offset of the first record.
pub(super) const START: u64 = 4096;
/// The bytes of the file's header that are in use.
pub(super) const FILE_HEAD: usize = 512;
/// The bytes of a record before its payload.
pub(super) const HEAD: usize = 32;
/// The size of a jump.
pub(super) const JUMP: usize = HEAD + 8;

const MAGIC: &[u8; 8] = b"minidbL\n";
const VERSION: u32 = 1;

/// The header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHead {
    pub(super) identity: Identity,
    /// Whether a newer minidb wrote it. Then nothing else in the file can be read.
    pub(super) newer: bool,
}

pub(super) fn encode_file_head(identity: &Identity, first: u64) -> [u8; START as usize] {
    let mut bytes = [0; START as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(&identity.database);
    put(&mut bytes, 32, identity.generation);
    put(&mut bytes, 40, identity.salt);
    put(&mut bytes, 48, first);
    let hash = xxh3_64(&bytes[..FILE_HEAD - 8]);
    put(&mut bytes, FILE_HEAD - 8, hash);
    bytes
}

/// Whether a file that begins with these bytes may be a log, whole or damaged.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || bytes.iter().all(|&it| it == 0)
}

/// The header of a file; `None` if it is damaged, or none.
pub(super) fn decode_file_head(bytes: &[u8; FILE_HEAD]) -> Option<FileHead> {
    let version = u32::from_le_bytes(bytes[8..12].try_into().ok()?);
    let whole = xxh3_64(&bytes[..FILE_HEAD - 8]) == get(bytes, FILE_HEAD - 8);
    if !bytes.starts_with(MAGIC) || !whole || version < VERSION {
        return None;
    }
    let database = bytes[16..32].try_into().ok()?;
    let identity = Identity { database, generation: get(bytes, 32), salt: get(bytes, 40) };
    Some(FileHead { identity, newer: version > VERSION })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Commit = 1,
    Jump = 2,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) hash: u64,
    pub(super) lsn: u64,
    pub(super) durable: u64,
    pub(super) kind: Kind,
    /// The length of the payload.
    pub(super) len: u64,
}

impl Head {
    /// Decodes 32 bytes that a log can have written. Only the hash proves that it did.
    pub(super) fn decode(bytes: &[u8]) -> Option<Head> {
        let word = get(bytes, 24);
        let len = word & LEN_MASK;
        let kind = match word >> 56 {
            1 => Kind::Commit,
            2 if len == 8 => Kind::Jump,
            _ => return None,
        };
        let head =
            Head { hash: get(bytes, 0), lsn: get(bytes, 8), durable: get(bytes, 16), kind, len };
        let possible = head.durable <= head.lsn && head.lsn.checked_add(head.size()).is_some();
        possible.then_some(head)
    }

    /// The bytes that the record takes in the file.
    pub(super) fn size(&self) -> u64 {
        HEAD as u64 + self.len.next_multiple_of(8)
    }

    /// The lsn after the record.
    pub(super) fn end(&self) -> u64 {
        match self.kind {
            Kind::Commit => self.lsn + self.size(),
            Kind::Jump => self.lsn,
        }
    }
}

/// Whether a word can be the last one of a header. It is cheap, and false for nearly
/// all other words.
pub(super) fn is_kind_and_len(word: &[u8]) -> bool {
    matches!(word[7], 1 | 2)
}

/// The header of a record, without what [`finalize`] fills in.
pub(super) fn encode_head(kind: Kind, lsn: u64, len: u64) -> [u8; HEAD] {
    debug_assert!(len <= LEN_MASK);
    let mut head = [0; HEAD];
    put(&mut head, 8, lsn);
    put(&mut head, 24, (kind as u64) << 56 | len);
    head
}

/// A jump at `lsn` to the offset `to`.
pub(super) fn encode_jump(lsn: u64, to: u64, durable: u64, salt: u64) -> [u8; JUMP] {
    let mut jump = [0; JUMP];
    jump[..HEAD].copy_from_slice(&encode_head(Kind::Jump, lsn, 8));
    put(&mut jump, HEAD, to);
    finalize(&mut jump, durable, salt);
    jump
}

/// Where a jump leads.
pub(super) fn decode_jump(payload: &[u8]) -> u64 {
    get(payload, 0)
}

/// Fills in the durable lsn and the hash of a record, whose other bytes are complete.
pub(super) fn finalize(record: &mut [u8], durable: u64, salt: u64) {
    put(record, 16, durable);
    let hash = hash(record, salt);
    put(record, 0, hash);
}

/// The hash of a record, which stands in its first eight bytes.
pub(super) fn hash(record: &[u8], salt: u64) -> u64 {
    xxh3_64_with_seed(&record[8..], salt)
}

/// Hashes a record that comes in pieces, without its first eight bytes.
pub(super) fn hasher(salt: u64) -> Xxh3 {
    Xxh3::with_seed(salt)
}

/// The size of the record that the bytes, which a log has encoded, begin with.
pub(super) fn size(record: &[u8]) -> usize {
    HEAD + ((get(record, 24) & LEN_MASK) as usize).next_multiple_of(8)
}

const LEN_MASK: u64 = (1 << 56) - 1;

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
