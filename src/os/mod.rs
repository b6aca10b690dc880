//! The operating system: files, memory by the page, and fork.
//!
//! The only place, beside the C boundary, that calls the system; nothing here
//! knows what a key is.

#![allow(unsafe_code)] // system calls

pub mod disk;
pub(crate) mod fork;
pub(crate) mod memory;
