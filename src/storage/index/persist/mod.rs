//! A tree on its way to a file and back.

mod image;
mod restore;
mod salvage;

pub(crate) use image::{ImageMeta, ImagePart};
pub(crate) use restore::{Restoring, Unrestored};
pub(crate) use salvage::{PageSource, Ranges, salvage};
