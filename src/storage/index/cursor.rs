//! Walking a snapshot, both ways, within bounds.
//!
//! A cursor is at an entry, or past one of the ends, or new, which is between
//! both. It holds the way from the root to its leaf and the part of the leaf
//! that lies within its bounds, so that most steps only count. A step that
//! fails for want of memory leaves it where it was.

use super::key::Key;
use super::leaf::{Leaf, Value};
use super::memory::{PageId, Source};
use super::{Path, Snapshot};
use crate::error::OutOfMemory;

/// The keys from `from` up to, but not including, `to`; `None` is no bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
}

fn copy(bytes: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

impl Bounds {
    pub(crate) fn range(from: Option<&[u8]>, to: Option<&[u8]>) -> Result<Bounds, OutOfMemory> {
        Ok(Bounds { from: from.map(copy).transpose()?, to: to.map(copy).transpose()? })
    }

    /// The keys that begin with `prefix`.
    pub(crate) fn prefix(prefix: &[u8]) -> Result<Bounds, OutOfMemory> {
        // The first key after all of them: without the 0xff at its end, and
        // with the byte before those counted up.
        let end = prefix.iter().rposition(|&byte| byte != 0xff);
        let to = match end {
            None => None,
            Some(last) => {
                let mut to = copy(&prefix[..=last])?;
                to[last] += 1;
                Some(to)
            }
        };
        Ok(Bounds { from: Some(copy(prefix)?), to })
    }

    fn is_empty(&self) -> bool {
        matches!((&self.from, &self.to), (from, Some(to)) if from.as_deref().unwrap_or_default() >= &to[..])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    New,
    BeforeFirst,
    Entry,
    AfterLast,
}

/// Which leaf a cursor is in, and which entries of it lie within the bounds.
#[derive(Clone, Copy, Debug)]
struct Spot {
    path: Path,
    leaf: PageId,
    start: usize,
    end: usize,
    at: usize,
}

/// A position in the entries of a snapshot.
#[derive(Debug)]
pub(crate) struct Cursor {
    snapshot: Snapshot,
    bounds: Bounds,
    place: Place,
    spot: Spot,
    /// Whether it goes from entry to entry, so that what comes next is worth
    /// having at hand.
    walking: bool,
    /// The key at the cursor and a NUL, if it is at an entry.
    key: Vec<u8>,
}

impl Cursor {
    pub(crate) fn new(snapshot: Snapshot, bounds: Bounds) -> Cursor {
        let root = snapshot.tree.root;
        let path = Path::new(root);
        let spot = Spot { path, leaf: root, start: 0, end: 0, at: 0 };
        Cursor { snapshot, bounds, place: Place::New, spot, walking: false, key: Vec::new() }
    }

    /// The view that the cursor walks.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The moves return whether they found an entry; if not, the cursor is past
    /// the end that it moved to.
    pub(crate) fn first(&mut self) -> Result<bool, OutOfMemory> {
        let spot = match &self.bounds.from {
            Some(from) => self.at_or_after(from),
            None => self.at_or_after(&[]),
        };
        self.jump(spot, Place::AfterLast)
    }

    pub(crate) fn last(&mut self) -> Result<bool, OutOfMemory> {
        let spot = self.before_end();
        self.jump(spot, Place::BeforeFirst)
    }

    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<bool, OutOfMemory> {
        let spot = match &self.bounds.from {
            Some(from) if key < &from[..] => self.at_or_after(from),
            _ => self.at_or_after(key),
        };
        self.jump(spot, Place::AfterLast)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Result<bool, OutOfMemory> {
        match self.place {
            Place::Entry if self.spot.at + 1 < self.spot.end => self.step_to(self.spot.at + 1),
            Place::Entry => {
                let spot = self.beside(false);
                self.go(spot, Place::AfterLast)
            }
            Place::AfterLast => Ok(false),
            Place::New | Place::BeforeFirst => self.first(),
        }
    }

    #[inline]
    pub(crate) fn prev(&mut self) -> Result<bool, OutOfMemory> {
        match self.place {
            Place::Entry if self.spot.at > self.spot.start => self.step_to(self.spot.at - 1),
            Place::Entry => {
                let spot = self.beside(true);
                self.go(spot, Place::BeforeFirst)
            }
            Place::BeforeFirst => Ok(false),
            Place::New | Place::AfterLast => self.last(),
        }
    }

    /// The key at the cursor.
    #[inline]
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.key_with_nul().map(without_nul)
    }

    /// The key at the cursor, and a NUL.
    #[inline]
    pub(crate) fn key_with_nul(&self) -> Option<&[u8]> {
        (self.place == Place::Entry).then_some(&self.key[..])
    }

    /// The value at the cursor.
    #[inline]
    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.value_with_nul().map(without_nul)
    }

    /// The value at the cursor, and a NUL.
    #[inline]
    pub(crate) fn value_with_nul(&self) -> Option<&[u8]> {
        if self.place != Place::Entry {
            return None;
        }
        let leaf = Leaf::new(self.snapshot.frozen.page(self.spot.leaf));
        leaf.value_with_nul(self.spot.at).or_else(|| match leaf.entry(self.spot.at).value {
            Value::Blob(id) => Some(self.snapshot.frozen.blob_with_nul(id)),
            Value::Inline(_) => None,
        })
    }

    /// Hands the entries after the cursor to `take`, moving over each that it
    /// takes; it refuses one by returning false, and the cursor stays before it.
    /// Returns whether there was an entry at all.
    pub(crate) fn take_while(
        &mut self,
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<bool, OutOfMemory> {
        let mut any = false;
        loop {
            let before = (self.place, self.spot);
            if !self.next()? {
                if any {
                    (self.place, self.spot) = before;
                    self.load_key()?;
                }
                return Ok(any);
            }
            let (key, value) = (self.key(), self.value());
            if !take(key.unwrap_or_default(), value.unwrap_or_default()) {
                (self.place, self.spot) = before;
                if self.place == Place::Entry {
                    self.load_key()?;
                }
                return Ok(true);
            }
            any = true;
        }
    }

    /// Moves within the leaf.
    #[inline]
    fn step_to(&mut self, at: usize) -> Result<bool, OutOfMemory> {
        if !self.walking {
            self.start_walking(at < self.spot.at);
        }
        let before = std::mem::replace(&mut self.spot.at, at);
        if let Err(error) = self.load_key() {
            self.spot.at = before;
            return Err(error);
        }
        Ok(true)
    }

    #[cold]
    fn start_walking(&mut self, back: bool) {
        self.walking = true;
        self.snapshot.frozen.prefetch_whole(self.spot.leaf);
        self.fetch_sibling(&self.spot.path, back);
    }

    /// Says that the leaf beyond one will be read soon.
    fn fetch_sibling(&self, path: &Path, back: bool) {
        if let Some(leaf) = path.sibling(&self.snapshot.frozen, back) {
            self.snapshot.frozen.prefetch_whole(leaf);
        }
    }

    /// Moves to a spot, or past an end if there is none.
    fn go(&mut self, spot: Option<Spot>, end: Place) -> Result<bool, OutOfMemory> {
        let Some(spot) = spot else {
            self.place = end;
            return Ok(false);
        };
        let before = std::mem::replace(&mut self.spot, spot);
        if let Err(error) = self.load_key() {
            self.spot = before;
            return Err(error);
        }
        self.place = Place::Entry;
        Ok(true)
    }

    /// The same, from wherever the cursor was.
    fn jump(&mut self, spot: Option<Spot>, end: Place) -> Result<bool, OutOfMemory> {
        self.walking = false;
        self.go(spot, end)
    }

    /// Puts the key at the spot together. If that fails, the key that was there
    /// still is.
    #[inline]
    fn load_key(&mut self) -> Result<(), OutOfMemory> {
        let leaf = Leaf::new(self.snapshot.frozen.page(self.spot.leaf));
        let entry = leaf.entry(self.spot.at);
        let tail = entry.tail.map_or(&[][..], |id| self.snapshot.frozen.blob(id));
        let len = leaf.prefix().len() + entry.suffix.len() + tail.len() + 1;
        self.key.try_reserve(len.saturating_sub(self.key.len()))?;
        self.key.clear();
        for part in [leaf.prefix(), entry.suffix, tail, &[0]] {
            self.key.extend_from_slice(part);
        }
        Ok(())
    }

    /// The part of a leaf that lies within the bounds, `at` not yet set.
    fn window(&self, path: Path, leaf: PageId) -> Spot {
        let source = &self.snapshot.frozen;
        let node = Leaf::new(source.page(leaf));
        let find = |bound: &Vec<u8>| node.find(source, Key::new(bound)).unwrap_or_else(|at| at);
        let start = self.bounds.from.as_ref().map_or(0, find);
        let end = self.bounds.to.as_ref().map_or(node.len(), find);
        Spot { path, leaf, start, end, at: start }
    }

    /// The first entry whose key is `key`, which is not before the bounds, or
    /// greater.
    fn at_or_after(&self, key: &[u8]) -> Option<Spot> {
        if self.bounds.is_empty() {
            return None;
        }
        let source = &self.snapshot.frozen;
        let key = Key::new(key);
        let (path, leaf) = self.snapshot.tree.descend(source, key);
        let at = Leaf::new(source.page(leaf)).find(source, key).unwrap_or_else(|at| at);
        let spot = Spot { at, ..self.window(path, leaf) };
        if at < spot.end {
            return Some(spot);
        }
        self.step(spot, false)
    }

    /// The last entry before the end of the bounds.
    fn before_end(&self) -> Option<Spot> {
        if self.bounds.is_empty() {
            return None;
        }
        let source = &self.snapshot.frozen;
        let tree = &self.snapshot.tree;
        let (path, leaf) = match &self.bounds.to {
            Some(to) => tree.descend(source, Key::new(to)),
            None => tree.descend_last(source),
        };
        let spot = self.window(path, leaf);
        match spot.end.checked_sub(1) {
            Some(at) if at >= spot.start => Some(Spot { at, ..spot }),
            _ => self.step(spot, true),
        }
    }

    /// The first entry of the next leaf, or the last of the one before.
    fn beside(&self, back: bool) -> Option<Spot> {
        self.step(self.spot, back)
    }

    fn step(&self, spot: Spot, back: bool) -> Option<Spot> {
        let len = Leaf::new(self.snapshot.frozen.page(spot.leaf)).len();
        // A leaf that the bounds cut has nothing beyond the cut.
        if if back { spot.start > 0 } else { spot.end < len } {
            return None;
        }
        let mut path = spot.path;
        let leaf = path.step(&self.snapshot.frozen, back)?;
        if self.walking {
            self.fetch_sibling(&path, back);
        }
        let spot = self.window(path, leaf);
        if spot.start >= spot.end {
            return None;
        }
        let at = if back { spot.end - 1 } else { spot.start };
        Some(Spot { at, ..spot })
    }
}

fn without_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len() - 1]
}
