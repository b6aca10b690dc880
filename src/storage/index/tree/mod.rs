//! The tree: descending, putting, deleting, walking and checking.

mod check;
mod cursor;
mod delete;
mod in_place;
mod put;
mod totals;
mod unpublished;

pub(crate) use cursor::{Bounds, Cursor, Sink};
pub(crate) use totals::{Counters, Totals};

use super::memory::{self, BlobId, Frozen, PageId, Pages, Source};
use super::node::inner::{Inner, InnerMut};
use super::node::key::{INLINE, Key};
use super::node::leaf::{self, Leaf, LeafMut, Value};
use crate::error::OutOfMemory;

/// More levels than a tree can have: each level takes at least 4 times the splits
/// of the one below, and there are 2^26 full leaves at most.
pub(crate) const LEVELS_MAX: usize = 24;

/// Where a tree begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    pub(super) root: PageId,
    /// Levels of inner nodes above the leaves.
    pub(super) height: usize,
    /// Whether a key may be longer than the part of it that nodes hold.
    pub(super) long_keys: bool,
}

/// The way from the root down to a leaf: for each inner node, which child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    steps: [(PageId, u32); LEVELS_MAX],
    len: usize,
}

impl Path {
    fn new(root: PageId) -> Path {
        Path { steps: [(root, 0); LEVELS_MAX], len: 0 }
    }

    #[inline]
    fn push(&mut self, node: PageId, child: usize) {
        self.steps[self.len] = (node, child as u32);
        self.len += 1;
    }

    /// The node on a level, the root's being 0, and which child of it is next.
    fn at(&self, level: usize) -> (PageId, usize) {
        let (node, child) = self.steps[level];
        (node, child as usize)
    }

    /// The leaf after (or, with `back`, before) the one that the path leads to,
    /// if both have the same parent.
    fn sibling(&self, source: &impl Source, back: bool) -> Option<PageId> {
        let (node, child) = self.at(self.len.checked_sub(1)?);
        let inner = Inner::new(source.page(node));
        let beside = if back { child.checked_sub(1)? } else { child + 1 };
        (beside <= inner.len()).then(|| inner.child(beside))
    }

    /// Moves to the next leaf after (or, with `back`, before) the one that the
    /// path leads to.
    fn step(&mut self, source: &impl Source, back: bool) -> Option<PageId> {
        let levels = self.len;
        while let Some(level) = self.len.checked_sub(1) {
            let (node, child) = self.at(level);
            self.len = level;
            let inner = Inner::new(source.page(node));
            let next = if back { child.checked_sub(1) } else { Some(child + 1) };
            let Some(next) = next.filter(|&next| next <= inner.len()) else {
                continue;
            };
            self.push(node, next);
            let mut page = inner.child(next);
            while self.len < levels {
                let inner = Inner::new(source.page(page));
                let child = if back { inner.len() } else { 0 };
                self.push(page, child);
                page = inner.child(child);
            }
            return Some(page);
        }
        None
    }
}

impl Tree {
    /// The leaf that a key belongs to.
    #[inline]
    fn leaf<'a>(&self, source: &'a impl Source, key: Key<'_>) -> Leaf<'a> {
        let mut page = self.root;
        for _ in 0..self.height {
            let inner = Inner::new(source.page(page));
            page = inner.child(inner.find(source, key));
            source.prefetch(page);
        }
        Leaf::new(source.page(page))
    }

    /// The same, with the way to it.
    #[inline(always)] // so that the path is built where it stays
    fn descend(&self, source: &impl Source, key: Key<'_>) -> (Path, PageId) {
        let mut path = Path::new(self.root);
        let mut page = self.root;
        for _ in 0..self.height {
            let inner = Inner::new(source.page(page));
            let child = inner.find(source, key);
            path.push(page, child);
            page = inner.child(child);
            source.prefetch(page);
        }
        (path, page)
    }

    /// The last leaf, with the way to it.
    fn descend_last(&self, source: &impl Source) -> (Path, PageId) {
        let mut path = Path::new(self.root);
        let mut page = self.root;
        for _ in 0..self.height {
            let inner = Inner::new(source.page(page));
            path.push(page, inner.len());
            page = inner.child(inner.len());
        }
        (path, page)
    }

    #[inline]
    fn get<'a>(&self, source: &'a impl Source, key: &[u8]) -> Option<&'a [u8]> {
        let key = Key::new(key);
        let leaf = self.leaf(source, key);
        let at = leaf.find(source, key).ok()?;
        Some(match leaf.entry(at).value {
            Value::Inline(bytes) => bytes,
            Value::Blob(id) => source.blob(id),
        })
    }
}

