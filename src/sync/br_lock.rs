//! A lock that readers hardly notice: a big-reader lock, in the form that BRAVO gave it
//! (Dice and Kogan, 2019).
//!
//! A reader registers in one of a few slots, so that readers on different processors do
//! not write to the same memory. One thread at a time holds the upgradable guard and
//! writes concurrently with readers as far as the value's [`Views`] allow; for anything
//! else it upgrades to the exclusive guard and waits until the slots are empty.
//!
//! Promises:
//!
//! 1. At most one thread holds the upgradable guard. The exclusive guard excludes readers.
//! 2. Readers wait for the holder of the exclusive guard, or for a thread that waits for the
//!    readers inside to become it; not for the holder of the upgradable guard.
//! 3. A panic under the upgradable or the exclusive guard leaves the value in doubt: the
//!    lock refuses every thread with [`DBError::Internal`] from then on.

#![allow(unsafe_code)] // references to a value that the slots keep apart

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::thread::panicking;

use super::atomic::{AtomicU32, AtomicUsize, Ordering};
use super::{Mutex, MutexGuard, Rank, RwLock, RwLockWriteGuard};
use crate::error::DBError;

/// Number of slots; more readers share them.
const SLOTS: usize = if cfg!(any(minidb_shuttle, minidb_loom)) { 2 } else { 16 };

/// The exclusive guard is held, or waits for readers.
const EXCLUSIVE: u32 = 1;
const POISONED: u32 = 2;

/// Number of times that a reader looks again before it sleeps.
const SPINS: usize = if cfg!(any(minidb_shuttle, minidb_loom)) { 1 } else { 200 };

/// Number of readers in a slot, which has two cache lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct ReaderSlot(AtomicUsize);

#[derive(Debug)]
pub(crate) struct BrLock<T> {
    slots: [ReaderSlot; SLOTS],
    state: AtomicU32,
    writer: Mutex<()>,
    /// Held with the exclusive guard, so that readers can sleep until it is gone.
    gate: RwLock<()>,
    value: UnsafeCell<T>,
}

/// A value with views for threads that use it at the same time.
///
/// # Safety
///
/// Any number of `Shared` views and one `Writer` view may be used at the same time, by
/// different threads.
pub(crate) unsafe trait Views {
    /// The view of a reader.
    type Shared<'a>
    where
        Self: 'a;
    /// The view of the one writer.
    type Writer<'a>
    where
        Self: 'a;

    fn shared(&self) -> Self::Shared<'_>;

    /// # Safety
    ///
    /// While the view lives, the value is used by way of `Shared` views only.
    unsafe fn writer(&self) -> Self::Writer<'_>;
}

// SAFETY: the lock hands out `Shared` views and one `Writer` view to threads at the same
// time, which `Views` allows, and a mutable reference while there are no views.
unsafe impl<T: Send + Sync> Sync for BrLock<T> {}

/// Read access, concurrently with the writer.
#[derive(Debug)]
pub(crate) struct ReadGuard<'a, T> {
    lock: &'a BrLock<T>,
    slot: &'a ReaderSlot,
}

/// The right to write, concurrently with readers as far as the value allows.
#[derive(Debug)]
pub(crate) struct UpgradableGuard<'a, T> {
    lock: &'a BrLock<T>,
    /// Whether it was taken while a panic was unwinding.
    unwinding: bool,
    _writer: MutexGuard<'a, ()>,
}

/// Exclusive access.
#[derive(Debug)]
pub(crate) struct WriteGuard<'a, T> {
    // They are dropped in this order.
    gate: Gate<'a>,
    upgraded: UpgradableGuard<'a, T>,
}

#[derive(Debug)]
struct Gate<'a> {
    state: &'a AtomicU32,
    _gate: RwLockWriteGuard<'a, ()>,
}

impl<T> BrLock<T> {
    pub(crate) fn new(value: T) -> Self {
        BrLock {
            slots: Default::default(),
            state: AtomicU32::new(0),
            writer: Mutex::ranked(Rank::Index, ()),
            gate: RwLock::new(()),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub(crate) fn read(&self) -> Result<ReadGuard<'_, T>, DBError> {
        let slot = &self.slots[(super::place() >> 60) as usize % SLOTS];
        let reading = self.enter(slot);
        super::write_before_read();
        // Either this thread sees the state of the exclusive holder, or that holder sees
        // the slot.
        if self.state.load(Ordering::SeqCst) == 0 {
            return Ok(reading);
        }
        drop(reading);
        self.read_later(slot)
    }

    #[inline]
    fn enter<'a>(&'a self, slot: &'a ReaderSlot) -> ReadGuard<'a, T> {
        slot.0.fetch_add(1, Ordering::SeqCst);
        ReadGuard { lock: self, slot }
    }

    #[cold]
    fn read_later<'a>(&'a self, slot: &'a ReaderSlot) -> Result<ReadGuard<'a, T>, DBError> {
        for _ in 0..SPINS {
            if self.state.load(Ordering::Relaxed) & EXCLUSIVE == 0 {
                break;
            }
            super::spin_loop();
        }
        // No thread can become exclusive while this is held.
        let gate = self.gate.read_ignoring_poison();
        let reading = self.enter(slot);
        drop(gate);
        if self.state.load(Ordering::SeqCst) & POISONED == 0 {
            Ok(reading)
        } else {
            Err(DBError::Internal)
        }
    }

    /// Waits for other writers.
    #[inline]
    pub(crate) fn upgradable(&self) -> Result<UpgradableGuard<'_, T>, DBError> {
        self.with_upgradable(Ok)
    }

