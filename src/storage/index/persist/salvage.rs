//! Salvage: the entries of a tree of which some units and blobs are lost.
//!
//! The tree is walked from its root as far as it can be read. Where a page is
//! lost, the separators around it bound the keys that may have been below it. Of a
//! lost inner node the leaves are still there: each unit that the walk has not
//! reached is tried as the beginning of one, in pages of the size that fits its
//! slab. A page is taken for a leaf if it keeps all rules of one and its keys lie
//! where keys are lost.
//!
//! Promises:
//!
//! 1. An entry that is given stood in a leaf, its key and value whole.
//! 2. Where keys may be lost is known; if all entries were found, nowhere.
//! 3. Whatever the units hold, this ends.
//! 4. Memory that is proportional to the file is asked for, and its refusal reported.
//!
//! Not here: checksums. Units are right or lost.

use super::super::memory::{BlobId, HEADER, PageId, SLAB_UNITS, UNIT, UNITS_MAX};
use super::super::node::inner::{Inner, Separator};
use super::super::node::leaf::{Leaf, Value};
use super::super::tree::{LEVELS_MAX, Position, Visitor, walk};
use super::image::ImageMeta;
use crate::error::OutOfMemory;
use crate::fallible::{collect, concat, copy, filled, push};
use crate::sort::heap_sort;

/// The readable part of a damaged file: units of pages, and blobs, by number. All
/// bytes that it gives have been verified; a number that it does not have is lost.
pub(crate) trait PageSource {
    type Error: From<OutOfMemory>;
    /// The numbers of all readable units, in ascending order.
    fn units(&self) -> impl Iterator<Item = u32> + '_;
    /// The bytes of a unit; `None` if it is lost.
    fn unit(&self, unit: u32) -> Option<&[u8; UNIT]>;
    /// The bytes of a blob; `None` if any of them are lost.
    fn blob(&self, id: u32) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// A range of keys: its first key, and the key that it ends before.
type Range = (Vec<u8>, Option<Vec<u8>>);

/// A set of keys: ranges in ascending order that do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<Range>);

impl Ranges {
    /// All keys that there can be.
    pub(crate) fn all() -> Ranges {
        Ranges(vec![(Vec::new(), None)])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + '_ {
        self.0.iter().map(|(from, to)| (&from[..], to.as_deref()))
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let before = self.0.partition_point(|(from, _)| &from[..] <= key);
        let last = before.checked_sub(1).map(|at| &self.0[at]);
        last.is_some_and(|(_, to)| to.as_deref().is_none_or(|to| key < to))
    }

    /// Adds a range at the end, in whatever order; [`Ranges::sort`] is to follow.
    fn add(&mut self, from: &[u8], to: Option<&[u8]>) -> Result<(), OutOfMemory> {
        if to.is_none_or(|to| from < to) {
            push(&mut self.0, (copy(from)?, to.map(copy).transpose()?))?;
        }
        Ok(())
    }

    /// Sorts the ranges and joins those that overlap.
    fn sort(&mut self) {
        heap_sort(&mut self.0, Ord::cmp);
        self.0.dedup_by(|(from, to), (_, end)| {
            let overlaps = end.as_ref().is_none_or(|end| &*from <= end);
            if overlaps && end.is_some() && (to.is_none() || &*to > end) {
                *end = to.take();
            }
            overlaps
        });
    }
}

/// A function that is given each entry.
type Each<'a, E> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), E>;

/// The keys of a leaf, as far as they can be read.
type Keys = Vec<Option<Vec<u8>>>;

/// Calls `each` with every entry that can be read and whose key is wanted, in no
/// order. Returns how many there were, and in which ranges others are lost.
pub(crate) fn salvage<S: PageSource>(
    source: &S,
    image: &ImageMeta,
    wanted: &Ranges,
    each: Each<'_, S::Error>,
) -> Result<(u64, Ranges), S::Error> {
    let units = collect(source.units())?;
    let mut salvage = Salvage {
        source,
        wanted,
        each,
        reached: filled(false, units.len())?,
        units,
        path: Vec::new(),
        sizes: Vec::new(),
        lost: Ranges::default(),
        found: 0,
    };
    let root = PageId::from_bytes(image.root.to_le_bytes());
    walk(&mut salvage, root, (image.height as usize).min(LEVELS_MAX))?;
    salvage.lost.sort();
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

struct Salvage<'a, S: PageSource> {
    source: &'a S,
    wanted: &'a Ranges,
    each: Each<'a, S::Error>,
    /// The numbers of all units, and which of them are of pages that the walk came to.
    units: Vec<u32>,
    reached: Vec<bool>,
    /// The inner nodes that the walk is in.
    path: Vec<(PageId, Page)>,
    /// For each page that the walk came to its slab, and its size in units.
    sizes: Vec<(u32, u32)>,
    lost: Ranges,
    found: u64,
}

impl<S: PageSource> Visitor for Salvage<'_, S> {
    type Error = S::Error;

