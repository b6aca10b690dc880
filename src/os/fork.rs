//! Noticing that the process has forked.
//!
//! A child gets a copy of the parent's memory in which other threads' locks
//! may be held for ever. Whoever hands out handles registers hooks here; the
//! cost is paid by fork(), not by each call.

/// Runs `before` in the parent before each fork(), and after it `parent` in
/// the parent and `child` in the child. Returns false if the system has no
/// memory to remember that.
pub(crate) fn on_fork(
    before: extern "C" fn(),
    parent: extern "C" fn(),
    child: extern "C" fn(),
) -> bool {
    // SAFETY: the three are plain functions that live as long as the library,
    // which is linked so that it is never unloaded.
    let refused = unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) };
    refused == 0
}
