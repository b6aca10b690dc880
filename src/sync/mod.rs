//! What threads share things with: std's, with one rule added to the lock. A
//! panic under the write lock leaves the data in doubt, so from then on the lock
//! refuses everybody with [`DBError::Internal`].
//!
//! A build for ThreadSanitizer (`--cfg minidb_tsan`) uses crates that do the
//! same: they are compiled, and so instrumented, with this one. Std is not, and
//! would be reported.
//!
//! A build for `tests/schedules` (`--cfg minidb_shuttle`) uses shuttle's, which
//! lets the tests decide who goes on at each of them, and at each [`point`].

mod br_lock;
#[cfg(minidb_shuttle)]
mod shuttled;

pub(crate) use br_lock::{BrLock, ReadGuard, WriteGuard};

use crate::error::DBError;

#[cfg(not(any(minidb_tsan, minidb_shuttle)))]
pub(crate) use std::sync::Arc;

#[cfg(not(minidb_tsan))]
pub(crate) use std::sync::OnceLock;

#[cfg(not(minidb_shuttle))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic,
    thread::{Builder, JoinHandle, sleep, yield_now},
};

#[cfg(minidb_shuttle)]
pub(crate) use shuttle::{
    hint::spin_loop,
    sync::atomic,
    thread::{Builder, JoinHandle, sleep, yield_now},
};

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

pub(crate) use imp::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

/// Stands between a `SeqCst` write and a `SeqCst` read of something else, whose
/// order it spells out for loom, which takes `SeqCst` for `AcqRel` but at fences.
#[inline(always)]
pub(crate) fn write_before_read() {}

/// Where another thread may come in between, if tests decide about that.
#[cfg(not(minidb_shuttle))]
#[inline(always)]
pub(crate) fn point() {}

/// Tells threads apart by where their stacks are; it is only a hint.
#[cfg(not(minidb_shuttle))]
#[inline(always)]
pub(crate) fn place() -> u64 {
    let here = 0u8;
    let stack = (&raw const here).addr() as u64 >> 16;
    stack.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A lock for one at a time.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex(imp::Mutex::new(value))
    }
}

/// Lets holders of a lock wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Condvar(imp::Condvar);

impl Condvar {
    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(imp::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        RwLock(imp::RwLock::new(value))
    }
}

#[cfg(not(minidb_tsan))]
impl<T> RwLock<T> {
    /// After a panic, too.
    #[inline]
    pub(crate) fn read_ignoring_poison(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(imp::PoisonError::into_inner)
    }

    /// After a panic, too.
    #[inline]
    pub(crate) fn write_ignoring_poison(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(imp::PoisonError::into_inner)
    }
}

#[cfg(not(minidb_tsan))]
impl<T> Mutex<T> {
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, T>, DBError> {
        self.0.lock().map_err(|_| DBError::Internal)
    }

    /// After a panic, too.
    #[inline]
    pub(crate) fn lock_ignoring_poison(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(imp::PoisonError::into_inner)
    }
}

#[cfg(not(minidb_tsan))]
impl Condvar {
    pub(crate) fn wait<'a, T>(
        &self,
        held: MutexGuard<'a, T>,
    ) -> Result<MutexGuard<'a, T>, DBError> {
        self.0.wait(held).map_err(|_| DBError::Internal)
    }
}

#[cfg(minidb_tsan)]
impl<T> Mutex<T> {
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, T>, DBError> {
        Ok(self.0.lock())
    }

    pub(crate) fn lock_ignoring_poison(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }
}

#[cfg(minidb_tsan)]
impl Condvar {
    pub(crate) fn wait<'a, T>(
        &self,
        mut held: MutexGuard<'a, T>,
    ) -> Result<MutexGuard<'a, T>, DBError> {
        self.0.wait(&mut held);
        Ok(held)
    }
}

#[cfg(minidb_tsan)]
impl<T> RwLock<T> {
    pub(crate) fn read_ignoring_poison(&self) -> RwLockReadGuard<'_, T> {
        self.0.read()
    }

    pub(crate) fn write_ignoring_poison(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write()
    }
}
