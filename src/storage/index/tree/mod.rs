//! The tree: how it is descended, changed, walked and checked.
//!
//! [`Index`] is the live tree, with its pages; a [`Snapshot`] is a tree of one epoch. Both
//! are a [`Tree`]: a root page and the number of levels. [`Tree::descend`] is the one way
//! from the root to a leaf.

mod check;
mod compact;
mod cursor;
mod delete;
mod in_place;
mod index;
mod path;
mod put;
mod snapshot;
mod totals;
mod unpublished;
mod views;
mod visit;

pub(crate) use cursor::{Bounds, Cursor, Sink};
pub(crate) use index::Index;
pub(crate) use snapshot::Snapshot;
pub(crate) use totals::Totals;
pub(crate) use views::Published;
pub(crate) use visit::{Position, Visitor, walk};

use super::memory::{PageId, Source};
use super::node::inner::Inner;
use super::node::key::Key;
use super::node::leaf::{Leaf, Value};

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

impl Tree {
    /// Descends from the root to a leaf. `choose` returns which child of an inner node is
    /// next.
    #[inline(always)]
    fn descend<'a>(
        &self,
        source: &'a impl Source,
        mut choose: impl FnMut(PageId, Inner<'a>) -> usize,
    ) -> PageId {
        let mut page = self.root;
        for _ in 0..self.height {
            let inner = Inner::new(source.page_to_search(page));
            page = inner.child(choose(page, inner));
        }
        page
    }

    /// The leaf that a key belongs to.
    #[inline(always)]
    fn leaf_of(&self, source: &impl Source, key: Key<'_>) -> PageId {
        self.descend(source, |_, inner| inner.find(source, key))
    }

    /// The value of a key.
    #[inline]
    fn get<'a>(&self, source: &'a impl Source, key: &[u8]) -> Option<&'a [u8]> {
        let key = Key::new(key);
        find_value(source.page_to_search(self.leaf_of(source, key)), source, key)
    }
}

/// The value of a key in the leaf that it belongs to.
#[inline(always)]
fn find_value<'a>(leaf: &'a [u8], source: &'a impl Source, key: Key<'_>) -> Option<&'a [u8]> {
    let leaf = Leaf::new(leaf);
    let at = leaf.find(source, key).ok()?;
    Some(value(leaf, source, at))
}

/// The value of entry `at` of a leaf.
#[inline(always)]
fn value<'a>(leaf: Leaf<'a>, source: &'a impl Source, at: usize) -> &'a [u8] {
    match leaf.entry(at).value {
        Value::Inline(bytes) => bytes,
        Value::Blob(id) => source.blob(id),
    }
}
