//! Memory that a child of a fork finds empty.
//!
//! A child gets a copy of the parent's memory in which other threads' locks
//! may be held for ever, so it must begin anew, from its very first call, even
//! if that stands in a fork handler that was registered before this library was
//! loaded. So it is the system that empties the memory, not code that runs some
//! time after the fork; a call pays nothing for that.

use std::ops::Deref;

/// What belongs to one process; alone in its pages. A `T` of zeroes is an empty one.
#[cfg_attr(target_arch = "x86_64", repr(align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(align(65536)))] // the largest page
#[derive(Debug)]
pub(crate) struct WipeOnFork<T>(T);

impl<T: Sync> WipeOnFork<T> {
    pub(crate) const fn new(empty: T) -> WipeOnFork<T> {
        WipeOnFork(empty)
    }

    /// Has it emptied in the child of each fork() from now on: by the system
    /// where that can, else by `hook`, which then runs after the hooks that were
    /// registered before. Returns false if there is no memory to remember that.
    pub(crate) fn empty_in_child(&'static self, hook: extern "C" fn()) -> bool {
        // SAFETY: the hook is a plain function that lives as long as the library. On
        // Linux the shared library is linked so that it is never unloaded; a static
        // one in something that is unloaded is the host's affair.
        self.wiped_by_system() || unsafe { libc::pthread_atfork(None, None, Some(hook)) == 0 }
    }

    #[cfg(target_os = "linux")]
    fn wiped_by_system(&'static self) -> bool {
        // SAFETY: the pages are this static's alone, in this process they stay as
        // they are, and a child may find them empty, as said of `T`.
        let advise = |advice| unsafe {
            libc::madvise((&raw const *self).cast_mut().cast(), size_of::<Self>(), advice) == 0
        };
        // Some emulators say yes to any advice, and do nothing.
        !advise(-1) && advise(libc::MADV_WIPEONFORK)
    }

    #[cfg(not(target_os = "linux"))]
    fn wiped_by_system(&'static self) -> bool {
        false
    }
}

impl<T> Deref for WipeOnFork<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
