//! The C ABI: it translates, and nothing else.
//!
//! Every function that can fail is `guard(|| ...)`: look the handle up, turn
//! pointers into slices, call the engine, hand the result out. The doc comments
//! of the exported items become `include/minidb.h`, in the order in which `build.rs`
//! lists the files, so they are written for C programmers.
//!
//! - `code`: results, flags and other numbers
//! - `view`, `entry`, `cursor`, `store`, `library`: the functions, by subject, in the
//!   header's order
//! - `boundary`: the guard, arguments and out-parameters
//! - `packed`: entries in a packed buffer
//! - `handle`: the table of handles; a handle is never followed
//! - `object`: the objects behind handles of views
//! - `text`: the texts of `minidb_strerror`
//!
//! `cbindgen.toml`, beside this file, has the rest of the header.

#![allow(unsafe_code)] // pointers from C
#![allow(non_camel_case_types)] // one name per thing in every language
#![allow(clippy::missing_safety_doc)] // the header is the contract

mod boundary;
mod code;
mod cursor;
mod entry;
mod handle;
mod library;
mod object;
mod opaque;
mod packed;
mod store;
mod text;
mod view;

pub use code::*;
pub use cursor::*;
pub use entry::*;
#[cfg(minidb_shuttle)]
pub use handle::{call, forget_all};
pub use library::*;
pub use opaque::*;
pub use store::*;
pub use view::*;
