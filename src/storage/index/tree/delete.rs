//! Deleting: one entry, or a range of them; and giving memory back.
//!
//! A leaf from which entries have gone is joined with a neighbour if both are small, else
//! moved to a smaller page if that saves enough. Inner nodes follow, upwards.

use super::super::memory::{BODY_MAX, PageId, Source, UNIT};
use super::super::node::inner::{self, Inner, InnerMut};
use super::super::node::key::Key;
use super::super::node::leaf::{Leaf, LeafMut};
use super::path::Path;
use super::put::{tight, with_slack};
use super::{Index, Tree, value};
use crate::error::OutOfMemory;

/// A node that uses less than this is joined with a neighbour ...
const SMALL: usize = BODY_MAX / 3;
/// ... if both together use no more than this.
const JOINED_MAX: usize = BODY_MAX * 3 / 4;
/// A node moves to a smaller page if that saves so much; a leaf that has only lost entries
/// since it last did, if it saves a unit.
const SHRINK: usize = 2 * UNIT;

impl Index {
    /// Removes a key. First shows `old` its value, and returns the result of `old`; an error
    /// from it stops the deletion. `None` if the key is not there.
    pub(crate) fn delete<T, E: From<OutOfMemory>>(
        &mut self,
        key: &[u8],
        old: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let key = Key::new(key);
        let find = |inner: Inner<'_>| inner.find(&self.pages, key);
        let (mut path, leaf) = self.tree.record_path(&self.pages, find);
        let Ok(at) = Leaf::new(self.pages.page(leaf)).find(&self.pages, key) else {
            return Ok(None);
        };
        self.begin_without_growth(leaf)?;
        let result = old(value(Leaf::new(self.pages.page(leaf)), &self.pages, at))?;
        let leaf = self.make_path_writable(&mut path, leaf);
        self.remove_entry(leaf, at);
        self.settle_leaf(&path, leaf);
        Ok(Some(result))
    }

    /// Removes every key from `from` up to, but not including, `to`; some of them only, if
    /// memory is refused that a snapshot makes necessary.
    pub(crate) fn clear(
        &mut self,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Result<(), OutOfMemory> {
        if from.is_none() && to.is_none() {
            if self.pages.has_snapshots() {
                self.pages.reserve(1)?;
                let (pages, blobs) = self.pages.population();
                self.pages.reserve_notes(pages + blobs)?;
            }
            self.release_tree(false);
            self.plant();
            return Ok(());
        }
        let from = Key::new(from.unwrap_or_default());
        let to = to.map(Key::new);
        while self.clear_leaf(from, to)? {}
        Ok(())
    }

    /// Removes the entries of a range from the first leaf that has any. Returns whether
    /// there may be more.
    fn clear_leaf(&mut self, from: Key<'_>, to: Option<Key<'_>>) -> Result<bool, OutOfMemory> {
        let (mut path, mut leaf) = self.tree.path_to(&self.pages, from);
        let find = |index: &Index, leaf: PageId, key: Key<'_>| {
            let leaf = Leaf::new(index.pages.page(leaf));
            leaf.find(&index.pages, key).unwrap_or_else(|at| at)
        };
        let mut start = find(self, leaf, from);
        if start == Leaf::new(self.pages.page(leaf)).len() {
            match path.step(&self.pages, false) {
                Some(next) => (leaf, start) = (next, 0),
                None => return Ok(false),
            }
        }
        let len = Leaf::new(self.pages.page(leaf)).len();
        let end = to.map_or(len, |to| find(self, leaf, to));
        if start >= end {
            return Ok(false);
        }
        self.begin_without_growth(leaf)?;
        self.pages.reserve_notes(2 * (end - start + 2 * self.tree.height + 4))?;
        let leaf = self.make_path_writable(&mut path, leaf);
        for at in (start..end).rev() {
            self.remove_entry(leaf, at);
        }
        self.settle_leaf(&path, leaf);
        Ok(end == len)
    }

    /// Removes an entry from a writable leaf.
    fn remove_entry(&mut self, leaf: PageId, at: usize) {
        let read = Leaf::new(self.pages.page(leaf));
        let (bytes, blobs) = (read.entry_len(at, &self.pages), read.blobs(at));
        LeafMut::new(self.pages.edit(leaf)).remove(at);
        blobs.for_each(|id| self.pages.release_blob(id));
        self.totals.remove_entry(bytes);
    }

    /// Joins, shrinks or drops a leaf from which entries have gone.
    #[inline]
    pub(crate) fn settle_leaf(&mut self, path: &Path, leaf: PageId) {
        let node = Leaf::new(self.pages.page(leaf));
        let saved = leaf.body_len().saturating_sub(tight(node.used()));
        let shrinks = saved >= SHRINK || saved > 0 && node.is_shrinking();
        if shrinks || node.used() < SMALL {
            self.settle_small_leaf(path, leaf, shrinks);
        }
    }

    #[cold]
    fn settle_small_leaf(&mut self, path: &Path, leaf: PageId, shrinks: bool) {
        let node = Leaf::new(self.pages.page(leaf));
        if node.len() == 0 && path.len() > 0 {
            let is_only_child = |depth| Inner::new(self.pages.page(path.at(depth).0)).len() == 0;
            if !(0..path.len()).all(is_only_child) {
                self.pages.release(leaf);
                return self.remove_child(path, path.len() - 1);
            }
            // The last leaf of all is the root of the empty tree.
            (0..path.len()).for_each(|depth| self.pages.release(path.at(depth).0));
            self.tree = Tree { root: leaf, height: 0, long_keys: false };
            return self.settle_leaf(&Path::new(leaf), leaf);
        }
        if node.used() < SMALL && path.len() > 0 && self.join_leaf(path) {
            return;
        }
        if shrinks {
            self.shrink_leaf(path, leaf);
        }
    }

