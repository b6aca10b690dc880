//! The ordered map: a copy-on-write B+tree of slotted leaves.
//!
//! Entries live in leaves, sorted ([`leaf`]); inner nodes lead to them by
//! separators ([`inner`]); both are blocks of bytes in pages that [`memory`]
//! owns, and keys and values too long for a page are blobs there. While no
//! snapshot can see a page it is edited in place; else the pages from the root
//! to it are copied first. A [`Snapshot`] is a root that stays.
//!
//! Where things are: [`put`] inserts and splits, [`delete`] removes and merges,
//! [`cursor`] walks, [`check`] verifies every rule that holds between calls,
//! [`local`] changes one leaf beside readers, [`hidden`] keeps changes from
//! readers, [`image`] takes a tree to a file and [`restore`] back, [`mod@salvage`] finds
//! what is left of one.
//!
//! Promises:
//!
//! 1. A change happens whole or, without memory for it, not at all.
//! 2. What a snapshot shows never changes.
//! 3. The number of entries and of their bytes is known at any time.
//!
//! Not here: locks. The caller lets one thread change the tree, or many read
//! it; snapshots and cursors on them need nobody's leave.

mod memory;
mod node;
mod persist;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use memory::prefetch_bytes;
pub(crate) use node::key::common_prefix;
pub(crate) use persist::{
    ImageMeta, ImagePart, PageSource, Ranges, Restoring, Unrestored, salvage,
};
pub(crate) use tree::{Bounds, Cursor, Index, Sink, Snapshot};
