//! Putting an entry: in place, into a larger leaf, or by splitting.
//!
//! A refusal of memory leaves the entries as they were: blobs are allocated first, and
//! `put_over` restores an entry that it has removed by then.

use std::ops::Range;

use super::super::memory::{BODY_MAX, BlobId, PageId, Source, round_body};
use super::super::node::inner::{self, Branch, Inner, InnerMut, Separator};
use super::super::node::key::{Key, common_prefix};
use super::super::node::leaf::{INLINE_VALUE, Leaf, LeafLayout, LeafMut, NewEntry, Value};
use super::path::Path;
use super::{Index, value as value_of};
use crate::error::OutOfMemory;
use crate::fallible::copy;

/// Bytes that a node gets beyond what it needs when it grows, so that the next
/// insertion need not move it again.
const SLACK: usize = 384;

/// Bytes that a node gets beyond what it needs when it shrinks.
const TIGHT: usize = 64;

/// The body length of the page for a node that takes `len` bytes and shrinks.
pub(super) fn tight(len: usize) -> usize {
    round_body(len + TIGHT).min(BODY_MAX)
}

/// The body length of the page for a node that takes `len` bytes.
pub(super) fn with_slack(len: usize) -> usize {
    round_body(len + SLACK).min(BODY_MAX)
}

impl Index {
    /// Sets the value of a key. First shows `old` the value that is there, and returns the
    /// result of `old`; an error from it stops the put.
    #[inline]
    pub(crate) fn put<T, E: From<OutOfMemory>>(
        &mut self,
        key: &[u8],
        value: &[u8],
        old: impl FnOnce(Option<&[u8]>) -> Result<T, E>,
    ) -> Result<T, E> {
        let parts = Key::new(key);
        let (path, leaf) = self.tree.path_to(&self.pages, parts);
        self.put_at(path, leaf, parts, (key, value), old)
    }

    /// Sets the value of a key that belongs to the leaf at the end of a path.
    #[inline(always)]
    pub(crate) fn put_at<T, E: From<OutOfMemory>>(
        &mut self,
        mut path: Path,
        leaf: PageId,
        parts: Key<'_>,
        (key, value): (&[u8], &[u8]),
        old: impl FnOnce(Option<&[u8]>) -> Result<T, E>,
    ) -> Result<T, E> {
        match Leaf::new(self.pages.page(leaf)).find(&self.pages, parts) {
            Ok(at) => {
                let before = value_of(Leaf::new(self.pages.page(leaf)), &self.pages, at);
                if before.len() == value.len() {
                    self.begin_without_growth(leaf)?;
                } else {
                    self.begin()?;
                }
                let before = value_of(Leaf::new(self.pages.page(leaf)), &self.pages, at);
                let result = old(Some(before))?;
                self.put_over(&mut path, leaf, at, parts, value)?;
                Ok(result)
            }
            Err(at) => {
                self.begin()?;
                let result = old(None)?;
                self.put_new(&mut path, leaf, at, parts, value)?;
                self.totals.add_entry(key.len() + value.len());
                Ok(result)
            }
        }
    }

    /// Adds an entry at `at`.
    fn put_new(
        &mut self,
        path: &mut Path,
        leaf: PageId,
        at: usize,
        key: Key<'_>,
        value: &[u8],
    ) -> Result<(), OutOfMemory> {
        let new = self.new_value(value, false)?;
        let entry = match self.new_tail(key.tail) {
            Ok(tail) => NewEntry { key, tail, value: new },
            Err(error) => {
                self.release_value(new);
                return Err(error);
            }
        };
        self.tree.long_keys |= entry.tail.is_some();
        let leaf = self.make_path_writable(path, leaf);
        let inserted = self.insert(path, leaf, at, &entry);
        if inserted.is_err() {
            self.release_value(new);
            entry.tail.into_iter().for_each(|id| self.pages.release_blob(id));
        }
        inserted
    }