    fn body(&self, page: PageId) -> &[u8] {
        let (_, bytes) = self.path.iter().rfind(|(id, _)| *id == page).expect("it was entered");
        &bytes[HEADER..]
    }

    fn enter(&mut self, node: &Position<'_>) -> Result<bool, S::Error> {
        let page = self.reach(node.page)?;
        if node.height > 0
            && let Some(page) = page
        {
            if Inner::new(&page[HEADER..]).check().is_ok() {
                push(&mut self.path, (node.page, page))?;
                return Ok(true);
            }
        } else if let Some(page) = page
            && let leaf = Leaf::new(&page[HEADER..])
            && let Some(keys) = self.keys(leaf)?
        {
            let (low, high) = self.bounds(node)?;
            self.take(leaf, &keys, &low, high.as_deref())?;
            return Ok(false);
        }
        let (low, high) = self.bounds(node)?;
        self.lost.add(&low, high.as_deref())?;
        Ok(false)
    }

    fn leave(&mut self, _: &Position<'_>) -> Result<(), S::Error> {
        self.path.pop();
        Ok(())
    }
}

impl<S: PageSource> Salvage<'_, S> {
    fn page(&self, id: PageId) -> Result<Option<Page>, OutOfMemory> {
        let mut page = Page::new();
        page.try_reserve_exact(id.units() as usize * UNIT)?;
        for unit in id.unit()..id.end() {
            let Some(bytes) = self.source.unit(unit) else {
                return Ok(None);
            };
            page.extend_from_slice(bytes);
        }
        Ok(Some(page))
    }

    /// The readable units of a page, as a range of [`Salvage::units`].
    fn units_of(&self, id: PageId) -> std::ops::Range<usize> {
        let start = self.units.partition_point(|&unit| unit < id.unit());
        let there = self.units[start..].iter().take_while(|&&unit| unit < id.end()).count();
        start..start + there
    }

    /// A page that shares no unit with another in the tree.
    fn reach(&mut self, id: PageId) -> Result<Option<Page>, OutOfMemory> {
        push(&mut self.sizes, (id.unit() / SLAB_UNITS, id.units()))?;
        let units = self.units_of(id);
        let reached = &mut self.reached[units];
        let is_new = !reached.contains(&true);
        reached.fill(true);
        if is_new { self.page(id) } else { Ok(None) }
    }

    /// The keys that a node may have: from one up to, but not including, the other.
    fn bounds(&self, node: &Position<'_>) -> Result<Range, S::Error> {
        // Without its tail a separator is a little less: as good as a bound.
        let key = |Separator { inline, tail }| {
            self.key(&inline, tail).map(|whole| whole.unwrap_or(inline))
        };
        let low = node.low(self).map(key).transpose()?;
        Ok((low.unwrap_or_default(), node.high(self).map(key).transpose()?))
    }

    fn key(&self, inline: &[u8], tail: Option<BlobId>) -> Result<Option<Vec<u8>>, S::Error> {
        let Some(id) = tail else {
            return Ok(Some(copy(inline)?));
        };
        let tail = self.source.blob(id.0)?;
        Ok(tail.map(|tail| concat([inline, &tail])).transpose()?)
    }

    /// The keys of a leaf; none if it is no leaf.
    fn keys(&self, leaf: Leaf<'_>) -> Result<Option<Keys>, S::Error> {
        if leaf.check().is_err() {
            return Ok(None);
        }
        let keys = (0..leaf.len()).map(|i| self.key(&leaf.inline_key(i), leaf.entry(i).tail));
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
    ) -> Result<(), S::Error> {
        let (mut behind, mut unknown) = (copy(low)?, false);
        for (i, key) in keys.iter().enumerate() {
            let Some(key) = key else {
                unknown = true;
                continue;
            };
            if std::mem::take(&mut unknown) {
                self.lost.add(&behind, Some(key))?;
            }
            behind = after(key)?;
            if !self.wanted.contains(key) {
                continue;
            }
            let blob;
            let value = match leaf.entry(i).value {
                Value::Inline(bytes) => Some(bytes),
                Value::Blob(id) => {
                    blob = self.source.blob(id.0)?;
                    blob.as_deref()
                }
            };
            match value {
                Some(value) => {
                    (self.each)(key, value)?;
                    self.found += 1;
                }
                None => self.lost.add(key, Some(&behind))?,
            }
        }
        if unknown {
            self.lost.add(&behind, high)?;
        }
        Ok(())
    }

    /// Takes the leaves that the walk could not reach, where keys are lost.
    fn search(&mut self) -> Result<(), S::Error> {
        let mut leaves = self.leaves()?.into_iter().peekable();
        let lost = std::mem::take(&mut self.lost);
        for (mut from, to) in lost.0 {
            let is_before = |key: &Vec<u8>| to.as_ref().is_none_or(|to| key < to);
            while let Some((first, id)) = leaves.next_if(|(first, _)| is_before(first)) {
                if first < from {
                    continue;
                }
                let page = self.page(id)?.unwrap_or_default();
                let leaf = Leaf::new(&page[HEADER..]);
                let keys = self.keys(leaf)?.unwrap_or_default();
                let Some(last) = keys.iter().flatten().next_back() else {
                    continue;
                };
                let end = after(last)?;
                if to.as_ref().is_none_or(|to| end <= *to) {
                    self.lost.add(&from, Some(&first))?;
                    self.take(leaf, &keys, &first, Some(&end))?;
                    from = end;
                }
            }
            self.lost.add(&from, to.as_deref())?;
        }
        Ok(())
    }

    /// The leaves in units that the walk has not reached, each with the first of its
    /// keys that can be read, by which they are sorted.
    fn leaves(&mut self) -> Result<Vec<(Vec<u8>, PageId)>, S::Error> {
        heap_sort(&mut self.sizes, Ord::cmp);
        let left = self.units.iter().zip(&self.reached).filter(|(_, reached)| !**reached);
        let left = left.map(|(unit, _)| *unit).filter(|&unit| PageId::new(unit, 1).unit() == unit);
        let mut leaves = Vec::new();
        for units in collect(left)?.chunk_by(|one, next| one / SLAB_UNITS == next / SLAB_UNITS) {
            for id in self.leaves_of_slab(units)? {
                let page = self.page(id)?.unwrap_or_default();
                let keys = self.keys(Leaf::new(&page[HEADER..]))?;
                if let Some(first) = keys.into_iter().flatten().flatten().next() {
                    push(&mut leaves, (first, id))?;
                }
            }
        }
        heap_sort(&mut leaves, |(one, _): &(Vec<u8>, PageId), (next, _)| one.cmp(next));
        Ok(leaves)
    }

    /// The pages in some units of a slab that are leaves, by their bytes.
    fn leaves_of_slab(&self, units: &[u32]) -> Result<Vec<PageId>, OutOfMemory> {
        let slab = units[0] / SLAB_UNITS;
        let known = self.sizes.partition_point(|(of, _)| *of < slab);
        let known = self.sizes.get(known).filter(|(of, _)| *of == slab).map(|(_, size)| *size);
        // Else the size with which most of the units make sense.
        let sizes = known.map_or(1..=UNITS_MAX as u32, |size| size..=size);
        let (mut best, mut most) = (Vec::new(), 0);
        for size in sizes {
            let mut leaves = Vec::new();
            for &unit in units {
                let at = unit % SLAB_UNITS;
                let id = PageId::new(unit, size);
                if at.is_multiple_of(size) && at + size <= SLAB_UNITS && self.is_leaf(id)? {
                    push(&mut leaves, id)?;
                }
            }
            let taken = leaves.len() * size as usize;
            if taken >= most {
                (best, most) = (leaves, taken);
            }
        }
        Ok(best)
    }

    /// Whether a page that the walk has not reached is a leaf with entries, as far as
    /// it shows without blobs.
    fn is_leaf(&self, id: PageId) -> Result<bool, OutOfMemory> {
        if self.reached[self.units_of(id)].contains(&true) {
            return Ok(false);
        }
        Ok(self.page(id)?.is_some_and(|page| {
            let (header, leaf) = (&page[..HEADER], Leaf::new(&page[HEADER..]));
            header.iter().all(|&byte| byte == 0) && leaf.len() > 0 && leaf.check().is_ok()
        }))
    }
}

