//! The operating system: files, memory by the page, and fork.
//!
//! The only place, beside the C boundary, that calls the system; nothing here
//! knows what a key is. [`disk`] says what files can do: [`system`] has the
//! machine's, `sim` those of a machine that may lose its power at any moment,
//! for tests.

#![allow(unsafe_code)] // system calls

pub mod disk;
pub(crate) mod fork;
pub(crate) mod memory;
#[cfg(any(test, feature = "simulation"))]
pub mod sim;
pub mod system;
pub(crate) mod thread;