    /// Sets the value of entry `at`, whose key is `key`.
    #[inline(never)] // it would stand in each caller of `put`
    fn put_over(
        &mut self,
        path: &mut Path,
        leaf: PageId,
        at: usize,
        key: Key<'_>,
        value: &[u8],
    ) -> Result<(), OutOfMemory> {
        let old = Leaf::new(self.pages.page(leaf)).entry(at);
        let tail = old.tail;
        let (old_len, old_blob) = match old.value {
            Value::Inline(bytes) => (bytes.len(), None),
            Value::Blob(id) => (self.pages.blob(id).len(), Some(id)),
        };
        let same_len = old_len == value.len();
        if old_blob.is_some_and(|id| same_len && self.pages.overwrite_blob(id, value)) {
            return Ok(());
        }
        let new = self.new_value(value, same_len)?;
        let leaf = self.make_path_writable(path, leaf);
        if !LeafMut::new(self.pages.edit(leaf)).replace(at, new) {
            let removed = LeafMut::new(self.pages.edit(leaf)).remove(at);
            let entry = NewEntry { key, tail, value: new };
            let read = Leaf::new(self.pages.page(leaf));
            let shorter = value.len() < old_len;
            let shrinking = shorter && read.is_shrinking();
            if read.has_room(&entry) {
                let mut edit = LeafMut::new(self.pages.edit(leaf));
                edit.insert(at, &entry);
                if shrinking {
                    edit.expect_fewer();
                }
                self.settle_leaf(path, leaf); // a shorter value leaves room behind
            } else if let Err(error) = self.insert_moving(path, leaf, at, &entry, shorter) {
                LeafMut::new(self.pages.edit(leaf)).restore(at, removed);
                self.release_value(new);
                return Err(error);
            }
        }
        old_blob.into_iter().for_each(|id| self.pages.release_blob(id));
        self.totals.replace_value(old_len, value.len());
        Ok(())
    }

