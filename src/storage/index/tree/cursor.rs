//! Walking a snapshot, both ways, within bounds.
//!
//! A cursor is at an entry, past one of the ends, or new, which is between both ends. It
//! holds the path to its leaf and the part of the leaf within its bounds, so that most
//! steps only count. A step that is refused memory leaves the cursor where it was.

use std::ops::Range;

use super::super::memory::{PageId, Reader, Source};
use super::super::node::key::Key;
use super::super::node::leaf::{Leaf, Value};
use super::path::Path;
use super::{Snapshot, Tree};
use crate::error::OutOfMemory;
use crate::fallible::copy;

/// The keys from `from` up to, but not including, `to`; `None` is no bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
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

    pub(crate) fn copy(&self) -> Result<Bounds, OutOfMemory> {
        Bounds::range(self.from.as_deref(), self.to.as_deref())
    }

    /// The first key that there may be.
    pub(crate) fn low(&self) -> &[u8] {
        self.from.as_deref().unwrap_or_default()
    }

    /// The key that the keys end before; none if they have no end.
    pub(crate) fn high(&self) -> Option<&[u8]> {
        self.to.as_deref()
    }

    fn is_empty(&self) -> bool {
        self.high().is_some_and(|to| self.low() >= to)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CursorState {
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
    /// The offset of the leaf's slots, the length of its prefix, and its number of entries.
    slots: usize,
    prefix: usize,
    len: usize,
    start: usize,
    end: usize,
    at: usize,
}

/// Shorter parts of a key are copied as so many bytes at once.
const SHORT: usize = 16;

/// Takes entries from [`Cursor::read`].
pub(crate) trait Sink {
    /// Whether an entry of these lengths fits.
    fn fits(&mut self, key_len: usize, value_len: usize) -> bool;
    /// Takes an entry that fits.
    fn push(&mut self, key: &[u8], value: &[u8]);
}

/// A position in the entries of a snapshot.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// The snapshot, with the leaf at hand that the cursor is in.
    reader: Reader,
    tree: Tree,
    bounds: Bounds,
    state: CursorState,
    spot: Spot,
    /// Whether the cursor goes from entry to entry, so that the next ones are fetched ahead.
    walking: bool,
    /// The key at the cursor and a NUL, if it is at an entry, and room for `SHORT`
    /// bytes after them.
    key: Vec<u8>,
    key_len: usize,
    /// Where the value and a NUL are in the leaf; nowhere if it is a blob.
    value: Range<usize>,
}

impl Cursor {
    pub(crate) fn new(Snapshot { frozen, tree, .. }: Snapshot, bounds: Bounds) -> Cursor {
        let path = Path::new(tree.root);
        let spot =
            Spot { path, leaf: tree.root, slots: 0, prefix: 0, len: 0, start: 0, end: 0, at: 0 };
        Cursor {
            reader: Reader::new(frozen, tree.root),
            tree,
            bounds,
            state: CursorState::New,
            spot,
            walking: false,
            key: Vec::new(),
            key_len: 0,
            value: 0..0,
        }
    }

    /// The pinned epoch of the cursor's snapshot.
    pub(crate) fn pinned_epoch(&self) -> Option<u64> {
        self.reader.frozen().pinned_epoch()
    }

    /// Moves to the first entry. As all moves, it returns whether there is one; if not, the
    /// cursor is past that end.
    pub(crate) fn first(&mut self) -> Result<bool, OutOfMemory> {
        let spot = match &self.bounds.from {
            Some(from) => self.at_or_after(from),
            None => self.at_or_after(&[]),
        };
        self.jump(spot, CursorState::AfterLast)
    }

    pub(crate) fn last(&mut self) -> Result<bool, OutOfMemory> {
        let spot = self.before_end();
        self.jump(spot, CursorState::BeforeFirst)
    }

    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<bool, OutOfMemory> {
        let spot = match &self.bounds.from {
            Some(from) if key < &from[..] => self.at_or_after(from),
            _ => self.at_or_after(key),
        };
        self.jump(spot, CursorState::AfterLast)
    }

    pub(crate) fn next(&mut self) -> Result<bool, OutOfMemory> {
        match self.state {
            CursorState::Entry if self.spot.at + 1 < self.spot.end => self.step(self.spot.at + 1),
            CursorState::Entry => {
                let spot = self.beside(&self.spot, false);
                self.cross(spot, false)
            }
            CursorState::AfterLast => Ok(false),
            CursorState::New | CursorState::BeforeFirst => self.first(),
        }
    }

    /// Moves to the next entry if it is in the leaf at hand and both its key and its value
    /// are inline, and returns them, each with a NUL. Else does nothing.
    #[inline(always)]
    pub(crate) fn next_in_leaf(&mut self) -> Option<(&[u8], &[u8])> {
        let at = self.spot.at + 1;
        if !self.walking || at >= self.spot.end {
            return None;
        }
        self.reader.fetch_some();
        self.load_inline(at)?;
        Some((self.key.get(..self.key_len + 1)?, self.reader.page().get(self.value.clone())?))
    }

