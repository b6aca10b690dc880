//! Memory that is empty in the child of a fork.
//!
//! A child gets a copy of the parent's memory, in which locks of other threads may
//! be held for ever. So the library begins anew in a child, from its first call on,
//! even if a fork handler makes that call that was registered before this library
//! was loaded. Therefore the system empties the memory, not code that runs some time
//! after the fork, and a call pays nothing for it.

use std::ops::Deref;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value of one process, alone in its pages, which are zero in the child of a fork.
/// A `T` whose bytes are all zero is an empty one.
#[cfg_attr(target_arch = "x86_64", repr(align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(align(65536)))] // the largest page
#[derive(Debug)]
pub(crate) struct WipeOnFork<T>(T);

impl<T: Sync> WipeOnFork<T> {
    pub(crate) const fn new(empty: T) -> WipeOnFork<T> {
        WipeOnFork(empty)
    }

    /// Arranges that the value is emptied in the child of each fork() from now on: by
    /// the system if it can, else by `hook`, which runs after the hooks that were
    /// registered before. False if there is no memory for the hook.
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
        // Some emulators accept any advice, and do nothing.
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

/// A value of one process, made when it is first needed and never freed. The child of a fork
/// makes one of its own.
#[derive(Debug)]
pub(crate) struct PerProcess<T: 'static> {
    made: WipeOnFork<AtomicPtr<Made<T>>>,
    /// The one made last. The child of a fork inherits it.
    latest: AtomicPtr<Made<T>>,
    hook: extern "C" fn(),
}

#[derive(Debug)]
struct Made<T> {
    value: T,
    /// That of the parent before a fork. It is never read: it keeps leak checkers from
    /// reporting that value.
    _parent: AtomicPtr<Made<T>>,
}

impl<T: Default + Send + Sync> PerProcess<T> {
    /// `hook` calls [`PerProcess::forget`].
    pub(crate) const fn new(hook: extern "C" fn()) -> PerProcess<T> {
        let (made, latest) = (AtomicPtr::new(null_mut()), AtomicPtr::new(null_mut()));
        PerProcess { made: WipeOnFork::new(made), latest, hook }
    }

    /// Forgets the value, in the child of a fork.
    pub(crate) fn forget(&self) {
        self.made.store(null_mut(), Ordering::Relaxed);
    }

    /// The value, if it was made.
    pub(crate) fn get(&'static self) -> Option<&'static T> {
        // SAFETY: it is null or was made below, and lives for ever.
        unsafe { self.made.load(Ordering::Acquire).as_ref() }.map(|made| &made.value)
    }

    /// The value, which the first call makes; none if there is no memory for it.
    pub(crate) fn get_or_new(&'static self) -> Option<&'static T> {
        if self.get().is_none() {
            let mut new = Vec::new();
            // Asking twice does no harm.
            if new.try_reserve_exact(1).is_err() || !self.made.empty_in_child(self.hook) {
                return None;
            }
            let parent = AtomicPtr::new(self.latest.load(Ordering::Relaxed));
            new.push(Made { value: T::default(), _parent: parent });
            let (made, none) = (new.as_mut_ptr(), null_mut());
            let order = (Ordering::AcqRel, Ordering::Acquire);
            if self.made.compare_exchange(none, made, order.0, order.1).is_ok() {
                self.latest.store(made, Ordering::Relaxed);
                std::mem::forget(new);
            }
        }
        self.get()
    }
}
