//! The live tree, with its pages: memory for changes, atomic changes, writable paths.

use std::convert::Infallible;

use super::super::memory::{self, BlobId, PageId, Pages, Source};
use super::super::node::inner::{Inner, InnerMut};
use super::super::node::key::INLINE;
use super::super::node::leaf::{INLINE_VALUE, LeafMut};
use super::path::Path;
use super::totals::Counters;
use super::{Position, Snapshot, Totals, Tree, Visitor, walk};
use crate::error::OutOfMemory;

/// Slabs that are left to changes which add nothing.
const RESERVE: usize = 16;

/// With every so many commits that take the exclusive guard, so many pages are moved at most.
const COMPACT_EVERY: u32 = 4;
const COMPACT_FEW: usize = 8;

/// The live tree. `&mut Index` changes anything; threads that use it at the same time have
/// a [`super::SharedView`] or the [`super::WriterView`].
#[derive(Debug)]
pub(crate) struct Index {
    pub(in super::super) pages: Pages,
    pub(in super::super) tree: Tree,
    pub(in super::super) totals: Counters,
    /// The tree that readers see while later changes are unpublished.
    pub(in super::super) published: Option<Snapshot>,
    /// Whether memory is reserved for all changes of a batch.
    in_batch: bool,
    /// Whether pages move out of thin slabs.
    pub(super) compacts: bool,
    /// Pages that may still be moved on behalf of what was freed.
    moves_due: usize,
    /// Commits until some pages are moved.
    until_compact: u32,
}

impl Index {
    pub(crate) fn new() -> Result<Index, OutOfMemory> {
        let mut pages = Pages::new();
        pages.reserve(1)?;
        let root = empty_leaf(&mut pages);
        let tree = Tree { root, height: 0, long_keys: false };
        Ok(Index { compacts: true, ..Index::of(pages, tree, Totals::default()) })
    }

    /// An index whose pages stay where they are: that of a file, whose checkpoints would write
    /// each page that moves, and whose published state keeps most pages.
    pub(crate) fn without_compaction(self) -> Index {
        Index { compacts: false, ..self }
    }

    /// An index of a tree that lies in `pages`.
    pub(in super::super) fn of(pages: Pages, tree: Tree, totals: Totals) -> Index {
        let totals = Counters::new(totals);
        Index {
            pages,
            tree,
            totals,
            published: None,
            in_batch: false,
            compacts: false,
            moves_due: 0,
            until_compact: 0,
        }
    }

    /// The published totals.
    pub(crate) fn totals(&self) -> Totals {
        visible(&self.totals, &self.published)
    }

    /// The totals of the latest tree, unpublished changes included.
    pub(crate) fn latest_totals(&self) -> Totals {
        self.totals.get()
    }

    /// The value of a key, unpublished changes included.
    pub(crate) fn get_latest(&self, key: &[u8]) -> Option<&[u8]> {
        self.tree.get(&self.pages, key)
    }

    /// The number of the newest published commit.
    pub(crate) fn commits(&self) -> u64 {
        self.totals().commits
    }

    /// The number of the newest commit, unpublished ones included.
    pub(crate) fn latest_commit(&self) -> u64 {
        self.totals.latest_commit()
    }

    /// Counts a commit.
    #[inline]
    pub(crate) fn committed(&mut self) {
        self.totals.add_commit();
        self.until_compact = self.until_compact.checked_sub(1).unwrap_or(COMPACT_EVERY - 1);
        if self.until_compact == 0 {
            self.compact(COMPACT_FEW);
        }
    }

    /// A snapshot of the published tree, in constant time.
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot, OutOfMemory> {
        match &self.published {
            Some(published) => Ok(published.clone()),
            None => self.freeze(),
        }
    }

    /// A snapshot of the latest tree, in constant time.
    pub(crate) fn freeze(&mut self) -> Result<Snapshot, OutOfMemory> {
        let (frozen, totals) = (self.pages.freeze()?, self.totals.get());
        Ok(Snapshot { frozen, tree: self.tree, totals })
    }

