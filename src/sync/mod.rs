//! What threads share things with: std's, with one rule added to the lock. A
//! panic under the write lock leaves the data in doubt, so from then on the lock
//! refuses everybody with [`DBError::Internal`].
//!
//! A build for ThreadSanitizer (`--cfg minidb_tsan`) uses crates that do the
//! same: they are compiled, and so instrumented, with this one. Std is not, and
//! would be reported.

mod br_lock;

pub(crate) use br_lock::{Alone, BrLock, Reading, Turn};

use crate::error::DBError;

#[cfg(not(minidb_tsan))]
pub(crate) use std::sync::{Arc, OnceLock};

#[cfg(minidb_tsan)]
pub(crate) use {once_cell::sync::OnceCell as OnceLock, servo_arc::Arc};

#[cfg(not(minidb_tsan))]
use std::sync as imp;

#[cfg(minidb_tsan)]
use parking_lot as imp;

pub(crate) use imp::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

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
    #[inline]
    pub(crate) fn read(&self) -> Result<RwLockReadGuard<'_, T>, DBError> {
        self.0.read().map_err(|_| DBError::Internal)
    }

    #[inline]
    pub(crate) fn write(&self) -> Result<RwLockWriteGuard<'_, T>, DBError> {
        self.0.write().map_err(|_| DBError::Internal)
    }
}

#[cfg(not(minidb_tsan))]
impl<T> Mutex<T> {
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, T>, DBError> {
        self.0.lock().map_err(|_| DBError::Internal)
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
    pub(crate) fn read(&self) -> Result<RwLockReadGuard<'_, T>, DBError> {
        Ok(self.0.read())
    }

    pub(crate) fn write(&self) -> Result<RwLockWriteGuard<'_, T>, DBError> {
        Ok(self.0.write())
    }
}