/// The least key that is greater.
fn after(key: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    concat([key, &[0]])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::image::ImagePart;
    use super::*;
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
    fn tree(count: u32, len: usize) -> (Parts, ImageMeta, Entries) {
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
        let take = &mut |part: ImagePart<'_>| {
            match part {
                ImagePart::ChangedPage { unit, units, .. } => {
                    parts.units.extend((unit..).zip(units.iter().copied()));
                }
                ImagePart::NewBlob { id, bytes } => drop(parts.blobs.insert(id, bytes.to_vec())),
                _ => unreachable!("nothing is old"),
            }
            Ok(())
        };
        snapshot.image_parts(None, take).unwrap();
        (parts, snapshot.image_meta(), entries)
    }

    fn salvaged(parts: &Parts, image: &ImageMeta) -> (Entries, Ranges) {
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
            salvaged(&bad, &ImageMeta { height, count: u64::MAX, ..image });
        }
    }

    #[test]
    fn ranges_are_sorted_and_joined() {
        let mut ranges = Ranges::default();
        let added = [("k", ""), ("b", "d"), ("x", "x"), ("m", "n"), ("c", "f"), ("g", "h")];
        for (from, to) in added {
            let to = Some(to.as_bytes()).filter(|to| !to.is_empty());
            ranges.add(from.as_bytes(), to).unwrap();
        }
        ranges.sort();
        let expected: [(&[u8], Option<&[u8]>); 3] =
            [(b"b", Some(b"f")), (b"g", Some(b"h")), (b"k", None)];
        assert!(ranges.iter().eq(expected), "{ranges:?}");
        for (key, there) in [("a", false), ("b", true), ("e", true), ("f", false), ("z", true)] {
            assert_eq!(ranges.contains(key.as_bytes()), there, "{key}");
        }
    }
}
