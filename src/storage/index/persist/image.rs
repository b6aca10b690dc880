//! A tree as an image: the pieces that go to a file.
//!
//! A piece is a page, as units of 512 bytes that have in the file the numbers
//! that they have in memory, or a blob. Of an image that is taken after another, what
//! was not changed in between is told apart, so that it need not be written
//! again.
//!
//! Taking an image reads a snapshot: it disturbs nobody. The way back is
//! [`super::restore`]. Not here: files and checksums.

use super::super::memory::{BlobId, HEADER, PageId, Source, UNIT, UNITS_MAX};
use super::super::node::inner::Inner;
use super::super::node::leaf::Leaf;
use super::super::tree::{Index, Snapshot, Totals, Tree};
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
    pub(crate) fn checkpoint_snapshot(&mut self) -> Result<Snapshot, OutOfMemory> {
        let snapshot = self.snapshot()?;
        self.pages.image_of(&snapshot.frozen);
        Ok(snapshot)
    }
}

impl Snapshot {
    /// What changes from now on is newer than this moment.
    pub(crate) fn moment(&self) -> u64 {
        self.frozen.epoch()
    }

    pub(crate) fn image(&self) -> Image {
        let (Tree { root, height, .. }, Totals { count, bytes, commits }) =
            (self.tree, self.totals);
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
