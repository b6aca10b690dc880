//! The internal parts that `tests/schedules` calls.

use crate::DBResult;
use crate::sync::{BrLock, Plain};

pub use crate::ffi::{call, forget_all};

/// Lets the scheduler switch to another thread.
pub fn point() {
    crate::sync::point();
}

/// A [`BrLock`] for the tests.
#[derive(Debug)]
pub struct Lock<T: Clone>(BrLock<Plain<T>>);

impl<T: Clone> Lock<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Lock<T> {
        Lock(BrLock::new(Plain(value)))
    }

    /// Shows `body` the value under a read guard.
    pub fn read<R>(&self, body: impl FnOnce(&T) -> R) -> DBResult<R> {
        Ok(body(self.0.read()?.shared()))
    }

    /// Shows `body` the value under the upgradable guard.
    pub fn upgradable<R>(&self, body: impl FnOnce(&T) -> R) -> DBResult<R> {
        Ok(body(self.0.upgradable()?.writer()))
    }

    /// Shows `body` the value under the upgradable guard, then has `change` edit it under
    /// the write guard.
    pub fn upgradable_then_write<R>(
        &self,
        body: impl FnOnce(&T) -> R,
        change: impl FnOnce(&mut T, R),
    ) -> DBResult<()> {
        let mut guard = self.0.upgradable()?;
        let found = body(guard.writer());
        change(&mut guard.upgrade().0, found);
        Ok(())
    }
}
