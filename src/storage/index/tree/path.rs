//! The path from the root of a tree to a leaf.

use super::super::memory::{PageId, Source};
use super::super::node::inner::Inner;
use super::super::node::key::Key;
use super::{LEVELS_MAX, Tree};

/// The inner nodes from the root down to a leaf, and which child of each is next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    steps: [(PageId, u32); LEVELS_MAX],
    len: usize,
}

impl Path {
    /// The path of a tree that is not descended yet.
    pub(super) fn new(root: PageId) -> Path {
        Path { steps: [(root, 0); LEVELS_MAX], len: 0 }
    }

    /// The number of inner nodes on the path.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn push(&mut self, node: PageId, child: usize) {
        self.steps[self.len] = (node, child as u32);
        self.len += 1;
    }

    /// The inner node at a depth, the root's being 0, and which child of it is next.
    pub(super) fn at(&self, depth: usize) -> (PageId, usize) {
        let (node, child) = self.steps[depth];
        (node, child as usize)
    }

    /// The leaf after (or, with `back`, before) the one that the path leads to, if both have
    /// the same parent.
    pub(super) fn sibling(&self, source: &impl Source, back: bool) -> Option<PageId> {
        let (node, child) = self.at(self.len.checked_sub(1)?);
        let inner = Inner::new(source.page(node));
        let next = if back { child.checked_sub(1)? } else { child + 1 };
        (next <= inner.len()).then(|| inner.child(next))
    }

    /// Moves to the leaf after (or, with `back`, before) the one that the path leads to.
    pub(super) fn step(&mut self, source: &impl Source, back: bool) -> Option<PageId> {
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

    /// Puts another page in the place of the inner node at a depth.
    pub(super) fn set_node(&mut self, depth: usize, node: PageId) {
        self.steps[depth].0 = node;
    }

    /// Whether the path leads to the last leaf.
    pub(super) fn is_last(&self, source: &impl Source) -> bool {
        (0..self.len)
            .map(|depth| self.at(depth))
            .all(|(node, child)| child == Inner::new(source.page(node)).len())
    }
}

impl Tree {
    /// The leaf that a key belongs to, and the path to it.
    #[inline(never)] // most callers have the time for a call
    pub(super) fn path_to(&self, source: &impl Source, key: Key<'_>) -> (Path, PageId) {
        self.record_path(source, |inner| inner.find(source, key))
    }

    /// The last leaf, and the path to it.
    pub(super) fn path_to_last(&self, source: &impl Source) -> (Path, PageId) {
        self.record_path(source, Inner::len)
    }

    /// The leaf to which `choose` leads from the root, and the path to it.
    #[inline(always)] // so that the path is built where it stays
    pub(super) fn record_path<'a>(
        &self,
        source: &'a impl Source,
        choose: impl Fn(Inner<'a>) -> usize,
    ) -> (Path, PageId) {
        let mut path = Path::new(self.root);
        let leaf = self.descend(source, |page, inner| {
            let child = choose(inner);
            path.push(page, child);
            child
        });
        (path, leaf)
    }
}
