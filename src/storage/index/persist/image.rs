//! A checkpoint image: the pages and blobs of a tree that go to a file.
//!
//! A page goes there as units of 512 bytes, which have the same numbers in the file
//! and in memory. A part that has not changed since the image before is named only, as
//! the file has it.
//!
//! An image is taken of a snapshot, and neither readers nor writers wait for it. The
//! way back is [`super::restore`]. Not here: files and checksums.

use super::super::memory::{BlobId, HEADER, PageId, Source, UNIT, UNITS_MAX};
use super::super::tree::{Index, Position, Snapshot, Totals, Tree, Visitor, walk};
use crate::error::{DBError, DBResult, OutOfMemory};
use crate::fallible::push;

/// The numbers of a tree that a file stores beside its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageMeta {
    /// The page that the tree begins with.
    pub(crate) root: u32,
    pub(crate) height: u32,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) commits: u64,
}

/// A part of a checkpoint image.
#[derive(Debug)]
pub(crate) enum ImagePart<'a> {
    /// A page of the image before.
    KeptPage {
        unit: u32,
        units: u32,
    },
    /// A page that may have changed. The image before has a page that ends before unit
    /// `origin` and may have had much the same end.
    ChangedPage {
        unit: u32,
        origin: u32,
        units: &'a [[u8; UNIT]],
    },
    /// A blob of the image before.
    KeptBlob(u32),
    NewBlob {
        id: u32,
        bytes: &'a [u8],
    },
}

impl Index {
    /// Freezes the published tree to take an image of it.
    pub(crate) fn checkpoint_snapshot(&mut self) -> Result<Snapshot, OutOfMemory> {
        let snapshot = self.snapshot()?;
        self.pages.image_of(&snapshot.frozen);
        Ok(snapshot)
    }
}

impl Snapshot {
    /// The checkpoint epoch: pages that change from now on are newer.
    pub(crate) fn checkpoint_epoch(&self) -> u64 {
        self.frozen.epoch()
    }

    /// The numbers that go to the file with an image of the snapshot.
    pub(crate) fn image_meta(&self) -> ImageMeta {
        let (Tree { root, height, .. }, Totals { count, bytes, commits }) =
            (self.tree, self.totals);
        let root = u32::from_le_bytes(root.to_bytes());
        ImageMeta { root, height: height as u32, count, bytes, commits }
    }

    /// Calls `visit` for each part of the tree: first for those of the image with the
    /// checkpoint epoch `since`, then for the changed ones. The tree is walked once, and
    /// the names of changed parts collected meanwhile.
    pub(crate) fn image_parts(
        &self,
        since: Option<u64>,
        visit: &mut dyn FnMut(ImagePart<'_>) -> DBResult<()>,
    ) -> DBResult<()> {
        let since = since.unwrap_or(0);
        let mut old = KeptParts { snapshot: self, since, visit, changed: Vec::new() };
        walk(&mut old, self.tree.root, self.tree.height)?;
        let KeptParts { visit, changed, .. } = old;
        changed.into_iter().try_for_each(|part| match part {
            Part::Page(page) => {
                let body = self.frozen.page(page);
                // The rest of the header is for memory only: zeros in the image.
                let mut image = [[0; UNIT]; UNITS_MAX];
                image.as_flattened_mut()[HEADER..HEADER + body.len()].copy_from_slice(body);
                let (unit, origin) = (page.unit(), self.frozen.origin(page));
                visit(ImagePart::ChangedPage {
                    unit,
                    origin,
                    units: &image[..page.units() as usize],
                })
            }
            Part::Blob(id) => visit(ImagePart::NewBlob { id: id.0, bytes: self.frozen.blob(id) }),
        })
    }
}

/// The name of a part that has changed.
enum Part {
    Page(PageId),
    Blob(BlobId),
}

/// The visitor that reports the parts of the image before and collects the changed
/// ones.
struct KeptParts<'a> {
    snapshot: &'a Snapshot,
    since: u64,
    visit: &'a mut dyn FnMut(ImagePart<'_>) -> DBResult<()>,
    changed: Vec<Part>,
}

impl Visitor for KeptParts<'_> {
    type Error = DBError;

    fn body(&self, page: PageId) -> &[u8] {
        self.snapshot.frozen.page(page)
    }

    fn enter(&mut self, node: &Position<'_>) -> DBResult<bool> {
        let page = node.page;
        if self.snapshot.frozen.birth(page) <= self.since {
            (self.visit)(ImagePart::KeptPage { unit: page.unit(), units: page.units() })?;
        } else {
            push(&mut self.changed, Part::Page(page))?;
        }
        Ok(true)
    }

    fn blob(&mut self, id: BlobId) -> DBResult<()> {
        if self.snapshot.frozen.blob_birth(id) <= self.since {
            return (self.visit)(ImagePart::KeptBlob(id.0));
        }
        Ok(push(&mut self.changed, Part::Blob(id))?)
    }
}
