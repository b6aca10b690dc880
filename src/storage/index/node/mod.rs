//! What leaves and inner nodes have in common: 16 bytes of numbers, the prefix
//! that all keys share, padded, and the slots.

pub(crate) mod inner;
pub(crate) mod key;
pub(crate) mod leaf;

use super::memory::BlobId;

/// Bytes of numbers at the start.
pub(crate) const FIXED: usize = 16;

/// Where the slots start after a prefix of that length.
pub(crate) fn slots_start(prefix: usize) -> usize {
    FIXED + prefix.next_multiple_of(8)
}

#[inline]
pub(crate) fn get16(body: &[u8], at: usize) -> usize {
    u16::from_le_bytes([body[at], body[at + 1]]) as usize
}

#[inline]
pub(crate) fn put16(body: &mut [u8], at: usize, value: usize) {
    debug_assert!(value <= u16::MAX as usize);
    body[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

/// Puts what `new` says in the place of the blob whose name stands there; false
/// if it says nothing.
pub(crate) fn rename_blob(
    body: &mut [u8],
    at: usize,
    new: &dyn Fn(BlobId) -> Option<BlobId>,
) -> bool {
    let id = body[at..].first_chunk_mut().expect("it lies in its node");
    let new = new(BlobId::from_bytes(*id));
    *id = new.map_or(*id, BlobId::to_bytes);
    new.is_some()
}
