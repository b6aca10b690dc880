//! Synchronisation: std's, with two rules added to the locks. A panic under a lock leaves
//! the data in doubt, so from then on the lock refuses with [`DBError::Internal`]; and locks
//! are taken in one [`order`].
//!
//! A build for ThreadSanitizer (`--cfg minidb_tsan`) uses crates that do the same: they are
//! compiled, and so instrumented, with this one. Std is not, and would be reported.
//!
//! A build for `tests/schedules` (`--cfg minidb_shuttle`) uses shuttle's, which lets the tests
//! decide which thread goes on at each operation, and at each [`point`].

mod br_lock;
mod order;
#[cfg(minidb_shuttle)]
mod shuttled;
mod wait;

#[cfg(test)]
pub(crate) use br_lock::UPGRADES;
pub(crate) use br_lock::{Access, BrLock, Detached, ReadGuard, Views, WriteGuard};

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::error::DBError;

#[cfg(not(any(minidb_tsan, minidb_shuttle)))]
pub(crate) use std::sync::Arc;

#[cfg(not(minidb_tsan))]
pub(crate) use std::sync::OnceLock;

#[cfg(not(minidb_shuttle))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic,
    thread::{sleep, yield_now},
};

#[cfg(minidb_shuttle)]
pub(crate) use shuttle::{
    hint::spin_loop,
    sync::atomic,
    thread::{Builder, JoinHandle, sleep, yield_now},
};

#[cfg(minidb_shuttle)]
pub(crate) use br_lock::Plain;

#[cfg(minidb_shuttle)]
pub(crate) use shuttled::{Arc, place, point};

#[cfg(minidb_tsan)]
pub(crate) use {once_cell::sync::OnceCell as OnceLock, servo_arc::Arc};

#[cfg(not(any(minidb_tsan, minidb_shuttle)))]
use std::sync as imp;

#[cfg(minidb_shuttle)]
use shuttle::sync as imp;

#[cfg(minidb_tsan)]
use parking_lot as imp;

use order::Held;
pub(crate) use wait::Wait;

pub(crate) use imp::{RwLockReadGuard, RwLockWriteGuard};
pub(crate) use order::Rank;

/// A mark between a `SeqCst` write and a `SeqCst` read of another variable: for loom, which
/// takes `SeqCst` for `AcqRel` but at fences, a fence.
#[inline(always)]
pub(crate) fn write_before_read() {}

/// A point where tests may let another thread go on.
#[cfg(not(minidb_shuttle))]
#[inline(always)]
pub(crate) fn point() {}

/// A number that tells threads apart by where their stacks are; it is only a hint.
#[cfg(not(minidb_shuttle))]
#[inline(always)]
pub(crate) fn place() -> u64 {
    let here = 0u8;
    let stack = (&raw const here).addr() as u64 >> 16;
    stack.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A mutual exclusion lock.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    rank: Option<Rank>,
    lock: imp::Mutex<T>,
}

/// A [`Mutex`], locked until this is dropped.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    guard: imp::MutexGuard<'a, T>,
    held: Held,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> Mutex<T> {
    /// A lock under which no other one is taken.
    pub(crate) const fn new(value: T) -> Self {
        Mutex { rank: None, lock: imp::Mutex::new(value) }
    }

    /// A lock with a place in the lock order.
    pub(crate) const fn ranked(rank: Rank, value: T) -> Self {
        Mutex { rank: Some(rank), lock: imp::Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, T>, DBError> {
        let held = Held::new(self.rank);
        Ok(MutexGuard { guard: unless_poisoned(self.lock.lock())?, held })
    }

    /// Locks after a panic, too.
    #[inline]
    pub(crate) fn lock_ignoring_poison(&self) -> MutexGuard<'_, T> {
        let held = Held::new(self.rank);
        MutexGuard { guard: ignoring_poison(self.lock.lock()), held }
    }
}

/// A queue of holders of a lock that wait for a change.
#[derive(Debug, Default)]
pub(crate) struct Condvar(imp::Condvar);

impl Condvar {
    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    #[cfg(not(minidb_tsan))]
    pub(crate) fn wait<'a, T>(
        &self,
        MutexGuard { guard, held }: MutexGuard<'a, T>,
    ) -> Result<MutexGuard<'a, T>, DBError> {
        Ok(MutexGuard { guard: unless_poisoned(self.0.wait(guard))?, held })
    }

    #[cfg(minidb_tsan)]
    pub(crate) fn wait<'a, T>(
        &self,
        MutexGuard { mut guard, held }: MutexGuard<'a, T>,
    ) -> Result<MutexGuard<'a, T>, DBError> {
        self.0.wait(&mut guard);
        Ok(MutexGuard { guard, held })
    }

    /// Waits for so long at most; tells whether the time is over. Under shuttle it never is.
    #[cfg(not(minidb_tsan))]
    pub(crate) fn wait_for<'a, T>(
        &self,
        MutexGuard { guard, held }: MutexGuard<'a, T>,
        time: Duration,
    ) -> Result<(MutexGuard<'a, T>, bool), DBError> {
        let (guard, result) = unless_poisoned(self.0.wait_timeout(guard, time))?;
        Ok((MutexGuard { guard, held }, result.timed_out()))
    }

    #[cfg(minidb_tsan)]
    pub(crate) fn wait_for<'a, T>(
        &self,
        MutexGuard { mut guard, held }: MutexGuard<'a, T>,
        time: Duration,
    ) -> Result<(MutexGuard<'a, T>, bool), DBError> {
        let timed_out = self.0.wait_for(&mut guard, time).timed_out();
        Ok((MutexGuard { guard, held }, timed_out))
    }
}

#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(imp::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        RwLock(imp::RwLock::new(value))
    }

    /// Locks after a panic, too.
    #[inline]
    pub(crate) fn read_ignoring_poison(&self) -> RwLockReadGuard<'_, T> {
        ignoring_poison(self.0.read())
    }

    /// Locks after a panic, too.
    #[inline]
    pub(crate) fn write_ignoring_poison(&self) -> RwLockWriteGuard<'_, T> {
        ignoring_poison(self.0.write())
    }
}

#[cfg(not(minidb_tsan))]
type Locked<G> = std::sync::LockResult<G>;

/// The locks of a build for ThreadSanitizer know no poison.
#[cfg(minidb_tsan)]
type Locked<G> = G;

#[cfg(not(minidb_tsan))]
fn unless_poisoned<G>(locked: Locked<G>) -> Result<G, DBError> {
    locked.map_err(|_| DBError::Internal)
}

#[cfg(not(minidb_tsan))]
fn ignoring_poison<G>(locked: Locked<G>) -> G {
    locked.unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(minidb_tsan)]
fn unless_poisoned<G>(locked: Locked<G>) -> Result<G, DBError> {
    Ok(locked)
}

#[cfg(minidb_tsan)]
fn ignoring_poison<G>(locked: Locked<G>) -> G {
    locked
}
