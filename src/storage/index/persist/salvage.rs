//! What is left of a tree of which some units and blobs are lost.
//!
//! The tree is walked from its root as far as it can be read. Where a page is
//! lost, the separators around it say which keys may have been below it. Of a
//! lost inner node the leaves are still there: each unit that the walk has not
//! reached is tried as the beginning of one, in pages of the size that fits its
//! slab; a page is taken for a leaf if it keeps all rules of one and its keys lie
//! where keys are lost.
//!
//! Promises:
//!
//! 1. An entry that is given stood in a leaf, its key and value whole.
//! 2. Where keys may be lost is known; if all entries were found, nowhere.
//! 3. Whatever the units hold, this ends.
//!
//! Not here: checksums. Units are right or lost.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Included, Unbounded};

use super::super::memory::SLAB_UNITS;
use super::super::memory::{BlobId, HEADER, PageId, UNIT};
use super::super::node::inner::Inner;
use super::super::node::leaf::{Leaf, Value};
use super::super::tree::LEVELS_MAX;
use super::image::Image;

/// Units and blobs, those that are left.
pub(crate) trait PageSource {
    type Error;
    fn units(&self) -> impl Iterator<Item = u32> + '_;
    fn unit(&self, unit: u32) -> Option<&[u8; UNIT]>;
    fn blob(&self, id: u32) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// Sets of keys: from each one up to, but not including, the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Ranges {
    /// All keys that there can be.
    pub(crate) fn all() -> Ranges {
        Ranges(BTreeMap::from([(Vec::new(), None)]))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + '_ {
        self.0.iter().map(|(from, to)| (&from[..], to.as_deref()))
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.around(key).is_some()
    }

    fn around(&self, key: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
        let before = self.0.range::<[u8], _>((Unbounded, Included(key))).next_back();
        let (from, to) = before.map(|(from, to)| (&from[..], to.as_deref()))?;
        to.is_none_or(|to| key < to).then_some((from, to))
    }

    fn add(&mut self, from: &[u8], to: Option<&[u8]>) {
        if to.is_none_or(|to| from < to) {
            self.0.insert(from.to_vec(), to.map(<[u8]>::to_vec));
        }
    }

    /// Removes what lies in one of the ranges. False if it does not.
    fn cut(&mut self, from: &[u8], to: &[u8]) -> bool {
        let within = |end: Option<&[u8]>| end.is_none_or(|end| to <= end);
        let Some((start, end)) = self.around(from).filter(|(_, end)| within(*end)) else {
            return false;
        };
        let (start, end) = (start.to_vec(), end.map(<[u8]>::to_vec));
        self.0.remove(&start);
        self.add(&start, Some(from));
        self.add(to, end.as_deref());
        true
    }
}

/// Who is shown entries.
type Each<'a, E> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), E>;

/// The keys of a leaf, as far as they can be read.
type Keys = Vec<Option<Vec<u8>>>;

/// Calls `each` with every entry that can be read and whose key is wanted, in no
/// order. Returns how many there were, and in which ranges others are lost.
pub(crate) fn salvage<W: PageSource>(
    wreck: &W,
    image: &Image,
    wanted: &Ranges,
    each: Each<'_, W::Error>,
) -> Result<(u64, Ranges), W::Error> {
    let mut salvage = Salvage {
        wreck,
        wanted,
        each,
        reached: BTreeSet::new(),
        sizes: BTreeMap::new(),
        lost: Ranges::default(),
        found: 0,
    };
    let root = PageId::from_bytes(image.root.to_le_bytes());
    salvage.walk(root, (image.height as usize).min(LEVELS_MAX), &[], None)?;
    if !salvage.lost.is_empty() && salvage.found < image.count {
        salvage.search()?;
    }
    if salvage.found == image.count {
        salvage.lost = Ranges::default();
    }
    Ok((salvage.found, salvage.lost))
}

/// A page that can be read, with its header.
type Page = Vec<u8>;

struct Salvage<'a, W: PageSource> {
    wreck: &'a W,
    wanted: &'a Ranges,
    each: Each<'a, W::Error>,
    /// Units of the pages that the walk came to.
    reached: BTreeSet<u32>,
    /// Units of the pages in a slab, by slab.
    sizes: BTreeMap<u32, u32>,
    lost: Ranges,
    found: u64,
}

