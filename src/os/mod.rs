//! The operating system: files, memory by the page, and fork.
//!
//! Only this folder and the C boundary call the system; nothing here knows what a
//! key is. [`disk`] has the traits of files. [`system`] implements them for the
//! machine, and `sim`, for tests, for a machine that may lose its power at any moment.

#![allow(unsafe_code)] // system calls

pub mod disk;
pub(crate) mod fork;
pub(crate) mod memory;
#[cfg(not(minidb_shuttle))] // a schedule has values of its own
pub(crate) mod per_process;
#[cfg(any(test, feature = "simulation"))]
pub mod sim;
pub mod system;
pub(crate) mod thread;
