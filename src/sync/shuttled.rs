//! Substitutes for items of std that shuttle does not have.

use std::ops::Deref;

use super::atomic::{AtomicBool, Ordering};

/// A point where another thread may go on.
pub(crate) fn point() {
    if shuttle::current::try_get_current_task().is_some() {
        AtomicBool::new(false).load(Ordering::SeqCst);
    }
}

/// A number that tells every second thread from the others.
pub(crate) fn place() -> u64 {
    let task = shuttle::current::try_get_current_task().map_or(0, usize::from);
    (task as u64 % 2) * (u64::MAX / 8)
}

/// Std's `Arc`, with a point where a reference is dropped.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arc<T>(std::sync::Arc<T>);

impl<T> Arc<T> {
    pub(crate) fn new(value: T) -> Arc<T> {
        Arc(std::sync::Arc::new(value))
    }

    pub(crate) fn get_mut(this: &mut Arc<T>) -> Option<&mut T> {
        std::sync::Arc::get_mut(&mut this.0)
    }

    pub(crate) fn ptr_eq(this: &Arc<T>, other: &Arc<T>) -> bool {
        std::sync::Arc::ptr_eq(&this.0, &other.0)
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Arc<T> {
        Arc(self.0.clone())
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        point();
    }
}
