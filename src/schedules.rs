//! What `tests/schedules` needs of the inside.

use crate::DBResult;
use crate::sync::BrLock;

pub use crate::ffi::{call, forget_all};

/// Where another thread may come in between.
pub fn point() {
    crate::sync::point();
}

/// A [`BrLock`].
#[derive(Debug)]
pub struct Lock<T>(BrLock<T>);

impl<T> Lock<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Lock<T> {
        Lock(BrLock::new(value))
    }

    /// Shows `body` the value.
    pub fn read<R>(&self, body: impl FnOnce(&T) -> R) -> DBResult<R> {
        Ok(body(&*self.0.read()?))
    }

    /// Shows `body` the value in the turn to write.
    pub fn upgradable<R>(&self, body: impl FnOnce(&T) -> R) -> DBResult<R> {
        Ok(body(&*self.0.upgradable()?))
    }

    /// Does so, and then has `change` change it, alone.
    pub fn upgradable_then_write<R>(
        &self,
        body: impl FnOnce(&T) -> R,
        change: impl FnOnce(&mut T, R),
    ) -> DBResult<()> {
        let turn = self.0.upgradable()?;
        let found = body(&turn);
        change(&mut *turn.upgrade(), found);
        Ok(())
    }
}
