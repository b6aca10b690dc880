//! The lock that readers hardly notice.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use minidb::schedules::{Lock, point};

use crate::runner::together;

pub fn shared() {
    let (lock, turn) = (Lock::new([0; 2]), AtomicBool::new(false));
    let both = |it: &[i32; 2]| {
        let first = it[0];
        point();
        assert_eq!(it[1], first, "half of a change");
        first
    };
    let write = || {
        let look = |it: &[i32; 2]| {
            assert!(!turn.swap(true, Relaxed), "two have the turn");
            both(it)
        };
        let change = |it: &mut [i32; 2], old| {
            it[0] = old + 1;
            point();
            it[1] = it[0];
            turn.store(false, Relaxed);
        };
        lock.upgradable_then_write(look, change).unwrap();
    };
    let read = || {
        let first = lock.read(both).unwrap();
        assert!(lock.read(both).unwrap() >= first);
    };
    together(&[&write, &write, &read, &read]);
    assert_eq!(lock.read(both).unwrap(), 2);
    poisoned();
    half_changed();
}

/// A panic with the turn refuses everybody, and is seen by who comes after it.
fn poisoned() {
    let (lock, panicked) = (Lock::new(0), AtomicBool::new(false));
    let panic = || {
        // Not `panic!`, which would print the schedule.
        let panicking = || lock.upgradable(|_| resume_unwind(Box::new(())));
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        panicked.store(true, Relaxed);
    };
    let come = || {
        let late = panicked.load(Relaxed);
        assert!(lock.read(|_| ()).is_err() || !late);
        let _ = lock.upgradable_then_write(|_| (), |it, ()| *it += 1);
    };
    together(&[&panic, &come]);
    assert!(lock.read(|_| ()).is_err() && lock.upgradable(|_| ()).is_err());
}

/// What a panic leaves half changed is never seen.
fn half_changed() {
    let lock = Lock::new(0);
    let panic = || {
        let change = |it: &mut i32, ()| {
            *it = 1;
            resume_unwind(Box::new(()))
        };
        let panicking = || lock.upgradable_then_write(|_| (), change);
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
    };
    let read = || assert!(lock.read(|it| *it).unwrap_or_default() == 0);
    together(&[&panic, &read, &read]);
    assert!(lock.read(|_| ()).is_err());
}