    /// Moves a leaf to as small a page as will do, if there is one.
    pub(super) fn shrink_leaf(&mut self, path: &Path, leaf: PageId) {
        let old = Leaf::new(self.pages.page(leaf));
        let (len, plan) = (old.len(), old.part(0..old.len(), None));
        let body = tight(plan.len);
        if self.pages.has_room(body) {
            let page = self.build_leaf(leaf, 0..len, plan, body, None);
            LeafMut::new(self.pages.edit(page)).expect_fewer();
            self.pages.release(leaf);
            self.replace_child(path, path.len(), page);
        }
    }

    /// The two pairs of neighbours that the child of a path at a depth is in: the number of
    /// the left one, and both.
    fn pairs(&self, path: &Path, depth: usize) -> [Option<(usize, [PageId; 2])>; 2] {
        let (parent, child) = path.at(depth);
        let inner = Inner::new(self.pages.page(parent));
        let sides = [child.checked_sub(1), (child < inner.len()).then_some(child)];
        sides.map(|left| left.map(|left| (left, [inner.child(left), inner.child(left + 1)])))
    }

    /// Joins the leaf at the end of a path with a neighbour, if both fit.
    fn join_leaf(&mut self, path: &Path) -> bool {
        for (left, pair) in self.pairs(path, path.len() - 1).into_iter().flatten() {
            let [first, second] = pair.map(|page| Leaf::new(self.pages.page(page)));
            let plan = first.joined(second);
            let body = tight(plan.len);
            if plan.len > JOINED_MAX || !self.pages.has_room(body) {
                continue;
            }
            let prefix = if first.len() > 0 { first } else { second }.inline_key(0);
            let page = self.pages.alloc(body, 0);
            let (to, from) = self.pages.edit_from(page, pair);
            let mut to = LeafMut::init(to, &prefix[..plan.prefix]);
            for from in from.map(Leaf::new) {
                to.append(from, 0..from.len());
            }
            to.expect_fewer();
            pair.into_iter().for_each(|page| self.pages.release(page));
            self.join_children(path, path.len() - 1, left, page, true);
            return true;
        }
        false
    }

    /// Puts `page` in the place of children `left` and `left + 1` of the node on
    /// a depth of a path.
    fn join_children(
        &mut self,
        path: &Path,
        depth: usize,
        left: usize,
        page: PageId,
        separator_goes: bool,
    ) {
        let mut parent = InnerMut::new(self.pages.edit(path.at(depth).0));
        parent.set_child(left, page);
        let tail = parent.remove_child(left + 1);
        if separator_goes {
            tail.into_iter().for_each(|id| self.pages.release_blob(id));
        }
        self.settle_inner(path, depth);
    }

    /// Removes the child that a path goes to from the node at a depth of it.
    fn remove_child(&mut self, path: &Path, depth: usize) {
        let (node, child) = path.at(depth);
        if Inner::new(self.pages.page(node)).len() > 0 {
            let tail = InnerMut::new(self.pages.edit(node)).remove_child(child);
            tail.into_iter().for_each(|id| self.pages.release_blob(id));
            return self.settle_inner(path, depth);
        }
        // That was its only child, and the tree has others.
        self.pages.release(node);
        self.remove_child(path, depth - 1);
    }

    /// Joins, shrinks or drops the node at a depth of a path from which a child has gone.
    fn settle_inner(&mut self, path: &Path, depth: usize) {
        let Some(up) = depth.checked_sub(1) else {
            return self.lower_root();
        };
        let node = path.at(depth).0;
        let used = Inner::new(self.pages.page(node)).used();
        if used < SMALL && self.join_inner(path, up) {
            return;
        }
        if tight(used) + SHRINK <= node.body_len() {
            let inner = Inner::new(self.pages.page(node));
            let (first, branches) = (inner.child(0), inner.branches());
            if self.pages.has_room(with_slack(inner::built_len(&branches))) {
                let page = self.build_inner(path.len() - depth, first, &branches);
                self.pages.release(node);
                self.replace_child(path, depth, page);
            }
        }
    }

    /// Joins the child that a path goes to at depth `up` with a neighbour, if both fit.
    fn join_inner(&mut self, path: &Path, up: usize) -> bool {
        for (left, pair) in self.pairs(path, up).into_iter().flatten() {
            let parent = Inner::new(self.pages.page(path.at(up).0));
            let [first, second] = pair.map(|page| Inner::new(self.pages.page(page)));
            if first.used() + second.used() > JOINED_MAX {
                continue;
            }
            let mut branches = first.branches();
            branches.push((parent.separator(left), second.child(0)));
            branches.append(&mut second.branches());
            // With another prefix they may take more than they did.
            let len = inner::built_len(&branches);
            if len > JOINED_MAX || !self.pages.has_room(with_slack(len)) {
                continue;
            }
            let page = self.build_inner(path.len() - up - 1, first.child(0), &branches);
            pair.into_iter().for_each(|page| self.pages.release(page));
            self.join_children(path, up, left, page, false);
            return true;
        }
        false
    }

    /// Removes roots with a single child.
    fn lower_root(&mut self) {
        while self.tree.height > 0 {
            let root = Inner::new(self.pages.page(self.tree.root));
            if root.len() > 0 {
                return;
            }
            let child = root.child(0);
            self.pages.release(self.tree.root);
            self.tree.root = child;
            self.tree.height -= 1;
        }
    }
}
