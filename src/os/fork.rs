//! Noticing that the process has forked.
//!
//! A child gets a copy of the parent's memory in which other threads' locks
//! may be held for ever. Whoever hands out handles registers a hook here; the
//! cost is paid by fork(), not by each call.

/// Has `hook` run in the child of each fork(), before it goes on. Returns
/// false if the system has no memory to remember that.
pub(crate) fn in_child(hook: extern "C" fn()) -> bool {
    // SAFETY: the hook is a plain function that lives as long as the library. On
    // Linux the shared library is linked so that it is never unloaded; a static
    // one in something that is unloaded is the host's affair.
    unsafe { libc::pthread_atfork(None, None, Some(hook)) == 0 }
}
