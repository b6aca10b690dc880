//! A tree as an image: the pieces that go to a file, and the way back.
//!
//! A piece is a page, as units of 512 bytes that have the same numbers in the
//! file and in memory, or a blob. Of an image that is taken after another, what
//! was not changed in between is told apart, so that it need not be written
//! again.
//!
//! Promises:
//!
//! 1. Taking an image reads a snapshot: it disturbs nobody.
//! 2. Whatever the bytes are that a tree is to be restored from, what comes out
//!    is a tree whose every node can be read, or an error.
//!
//! Not here: files and checksums.

use super::inner::Inner;
use super::leaf::Leaf;
use super::memory::{Pages, RESTORED};
use super::page::{BlobId, HEADER, PageId, Source, UNIT, UNITS_MAX};
use super::{Index, LEVELS_MAX, Numbers, Snapshot, Totals, Tree};
use crate::error::{DBResult, OutOfMemory};

/// What a file must remember beside the pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// The page that the tree begins with.
    pub(crate) root: u32,
    pub(crate) height: u32,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) commits: u64,
}

/// A part of a tree.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    /// Units that are as they were in the image before.
    OldPage {
        unit: u32,
        units: u32,
    },
    /// Units that may have changed. Before unit `origin` a page ended in the
    /// image before whose end may have been much the same.
    NewPage {
        unit: u32,
        origin: u32,
        units: &'a [[u8; UNIT]],
    },
    /// A blob that the image before had.
    OldBlob(u32),
    NewBlob {
        id: u32,
        bytes: &'a [u8],
    },
}

impl Index {
    /// A snapshot of what readers see, to take an image of.
    pub(crate) fn snapshot_for_image(&mut self) -> Result<Snapshot, OutOfMemory> {
        match &self.shown {
            Some(shown) => {
                let shown = shown.clone();
                self.pages.image_of(&shown.frozen);
                Ok(shown)
            }
            None => {
                let frozen = self.pages.freeze()?;
                self.pages.image_of(&frozen);
                Ok(Snapshot { frozen, tree: self.tree, totals: self.numbers.get() })
            }
        }
    }
}

impl Snapshot {
    /// What changes from now on is newer than this moment.
    pub(crate) fn moment(&self) -> u64 {
        self.frozen.epoch()
    }

    pub(crate) fn image(&self) -> Image {
        let (Tree { root, height }, Totals { count, bytes, commits }) = (self.tree, self.totals);
        let root = u32::from_le_bytes(root.to_bytes());
        Image { root, height: height as u32, count, bytes, commits }
    }

