//! Checkpoint images of a tree, restoring one, and salvaging what is left of one.

mod image;
mod restore;
mod salvage;

pub(crate) use image::{ImageMeta, ImagePart};
pub(crate) use restore::{Restoring, Unrestored};
pub(crate) use salvage::{PageSource, Ranges, salvage};