/// The living tree.
#[derive(Debug)]
pub(crate) struct Index {
    pub(super) pages: Pages,
    pub(super) tree: Tree,
    pub(super) totals: Counters,
    /// What readers are shown instead of the living tree, while changes are hidden.
    pub(super) shown: Option<Snapshot>,
    /// Whether memory is reserved for all changes of a batch.
    in_batch: bool,
}

/// A tree as it was at one moment. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(super) frozen: Frozen,
    pub(super) tree: Tree,
    pub(super) totals: Totals,
}

impl Index {
    pub(crate) fn new() -> Result<Index, OutOfMemory> {
        let mut pages = Pages::new();
        pages.reserve(1)?;
        let root = empty_leaf(&mut pages);
        Ok(Index::of(pages, Tree { root, height: 0, long_keys: false }, Totals::default()))
    }

    /// An index of a tree that lies in `pages`.
    pub(super) fn of(pages: Pages, tree: Tree, totals: Totals) -> Index {
        Index { pages, tree, totals: Counters::new(totals), shown: None, in_batch: false }
    }

    /// The numbers that readers see.
    fn visible(&self) -> Totals {
        match &self.shown {
            None => self.totals.get(),
            Some(shown) => shown.totals,
        }
    }

    /// The value of a key, hidden changes included, for who has the turn to write.
    #[inline]
    pub(crate) fn get_latest(&self, key: &[u8]) -> Option<&[u8]> {
        self.tree.get(&self.pages, key)
    }

    pub(crate) fn count(&self) -> u64 {
        self.visible().count
    }

    pub(crate) fn data_bytes(&self) -> u64 {
        self.visible().bytes
    }

    pub(crate) fn commits(&self) -> u64 {
        self.visible().commits
    }

    /// Commits, hidden ones included.
    pub(crate) fn latest_commit(&self) -> u64 {
        self.totals.latest_commit()
    }

    /// Counts a commit.
    #[inline]
    pub(crate) fn committed(&mut self) {
        self.totals.add_commit();
    }