    /// Calls `visit` for each part of the tree; what is not newer than `since`,
    /// the moment of the image before, is old.
    pub(crate) fn pieces(
        &self,
        since: Option<u64>,
        visit: &mut dyn FnMut(Piece<'_>) -> DBResult<()>,
    ) -> DBResult<()> {
        self.pieces_below(self.tree.root, self.tree.height, since.unwrap_or(0), visit)
    }

    fn pieces_below(
        &self,
        page: PageId,
        height: usize,
        since: u64,
        visit: &mut dyn FnMut(Piece<'_>) -> DBResult<()>,
    ) -> DBResult<()> {
        let (unit, units) = (page.unit(), page.units());
        let body = self.frozen.page(page);
        if self.frozen.birth(page) <= since {
            visit(Piece::OldPage { unit, units })?;
        } else {
            // What only memory needs is not part of the image.
            let mut image = [[0; UNIT]; UNITS_MAX];
            image.as_flattened_mut()[HEADER..HEADER + body.len()].copy_from_slice(body);
            let origin = self.frozen.origin(page);
            visit(Piece::NewPage { unit, origin, units: &image[..units as usize] })?;
        }
        let mut blob = |id: BlobId| match self.frozen.blob_birth(id) <= since {
            true => visit(Piece::OldBlob(id.0)),
            false => visit(Piece::NewBlob { id: id.0, bytes: self.frozen.blob(id) }),
        };
        if height == 0 {
            let leaf = Leaf::new(body);
            return (0..leaf.len()).flat_map(|i| leaf.blobs(i)).try_for_each(blob);
        }
        let inner = Inner::new(body);
        (0..inner.len()).filter_map(|i| inner.tail(i)).try_for_each(&mut blob)?;
        (0..=inner.len())
            .try_for_each(|i| self.pieces_below(inner.child(i), height - 1, since, visit))
    }
}

/// A tree that is being restored: all units and blobs are given in any order.
#[derive(Debug)]
pub(crate) struct Restoring {
    pages: Pages,
    count: u64,
    bytes: u64,
    /// Blobs that the tree has.
    used: Vec<bool>,
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

impl Restoring {
    /// Of a tree whose units and blobs have numbers below these.
    pub(crate) fn new(units: u32, blobs: u32) -> Result<Restoring, OutOfMemory> {
        let mut used = Vec::new();
        used.try_reserve_exact(blobs as usize)?;
        used.resize(blobs as usize, false);
        Ok(Restoring { pages: Pages::restoring(units, blobs)?, count: 0, bytes: 0, used })
    }

    pub(crate) fn unit(&mut self, unit: u32, bytes: &[u8; UNIT]) {
        self.pages.load(unit, bytes);
    }

    /// A blob of `len` bytes, which `fill` provides.
    pub(crate) fn blob<E: From<OutOfMemory>>(
        &mut self,
        id: u32,
        len: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.pages.load_blob(BlobId(id), len, fill)
    }

    /// The tree, and the moment that its image is of.
    pub(crate) fn finish(mut self, image: Image) -> Result<(Index, u64), Unrestored> {
        let height = image.height as usize;
        let root = PageId::from_bytes(image.root.to_le_bytes());
        if height >= LEVELS_MAX {
            return Err(Unrestored::Damaged(format!("the tree has {height} levels")));
        }
        self.claim(root, height)?;
        // Where so many are counted, counting on could overflow.
        if image.commits >= 1 << 62 {
            return Err(Unrestored::Damaged(format!("the tree has {} commits", image.commits)));
        }
        if (self.count, self.bytes) != (image.count, image.bytes) {
            let why = format!("the tree has {} entries, not {}", self.count, image.count);
            return Err(Unrestored::Damaged(why));
        }
        self.pages.restored();
        let Image { count, bytes, commits, .. } = image;
        let (tree, numbers) =
            (Tree { root, height }, Numbers::of(Totals { count, bytes, commits }));
        Ok((Index { pages: self.pages, tree, numbers, shown: None }, RESTORED))
    }

    /// Takes a page into the tree, and all below it.
    fn claim(&mut self, page: PageId, height: usize) -> Result<(), Unrestored> {
        let here = |what: &str| Unrestored::Damaged(format!("{what} ({page:?}, level {height})"));
        if !self.pages.claim(page) {
            return Err(here("a page is not where it can be"));
        }
        if height == 0 {
            let leaf = Leaf::new(self.pages.page(page));
            leaf.check().map_err(here)?;
            for i in 0..leaf.len() {
                let leaf = Leaf::new(self.pages.page(page));
                for id in leaf.blobs(i) {
                    self.use_blob(id).map_err(here)?;
                }
                let leaf = Leaf::new(self.pages.page(page));
                self.count += 1;
                self.bytes += leaf.entry_len(i, &self.pages) as u64;
            }
            return Ok(());
        }
        Inner::new(self.pages.page(page)).check().map_err(here)?;
        for i in 0..=Inner::new(self.pages.page(page)).len() {
            let inner = Inner::new(self.pages.page(page));
            let (child, tail) = (inner.child(i), i.checked_sub(1).and_then(|at| inner.tail(at)));
            if let Some(id) = tail {
                self.use_blob(id).map_err(here)?;
            }
            self.claim(child, height - 1)?;
        }
        Ok(())
    }

    fn use_blob(&mut self, id: BlobId) -> Result<(), &'static str> {
        let used = self.used.get_mut(id.0 as usize).ok_or("there is no such blob")?;
        if std::mem::replace(used, true) || !self.pages.has_blob(id) {
            return Err("a blob is missing, or has two places");
        }
        Ok(())
    }
}
