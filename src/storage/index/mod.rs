//! The ordered map: a copy-on-write B+tree of slotted leaves.
//!
//! Entries live in leaves, sorted ([`node::leaf`]); inner nodes lead to them by separators
//! ([`node::inner`]). Both are blocks of bytes in pages that [`memory`] owns; keys and
//! values too long for a page are blobs there. A page that no snapshot can see is edited
//! in place; else the pages from the root to it are copied first. A [`Snapshot`] is a root
//! that stays.
//!
//! Where things are: [`tree`] descends, changes, walks and checks; [`node`] lays out one
//! node in a page; [`memory`] has the pages and who may see them; [`persist`] takes a tree
//! to a file and back, and salvages a damaged one.
//!
//! Promises:
//!
//! 1. A change happens whole or, without memory for it, not at all.
//! 2. The tree that a snapshot shows never changes.
//! 3. The numbers of entries, bytes and commits are one consistent set at any time.
//! 4. `&mut Index` changes anything. Concurrent threads have a [`tree::SharedView`] each,
//!    and one of them the [`tree::WriterView`]. Snapshots, and cursors on them, need no
//!    lock at all.
//!
//! Not here: the lock that hands out the views (see `sync/br_lock.rs`).

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
pub(crate) use tree::{Bounds, Cursor, Index, Published, Sink, Snapshot, Totals};
