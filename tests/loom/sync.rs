//! Loom in the place of `src/sync`.

#[allow(unused_imports)] // of its unit tests
#[path = "../../src/sync/br_lock.rs"]
mod br_lock;

#[path = "../../src/sync/wait.rs"]
mod wait;

pub(crate) use br_lock::{Access, BrLock, Views};
pub use loom::hint::spin_loop;
pub use loom::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard, atomic};
pub use loom::thread::yield_now;
pub(crate) use wait::Wait;

pub fn write_before_read() {
    atomic::fence(atomic::Ordering::SeqCst);
}

pub fn point() {}

pub fn sleep(_: std::time::Duration) {
    yield_now();
}

/// Each thread reads in a slot of its own, or all in one.
pub fn place() -> u64 {
    let name = format!("{:?}", loom::thread::current().id());
    u64::from(name.contains('1')) << 60
}

#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// A place in the lock order, which loom does not need.
pub enum Rank {
    Turn,
    Index,
}

impl<T> Mutex<T> {
    pub fn ranked(_: Rank, value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub fn lock_ignoring_poison(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

#[derive(Debug, Default)]
pub struct RwLock<T>(loom::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub fn new(value: T) -> Self {
        RwLock(loom::sync::RwLock::new(value))
    }

    pub fn read_ignoring_poison(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap()
    }

    pub fn write_ignoring_poison(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap()
    }
}