    /// Whether any snapshot is in use.
    pub(crate) fn has_snapshots(&mut self) -> bool {
        self.pages.has_snapshots()
    }

    /// Unregisters the snapshot of an epoch, if it was dropped.
    pub(crate) fn unregister(&mut self, epoch: u64) {
        self.pages.unregister(epoch);
    }

    /// Unregisters all snapshots that were dropped.
    pub(crate) fn unregister_dropped(&mut self) {
        self.pages.unregister_dropped();
    }

    /// Looks at up to `limit` items of the retired list, and frees those that no snapshot
    /// needs. Returns whether there may be more. Twice as many pages may then move.
    pub(crate) fn collect(&mut self, limit: usize) -> bool {
        let (freed, more) = self.pages.collect(limit);
        self.moves_due += 2 * freed;
        more
    }

    /// Moves up to `limit` pages after what was freed. Returns whether there may be more.
    pub(crate) fn compact_due(&mut self, limit: usize) -> bool {
        let moves = self.moves_due.min(limit);
        self.moves_due -= moves;
        self.compact(moves);
        self.moves_due > 0 && self.compacts && self.pages.is_sparse()
    }

    /// Reserves memory for a change that adds to one leaf, before it is begun: from then on
    /// the system can refuse blobs only. At worst each level is copied, and then splits in
    /// two. Some memory is left for the changes that add nothing.
    #[inline]
    pub(super) fn begin(&mut self) -> Result<(), OutOfMemory> {
        if self.in_batch {
            return Ok(());
        }
        self.pages.collect_some();
        let pages = 3 * (self.tree.height + 1) + 2;
        self.pages.reserve(pages + RESERVE)?;
        self.pages.reserve_notes(2 * pages) // with each page a blob may go
    }

    /// Reserves memory for a change of a leaf that adds nothing to it. It needs copies of the
    /// pages on its path that a snapshot can see. Then each level may be joined, or moved to a
    /// smaller page; without memory for that it stays as it is.
    #[inline]
    pub(super) fn begin_without_growth(&mut self, leaf: PageId) -> Result<(), OutOfMemory> {
        if self.in_batch {
            return Ok(());
        }
        self.pages.collect_some();
        let levels = self.tree.height + 1;
        self.pages.reserve_if_cheap(2 * levels + 2);
        let pages = if self.pages.is_still_shared(leaf) {
            self.pages.reserve(levels)?;
            2 * levels + 2
        } else {
            levels + 2
        };
        self.pages.reserve_notes(2 * pages)
    }

    /// Applies a batch of `changes` puts and deletions whose entries need no blobs:
    /// all of it or, if memory is refused, nothing.
    pub(crate) fn batch<E: From<OutOfMemory>>(
        &mut self,
        changes: usize,
        apply: impl FnOnce(&mut Index) -> Result<(), E>,
    ) -> Result<(), E> {
        if changes <= 1 {
            return apply(self);
        }
        // A separator of long keys may be a blob, whose length is not known ahead.
        if self.tree.long_keys || self.reserve_batch(changes).is_err() {
            return self.atomically(apply);
        }
        self.in_batch = true;
        let applied = apply(self);
        self.in_batch = false;
        self.pages.release_reserved_notes();
        assert!(applied.is_ok(), "a batch takes no more than was reserved for it");
        applied
    }

    /// Reserves memory for so many changes. A split of a node that the batch has made
    /// takes 4 splits below it, so all levels that it adds take less than one more.
    fn reserve_batch(&mut self, changes: usize) -> Result<(), OutOfMemory> {
        let pages = changes * (3 * (self.tree.height + 2) + 2);
        // The pages fill slabs, but for one slab of each size.
        let slabs = pages * memory::UNITS_MAX / memory::SLAB_UNITS as usize + memory::UNITS_MAX;
        self.pages.reserve(slabs)?;
        self.pages.reserve_notes(2 * pages)
    }

    /// Whether a leaf holds all bytes of an entry.
    pub(crate) fn needs_no_blob(key: &[u8], value: &[u8]) -> bool {
        key.len() <= INLINE && value.len() <= INLINE_VALUE
    }