    /// Calls `body` with the upgradable guard. A guard returned in a `Result` moves by way
    /// of memory, which takes as long as a short write.
    #[inline]
    pub(crate) fn with_upgradable<'a, R>(
        &'a self,
        body: impl FnOnce(UpgradableGuard<'a, T>) -> Result<R, DBError>,
    ) -> Result<R, DBError> {
        let held = self.writer.lock_ignoring_poison();
        let guard = UpgradableGuard { lock: self, unwinding: panicking(), _writer: held };
        if self.state.load(Ordering::Relaxed) & POISONED == 0 {
            body(guard)
        } else {
            Err(DBError::Internal)
        }
    }

    /// Waits for other writers and for readers.
    #[inline]
    pub(crate) fn write(&self) -> Result<WriteGuard<'_, T>, DBError> {
        self.with_upgradable(|guard| Ok(guard.upgrade()))
    }
}

#[cfg(test)]
std::thread_local! {
    /// How often this thread has held a lock exclusively.
    pub(crate) static UPGRADES: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl<'a, T> UpgradableGuard<'a, T> {
    /// Waits until no reader is left.
    #[inline]
    pub(crate) fn upgrade(self) -> WriteGuard<'a, T> {
        #[cfg(test)]
        UPGRADES.set(UPGRADES.get() + 1);
        let lock = self.lock;
        let gate = lock.gate.write_ignoring_poison();
        lock.state.fetch_or(EXCLUSIVE, Ordering::SeqCst);
        super::write_before_read();
        let gate = Gate { state: &lock.state, _gate: gate };
        for slot in &lock.slots {
            let mut turns = 0u32;
            while slot.0.load(Ordering::SeqCst) != 0 {
                turns += 1;
                if turns < 100 {
                    super::spin_loop();
                } else {
                    super::yield_now();
                }
            }
        }
        WriteGuard { gate, upgraded: self }
    }

    fn note_panic(&self) {
        if !self.unwinding && panicking() {
            self.lock.state.fetch_or(POISONED, Ordering::SeqCst);
        }
    }
}

impl<T: Views> ReadGuard<'_, T> {
    #[inline]
    pub(crate) fn shared(&self) -> T::Shared<'_> {
        // SAFETY: no thread has a mutable reference: it would wait for this reader's slot.
        unsafe { &*self.lock.value.get() }.shared()
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.slot.0.fetch_sub(1, Ordering::Release);
    }
}

impl<T: Views> UpgradableGuard<'_, T> {
    #[inline]
    pub(crate) fn writer(&mut self) -> T::Writer<'_> {
        // SAFETY: no other thread has a mutable reference or a writer's view, which take
        // this guard, and this one is borrowed mutably. Readers have shared views.
        unsafe { (*self.lock.value.get()).writer() }
    }
}

impl<T> Drop for UpgradableGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.note_panic();
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the access is exclusive, as for `deref_mut`.
        unsafe { &*self.upgraded.lock.value.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        let _ = &self.gate;
        // SAFETY: this thread holds the upgradable guard, it saw all slots empty after the
        // state said EXCLUSIVE, and readers that come since go away again.
        unsafe { &mut *self.upgraded.lock.value.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.upgraded.note_panic(); // before the gate opens
    }
}

impl Drop for Gate<'_> {
    #[inline]
    fn drop(&mut self) {
        self.state.fetch_and(!EXCLUSIVE, Ordering::SeqCst);
    }
}

/// A value that every view shows, and only the exclusive guard changes.
#[cfg(any(test, minidb_shuttle))]
#[derive(Debug)]
pub(crate) struct Plain<T>(pub(crate) T);

// SAFETY: all views are shared references, to a value that is `Sync` if the lock is.
#[cfg(any(test, minidb_shuttle))]
unsafe impl<T> Views for Plain<T> {
    type Shared<'a>
        = &'a T
    where
        T: 'a;
    type Writer<'a>
        = &'a T
    where
        T: 'a;

    fn shared(&self) -> &T {
        &self.0
    }

    unsafe fn writer(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_never_see_half_of_a_change() {
        let lock = BrLock::new(Plain([0u64; 8]));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 2_000 {
                        let guard = lock.read().unwrap();
                        let now = guard.shared();
                        assert!(now.iter().all(|it| *it == now[0]) && now[0] >= last);
                        last = now[0];
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let mut guard = lock.upgradable().unwrap();
                        let next = guard.writer()[0] + 1;
                        guard.upgrade().0.fill(next);
                    }
                });
            }
        });
        assert_eq!(lock.read().unwrap().shared()[7], 2_000);
    }

    #[test]
    fn a_panic_under_a_guard_refuses_everybody() {
        let lock = BrLock::new(0);
        let panicking = || {
            let _guard = lock.upgradable().unwrap();
            panic!("on purpose");
        };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking));
        assert!(caught.is_err());
        assert!(lock.read().is_err() && lock.upgradable().is_err() && lock.write().is_err());
    }
}
