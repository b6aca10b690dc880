//! The memory of a tree: pages, blobs, and which of them a snapshot can see.
//!
//! Pages of 512 to 4,096 bytes come from an arena of huge pages and are named by a
//! [`PageId`]; a blob is one allocation of any length, for keys and values too long for a
//! page. [`epochs`] knows which of them a snapshot ([`Frozen`]) can see.
//!
//! Promises:
//!
//! 1. A page or blob that a snapshot can reach is neither changed nor reused:
//!    [`Pages::edit`] refuses a frozen page, and [`Pages::release`] keeps it until no live
//!    snapshot falls between its birth and its death.
//! 2. [`Pages::make_writable`] is the only function that decides to copy a page.
//! 3. Taking a snapshot takes constant time. Releasing one is dropping an `Arc`;
//!    [`Pages::collect`] frees what only it needed, bit by bit.
//! 4. Between [`Pages::reserve`] and the end of the operation that it was called for, no
//!    page is refused.
//! 5. Threads that use the pages at the same time do so through [`views`].
//!
//! Where things are: [`arena`] has the frames of pages and [`blobs`] the blobs; [`space`] maps
//! memory for both, and [`slabs`] knows which of it is free; [`pages`] changes pages and blobs
//! for the live tree, [`frozen`] reads them for snapshots, [`views`] and
//! [`latch`] keep concurrent readers and the writer apart, [`load`] takes them from a file.
//!
//! With `tree/views.rs` this is the only unsafe code of the index. Its interface is safe for ids that
//! come from a tree in these pages: each id is checked against the bounds of the arena;
//! `&mut Pages`, or a latch, is the only way to change a byte; and epochs keep those bytes
//! apart from the ones that snapshots read without a lock.
//!
//! Not here: what the bytes mean.

#![allow(unsafe_code)] // the bytes of pages and blobs

mod arena;
mod blobs;
mod epochs;
mod frozen;
mod latch;
mod load;
mod page;
mod pages;
mod slabs;
mod space;
mod views;

use std::sync::atomic::AtomicU32; // also in tests/loom, which has it from elsewhere

pub(crate) use arena::prefetch_bytes;
pub(crate) use frozen::{Frozen, Reader};
pub(crate) use load::RESTORED;
pub(crate) use page::{BODY_MAX, BlobId, HEADER, PageId, Source, UNIT, UNITS_MAX, round_body};
pub(crate) use pages::Pages;
pub(crate) use slabs::SLAB_UNITS;
pub(crate) use views::{SharedPages, WriterPages};
