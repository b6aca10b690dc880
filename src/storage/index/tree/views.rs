//! The live tree as concurrent threads may use it: any number of readers and one writer.
//!
//! The writer may edit one leaf in place, if nothing but that leaf's bytes changes: no page
//! is copied, moved, split or freed. Readers and the writer meet at the leaf's latch. All
//! other changes take `&mut Index`.

#![allow(unsafe_code)] // the two views of one tree, which the guards of its lock keep apart

use super::super::memory::{SharedPages, Source, WriterPages};
use super::super::node::key::Key;
use super::super::node::leaf::{Leaf, LeafMut};
use super::in_place::InPlacePut;
use super::index::{Index, visible};
use super::totals::Counters;
use super::{Snapshot, Totals, Tree, find_value, value};
use crate::error::OutOfMemory;
use crate::sync::Views;

/// The view of a reader.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SharedView<'a> {
    Live {
        pages: SharedPages<'a>,
        tree: &'a Tree,
        totals: &'a Counters,
        published: &'a Option<Snapshot>,
    },
    /// While a long write has the index.
    Frozen(&'a Published),
}

/// The published state, which readers see while a long write has the index.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) snapshot: Snapshot,
    /// The number of the newest commit, unpublished ones included.
    pub(crate) latest_commit: u64,
    memory_bytes: usize,
}

/// The view of the one writer.
#[derive(Debug)]
pub(crate) struct WriterView<'a> {
    pages: WriterPages<'a>,
    tree: &'a Tree,
    totals: &'a Counters,
    published: &'a Option<Snapshot>,
}

// SAFETY: a `SharedView` reads leaves under their latches, inner nodes, blobs, numbers
// that are atomics, and what changes with `&mut Index` only. A `WriterView` changes
// leaves, under their latches, and the numbers.
unsafe impl Views for Index {
    type Shared<'a> = SharedView<'a>;
    type Writer<'a> = WriterView<'a>;
    type Frozen = Published;

    fn shared_of_frozen(frozen: &Published) -> SharedView<'_> {
        SharedView::Frozen(frozen)
    }

    #[inline]
    fn shared(&self) -> SharedView<'_> {
        SharedView::new(self, self.pages.shared())
    }

    #[inline]
    unsafe fn writer(&self) -> WriterView<'_> {
        // SAFETY: while the view lives, the caller of `Views::writer` uses the index by way of
        // it and of `shared` only.
        WriterView::new(self, unsafe { self.pages.writer() })
    }
}

impl<'a> SharedView<'a> {
    #[inline]
    pub(in super::super) fn new(index: &'a Index, pages: SharedPages<'a>) -> SharedView<'a> {
        let Index { tree, totals, published, .. } = index;
        SharedView::Live { pages, tree, totals, published }
    }

    /// Shows `view` the published value of a key, under the latch of its leaf.
    #[inline]
    pub(crate) fn get_latched<T>(self, key: &[u8], view: impl FnOnce(Option<&[u8]>) -> T) -> T {
        match self {
            SharedView::Live { pages, tree, published: None, .. } => {
                let key = Key::new(key);
                let leaf = tree.leaf_of(&pages, key);
                pages.read_latched(leaf, |body| view(find_value(body, &pages, key)))
            }
            // Its pages are frozen.
            SharedView::Live { published: Some(published), .. } => view(published.get(key)),
            SharedView::Frozen(published) => view(published.snapshot.get(key)),
        }
    }

    /// The published totals.
    pub(crate) fn totals(self) -> Totals {
        match self {
            SharedView::Live { totals, published, .. } => visible(totals, published),
            SharedView::Frozen(published) => published.snapshot.totals,
        }
    }

    /// Whether readers see a frozen tree, and not each change at once.
    pub(crate) fn is_unpublished(self) -> bool {
        matches!(self, SharedView::Live { published: Some(_), .. })
    }

    /// The newest snapshot, if it shows the published tree.
    pub(crate) fn existing_snapshot(self) -> Option<Snapshot> {
        match self {
            SharedView::Live { pages, tree, totals, published: None } => {
                let (frozen, totals) = (pages.existing_freeze()?, totals.get());
                Some(Snapshot { frozen, tree: *tree, totals })
            }
            SharedView::Live { published: Some(snapshot), .. }
            | SharedView::Frozen(Published { snapshot, .. }) => Some(snapshot.clone()),
        }
    }

    /// Bytes of memory held, snapshots included: before the long write that has the index,
    /// if there is one.
    pub(crate) fn memory_bytes(self) -> usize {
        match self {
            SharedView::Live { pages, .. } => pages.memory_bytes() + size_of::<Index>(),
            SharedView::Frozen(published) => published.memory_bytes,
        }
    }
}

impl Index {
    /// The published state, for readers beside a long write.
    pub(crate) fn publish_beside(&mut self) -> Result<Published, OutOfMemory> {
        let (latest_commit, memory_bytes) = (self.latest_commit(), self.shared().memory_bytes());
        Ok(Published { snapshot: self.snapshot()?, latest_commit, memory_bytes })
    }

    /// Whether readers see a frozen tree, and not each change at once.
    pub(crate) fn is_unpublished(&self) -> bool {
        self.shared().is_unpublished()
    }
}

impl<'a> WriterView<'a> {
    #[inline]
    pub(in super::super) fn new(index: &'a Index, pages: WriterPages<'a>) -> WriterView<'a> {
        let Index { tree, totals, published, .. } = index;
        WriterView { pages, tree, totals, published }
    }

    /// The value of a key, unpublished changes included.
    pub(crate) fn get_latest(&self, key: &[u8]) -> Option<&[u8]> {
        self.tree.get(&self.pages, key)
    }

    /// The number of the newest commit, unpublished ones included.
    pub(crate) fn latest_commit(&self) -> u64 {
        self.totals.latest_commit()
    }

    /// The totals of the latest tree, unpublished changes included.
    pub(crate) fn latest_totals(&self) -> Totals {
        self.totals.get()
    }

    /// The number of the newest published commit.
    pub(crate) fn commits(&self) -> u64 {
        visible(self.totals, self.published).commits
    }

    /// Plans a put that edits one leaf in place; `None` if it changes more.
    #[inline]
    pub(crate) fn plan_put(&self, key: &[u8], value: &[u8]) -> Option<InPlacePut> {
        if !Index::needs_no_blob(key, value) {
            return None;
        }
        let key = Key::new(key);
        let leaf = self.tree.leaf_of(&self.pages, key);
        if !self.pages.is_unshared(leaf) {
            return None;
        }
        InPlacePut::plan(leaf, &self.pages, key, value)
    }

    /// The value that a planned put replaces.
    #[inline]
    pub(crate) fn old_value(&self, put: &InPlacePut) -> Option<&[u8]> {
        let leaf = |page| Leaf::new(self.pages.page(page));
        put.replaced().map(|(page, at)| value(leaf(page), &self.pages, at))
    }

    /// Performs a planned put, with nothing changed since, and counts its commit.
    #[inline]
    pub(crate) fn put_in_place(&mut self, put: &InPlacePut, key: &[u8], value: &[u8]) {
        self.pages.edit(put.leaf(), |body| {
            let inserted = put.perform(LeafMut::new(body), key, value);
            // Under the latch: a reader that finds the entry finds it counted.
            self.totals.count_put(inserted);
        });
    }
}
