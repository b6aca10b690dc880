//! Restoring: a tree comes back from its checkpoint image in a file.
//!
//! Units and blobs have numbers, and the tables in memory are indexed by these. A
//! file may have few of them with large numbers: most were deleted, or the file was
//! made to do harm. If the tables would take much memory for what the file holds,
//! all pages and blobs get other names, the lowest that there are.
//!
//! Promises:
//!
//! 1. Any bytes restore to a tree whose every node can be read, or to an error.
//! 2. Beyond a given bound, the memory of a tree does not depend on the numbers.
//!
//! Not here: files and checksums.

use super::super::memory::{BlobId, PageId, Pages, RESTORED, Source, UNIT};
use super::super::node::inner::{Inner, InnerMut};
use super::super::node::leaf::{Leaf, LeafMut};
use super::super::tree::{Index, LEVELS_MAX, Position, Totals, Tree, Visitor, walk};
use super::image::ImageMeta;
use crate::error::OutOfMemory;
use crate::fallible::filled;

/// Bytes of memory for each number below the greatest of a blob.
const BLOB_NUMBER: u64 = 64;

/// A tree that is being restored. It is given all units and blobs, in any order.
#[derive(Debug)]
pub(crate) struct Restoring {
    pages: Pages,
    count: u64,
    bytes: u64,
    /// Whether a key is longer than the part of it that nodes hold.
    long_keys: bool,
    /// Blobs that the tree has.
    used: Vec<bool>,
    /// The old names, if pages and blobs get others.
    renaming: Option<Renaming>,
}

/// The units and blobs of a file whose names in memory are others.
#[derive(Debug)]
struct Renaming {
    /// The numbers of the units in ascending order; their bytes; whether the tree has
    /// taken them.
    units: Vec<u32>,
    contents: Vec<[u8; UNIT]>,
    taken: Vec<bool>,
    /// The numbers of the blobs in ascending order. The position of a number here is
    /// the new name of its blob.
    blobs: Vec<u32>,
}

/// Why a tree cannot be restored.
#[derive(Debug)]
pub(crate) enum Unrestored {
    OutOfMemory,
    /// A rule is broken, in words.
    Damaged(String),
}

impl From<OutOfMemory> for Unrestored {
    fn from(_: OutOfMemory) -> Unrestored {
        Unrestored::OutOfMemory
    }
}

impl Renaming {
    /// Gives a page on a level its new name and place. `None` if any of its units was not
    /// loaded, or is in the tree already.
    fn take(
        &mut self,
        page: PageId,
        level: usize,
        pages: &mut Pages,
    ) -> Result<Option<PageId>, OutOfMemory> {
        let Ok(first) = self.units.binary_search(&page.unit()) else {
            return Ok(None);
        };
        let range = first..first + page.units() as usize;
        let whole = self.units.get(range.end - 1).is_some_and(|&last| last + 1 == page.end());
        if !whole || self.taken[range.clone()].contains(&true) {
            return Ok(None);
        }
        self.taken[range.clone()].fill(true);
        pages.adopt(page, level, self.contents[range].as_flattened()).map(Some)
    }

    fn blob(&self, id: BlobId) -> Option<BlobId> {
        self.blobs.binary_search(&id.0).ok().map(|at| BlobId(at as u32))
    }
}

impl Restoring {
    /// Begins a tree whose units and blobs have these numbers, in ascending order.
    /// `memory` bounds the bytes of tables that grow with the greatest number.
    pub(crate) fn new(
        units: Vec<u32>,
        blobs: Vec<u32>,
        memory: u64,
    ) -> Result<Restoring, OutOfMemory> {
        let end = |numbers: &[u32]| numbers.last().map_or(0, |&last| u64::from(last) + 1);
        let (unit_end, blob_end) = (end(&units), end(&blobs));
        let sparse = unit_end * UNIT as u64 + blob_end * BLOB_NUMBER > memory;
        let (unit_end, blob_end) =
            if sparse { (0, blobs.len()) } else { (unit_end as u32, blob_end as usize) };
        let pages = Pages::restoring(unit_end, blob_end as u32)?;
        let used = filled(false, blob_end)?;
        let mut restoring =
            Restoring { pages, count: 0, bytes: 0, long_keys: false, used, renaming: None };
        if sparse {
            let (contents, taken) = (filled([0; UNIT], units.len())?, filled(false, units.len())?);
            restoring.renaming = Some(Renaming { units, contents, taken, blobs });
        }
        Ok(restoring)
    }

    /// Takes the bytes of a unit.
    pub(crate) fn unit(&mut self, unit: u32, bytes: &[u8; UNIT]) {
        match &mut self.renaming {
            None => self.pages.load(unit, bytes),
            Some(renaming) => {
                let at = renaming.units.binary_search(&unit).expect("the number was given");
                renaming.contents[at] = *bytes;
            }
        }
    }

