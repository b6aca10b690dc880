//! Threads that the library makes.

use std::io;

use crate::sync::{Builder, JoinHandle, uncancelled};

/// Runs `body` on a new thread that gets none of the host's signals.
pub(crate) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    // SAFETY: both sets are plain values that these calls fill; a new thread
    // begins with the mask of the one that makes it, which gets its own back.
    unsafe {
        let (mut all, mut before) = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let thread = Builder::new().name(name.into()).spawn(body);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        thread
    }
}

/// Waits for a thread to end. Its panic is not this thread's.
pub(crate) fn join(thread: JoinHandle<()>) {
    let _ = uncancelled(|| thread.join());
}