    pub(crate) fn prev(&mut self) -> Result<bool, OutOfMemory> {
        match self.state {
            CursorState::Entry if self.spot.at > self.spot.start => self.step(self.spot.at - 1),
            CursorState::Entry => {
                let spot = self.beside(&self.spot, true);
                self.cross(spot, true)
            }
            CursorState::BeforeFirst => Ok(false),
            CursorState::New | CursorState::AfterLast => self.last(),
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
        (self.state == CursorState::Entry).then(|| &self.key[..self.key_len + 1])
    }

    /// The value at the cursor.
    #[inline]
    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.value_with_nul().map(without_nul)
    }

    /// The value at the cursor, and a NUL.
    #[inline]
    pub(crate) fn value_with_nul(&self) -> Option<&[u8]> {
        if self.state != CursorState::Entry {
            return None;
        }
        if !self.value.is_empty() {
            return Some(&self.reader.page()[self.value.clone()]);
        }
        match Leaf::new(self.reader.page()).entry(self.spot.at).value {
            Value::Blob(id) => Some(self.reader.frozen().blob_with_nul(id)),
            Value::Inline(_) => None,
        }
    }

    /// Hands the entries after the cursor to `sink`, moving over each. The cursor stays
    /// before an entry that does not fit, or for which memory is refused. Returns whether
    /// there was an entry at all.
    pub(crate) fn read(&mut self, sink: &mut impl Sink) -> Result<bool, OutOfMemory> {
        let mut any = false;
        loop {
            let in_leaf = self.state == CursorState::Entry && self.spot.at + 1 < self.spot.end;
            let beyond = if in_leaf { None } else { self.beyond() };
            let (leaf, at) = match &beyond {
                Some(spot) => (Leaf::new(self.reader.frozen().page(spot.leaf)), spot.at),
                None if in_leaf => (Leaf::new(self.reader.page()), self.spot.at + 1),
                None => {
                    if !any {
                        (self.state, self.walking) = (CursorState::AfterLast, false);
                    }
                    return Ok(any);
                }
            };
            let (key_len, value_len) = leaf.lens(at, self.reader.frozen());
            if !sink.fits(key_len, value_len) {
                return Ok(true);
            }
            let moved = if in_leaf { self.step(at) } else { self.cross(beyond, false) };
            match moved {
                Err(_) if any => return Ok(true), // for the next call to meet again
                moved => moved?,
            };
            sink.push(self.key().unwrap_or_default(), self.value().unwrap_or_default());
            any = true;
        }
    }

    /// The next entry, if it is not in the leaf that the cursor is in.
    fn beyond(&self) -> Option<Spot> {
        match self.state {
            CursorState::Entry => self.beside(&self.spot, false),
            CursorState::New | CursorState::BeforeFirst => {
                self.at_or_after(self.bounds.from.as_deref().unwrap_or_default())
            }
            CursorState::AfterLast => None,
        }
    }

    /// Moves within the leaf.
    #[inline]
    fn step(&mut self, at: usize) -> Result<bool, OutOfMemory> {
        if !self.walking {
            self.start_walking(at < self.spot.at);
        }
        self.reader.fetch_some();
        if self.load_inline(at).is_none() {
            self.load(at, self.spot.prefix)?;
            self.spot.at = at;
        }
        Ok(true)
    }

    /// Moves to an entry of the leaf at hand whose key and value are inline, if there is
    /// room for its key, of which the leaf's prefix is in place.
    #[inline(always)]
    fn load_inline(&mut self, at: usize) -> Option<()> {
        let page = self.reader.page();
        let (key_on, len, value) = Leaf::new(page).plain(self.spot.slots, at)?;
        let differs = self.key.get_mut(self.spot.prefix..)?;
        if differs.len() < len + 1 + SHORT || value.end > page.len() {
            return None;
        }
        if len <= SHORT {
            *differs.first_chunk_mut::<SHORT>()? = *key_on.first_chunk()?;
        } else {
            differs.get_mut(..len)?.copy_from_slice(key_on.get(..len)?);
        }
        *differs.get_mut(len)? = 0;
        self.key_len = self.spot.prefix + len;
        self.value = value;
        self.spot.at = at;
        Some(())
    }

    #[cold]
    fn start_walking(&mut self, back: bool) {
        self.walking = true;
        self.expect(back);
        self.fetch_entries(&self.spot, back, usize::MAX);
    }

    /// Fetches the entry of a spot of the leaf at hand and those after it, in the order in
    /// which a walk reads them.
    fn fetch_entries(&self, spot: &Spot, back: bool, most: usize) {
        let leaf = Leaf::new(self.reader.page());
        let fetch = |at| self.reader.prefetch(leaf.entry_start(at));
        if back {
            (spot.start..=spot.at).rev().take(most).for_each(fetch);
        } else {
            (spot.at..spot.end).take(most).for_each(fetch);
        }
    }

    /// Begins to fetch the next leaf bit by bit while the cursor walks to it.
    fn expect(&mut self, back: bool) {
        let beyond = self.spot.path.sibling(self.reader.frozen(), back);
        self.reader.expect(beyond);
    }