    /// Bytes of memory held, snapshots included.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.pages.memory_bytes() + size_of::<Index>()
    }

    /// Freezes what readers see now, in constant time.
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot, OutOfMemory> {
        match &self.shown {
            Some(shown) => Ok(shown.clone()),
            None => self.freeze(),
        }
    }

    /// Freezes the living tree.
    fn freeze(&mut self) -> Result<Snapshot, OutOfMemory> {
        let (frozen, totals) = (self.pages.freeze()?, self.totals.get());
        Ok(Snapshot { frozen, tree: self.tree, totals })
    }

    /// The newest snapshot again, if it shows what readers see now.
    pub(crate) fn existing_snapshot(&self) -> Option<Snapshot> {
        match &self.shown {
            Some(shown) => Some(shown.clone()),
            None => {
                let (frozen, totals) = (self.pages.existing_freeze()?, self.totals.get());
                Some(Snapshot { frozen, tree: self.tree, totals })
            }
        }
    }

    /// Lookup that something was dropped whose `pinned_epoch` were `epoch`.
    pub(crate) fn forget(&mut self, epoch: u64) {
        self.pages.forget(epoch);
    }

    /// Frees up to `limit` things that only snapshots needed which are gone by
    /// now. Returns whether there may be more.
    pub(crate) fn collect(&mut self, limit: usize) -> bool {
        self.pages.collect(limit)
    }

    /// Reserves memory for a change of one leaf, before it is begun: from then on the
    /// system can refuse blobs only. At worst each level is copied, and then splits in
    /// two (`each` is 3 pages) or is joined (2). Where a put is refused a deletion may
    /// still do, which gives memory back.
    #[inline]
    fn begin(&mut self, each: usize) -> Result<(), OutOfMemory> {
        if self.in_batch {
            return Ok(());
        }
        self.pages.collect_some();
        let pages = each * (self.tree.height + 1) + 2;
        self.pages.reserve(pages)?;
        self.pages.reserve_notes(2 * pages) // with each page a blob may go
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
        assert!(applied.is_ok(), "a batch takes no more than was reserved for it");
        applied
    }

    /// Reserves memory for so many changes. A split of a node that the batch has made
    /// takes 4 splits below it, so all levels that it adds take less than one more.
    fn reserve_batch(&mut self, changes: usize) -> Result<(), OutOfMemory> {
        let pages = changes * (3 * (self.tree.height + 2) + 2);
        // The pages fill slabs, but for one slab of each size.
        let slabs = pages * memory::UNITS_MAX / memory::SLAB_UNITS as usize + memory::CLASSES;
        self.pages.reserve(slabs)?;
        self.pages.reserve_notes(2 * pages)
    }

    /// Whether an entry stands in a leaf with all its bytes.
    pub(crate) fn needs_no_blob(key: &[u8], value: &[u8]) -> bool {
        key.len() <= INLINE && value.len() <= leaf::INLINE_VALUE
    }

    /// Runs a change of many steps, and undoes them all if one fails.
    pub(crate) fn atomically<E: From<OutOfMemory>>(
        &mut self,
        change: impl FnOnce(&mut Index) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.freeze()?;
        let result = change(self);
        if result.is_err() {
            self.go_back(&before);
        }
        drop(before);
        self.pages.forget_newest();
        result
    }

    /// Makes the tree what the newest snapshot shows.
    fn go_back(&mut self, newest: &Snapshot) {
        self.drop_unshared(self.tree.root, self.tree.height);
        self.pages.revive(&newest.frozen);
        self.tree = newest.tree;
        self.totals.set(newest.totals);
    }

    /// Releases the pages and blobs of a subtree that no snapshot can see.
    fn drop_unshared(&mut self, page: PageId, height: usize) {
        if self.pages.is_shared(page) {
            return; // and so is all below it
        }
        self.each_part(page, height, &mut |index, part| match part {
            Part::Child(child) => index.drop_unshared(child, height - 1),
            Part::Blob(id) if index.pages.is_shared_blob(id) => {}
            Part::Blob(id) => index.pages.release_blob(id),
        });
        self.pages.release(page);
    }

    /// Releases all pages and blobs of a subtree.
    fn drop_all(&mut self, page: PageId, height: usize) {
        self.each_part(page, height, &mut |index, part| match part {
            Part::Child(child) => index.drop_all(child, height - 1),
            Part::Blob(id) => index.pages.release_blob(id),
        });
        self.pages.release(page);
    }

    /// Calls `visit` for each child and each blob that a page refers to.
    fn each_part(&mut self, page: PageId, height: usize, visit: &mut impl FnMut(&mut Index, Part)) {
        if height == 0 {
            for i in 0..Leaf::new(self.pages.page(page)).len() {
                for id in Leaf::new(self.pages.page(page)).blobs(i) {
                    visit(self, Part::Blob(id));
                }
            }
            return;
        }
        for i in 0..=Inner::new(self.pages.page(page)).len() {
            let inner = Inner::new(self.pages.page(page));
            let child = inner.child(i);
            let tail = i.checked_sub(1).and_then(|slot| inner.tail(slot));
            visit(self, Part::Child(child));
            if let Some(id) = tail {
                visit(self, Part::Blob(id));
            }
        }
    }

    /// Makes the leaf at the end of a path, and the pages on the way to it, the
    /// living tree's own; returns the leaf.
    #[inline]
    fn own_path(&mut self, path: &mut Path, leaf: PageId) -> PageId {
        // A page that is not shared has no parent that is.
        if !self.pages.is_shared(leaf) {
            return leaf;
        }
        self.own_shared_path(path, leaf)
    }

    #[cold]
    fn own_shared_path(&mut self, path: &mut Path, leaf: PageId) -> PageId {
        for level in 0..path.len {
            let node = self.pages.own(path.at(level).0);
            path.steps[level].0 = node;
            self.replace_child(path, level, node);
        }
        let leaf = self.pages.own(leaf);
        self.replace_child(path, path.len, leaf);
        leaf
    }

    /// Puts `page` in the place of the node on `level` of a path, where the
    /// leaf's level is the path's length.
    fn replace_child(&mut self, path: &Path, level: usize, page: PageId) {
        match level.checked_sub(1).map(|up| path.at(up)) {
            None => self.tree.root = page,
            Some((parent, child)) => {
                if Inner::new(self.pages.page(parent)).child(child) != page {
                    InnerMut::new(self.pages.edit(parent)).set_child(child, page);
                }
            }
        }
    }
}

/// What a page refers to.
enum Part {
    Child(PageId),
    Blob(BlobId),
}

fn empty_leaf(pages: &mut Pages) -> PageId {
    let root = pages.alloc(0);
    LeafMut::init(pages.edit(root), &[]);
    root
}

impl Snapshot {
    /// The value of a key.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.tree.get(&self.frozen, key)
    }

    pub(crate) fn count(&self) -> u64 {
        self.totals.count
    }

    pub(crate) fn data_bytes(&self) -> u64 {
        self.totals.bytes
    }

    pub(crate) fn commits(&self) -> u64 {
        self.totals.commits
    }

    /// What to tell [`Index::forget`] when it has been dropped, if that may leave
    /// something to [`Index::collect`].
    pub(crate) fn pinned_epoch(&self) -> Option<u64> {
        self.frozen.pinned_epoch()
    }
}
