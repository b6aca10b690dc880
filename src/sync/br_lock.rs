//! A lock that readers hardly notice.
//!
//! A reader makes itself known in one of a few slots, so that readers on
//! different processors do not write to the same memory; a big-reader lock, as
//! Linux once had, in the form that BRAVO gave it (Dice and Kogan, 2019). One
//! thread at a time has the turn to write. With it, it reads beside the readers,
//! and may do what the value lets it do beside them; for anything else it waits
//! until it is alone.
//!
//! Promises:
//!
//! 1. Who has the turn is the only one; who is alone has no reader beside it.
//! 2. Readers wait only for who is alone, and not for who waits to be.
//! 3. A panic with the turn leaves the value in doubt: everybody is refused with
//!    [`DBError::Internal`] from then on.

#![allow(unsafe_code)] // references to a value that the slots keep apart

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::thread::panicking;

use super::atomic::{AtomicU32, AtomicUsize, Ordering};
use super::{Mutex, MutexGuard, RwLock, RwLockWriteGuard};
use crate::error::DBError;

/// Slots for readers; more readers share them.
const SLOTS: usize = if cfg!(any(minidb_shuttle, minidb_loom)) { 2 } else { 16 };

/// Somebody is alone, or is about to be.
const ALONE: u32 = 1;
const POISONED: u32 = 2;

/// How often a reader looks again before it goes to sleep.
const SPINS: usize = if cfg!(any(minidb_shuttle, minidb_loom)) { 1 } else { 200 };

/// WriteGuard in its cache lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot(AtomicUsize);

#[derive(Debug, Default)]
pub(crate) struct BrLock<T> {
    slots: [Slot; SLOTS],
    state: AtomicU32,
    turn: Mutex<()>,
    /// Held by who is alone, so that readers can wait for that.
    gate: RwLock<()>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands out references as a RwLock does: shared ones to many
// threads, an exclusive one to one thread while there are no others.
unsafe impl<T: Send + Sync> Sync for BrLock<T> {}

/// A reader's access.
#[derive(Debug)]
pub(crate) struct ReadGuard<'a, T> {
    lock: &'a BrLock<T>,
    slot: &'a Slot,
}

/// The turn to write, beside readers.
#[derive(Debug)]
pub(crate) struct UpgradableGuard<'a, T> {
    lock: &'a BrLock<T>,
    /// Whether it was taken while a panic unwound already.
    unwinding: bool,
    _turn: MutexGuard<'a, ()>,
}

/// The turn to write, alone.
#[derive(Debug)]
pub(crate) struct WriteGuard<'a, T> {
    // In this order they are dropped.
    gate: Gate<'a>,
    turn: UpgradableGuard<'a, T>,
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
            turn: Mutex::new(()),
            gate: RwLock::new(()),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub(crate) fn read(&self) -> Result<ReadGuard<'_, T>, DBError> {
        let slot = &self.slots[(super::place() >> 60) as usize % SLOTS];
        let reading = self.enter(slot);
        super::write_before_read();
        // Either this sees the state of who is alone, or that one sees the slot.
        if self.state.load(Ordering::SeqCst) == 0 {
            return Ok(reading);
        }
        drop(reading);
        self.read_later(slot)
    }

    #[inline]
    fn enter<'a>(&'a self, slot: &'a Slot) -> ReadGuard<'a, T> {
        slot.0.fetch_add(1, Ordering::SeqCst);
        ReadGuard { lock: self, slot }
    }

    #[cold]
    fn read_later<'a>(&'a self, slot: &'a Slot) -> Result<ReadGuard<'a, T>, DBError> {
        for _ in 0..SPINS {
            if self.state.load(Ordering::Relaxed) & ALONE == 0 {
                break;
            }
            super::spin_loop();
        }
        // Nobody can become alone while this is held.
        let gate = self.gate.read_ignoring_poison();
        let reading = self.enter(slot);
        drop(gate);
        match self.state.load(Ordering::SeqCst) & POISONED {
            0 => Ok(reading),
            _ => Err(DBError::Internal),
        }
    }

    /// Waits for the turn to write.
    #[inline]
    pub(crate) fn upgradable(&self) -> Result<UpgradableGuard<'_, T>, DBError> {
        self.with_upgradable(Ok)
    }

    /// Gives `body` the turn to write. For what is short and often called: a turn that
    /// is returned in a `Result` is moved by way of memory, which takes as long as a
    /// short write.
    #[inline]
    pub(crate) fn with_upgradable<'a, R>(
        &'a self,
        body: impl FnOnce(UpgradableGuard<'a, T>) -> Result<R, DBError>,
    ) -> Result<R, DBError> {
        let held = self.turn.lock_ignoring_poison();
        let turn = UpgradableGuard { lock: self, unwinding: panicking(), _turn: held };
        match self.state.load(Ordering::Relaxed) & POISONED {
            0 => body(turn),
            _ => Err(DBError::Internal),
        }
    }

    /// Waits for the turn to write, alone.
    #[inline]
    pub(crate) fn write(&self) -> Result<WriteGuard<'_, T>, DBError> {
        self.with_upgradable(|turn| Ok(turn.upgrade()))
    }
}

impl<'a, T> UpgradableGuard<'a, T> {
    /// Waits until no reader is left.
    #[inline]
    pub(crate) fn upgrade(self) -> WriteGuard<'a, T> {
        let lock = self.lock;
        let gate = lock.gate.write_ignoring_poison();
        lock.state.fetch_or(ALONE, Ordering::SeqCst);
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
        WriteGuard { gate, turn: self }
    }

    fn note_panic(&self) {
        if !self.unwinding && panicking() {
            self.lock.state.fetch_or(POISONED, Ordering::SeqCst);
        }
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: whoever wants to be alone waits for this reader's slot.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.slot.0.fetch_sub(1, Ordering::Release);
    }
}

impl<T> Deref for UpgradableGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: nobody else can be alone while this has the turn.
        unsafe { &*self.lock.value.get() }
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
        &self.turn
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        let _ = &self.gate;
        // SAFETY: this has the turn, all slots were seen empty after the state said
        // so, and readers that come since go away again.
        unsafe { &mut *self.turn.lock.value.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.turn.note_panic(); // before the gate opens
    }
}

impl Drop for Gate<'_> {
    #[inline]
    fn drop(&mut self) {
        self.state.fetch_and(!ALONE, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_never_see_half_of_a_change() {
        let lock = BrLock::new([0u64; 8]);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 2_000 {
                        let now = lock.read().unwrap();
                        assert!(now.iter().all(|it| *it == now[0]) && now[0] >= last);
                        last = now[0];
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let turn = lock.upgradable().unwrap();
                        let next = turn[0] + 1;
                        turn.upgrade().fill(next);
                    }
                });
            }
        });
        assert_eq!(lock.read().unwrap()[7], 2_000);
    }

    #[test]
    fn a_panic_with_the_turn_refuses_everybody() {
        let lock = BrLock::new(0);
        let panicking = || {
            let _turn = lock.upgradable().unwrap();
            panic!("on purpose");
        };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking));
        assert!(caught.is_err());
        assert!(lock.read().is_err() && lock.upgradable().is_err() && lock.write().is_err());
    }
}