    /// Moves to a spot, or past an end if there is none.
    fn go(&mut self, spot: Option<Spot>, end: CursorState) -> Result<bool, OutOfMemory> {
        let Some(spot) = spot else {
            (self.state, self.walking) = (end, false);
            return Ok(false);
        };
        let at_hand = self.spot.leaf;
        self.reader.turn_to(spot.leaf);
        if !self.walking {
            self.fetch_entries(&spot, end == CursorState::BeforeFirst, 5);
        }
        if let Err(error) = self.load(spot.at, 0) {
            self.reader.turn_to(at_hand);
            return Err(error);
        }
        self.spot = spot;
        self.state = CursorState::Entry;
        Ok(true)
    }

    /// Moves to a spot of the leaf beside, or past an end.
    fn cross(&mut self, spot: Option<Spot>, back: bool) -> Result<bool, OutOfMemory> {
        let found =
            self.go(spot, if back { CursorState::BeforeFirst } else { CursorState::AfterLast });
        self.expect(back);
        found
    }

    /// Moves to a spot of any leaf, or past an end.
    fn jump(&mut self, spot: Option<Spot>, end: CursorState) -> Result<bool, OutOfMemory> {
        self.walking = false;
        self.go(spot, end)
    }

    /// Assembles the key of an entry of the leaf at hand, whose first `same` bytes are in
    /// place. A refusal leaves the key as it was.
    #[inline(never)]
    fn load(&mut self, at: usize, same: usize) -> Result<(), OutOfMemory> {
        let leaf = Leaf::new(self.reader.page());
        let place = leaf.layout(at);
        let prefix = &leaf.prefix()[same..];
        let suffix = leaf.bytes(place.suffix);
        let tail = if place.has_tail { leaf.entry(at).tail } else { None };
        let tail = tail.map(|id| self.reader.frozen().blob(id));
        let parts = [prefix, suffix, tail.unwrap_or_default(), &[0; 1 + SHORT]];
        let len = same + parts.iter().map(|part| part.len()).sum::<usize>();
        if len > self.key.capacity() {
            self.key.try_reserve(len - self.key.len().min(len))?;
        }
        self.key.truncate(same);
        parts.iter().for_each(|part| self.key.extend_from_slice(part));
        self.key_len = len - 1 - SHORT;
        self.value = place.value_len.map_or(0..0, |len| place.value..place.value + len + 1);
        Ok(())
    }

    /// The part of a leaf that lies within bounds, at its first entry.
    fn window(&self, path: Path, leaf: PageId, from: Option<&[u8]>, to: Option<&[u8]>) -> Spot {
        let source = self.reader.frozen();
        let node = Leaf::new(source.page(leaf));
        let find = |key: &[u8]| node.find(source, Key::new(key)).unwrap_or_else(|at| at);
        let start = from.map_or(0, find);
        let (slots, prefix, len) = (node.slots_start(), node.prefix().len(), node.len());
        Spot { path, leaf, slots, prefix, len, start, end: to.map_or(len, find), at: start }
    }

    /// The first entry whose key is `key` or greater; `key` is not before the bounds.
    fn at_or_after(&self, key: &[u8]) -> Option<Spot> {
        if self.bounds.is_empty() {
            return None;
        }
        let source = self.reader.frozen();
        let (path, leaf) = self.tree.path_to(source, Key::new(key));
        let (from, to) = (self.bounds.from.as_deref(), self.bounds.to.as_deref());
        let mut spot = self.window(path, leaf, from, to);
        if from != Some(key) {
            let node = Leaf::new(source.page(leaf));
            spot.at = node.find(source, Key::new(key)).unwrap_or_else(|at| at);
        }
        if spot.at < spot.end { Some(spot) } else { self.beside(&spot, false) }
    }

    /// The last entry before the end of the bounds.
    fn before_end(&self) -> Option<Spot> {
        if self.bounds.is_empty() {
            return None;
        }
        let source = self.reader.frozen();
        let (path, leaf) = match &self.bounds.to {
            Some(to) => self.tree.path_to(source, Key::new(to)),
            None => self.tree.path_to_last(source),
        };
        let (from, to) = (self.bounds.from.as_deref(), self.bounds.to.as_deref());
        let spot = self.window(path, leaf, from, to);
        match spot.end.checked_sub(1) {
            Some(at) if at >= spot.start => Some(Spot { at, ..spot }),
            _ => self.beside(&spot, true),
        }
    }

    /// The first entry of the leaf after a spot's, or the last of the one before.
    fn beside(&self, spot: &Spot, back: bool) -> Option<Spot> {
        // A leaf that the bounds cut has nothing beyond the cut.
        if if back { spot.start > 0 } else { spot.end < spot.len } {
            return None;
        }
        let mut path = spot.path;
        let leaf = path.step(self.reader.frozen(), back)?;
        // The other bound lies behind.
        let spot = if back {
            self.window(path, leaf, self.bounds.from.as_deref(), None)
        } else {
            self.window(path, leaf, None, self.bounds.to.as_deref())
        };
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
