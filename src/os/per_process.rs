//! `PerProcess`: a value that each process makes for itself, the child of a fork, too.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::fork::WipeOnFork;

/// A value of one process, made when it is first needed and never freed. The child of a fork
/// makes one of its own.
#[derive(Debug)]
pub(crate) struct PerProcess<T: 'static> {
    made: WipeOnFork<AtomicPtr<Made<T>>>,
    /// The one made last. The child of a fork inherits it.
    latest: AtomicPtr<Made<T>>,
}

#[derive(Debug)]
struct Made<T> {
    value: T,
    /// That of the parent before a fork. It is never read: it keeps leak checkers from
    /// reporting that value.
    _parent: AtomicPtr<Made<T>>,
}

impl<T: Default + Send + Sync> PerProcess<T> {
    /// All zero: the system empties no memory that is initialised from a file.
    pub(crate) const fn new() -> PerProcess<T> {
        let (made, latest) = (AtomicPtr::new(null_mut()), AtomicPtr::new(null_mut()));
        PerProcess { made: WipeOnFork::new(made), latest }
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

    /// The value, which the first call makes; none if there is no memory for it. `hook` calls
    /// [`PerProcess::forget`].
    pub(crate) fn get_or_new(&'static self, hook: extern "C" fn()) -> Option<&'static T> {
        if self.get().is_none() {
            let mut new = Vec::new();
            // Asking twice does no harm.
            if new.try_reserve_exact(1).is_err() || !self.made.empty_in_child(hook) {
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
