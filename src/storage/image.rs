//! Where the index and the file meet: the numbers of a checkpoint image in a root,
//! and its units and blobs on their way back.

use super::file::{DataFile, META, Receiver, Roots};
use super::index::{ImageMeta, Index, Restoring, Unrestored};
use crate::error::{DBError, DBResult};
use crate::os::disk::File;
use std::path::{Path, PathBuf};

/// Encodes the numbers of an image as a root has them:
///
/// ```text
/// 0   root page, u32; levels above the leaves, u32
/// 8   entries, u64; bytes of keys and values, u64; commits, u64
/// 32  (8 bytes, zero)
/// ```
pub(super) fn encode(image: &ImageMeta) -> [u8; META] {
    let mut meta = [0; META];
    meta[..4].copy_from_slice(&image.root.to_le_bytes());
    meta[4..8].copy_from_slice(&image.height.to_le_bytes());
    let numbers = [image.count, image.bytes, image.commits];
    for (bytes, number) in meta[8..].as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *bytes = number.to_le_bytes();
    }
    meta
}

/// Decodes the numbers of an image from a root.
pub(super) fn decode(meta: &[u8; META]) -> ImageMeta {
    let number = |at: usize| u64::from_le_bytes(*meta[at..].first_chunk().expect("8 of 40 bytes"));
    ImageMeta {
        root: number(0) as u32,
        height: (number(0) >> 32) as u32,
        count: number(8),
        bytes: number(16),
        commits: number(24),
    }
}

/// Passes the units and blobs of a file on to the tree that is restored.
struct Loader<'a> {
    tree: Option<Restoring>,
    loaded: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl Loader<'_> {
    fn tree(&mut self) -> DBResult<&mut Restoring> {
        self.tree.as_mut().ok_or(DBError::Internal)
    }

    fn loaded(&mut self, bytes: usize) {
        self.loaded += bytes as u64;
        (self.progress)(self.loaded);
    }
}

impl Receiver for Loader<'_> {
    fn reserve(&mut self, units: Vec<u32>, blobs: Vec<u32>, memory: u64) -> DBResult<()> {
        self.tree = Some(Restoring::new(units, blobs, memory)?);
        Ok(())
    }

    fn block(&mut self, unit: u32, bytes: &[u8; 512]) -> DBResult<()> {
        self.tree()?.unit(unit, bytes);
        self.loaded(bytes.len());
        Ok(())
    }

    fn blob(
        &mut self,
        id: u32,
        len: u32,
        fill: &mut dyn FnMut(&mut [u8]) -> DBResult<()>,
    ) -> DBResult<()> {
        self.tree()?.blob(id, len, fill)?;
        self.loaded(len as usize);
        Ok(())
    }
}

/// Loads the image that the newest root of a file leads to: its tree and its
/// checkpoint epoch. `progress` is told how many bytes were loaded.
pub(super) fn load(
    file: std::sync::Arc<dyn File>,
    path: &Path,
    roots: &Roots,
    progress: &mut dyn FnMut(u64),
) -> DBResult<(DataFile, Index, u64)> {
    let mut loader = Loader { tree: None, loaded: 0, progress };
    let data = DataFile::load(file, PathBuf::from(path), roots, &mut loader)?;
    let tree = loader.tree.take().ok_or(DBError::Internal)?;
    let (index, epoch) = tree.finish(decode(&data.fields().meta)).map_err(|why| match why {
        Unrestored::OutOfMemory => DBError::OutOfMemory,
        Unrestored::Damaged(what) => DBError::Corrupt(format!("{}: {what}", path.display())),
    })?;
    Ok((data, index, epoch))
}
