//! A lock that readers hardly notice: a big-reader lock, in the form that BRAVO gave it
//! (Dice and Kogan, 2019).
//!
//! A reader registers in one of a few slots, so that readers on different processors do
//! not write to the same memory. One thread at a time holds the upgradable guard and
//! writes concurrently with readers as far as the value's [`Views`] allow; for anything
//! else it upgrades to the exclusive guard and waits until the slots are empty.
//!
//! For a long write the value is detached: its holder has it alone, and readers are shown
//! a frozen value, which the holder left in its place.
//!
//! Promises:
//!
//! 1. At most one thread holds the upgradable guard. The exclusive guard excludes readers.
//! 2. Readers wait for the holder of the exclusive guard, or for a thread that waits for the
//!    readers inside to become it; not for the holder of the upgradable guard.
//! 3. While the value is detached, writers wait, but neither readers nor callers of
//!    [`BrLock::write_or_frozen`] do.
//! 4. A panic of a thread that may write leaves the value in doubt: the lock refuses every
//!    thread with [`DBError::Internal`] from then on.

#![allow(unsafe_code)] // references to a value that the slots keep apart

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::thread::panicking;

use super::atomic::{AtomicU32, AtomicUsize, Ordering};
use super::{Mutex, MutexGuard, Rank, RwLock, RwLockWriteGuard, Wait};
use crate::error::DBError;

/// Number of slots; more readers share them.
const SLOTS: usize = if cfg!(any(minidb_shuttle, minidb_loom)) { 2 } else { 16 };

/// The exclusive guard is held, or waits for readers; or the value is detached.
const EXCLUSIVE: u32 = 1;
const POISONED: u32 = 2;
const DETACHED: u32 = 4;

/// Number of times that a reader looks again before it sleeps.
const SPINS: usize = if cfg!(any(minidb_shuttle, minidb_loom)) { 1 } else { 200 };

/// Number of readers in a slot, which has two cache lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct ReaderSlot(AtomicUsize);

#[derive(Debug)]
pub(crate) struct BrLock<T: Views> {
    slots: [ReaderSlot; SLOTS],
    state: AtomicU32,
    /// Held while the value is detached, so that writers can sleep until it is back.
    turn: Mutex<()>,
    writer: Mutex<()>,
    /// Held with the exclusive guard, so that readers can sleep until it is gone. The value
    /// that readers see while the other one is detached.
    gate: RwLock<Option<T::Frozen>>,
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
    /// A frozen value, which readers see while the value is detached.
    type Frozen: Clone;

    fn shared(&self) -> Self::Shared<'_>;

    fn shared_of_frozen(frozen: &Self::Frozen) -> Self::Shared<'_>;

    /// # Safety
    ///
    /// While the view lives, the value is used by way of `Shared` views only.
    unsafe fn writer(&self) -> Self::Writer<'_>;
}

// SAFETY: the lock hands out `Shared` views and one `Writer` view to threads at the same
// time, which `Views` allows, and a mutable reference while there are no views.
unsafe impl<T: Views<Frozen: Send + Sync> + Send + Sync> Sync for BrLock<T> {}

/// Read access, concurrently with the writer.
pub(crate) enum ReadGuard<'a, T: Views> {
    Value(Inside<'a, T>),
    Frozen(T::Frozen),
}

/// A reader that is registered in a slot.
pub(crate) struct Inside<'a, T: Views> {
    lock: &'a BrLock<T>,
    slot: &'a ReaderSlot,
}

/// The right to write, concurrently with readers as far as the value allows.
pub(crate) struct UpgradableGuard<'a, T: Views> {
    lock: &'a BrLock<T>,
    /// Whether it was taken while a panic was unwinding.
    unwinding: bool,
    _writer: MutexGuard<'a, ()>,
}

/// Exclusive access.
pub(crate) struct WriteGuard<'a, T: Views> {
    // They are dropped in this order.
    gate: Gate<'a, T>,
    upgraded: UpgradableGuard<'a, T>,
}

/// The locked gate, which opens when this is dropped.
struct Gate<'a, T: Views> {
    state: &'a AtomicU32,
    frozen: RwLockWriteGuard<'a, Option<T::Frozen>>,
}

/// The value, alone, while readers see a frozen one.
pub(crate) struct Detached<'a, T: Views> {
    lock: &'a BrLock<T>,
    /// Whether it was detached while a panic was unwinding.
    unwinding: bool,
    is_back: bool,
    _turn: MutexGuard<'a, ()>,
}