    /// The value in the form that a leaf holds. It `replaces` one of the same length, or not.
    #[inline]
    fn new_value<'a>(&mut self, value: &'a [u8], replaces: bool) -> Result<Value<'a>, OutOfMemory> {
        if value.len() <= INLINE_VALUE {
            return Ok(Value::Inline(value));
        }
        Ok(Value::Blob(self.pages.new_blob(value, replaces)?))
    }

    fn release_value(&mut self, value: Value<'_>) {
        if let Value::Blob(id) = value {
            self.pages.release_blob(id);
        }
    }

    #[inline]
    fn new_tail(&mut self, tail: &[u8]) -> Result<Option<BlobId>, OutOfMemory> {
        if tail.is_empty() { Ok(None) } else { self.pages.new_blob(tail, false).map(Some) }
    }

    /// Inserts an entry at `at` in a writable leaf at the end of a writable path. Changes
    /// nothing if it fails.
    #[inline]
    fn insert(
        &mut self,
        path: &Path,
        leaf: PageId,
        at: usize,
        entry: &NewEntry<'_>,
    ) -> Result<(), OutOfMemory> {
        if Leaf::new(self.pages.page(leaf)).has_room(entry) {
            LeafMut::new(self.pages.edit(leaf)).insert(at, entry);
            return Ok(());
        }
        self.insert_moving(path, leaf, at, entry, false)
    }

    /// Inserts an entry by moving the leaf or splitting it. `shrinks` says that the entry was a
    /// longer one.
    #[cold]
    fn insert_moving(
        &mut self,
        path: &Path,
        leaf: PageId,
        at: usize,
        entry: &NewEntry<'_>,
        shrinks: bool,
    ) -> Result<(), OutOfMemory> {
        let old = Leaf::new(self.pages.page(leaf));
        if let Some(len) = old.grown(entry) {
            let slack = if old.is_append(at) { BODY_MAX } else { SLACK };
            let new = self.pages.alloc(round_body(len + slack).min(BODY_MAX), 0);
            let (to, [from]) = self.pages.edit_from(new, [leaf]);
            LeafMut::copy(to, Leaf::new(from)).insert(at, entry);
            self.pages.descends(new, leaf);
            self.pages.release(leaf);
            self.replace_child(path, path.len(), new);
            return Ok(());
        }
        let plan = old.with_entry(entry);
        if plan.fits() {
            let range = 0..old.len();
            let is_tight = shrinks || old.is_shrinking();
            let body = if is_tight { tight(plan.len) } else { with_slack(plan.len) };
            let new = self.build_leaf(leaf, range, plan, body, Some((at, entry)));
            let (mut to, [from]) = self.edit_leaf(new, [leaf]);
            if shrinks {
                to.expect_fewer();
            } else if at > 0 {
                to.inherit_run(from, at);
            }
            self.pages.release(leaf);
            self.replace_child(path, path.len(), new);
            return Ok(());
        }
        let append = old.is_append(at);
        let (cut, in_left) = if append { (at, false) } else { old.cut(at, entry) };
        let n = old.len();
        let separator = self.separator(leaf, cut, at, in_left, entry)?;
        let new = |here: bool, at: usize| here.then_some((at, entry));
        let left = if cut == n && !in_left {
            leaf // all of it stays where it is
        } else {
            let plan = Leaf::new(self.pages.page(leaf)).part(0..cut, in_left.then_some(entry));
            self.build_leaf(leaf, 0..cut, plan, with_slack(plan.len), new(in_left, at))
        };
        let right = if cut == 0 && in_left && left != leaf {
            leaf
        } else {
            let plan = Leaf::new(self.pages.page(leaf)).part(cut..n, (!in_left).then_some(entry));
            let new = new(!in_left, at.saturating_sub(cut));
            self.build_leaf(leaf, cut..n, plan, with_slack(plan.len), new)
        };
        if append {
            LeafMut::new(self.pages.edit(right)).expect_more();
        }
        if left != leaf && right != leaf {
            self.pages.release(leaf);
        }
        self.insert_branch(path, left, separator, right);
        Ok(())
    }

    fn edit_leaf<const N: usize>(
        &mut self,
        page: PageId,
        others: [PageId; N],
    ) -> (LeafMut<'_>, [Leaf<'_>; N]) {
        let (to, from) = self.pages.edit_from(page, others);
        (LeafMut::new(to), from.map(Leaf::new))
    }

    /// A new leaf with some entries of another, and perhaps a new one, in a page whose body
    /// has at least `body` bytes.
    pub(crate) fn build_leaf(
        &mut self,
        from: PageId,
        range: Range<usize>,
        plan: LeafLayout,
        body: usize,
        new: Option<(usize, &NewEntry<'_>)>,
    ) -> PageId {
        let page = self.pages.alloc(body, 0);
        let (to, [from]) = self.pages.edit_from(page, [from]);
        let from = Leaf::new(from);
        let some_key = match new {
            Some((_, entry)) => entry.key.inline.to_vec(),
            None if range.is_empty() => Vec::new(),
            None => from.inline_key(range.start),
        };
        let mut to = LeafMut::init(to, &some_key[..plan.prefix]);
        to.append(from, range);
        if let Some((at, entry)) = new {
            to.insert(at, entry);
        }
        page
    }

    /// The shortest separator between the entries of a leaf that is cut before
    /// `cut`, with a new entry at `at` at the end of the left side or at the
    /// start of the right one, or elsewhere.
    fn separator(
        &mut self,
        leaf: PageId,
        cut: usize,
        at: usize,
        in_left: bool,
        entry: &NewEntry<'_>,
    ) -> Result<Separator, OutOfMemory> {
        let old = Leaf::new(self.pages.page(leaf));
        let stored = |i: usize| {
            let tail = old.entry(i).tail.map_or(&[][..], |id| self.pages.blob(id));
            (old.inline_key(i), tail)
        };
        let new = || (entry.key.inline.to_vec(), entry.key.tail);
        let (left, left_tail) = if in_left && at == cut { new() } else { stored(cut - 1) };
        let (mut right, right_tail) = if !in_left && at == cut { new() } else { stored(cut) };
        let same = common_prefix(&left, &right);
        if same < right.len() {
            right.truncate(same + 1);
            return Ok(Separator { inline: right, tail: None });
        }
        let tail = &right_tail[..=common_prefix(left_tail, right_tail)];
        let tail = copy(tail)?; // a blob is not made while one is read
        let tail = self.pages.new_blob(&tail, false)?;
        Ok(Separator { inline: right, tail: Some(tail) })
    }

    /// Puts `left` in the place of the node that the path leads to, and `right`
    /// after it; splits inner nodes as need be.
    fn insert_branch(
        &mut self,
        path: &Path,
        mut left: PageId,
        mut separator: Separator,
        mut right: PageId,
    ) {
        for depth in (0..path.len()).rev() {
            let (level, (node, child)) = (path.len() - depth, path.at(depth));
            InnerMut::new(self.pages.edit(node)).set_child(child, left);
            let inner = Inner::new(self.pages.page(node));
            if inner.has_room(&separator) {
                InnerMut::new(self.pages.edit(node)).insert(child, &separator, right);
                return;
            }
            let first = inner.child(0);
            let mut branches = inner.branches();
            branches.insert(child, (separator, right));
            self.pages.release(node);
            if inner::built_len(&branches) <= BODY_MAX {
                let page = self.build_inner(level, first, &branches);
                self.replace_child(path, depth, page);
                return;
            }
            let cut = inner::cut(&branches, child + 1 == branches.len());
            let after = branches.split_off(cut + 1);
            let (middle, middle_child) = branches.pop().expect("the cut is within");
            left = self.build_inner(level, first, &branches);
            right = self.build_inner(level, middle_child, &after);
            separator = middle;
        }
        self.tree.height += 1;
        self.tree.root = self.build_inner(self.tree.height, left, &[(separator, right)]);
    }

    /// A new inner node on a level.
    pub(crate) fn build_inner(
        &mut self,
        level: usize,
        first: PageId,
        branches: &[Branch],
    ) -> PageId {
        let len = inner::built_len(branches);
        let page = self.pages.alloc(with_slack(len), level);
        InnerMut::build(self.pages.edit(page), first, branches);
        page
    }
}