    /// Runs a change of many steps on copies of the pages that it edits, and rolls all of
    /// them back if one fails.
    pub(crate) fn atomically<E: From<OutOfMemory>>(
        &mut self,
        change: impl FnOnce(&mut Index) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.freeze()?;
        let result = change(self);
        if result.is_err() {
            self.revert_to(&before);
        }
        drop(before);
        self.pages.unregister_newest();
        result
    }

    /// Makes the tree the one of `newest`: no newer snapshot is in use. Takes no memory.
    pub(super) fn revert_to(&mut self, newest: &Snapshot) {
        self.pages.unregister_newer(&newest.frozen);
        self.release_tree(true);
        self.pages.revive(&newest.frozen);
        self.tree = newest.tree;
        self.totals.set(newest.totals);
    }

    /// Releases the pages and blobs of the tree; with `keep_shared`, only those that no
    /// snapshot can see.
    pub(super) fn release_tree(&mut self, keep_shared: bool) {
        let mut releaser = Releaser { pages: &mut self.pages, keep_shared };
        let Ok(()) = walk(&mut releaser, self.tree.root, self.tree.height);
    }

    /// Makes the leaf at the end of a path and the inner nodes on it writable; returns the
    /// leaf.
    #[inline]
    pub(super) fn make_path_writable(&mut self, path: &mut Path, leaf: PageId) -> PageId {
        // A page that is not shared has no parent that is.
        if !self.pages.is_shared(leaf) {
            return leaf;
        }
        self.copy_path(path, leaf)
    }

    #[cold]
    fn copy_path(&mut self, path: &mut Path, leaf: PageId) -> PageId {
        for depth in 0..path.len() {
            let node = self.pages.make_writable(path.at(depth).0);
            path.set_node(depth, node);
            self.replace_child(path, depth, node);
        }
        let leaf = self.pages.make_writable(leaf);
        self.replace_child(path, path.len(), leaf);
        leaf
    }

    /// Puts `page` in the place of the node at a depth of a path, where the leaf's depth is
    /// the path's length.
    pub(super) fn replace_child(&mut self, path: &Path, depth: usize, page: PageId) {
        match depth.checked_sub(1).map(|up| path.at(up)) {
            None => self.tree.root = page,
            Some((parent, child)) => {
                if Inner::new(self.pages.page(parent)).child(child) != page {
                    InnerMut::new(self.pages.edit(parent)).set_child(child, page);
                }
            }
        }
    }

    /// Makes the tree empty.
    pub(super) fn plant(&mut self) {
        let root = empty_leaf(&mut self.pages);
        self.tree = Tree { root, height: 0, long_keys: false };
        let commits = self.totals.latest_commit();
        self.totals.set(Totals { commits, ..Totals::default() });
    }
}

/// The visitor that releases a tree.
struct Releaser<'a> {
    pages: &'a mut Pages,
    keep_shared: bool,
}

impl Visitor for Releaser<'_> {
    type Error = Infallible;

    fn body(&self, page: PageId) -> &[u8] {
        self.pages.page(page)
    }

    fn enter(&mut self, node: &Position<'_>) -> Result<bool, Infallible> {
        // Below a shared page all is shared.
        Ok(!self.keep_shared || !self.pages.is_shared(node.page))
    }

    fn blob(&mut self, id: BlobId) -> Result<(), Infallible> {
        if !self.keep_shared || !self.pages.is_shared_blob(id) {
            self.pages.release_blob(id);
        }
        Ok(())
    }

    fn leave(&mut self, node: &Position<'_>) -> Result<(), Infallible> {
        self.pages.release(node.page);
        Ok(())
    }
}

/// The totals that readers see.
pub(super) fn visible(latest: &Counters, published: &Option<Snapshot>) -> Totals {
    match published {
        None => latest.get(),
        Some(published) => published.totals,
    }
}

fn empty_leaf(pages: &mut Pages) -> PageId {
    let root = pages.alloc(0, 0);
    LeafMut::init(pages.edit(root), &[]);
    root
}