/// Access that waits for no long write.
pub(crate) enum Access<'a, T: Views> {
    Exclusive(WriteGuard<'a, T>),
    /// The value is detached, and stays so while the guard is held.
    Frozen(T::Frozen, #[allow(dead_code)] UpgradableGuard<'a, T>),
}

impl<T: Views> BrLock<T> {
    pub(crate) fn new(value: T) -> Self {
        BrLock {
            slots: Default::default(),
            state: AtomicU32::new(0),
            turn: Mutex::ranked(Rank::Turn, ()),
            writer: Mutex::ranked(Rank::Index, ()),
            gate: RwLock::new(None),
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
            return Ok(ReadGuard::Value(reading));
        }
        drop(reading);
        self.read_later(slot)
    }

    #[inline]
    fn enter<'a>(&'a self, slot: &'a ReaderSlot) -> Inside<'a, T> {
        slot.0.fetch_add(1, Ordering::SeqCst);
        Inside { lock: self, slot }
    }

    #[cold]
    fn read_later<'a>(&'a self, slot: &'a ReaderSlot) -> Result<ReadGuard<'a, T>, DBError> {
        for _ in 0..SPINS {
            if self.state.load(Ordering::Relaxed) & (EXCLUSIVE | DETACHED) != EXCLUSIVE {
                break;
            }
            super::spin_loop();
        }
        // No thread can become exclusive, or take the value back, while this is held.
        let gate = self.gate.read_ignoring_poison();
        let reading = match &*gate {
            Some(frozen) => ReadGuard::Frozen(frozen.clone()),
            None => ReadGuard::Value(self.enter(slot)),
        };
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
        let mut guard = self.lock_writer();
        if self.state.load(Ordering::Relaxed) & (POISONED | DETACHED) != 0 {
            guard = self.wait_for_turn(guard)?;
        }
        body(guard)
    }

    #[inline(always)]
    fn lock_writer(&self) -> UpgradableGuard<'_, T> {
        let held = self.writer.lock_ignoring_poison();
        UpgradableGuard { lock: self, unwinding: panicking(), _writer: held }
    }

    /// Waits until the value is not detached.
    #[cold]
    #[inline(never)]
    fn wait_for_turn<'a>(
        &'a self,
        mut guard: UpgradableGuard<'a, T>,
    ) -> Result<UpgradableGuard<'a, T>, DBError> {
        while self.is_detached()? {
            drop(guard);
            drop(self.turn.lock_ignoring_poison());
            guard = self.lock_writer();
        }
        Ok(guard)
    }

    /// Whether the value is detached. The caller has the upgradable guard, so this stays so.
    fn is_detached(&self) -> Result<bool, DBError> {
        let state = self.state.load(Ordering::Relaxed);
        if state & POISONED == 0 { Ok(state & DETACHED != 0) } else { Err(DBError::Internal) }
    }

    /// Waits for other writers and for readers.
    #[inline]
    pub(crate) fn write(&self) -> Result<WriteGuard<'_, T>, DBError> {
        self.with_upgradable(|guard| Ok(guard.upgrade()))
    }

    /// Waits as [`BrLock::write`] does, unless the value is detached.
    pub(crate) fn write_or_frozen(&self) -> Result<Access<'_, T>, DBError> {
        let guard = self.lock_writer();
        if !self.is_detached()? {
            return Ok(Access::Exclusive(guard.upgrade()));
        }
        let frozen = self.gate.read_ignoring_poison().clone().ok_or(DBError::Internal)?;
        Ok(Access::Frozen(frozen, guard))
    }

    /// Waits for other writers and for readers, then detaches the value. `freeze` makes the
    /// value that readers see until it is back.
    pub(crate) fn detach(
        &self,
        freeze: impl FnOnce(&mut T) -> Result<T::Frozen, DBError>,
    ) -> Result<Detached<'_, T>, DBError> {
        let turn = self.turn.lock_ignoring_poison();
        let guard = self.lock_writer();
        if self.is_detached()? {
            return Err(DBError::Internal); // not while this thread has the turn
        }
        let mut guard = guard.upgrade();
        let frozen = freeze(&mut guard)?;
        *guard.gate.frozen = Some(frozen);
        // The gate opens for readers, who see the frozen value.
        self.state.fetch_or(DETACHED, Ordering::SeqCst);
        Ok(Detached { lock: self, unwinding: panicking(), is_back: false, _turn: turn })
    }
}

impl<'a, T: Views> Detached<'a, T> {
    /// Waits for the callers of [`BrLock::write_or_frozen`] and takes the value back under
    /// the exclusive guard, after which readers see it.
    pub(crate) fn attach(mut self) -> WriteGuard<'a, T> {
        self.is_back = true;
        self.take_back()
    }

    fn take_back(&self) -> WriteGuard<'a, T> {
        let lock = self.lock;
        let upgraded = lock.lock_writer();
        let mut gate = Gate { state: &lock.state, frozen: lock.gate.write_ignoring_poison() };
        *gate.frozen = None;
        lock.state.fetch_and(!DETACHED, Ordering::SeqCst);
        WriteGuard { gate, upgraded }
    }
}

impl<T: Views> Deref for Detached<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the access is exclusive, as for `deref_mut`.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: Views> DerefMut for Detached<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this thread saw all slots empty after the state said EXCLUSIVE, which it
        // does until the value is back. No thread gets a guard of it while it is detached.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: Views> Drop for Detached<'_, T> {
    fn drop(&mut self) {
        if self.is_back {
            return;
        }
        if !self.unwinding && panicking() {
            self.lock.state.fetch_or(POISONED, Ordering::SeqCst);
        }
        drop(self.take_back());
    }
}