    /// Takes a blob of `len` bytes, which `fill` provides.
    pub(crate) fn blob<E: From<OutOfMemory>>(
        &mut self,
        id: u32,
        len: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let id = BlobId(id);
        let id = self.renaming.as_ref().map_or(Some(id), |renaming| renaming.blob(id));
        self.pages.load_blob(id.expect("the number was given"), len, fill)
    }

    /// The tree, and the checkpoint epoch of its image: older than all of the tree if
    /// its pages and blobs have other names now.
    pub(crate) fn finish(mut self, meta: ImageMeta) -> Result<(Index, u64), Unrestored> {
        let height = meta.height as usize;
        let root = PageId::from_bytes(meta.root.to_le_bytes());
        if height >= LEVELS_MAX {
            return Err(Unrestored::Damaged(format!("the tree has {height} levels")));
        }
        let root = self.claim(root, height)?;
        walk(&mut self, root, height)?;
        // Counting on from a number as large could overflow.
        if meta.commits >= 1 << 62 {
            return Err(Unrestored::Damaged(format!("the tree has {} commits", meta.commits)));
        }
        if (self.count, self.bytes) != (meta.count, meta.bytes) {
            let why = format!("the tree has {} entries, not {}", self.count, meta.count);
            return Err(Unrestored::Damaged(why));
        }
        let epoch = if self.renaming.is_some() { 0 } else { RESTORED };
        self.pages.restored(epoch);
        let ImageMeta { count, bytes, commits, .. } = meta;
        let tree = Tree { root, height, long_keys: self.long_keys };
        Ok((Index::of(self.pages, tree, Totals { count, bytes, commits }), epoch))
    }

    /// Takes a page on a level of the tree, and returns its name there.
    fn claim(&mut self, page: PageId, height: usize) -> Result<PageId, Unrestored> {
        let claimed = match &mut self.renaming {
            None => self.pages.claim(page, height).then_some(page),
            Some(renaming) => renaming.take(page, height, &mut self.pages)?,
        };
        claimed.ok_or_else(|| damaged("a page is not where it can be", page, height))
    }

    fn check(&self, node: &Position<'_>) -> Result<(), Unrestored> {
        let body = self.pages.page(node.page);
        let checked =
            if node.height == 0 { Leaf::new(body).check() } else { Inner::new(body).check() };
        checked.map_err(|what| damaged(what, node.page, node.height))
    }

    /// Gives the blobs of a node their new names.
    fn rename_blobs(&mut self, node: &Position<'_>, renaming: &Renaming) -> Result<(), Unrestored> {
        let new = |id| renaming.blob(id);
        let body = self.pages.edit(node.page);
        let renamed = match node.height {
            0 => LeafMut::new(body).rename_blobs(&new),
            _ => InnerMut::new(body).rename_blobs(&new),
        };
        if !renamed {
            return Err(damaged("there is no such blob", node.page, node.height));
        }
        // In a node that was made up one name may lie over another.
        self.check(node)
    }
}

fn damaged(what: &str, page: PageId, height: usize) -> Unrestored {
    Unrestored::Damaged(format!("{what} ({page:?}, level {height})"))
}

/// Each page is claimed when its parent is entered, and checked when it is entered itself.
impl Visitor for Restoring {
    type Error = Unrestored;

    fn body(&self, page: PageId) -> &[u8] {
        self.pages.page(page)
    }

    fn enter(&mut self, node: &Position<'_>) -> Result<bool, Unrestored> {
        self.check(node)?;
        if let Some(renaming) = self.renaming.take() {
            self.rename_blobs(node, &renaming)?;
            self.renaming = Some(renaming);
        }
        if node.height > 0 {
            for i in 0..=Inner::new(self.pages.page(node.page)).len() {
                let child = Inner::new(self.pages.page(node.page)).child(i);
                let claimed = self.claim(child, node.height - 1)?;
                if claimed != child {
                    InnerMut::new(self.pages.edit(node.page)).set_child(i, claimed);
                }
            }
        }
        Ok(true)
    }

    fn blob(&mut self, id: BlobId) -> Result<(), Unrestored> {
        let used = self.used.get_mut(id.0 as usize);
        let is_first = used.is_some_and(|used| !std::mem::replace(used, true));
        if !is_first || !self.pages.has_blob(id) {
            let what = format!("blob {} is missing, or has two places", id.0);
            return Err(Unrestored::Damaged(what));
        }
        Ok(())
    }

    fn leave(&mut self, node: &Position<'_>) -> Result<(), Unrestored> {
        if node.height == 0 {
            let leaf = Leaf::new(self.pages.page(node.page));
            self.count += leaf.len() as u64;
            self.long_keys |= (0..leaf.len()).any(|i| leaf.entry(i).tail.is_some());
            self.bytes +=
                (0..leaf.len()).map(|i| leaf.entry_len(i, &self.pages) as u64).sum::<u64>();
        }
        Ok(())
    }
}
