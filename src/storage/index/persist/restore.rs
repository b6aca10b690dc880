//! A tree as it comes back from a file.
//!
//! Units and blobs have numbers, and places in tables by these. A file may have
//! few of them with large numbers: most were deleted, or it was made to do harm.
//! If the tables would take much memory for what the file holds, all pages and
//! blobs get other names, the lowest that there are.
//!
//! Promises:
//!
//! 1. Whatever the bytes are that a tree is to be restored from, what comes out
//!    is a tree whose every node can be read, or an error.
//! 2. What a tree takes does not depend on the numbers, beyond what is allowed.
//!
//! Not here: files and checksums.

use super::super::memory::{BlobId, PageId, Source, UNIT};
use super::super::memory::{Pages, RESTORED};
use super::super::node::inner::{Inner, InnerMut};
use super::super::node::leaf::{Leaf, LeafMut};
use super::super::tree::{Index, LEVELS_MAX, Totals, Tree};
use super::image::Image;
use crate::error::OutOfMemory;
use crate::fallible::filled;

/// What the tables of blobs take for each number, and what there may be beyond
/// the greatest.
const BLOB_NUMBER: u64 = 64;

/// A tree that is being restored: all units and blobs are given in any order.
#[derive(Debug)]
pub(crate) struct Restoring {
    pages: Pages,
    count: u64,
    bytes: u64,
    long_keys: bool,
    /// Blobs that the tree has.
    used: Vec<bool>,
    /// If names are to change.
    renaming: Option<Renaming>,
}

/// What is in the file under other names.
#[derive(Debug)]
struct Renaming {
    /// Numbers of units, in order; the units themselves; which of them the tree has.
    units: Vec<u32>,
    contents: Vec<[u8; UNIT]>,
    taken: Vec<bool>,
    /// Numbers of blobs, in order. Where they stand here is their new name.
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
    /// Makes a page of the tree of one that was loaded, if it was and is in the
    /// tree for the first time.
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
    /// Of a tree whose units and blobs have these numbers, in order, with so much
    /// memory for what grows with the greatest of them.
    pub(crate) fn new(
        units: Vec<u32>,
        blobs: Vec<u32>,
        memory: u64,
    ) -> Result<Restoring, OutOfMemory> {
        let end = |numbers: &[u32]| numbers.last().map_or(0, |&last| u64::from(last) + 1);
        let (unit_end, blob_end) = (end(&units), end(&blobs));
        let sparse = unit_end * UNIT as u64 + blob_end * BLOB_NUMBER > memory;
        let (unit_end, blob_end) = match sparse {
            true => (0, blobs.len()),
            false => (unit_end as u32, blob_end as usize),
        };
        let renaming = match sparse {
            true => Some(Renaming {
                contents: filled([0; UNIT], units.len())?,
                taken: filled(false, units.len())?,
                units,
                blobs,
            }),
            false => None,
        };
        let (pages, used) =
            (Pages::restoring(unit_end, blob_end as u32)?, filled(false, blob_end)?);
        Ok(Restoring { pages, count: 0, bytes: 0, long_keys: false, used, renaming })
    }

    pub(crate) fn unit(&mut self, unit: u32, bytes: &[u8; UNIT]) {
        match &mut self.renaming {
            None => self.pages.load(unit, bytes),
            Some(renaming) => {
                let at = renaming.units.binary_search(&unit).expect("the number was given");
                renaming.contents[at] = *bytes;
            }
        }
    }

    /// A blob of `len` bytes, which `fill` provides.
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

    /// The tree, and the moment that its image is of: before all of it if it has
    /// other names now.
    pub(crate) fn finish(mut self, image: Image) -> Result<(Index, u64), Unrestored> {
        let height = image.height as usize;
        let root = PageId::from_bytes(image.root.to_le_bytes());
        if height >= LEVELS_MAX {
            return Err(Unrestored::Damaged(format!("the tree has {height} levels")));
        }
        let root = self.claim(root, height)?;
        // Where so many are counted, counting on could overflow.
        if image.commits >= 1 << 62 {
            return Err(Unrestored::Damaged(format!("the tree has {} commits", image.commits)));
        }
        if (self.count, self.bytes) != (image.count, image.bytes) {
            let why = format!("the tree has {} entries, not {}", self.count, image.count);
            return Err(Unrestored::Damaged(why));
        }
        let moment = if self.renaming.is_some() { 0 } else { RESTORED };
        self.pages.restored(moment);
        let Image { count, bytes, commits, .. } = image;
        let totals = Totals { count, bytes, commits };
        Ok((
            Index::of(self.pages, Tree { root, height, long_keys: self.long_keys }, totals),
            moment,
        ))
    }

    /// Takes a page into the tree, and all below it; returns its name there.
    fn claim(&mut self, page: PageId, height: usize) -> Result<PageId, Unrestored> {
        let here = |what: &str| Unrestored::Damaged(format!("{what} ({page:?}, level {height})"));
        let claimed = match &mut self.renaming {
            None => self.pages.claim(page, height).then_some(page),
            Some(renaming) => renaming.take(page, height, &mut self.pages)?,
        };
        let page = claimed.ok_or_else(|| here("a page is not where it can be"))?;
        self.check(page, height).map_err(here)?;
        if let Some(renaming) = &self.renaming {
            let new = |id| renaming.blob(id);
            let body = self.pages.edit(page);
            let renamed = match height {
                0 => LeafMut::new(body).rename_blobs(&new),
                _ => InnerMut::new(body).rename_tails(&new),
            };
            if !renamed {
                return Err(here("there is no such blob"));
            }
            // In a node that was made up one may lie over another.
            self.check(page, height).map_err(here)?;
        }
        if height == 0 {
            for i in 0..Leaf::new(self.pages.page(page)).len() {
                let leaf = Leaf::new(self.pages.page(page));
                for id in leaf.blobs(i) {
                    self.use_blob(id).map_err(here)?;
                }
                let leaf = Leaf::new(self.pages.page(page));
                self.count += 1;
                self.long_keys |= leaf.entry(i).tail.is_some();
                self.bytes += leaf.entry_len(i, &self.pages) as u64;
            }
            return Ok(page);
        }
        for i in 0..=Inner::new(self.pages.page(page)).len() {
            let inner = Inner::new(self.pages.page(page));
            let (child, tail) = (inner.child(i), i.checked_sub(1).and_then(|at| inner.tail(at)));
            if let Some(id) = tail {
                self.use_blob(id).map_err(here)?;
            }
            let claimed = self.claim(child, height - 1)?;
            if claimed != child {
                InnerMut::new(self.pages.edit(page)).set_child(i, claimed);
            }
        }
        Ok(page)
    }

    fn check(&self, page: PageId, height: usize) -> Result<(), &'static str> {
        match height {
            0 => Leaf::new(self.pages.page(page)).check(),
            _ => Inner::new(self.pages.page(page)).check(),
        }
    }

    fn use_blob(&mut self, id: BlobId) -> Result<(), &'static str> {
        let used = self.used.get_mut(id.0 as usize).ok_or("there is no such blob")?;
        if std::mem::replace(used, true) || !self.pages.has_blob(id) {
            return Err("a blob is missing, or has two places");
        }
        Ok(())
    }
}