#[cfg(test)]
std::thread_local! {
    /// How often this thread has held a lock exclusively.
    pub(crate) static UPGRADES: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl<'a, T: Views> UpgradableGuard<'a, T> {
    /// Waits until no reader is left.
    #[inline]
    pub(crate) fn upgrade(self) -> WriteGuard<'a, T> {
        #[cfg(test)]
        UPGRADES.set(UPGRADES.get() + 1);
        let lock = self.lock;
        let gate = lock.gate.write_ignoring_poison();
        lock.state.fetch_or(EXCLUSIVE, Ordering::SeqCst);
        super::write_before_read();
        let gate = Gate { state: &lock.state, frozen: gate };
        for slot in &lock.slots {
            Wait::until(|| slot.0.load(Ordering::SeqCst) == 0);
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
        match self {
            // SAFETY: no thread has a mutable reference: it would wait for this reader's slot.
            ReadGuard::Value(inside) => unsafe { &*inside.lock.value.get() }.shared(),
            ReadGuard::Frozen(frozen) => T::shared_of_frozen(frozen),
        }
    }
}

impl<T: Views> Drop for Inside<'_, T> {
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

impl<T: Views> Drop for UpgradableGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.note_panic();
    }
}

impl<T: Views> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the access is exclusive, as for `deref_mut`.
        unsafe { &*self.upgraded.lock.value.get() }
    }
}

impl<T: Views> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        let _ = &self.gate;
        // SAFETY: this thread holds the upgradable guard, it saw all slots empty after the
        // state said EXCLUSIVE, and readers that come since go away again.
        unsafe { &mut *self.upgraded.lock.value.get() }
    }
}

impl<T: Views> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.upgraded.note_panic(); // before the gate opens
    }
}

impl<T: Views> Drop for Gate<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.frozen.is_none() {
            self.state.fetch_and(!EXCLUSIVE, Ordering::SeqCst);
        }
    }
}

/// A value that every view shows, and only the exclusive guard changes. Readers see a copy
/// while it is detached.
#[cfg(any(test, minidb_shuttle))]
#[derive(Debug)]
pub(crate) struct Plain<T>(pub(crate) T);

// SAFETY: all views are shared references, to a value that is `Sync` if the lock is.
#[cfg(any(test, minidb_shuttle))]
unsafe impl<T: Clone> Views for Plain<T> {
    type Shared<'a>
        = &'a T
    where
        T: 'a;
    type Writer<'a>
        = &'a T
    where
        T: 'a;
    type Frozen = T;

    fn shared(&self) -> &T {
        &self.0
    }

    fn shared_of_frozen(frozen: &T) -> &T {
        frozen
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
    fn beside_a_long_write_readers_see_the_value_before_it() {
        let lock = BrLock::new(Plain([0u64; 2]));
        let long_writes = || {
            for _ in 0..500 {
                let mut detached = lock.detach(|it| Ok(it.0)).unwrap();
                let before = detached.0;
                detached.0[0] += 1;
                // By the thread that detached it: if they waited, it would be for ever.
                assert_eq!(*lock.read().unwrap().shared(), before);
                let Ok(Access::Frozen(frozen, guard)) = lock.write_or_frozen() else {
                    panic!("a thread that did not detach the value has it");
                };
                assert_eq!(frozen, before);
                drop(guard);
                detached.0[1] += 1;
                if before[0] % 2 == 0 {
                    detached.attach();
                }
            }
        };
        let short_reads = || {
            for _ in 0..500 {
                let whole = |it: &[u64; 2]| assert_eq!(it[0], it[1], "half of a write");
                whole(lock.upgradable().unwrap().writer());
                whole(lock.read().unwrap().shared());
                match lock.write_or_frozen().unwrap() {
                    Access::Exclusive(it) => whole(&it.0),
                    Access::Frozen(it, _) => whole(&it),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(long_writes);
                scope.spawn(short_reads);
            }
        });
        assert_eq!(*lock.read().unwrap().shared(), [1_000; 2]);
    }

    #[test]
    fn a_panic_of_a_writer_refuses_everybody() {
        let refuses = |panicking: fn(&BrLock<Plain<i32>>)| {
            let lock = BrLock::new(Plain(0));
            let panicking = std::panic::AssertUnwindSafe(|| panicking(&lock));
            assert!(std::panic::catch_unwind(panicking).is_err());
            assert!(lock.read().is_err() && lock.upgradable().is_err() && lock.write().is_err());
            assert!(lock.write_or_frozen().is_err() && lock.detach(|it| Ok(it.0)).is_err());
        };
        refuses(|lock| {
            let _guard = lock.upgradable().unwrap();
            panic!("on purpose");
        });
        refuses(|lock| {
            let _detached = lock.detach(|it| Ok(it.0)).unwrap();
            panic!("on purpose");
        });
    }
}
