//! A put that changes nothing but the bytes of one leaf.

use super::super::memory::{PageId, Source, prefetch_bytes};
use super::super::node::key::Key;
use super::super::node::leaf::{Leaf, LeafMut, NewEntry, Value};
use super::Index;
use crate::error::OutOfMemory;

/// A planned put: where in a leaf the entry goes. The plan holds until the tree changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InPlacePut {
    leaf: PageId,
    at: u32,
    /// Whether it replaces a value, which has the same length.
    replaces: bool,
}

/// The leaf of the latest put, where the next key may belong, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafHint {
    leaf: PageId,
    is_last: bool,
}

impl InPlacePut {
    /// Plans the put of a key that belongs to a leaf, which no snapshot sees. The entry
    /// needs no blob.
    #[inline(always)]
    pub(super) fn plan(
        leaf: PageId,
        source: &impl Source,
        key: Key<'_>,
        value: &[u8],
    ) -> Option<InPlacePut> {
        let node = Leaf::new(source.page_to_search(leaf));
        let (at, replaces) = match node.find(source, key) {
            Ok(at) => match node.entry(at).value {
                Value::Inline(old) if old.len() == value.len() => {
                    // The edit waits for these lines while it holds the latch.
                    prefetch_bytes(old);
                    (at, true)
                }
                _ => return None,
            },
            Err(at) => {
                if !node.has_room(&NewEntry { key, tail: None, value: Value::Inline(value) }) {
                    return None;
                }
                (at, false)
            }
        };
        Some(InPlacePut { leaf, at: at as u32, replaces })
    }

    #[inline]
    pub(super) fn leaf(&self) -> PageId {
        self.leaf
    }

    /// The leaf and the number of the entry whose value the put replaces.
    #[inline]
    pub(super) fn replaced(&self) -> Option<(PageId, usize)> {
        self.replaces.then_some((self.leaf, self.at as usize))
    }

    /// Edits the leaf. Returns the length of the entry if it is new.
    #[inline]
    pub(super) fn perform(&self, mut leaf: LeafMut<'_>, key: &[u8], value: &[u8]) -> Option<usize> {
        let (at, new) = (self.at as usize, Value::Inline(value));
        if self.replaces {
            leaf.replace(at, new);
            return None;
        }
        leaf.insert(at, &NewEntry { key: Key::new(key), tail: None, value: new });
        Some(key.len() + value.len())
    }

    /// Whether a key that was looked for in the leaf of a hint belongs there.
    fn is_within(&self, hint: &LeafHint, source: &impl Source) -> bool {
        let len = || Leaf::new(source.page(hint.leaf)).len();
        self.replaces || self.at > 0 && (hint.is_last || (self.at as usize) < len())
    }
}

impl Index {
    /// Sets the value of a key, looking first in the leaf of the hint, which is from the
    /// latest put; nothing else has changed the tree since.
    pub(crate) fn put_with_hint(
        &mut self,
        hint: &mut Option<LeafHint>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), OutOfMemory> {
        let (parts, plain) = (Key::new(key), Index::needs_no_blob(key, value));
        if plain
            && let Some(hint) = hint
            && let Some(put) = self.plan_put(hint.leaf, parts, value)
            && put.is_within(hint, &self.pages)
        {
            self.perform(&put, key, value);
            return Ok(());
        }
        let (path, leaf) = self.tree.path_to(&self.pages, parts);
        if plain && let Some(put) = self.plan_put(leaf, parts, value) {
            self.perform(&put, key, value);
            *hint = Some(LeafHint { leaf, is_last: path.is_last(&self.pages) });
            return Ok(());
        }
        *hint = None;
        self.put_at(path, leaf, parts, (key, value), |_| Ok(()))
    }

    #[inline(never)] // or it stands in the code twice
    fn plan_put(&self, leaf: PageId, key: Key<'_>, value: &[u8]) -> Option<InPlacePut> {
        if !self.pages.is_unshared(leaf) {
            return None;
        }
        InPlacePut::plan(leaf, &self.pages, key, value)
    }

    fn perform(&mut self, put: &InPlacePut, key: &[u8], value: &[u8]) {
        let inserted = put.perform(LeafMut::new(self.pages.edit(put.leaf)), key, value);
        inserted.into_iter().for_each(|len| self.totals.add_entry(len));
    }
}
