//! The memory that a tree lives in: pages, blobs, and who may still see them.
//!
//! Pages of 512 to 4,096 bytes come from an arena of huge pages and are named
//! by a [`PageId`]; a blob is one allocation of any length, for what is too
//! long for a page. [`Epochs`] keeps the books about which of them a snapshot
//! ([`Frozen`]) can see.
//!
//! Promises:
//!
//! 1. What a snapshot can reach is never changed and never reused: [`Pages::edit`]
//!    refuses a frozen page, and [`Pages::release`] keeps it until no living
//!    snapshot falls between its birth and its death.
//! 2. [`Pages::own`] is the only function that decides to copy a page.
//! 3. Taking a snapshot takes constant time. Releasing one is dropping an
//!    `Arc`; what only it kept goes bit by bit, in [`Pages::collect`].
//! 4. Between [`Pages::reserve`] and the end of the operation that it was
//!    called for, no page is refused.
//!
//! Where things are: [`arena`] has the bytes, [`frozen`] reads them for snapshots,
//! [`latch`] keeps
//! readers and a change of one page apart, [`pages`] changes them for the living tree, [`load`] loads them.
//!
//! This is the only folder of the index with `unsafe`, and its interface is safe:
//! every id is checked against the bounds of the arena, one `&mut Pages` is the
//! only way to change a byte, and the epochs keep those bytes apart from the
//! ones that snapshots read without a lock.
//!
//! Beside readers of the living tree one writer may change a page in place, under
//! the lock in its header that they read it under ([`Pages::edit_latched`]).
//!
//! Not here: what the bytes mean, and who may write.

#![allow(unsafe_code)] // the bytes of pages and blobs

mod arena;
mod epochs;
mod frozen;
mod latch;
mod load;
mod page;
mod pages;
mod slabs;

use std::sync::atomic::AtomicU32; // also in tests/loom, which has it from elsewhere

pub(crate) use arena::prefetch_bytes;
pub(crate) use frozen::{Frozen, Reader};
pub(crate) use load::RESTORED;
pub(crate) use page::{BODY_MAX, BlobId, HEADER, PageId, Source, UNIT, UNITS_MAX, round_body};
pub(crate) use pages::Pages;
pub(crate) use slabs::{CLASSES, SLAB_UNITS};
