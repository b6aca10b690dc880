//! Changing one leaf in place, while others read the tree.
//!
//! Whoever has the turn to write may do so beside readers, if nothing but one
//! leaf's bytes changes: no page is copied, moved, split or freed. Readers and
//! this writer meet at the lock that each leaf has.
//!
//! Not here: anything else that writes. It needs to be alone.

use super::super::memory::{PageId, Source};
use super::super::node::key::Key;
use super::super::node::leaf::{Leaf, LeafMut, NewEntry, Value};
use super::{Index, Inner, Path};
use crate::error::OutOfMemory;

/// A put that changes nothing but one leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    leaf: PageId,
    at: u32,
    /// Whether the key is there.
    is_there: bool,
}

/// A leaf that was changed, and may be again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near {
    leaf: PageId,
    is_last: bool,
}

impl Local {
    #[inline]
    fn at(&self) -> usize {
        self.at as usize
    }

    #[inline]
    fn change(&self, mut leaf: LeafMut<'_>, entry: &NewEntry<'_>) {
        match self.is_there {
            true => _ = leaf.replace(self.at(), entry.value),
            false => leaf.insert(self.at(), entry),
        }
    }
}

impl Index {
    /// Shows `view` the value of a key as readers see it, beside a writer.
    #[inline]
    pub(crate) fn get_latched<T>(&self, key: &[u8], view: impl FnOnce(Option<&[u8]>) -> T) -> T {
        let tree = match &self.shown {
            None => &self.tree,
            // Its pages are frozen.
            Some(shown) => return view(shown.get(key)),
        };
        let key = Key::new(key);
        let mut page = tree.root;
        for _ in 0..tree.height {
            let inner = Inner::new(self.pages.page(page));
            page = inner.child(inner.find(&self.pages, key));
            self.pages.prefetch(page);
        }
        self.pages.read_latched(page, |body| {
            let leaf = Leaf::new(body);
            let found = leaf.find(&self.pages, key).ok().map(|at| leaf.entry(at).value);
            view(found.map(|value| match value {
                Value::Inline(bytes) => bytes,
                Value::Blob(id) => self.pages.blob(id),
            }))
        })
    }

    /// How to set the value of a key beside readers, if that can be. The caller
    /// has the turn to write.
    #[inline]
    pub(crate) fn local(&self, key: &[u8], value: &[u8]) -> Option<Local> {
        if !Index::needs_no_blob(key, value) {
            return None;
        }
        let parts = Key::new(key);
        let mut page = self.tree.root;
        for _ in 0..self.tree.height {
            let inner = Inner::new(self.pages.page(page));
            page = inner.child(inner.find(&self.pages, parts));
            self.pages.prefetch(page);
        }
        self.local_in(page, parts, value)
    }

    /// The same, of a key that belongs to a leaf.
    #[inline(always)]
    fn local_in(&self, page: PageId, parts: Key<'_>, value: &[u8]) -> Option<Local> {
        if !self.pages.is_unshared_since_freeze(page) {
            return None;
        }
        let leaf = Leaf::new(self.pages.page(page));
        let (at, is_there) = match leaf.find(&self.pages, parts) {
            Ok(at) => match leaf.entry(at).value {
                Value::Inline(old) if old.len() == value.len() => (at, true),
                _ => return None,
            },
            Err(at) => {
                let entry = NewEntry { key: parts, tail: None, value: Value::Inline(value) };
                if !leaf.has_room(&entry) {
                    return None;
                }
                (at, false)
            }
        };
        Some(Local { leaf: page, at: at as u32, is_there })
    }

    /// The value that such a put replaces.
    #[inline]
    pub(crate) fn old_of(&self, local: &Local) -> Option<&[u8]> {
        local.is_there.then(|| self.value(local.leaf, local.at()))
    }

    /// Sets the value of a key, as [`Index::local`] has found out, with nothing
    /// changed since; the caller has had the turn to write all the time.
    #[inline]
    pub(crate) fn put_in_place(&self, local: &Local, key: &[u8], value: &[u8]) {
        let entry = NewEntry { key: Key::new(key), tail: None, value: Value::Inline(value) };
        self.pages.edit_latched(local.leaf, |body| {
            local.change(LeafMut::new(body), &entry);
            // Under the latch: a reader that finds the entry finds it counted.
            self.totals.count_put((!local.is_there).then_some(key.len() + value.len()));
        });
    }

    /// Does so alone.
    fn put_local_alone(&mut self, local: &Local, key: &[u8], value: &[u8]) {
        let entry = NewEntry { key: Key::new(key), tail: None, value: Value::Inline(value) };
        local.change(LeafMut::new(self.pages.edit(local.leaf)), &entry);
        if !local.is_there {
            self.totals.add_entry(key.len() + value.len());
        }
    }

    /// Sets the value of a key, looking first in the leaf that such a put has come
    /// to before; nothing else may have changed the tree since.
    pub(crate) fn put_with_hint(
        &mut self,
        near: &mut Option<Near>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), OutOfMemory> {
        let (parts, plain) = (Key::new(key), Index::needs_no_blob(key, value));
        if plain && let Some(near) = near {
            let local = self.local_at(near.leaf, parts, value);
            if let Some(local) = local.filter(|local| self.is_within(local, near)) {
                self.put_local_alone(&local, key, value);
                return Ok(());
            }
        }
        let (path, leaf) = self.tree.descend(&self.pages, parts);
        if plain && let Some(local) = self.local_at(leaf, parts, value) {
            self.put_local_alone(&local, key, value);
            *near = Some(Near { leaf, is_last: self.is_last(&path) });
            return Ok(());
        }
        *near = None;
        self.put_at(path, leaf, parts, (key, value), |_| Ok(()))
    }

    #[inline(never)] // or it stands in the code twice
    fn local_at(&self, leaf: PageId, parts: Key<'_>, value: &[u8]) -> Option<Local> {
        self.local_in(leaf, parts, value)
    }

    /// Whether a key that was looked for in a leaf belongs there.
    fn is_within(&self, local: &Local, near: &Near) -> bool {
        let end = || near.is_last || local.at() < Leaf::new(self.pages.page(near.leaf)).len();
        local.is_there || local.at > 0 && end()
    }

    /// Whether a path leads to the last leaf.
    fn is_last(&self, path: &Path) -> bool {
        (0..path.len)
            .map(|level| path.at(level))
            .all(|(node, child)| child == Inner::new(self.pages.page(node)).len())
    }
}