impl<W: PageSource> Salvage<'_, W> {
    fn page(&self, id: PageId) -> Option<Page> {
        let mut page = Vec::with_capacity(id.units() as usize * UNIT);
        for unit in id.unit()..id.unit() + id.units() {
            page.extend_from_slice(self.wreck.unit(unit)?);
        }
        Some(page)
    }

    /// A page that no other one in the tree shares units with.
    fn reach(&mut self, id: PageId) -> Option<Page> {
        self.sizes.insert(id.unit() / SLAB_UNITS, id.units());
        let units = id.unit()..id.unit() + id.units();
        let new = units.map(|unit| self.reached.insert(unit)).filter(|new| *new).count();
        self.page(id).filter(|_| new == id.units() as usize)
    }

    /// Takes what is below a page, whose keys are from `low` up to `high`.
    fn walk(
        &mut self,
        id: PageId,
        height: usize,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<(), W::Error> {
        let page = self.reach(id);
        if height == 0 {
            let leaf = page.as_deref().map(|page| Leaf::new(&page[HEADER..]));
            if let Some(leaf) = leaf
                && let Some(keys) = self.keys(leaf)?
            {
                return self.take(leaf, &keys, low, high);
            }
        } else if let Some(page) = page {
            let inner = Inner::new(&page[HEADER..]);
            if inner.check().is_ok() {
                return self.walk_children(inner, height, low, high);
            }
        }
        self.lost.add(low, high);
        Ok(())
    }

    fn walk_children(
        &mut self,
        inner: Inner<'_>,
        height: usize,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<(), W::Error> {
        let mut low = low.to_vec();
        for i in 0..=inner.len() {
            let next = match i < inner.len() {
                true => {
                    let separator = inner.separator(i);
                    // Without its tail it is a little less: as good as a bound.
                    let whole = self.key(separator.inline.clone(), separator.tail)?;
                    Some(whole.unwrap_or(separator.inline))
                }
                false => None,
            };
            self.walk(inner.child(i), height - 1, &low, next.as_deref().or(high))?;
            low = next.unwrap_or_default();
        }
        Ok(())
    }

    fn key(&self, inline: Vec<u8>, tail: Option<BlobId>) -> Result<Option<Vec<u8>>, W::Error> {
        let Some(id) = tail else {
            return Ok(Some(inline));
        };
        let tail = self.wreck.blob(id.0)?;
        Ok(tail.map(|tail| [inline, tail].concat()))
    }

    /// The keys of a leaf; none if it is no leaf.
    fn keys(&self, leaf: Leaf<'_>) -> Result<Option<Keys>, W::Error> {
        if leaf.check().is_err() {
            return Ok(None);
        }
        let keys = (0..leaf.len()).map(|i| self.key(leaf.inline_key(i), leaf.entry(i).tail));
        let keys = keys.collect::<Result<Keys, _>>()?;
        let is_sorted = keys.iter().flatten().is_sorted_by(|one, next| one < next);
        Ok(is_sorted.then_some(keys))
    }

    /// Takes the entries of a leaf, whose keys are from `low` up to `high`.
    fn take(
        &mut self,
        leaf: Leaf<'_>,
        keys: &[Option<Vec<u8>>],
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<(), W::Error> {
        let (mut behind, mut unknown) = (low.to_vec(), false);
        for (i, key) in keys.iter().enumerate() {
            let Some(key) = key else {
                unknown = true;
                continue;
            };
            if std::mem::take(&mut unknown) {
                self.lost.add(&behind, Some(key));
            }
            behind = after(key);
            if !self.wanted.contains(key) {
                continue;
            }
            let value = match leaf.entry(i).value {
                Value::Inline(bytes) => Some(bytes.to_vec()),
                Value::Blob(id) => self.wreck.blob(id.0)?,
            };
            match value {
                Some(value) => {
                    (self.each)(key, &value)?;
                    self.found += 1;
                }
                None => self.lost.add(key, Some(&behind)),
            }
        }
        if unknown {
            self.lost.add(&behind, high);
        }
        Ok(())
    }

    /// Takes the leaves that the walk could not reach.
    fn search(&mut self) -> Result<(), W::Error> {
        let mut slabs: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let can_be = |unit: &u32| PageId::new(*unit, 1).unit() == *unit;
        let left = self.wreck.units().filter(can_be).filter(|unit| !self.reached.contains(unit));
        for unit in left {
            slabs.entry(unit / SLAB_UNITS).or_default().push(unit);
        }
        for (slab, units) in slabs {
            for page in self.leaves(slab, &units) {
                let leaf = Leaf::new(&page[HEADER..]);
                let Some(keys) = self.keys(leaf)? else {
                    continue;
                };
                let known = || keys.iter().flatten();
                let (Some(first), Some(last)) = (known().next(), known().next_back()) else {
                    continue;
                };
                let end = after(last);
                if self.lost.cut(first, &end) {
                    self.take(leaf, &keys, first, Some(&end))?;
                }
            }
        }
        Ok(())
    }

    /// The pages in these units of a slab that are leaves, by their bytes.
    fn leaves(&self, slab: u32, units: &[u32]) -> Vec<Page> {
        let of_size = |size: u32| {
            let first = |unit: &&u32| {
                let at = **unit % SLAB_UNITS;
                at.is_multiple_of(size) && at + size <= SLAB_UNITS
            };
            let free = |unit: u32| (unit..unit + size).all(|unit| !self.reached.contains(&unit));
            let pages = units.iter().filter(first).filter(|unit| free(**unit));
            let pages = pages.filter_map(|unit| self.page(PageId::new(*unit, size)));
            pages.filter(|page| is_leaf(page)).collect::<Vec<Page>>()
        };
        match self.sizes.get(&slab) {
            Some(size) => of_size(*size),
            // The size with which most of the units make sense.
            None => {
                let sizes = (1..=8).map(of_size);
                sizes.max_by_key(|pages| pages.concat().len()).unwrap_or_default()
            }
        }
    }
}

/// The least key that is greater.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Whether a page is a leaf with entries, as far as it shows without blobs.
fn is_leaf(page: &[u8]) -> bool {
    let leaf = Leaf::new(&page[HEADER..]);
    page[..HEADER].iter().all(|&byte| byte == 0) && leaf.len() > 0 && leaf.check().is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::image::Piece;
    use super::*;
    use crate::error::OutOfMemory;
    use crate::storage::index::tree::Index;

    type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

    #[derive(Clone, Default)]
    struct Parts {
        units: BTreeMap<u32, [u8; UNIT]>,
        blobs: BTreeMap<u32, Vec<u8>>,
    }

    impl PageSource for Parts {
        type Error = OutOfMemory;

        fn units(&self) -> impl Iterator<Item = u32> + '_ {
            self.units.keys().copied()
        }

        fn unit(&self, unit: u32) -> Option<&[u8; UNIT]> {
            self.units.get(&unit)
        }

        fn blob(&self, id: u32) -> Result<Option<Vec<u8>>, OutOfMemory> {
            Ok(self.blobs.get(&id).cloned())
        }
    }

    /// A tree of `count` entries with values up to `len`, some long, in parts.
    fn tree(count: u32, len: usize) -> (Parts, Image, Entries) {
        let (mut index, mut entries) = (Index::new().unwrap(), Entries::new());
        for n in 0..count {
            let n = n.wrapping_mul(0x9e37_79b9) >> 8;
            let mut key = format!("{n:08}").into_bytes();
            key.resize(if n % 50 == 0 { 600 } else { key.len() }, b'k');
            let value = vec![n as u8; if n % 60 == 1 { 1500 } else { n as usize % len }];
            index.put(&key, &value, |_| Ok::<(), OutOfMemory>(())).unwrap();
            entries.insert(key, value);
        }
        let (snapshot, mut parts) = (index.checkpoint_snapshot().unwrap(), Parts::default());
        let take = &mut |piece: Piece<'_>| {
            match piece {
                Piece::NewPage { unit, units, .. } => {
                    parts.units.extend((unit..).zip(units.iter().copied()));
                }
                Piece::NewBlob { id, bytes } => drop(parts.blobs.insert(id, bytes.to_vec())),
                _ => unreachable!("nothing is old"),
            }
            Ok(())
        };
        snapshot.pieces(None, take).unwrap();
        (parts, snapshot.image(), entries)
    }

    fn salvaged(parts: &Parts, image: &Image) -> (Entries, Ranges) {
        let mut entries = Entries::new();
        let (found, lost) = salvage(parts, image, &Ranges::all(), &mut |key, value| {
            entries.insert(key.to_vec(), value.to_vec());
            Ok(())
        })
        .unwrap();
        assert!(found >= entries.len() as u64);
        (entries, lost)
    }

    /// The units of inner nodes, from the root down.
    fn inner_units(parts: &Parts, page: PageId, height: u32, found: &mut Vec<u32>) {
        if height > 0 {
            let units = page.unit()..page.unit() + page.units();
            let bytes: Vec<u8> = units.clone().flat_map(|unit| parts.units[&unit]).collect();
            found.extend(units);
            let inner = Inner::new(&bytes[HEADER..]);
            (0..=inner.len()).for_each(|i| inner_units(parts, inner.child(i), height - 1, found));
        }
    }

    #[test]
    fn without_inner_nodes_all_leaves_are_found() {
        let (mut parts, image, entries) = tree(5000, 600);
        let mut units = Vec::new();
        inner_units(&parts, PageId::from_bytes(image.root.to_le_bytes()), image.height, &mut units);
        assert!(image.height >= 2 && units.len() > 10);
        assert_eq!(salvaged(&parts, &image), (entries.clone(), Ranges::default()));
        for unit in units {
            let mut one = parts.clone();
            one.units.remove(&unit);
            assert_eq!(salvaged(&one, &image), (entries.clone(), Ranges::default()));
            parts.units.remove(&unit);
        }
        assert_eq!(salvaged(&parts, &image), (entries, Ranges::default()));
    }

    #[test]
    fn what_is_lost_is_where_it_is_said_to_be() {
        let (parts, image, entries) = tree(2000, 40);
        let lost_parts = parts.units.keys().map(|unit| (Some(*unit), None));
        for (unit, blob) in lost_parts.chain(parts.blobs.keys().map(|id| (None, Some(*id)))) {
            let mut left = parts.clone();
            unit.map(|unit| left.units.remove(&unit));
            blob.map(|id| left.blobs.remove(&id));
            let (found, lost) = salvaged(&left, &image);
            assert!(found.iter().all(|(key, value)| entries[key] == *value));
            assert!(found.len() + 200 > entries.len(), "unit {unit:?}, blob {blob:?}");
            assert!(found.keys().all(|key| !lost.contains(key)), "unit {unit:?}, blob {blob:?}");
            let mut missing = entries.keys().filter(|key| !found.contains_key(*key));
            assert!(missing.all(|key| lost.contains(key)), "unit {unit:?}, blob {blob:?}");
        }
    }

    #[test]
    fn units_of_any_content_do_no_harm() {
        let (parts, image, _) = tree(500, 40);
        let rounds = if std::env::var_os("MINIDB_FULL").is_some() { 20_000 } else { 500 };
        for seed in 0..rounds {
            eprintln!("seed {seed}"); // the last one, if this fails
            let mut state: u64 = seed;
            let mut random = |below: usize| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as usize % below
            };
            let mut bad = parts.clone();
            let numbers: Vec<u32> = bad.units.keys().copied().collect();
            for _ in 0..1 + random(20) {
                let at = numbers[random(numbers.len())];
                match random(3) {
                    0 => drop(bad.units.remove(&at)),
                    1 => {
                        let other = bad.units.get(&numbers[random(numbers.len())]).copied();
                        bad.units.extend(other.map(|other| (at, other)));
                    }
                    _ => {
                        let unit = bad.units.entry(at).or_insert([0; UNIT]);
                        unit[random(64)] = random(256) as u8;
                        unit[random(UNIT)] ^= 1 << random(8);
                    }
                }
            }
            bad.units.insert(u32::MAX - random(9) as u32, [random(256) as u8; UNIT]);
            let height = image.height + random(3) as u32;
            salvaged(&bad, &Image { height, count: u64::MAX, ..image });
        }
    }

    #[test]
    fn ranges_are_cut_where_something_was_found() {
        let mut ranges = Ranges::default();
        ranges.add(b"b", Some(b"f"));
        ranges.add(b"k", None);
        ranges.add(b"x", Some(b"x"));
        for (key, there) in [("a", false), ("b", true), ("e", true), ("f", false), ("z", true)] {
            assert_eq!(ranges.contains(key.as_bytes()), there, "{key}");
        }
        assert!(!ranges.cut(b"e", b"l"), "it is not in one range");
        assert!(!ranges.cut(b"a", b"c"));
        assert!(ranges.cut(b"b", b"c") && ranges.cut(b"d", b"e") && ranges.cut(b"m", b"n"));
        let expected: [(&[u8], Option<&[u8]>); 4] =
            [(b"c", Some(b"d")), (b"e", Some(b"f")), (b"k", Some(b"m")), (b"n", None)];
        assert!(ranges.iter().eq(expected));
    }
}
