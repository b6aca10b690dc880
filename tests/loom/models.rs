//! The models. Each fails if two threads use the value at once, or without having
//! seen what the other did with it.

#![allow(unsafe_code)] // the value that a lock is to guard; loom watches it

use std::time::Instant;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::thread;

use crate::memory::{while_changed, while_read};
use crate::sync::{Access, BrLock, Views};

/// What a lock guards.
struct Guarded(UnsafeCell<u32>);

// SAFETY: that is what the models verify.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn new() -> Guarded {
        Guarded(UnsafeCell::new(0))
    }

    fn get(&self) -> u32 {
        // SAFETY: loom panics if a change may happen at the same time.
        self.0.with(|value| unsafe { *value })
    }

    fn add_one(&self) {
        // SAFETY: loom panics if anything else may happen at the same time.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }
}

/// Runs threads that share something.
fn together<T: Send + Sync + 'static>(shared: T, bodies: &[fn(&T)]) -> Arc<T> {
    let shared = Arc::new(shared);
    let spawn = |body: &fn(&T)| {
        let (shared, body) = (shared.clone(), *body);
        thread::spawn(move || body(&shared))
    };
    let threads: Vec<_> = bodies.iter().map(spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    shared
}

// SAFETY: loom panics if a view is used while the value changes.
unsafe impl Views for Guarded {
    type Shared<'a> = &'a Guarded;
    type Writer<'a> = &'a Guarded;
    type Frozen = std::sync::Arc<Guarded>;

    fn shared_of_frozen(frozen: &std::sync::Arc<Guarded>) -> &Guarded {
        frozen
    }

    fn shared(&self) -> &Guarded {
        self
    }

    unsafe fn writer(&self) -> &Guarded {
        self
    }
}

fn read(lock: &BrLock<Guarded>) {
    lock.read().unwrap().shared().get();
}

fn write(lock: &BrLock<Guarded>) {
    lock.write().unwrap().add_one();
}

fn turn(lock: &BrLock<Guarded>) {
    let mut guard = lock.upgradable().unwrap();
    guard.writer().get();
    guard.upgrade().add_one();
}

/// Readers see a copy while the value is detached.
fn detach(lock: &BrLock<Guarded>) {
    let copy = |it: &mut Guarded| Ok(std::sync::Arc::new(Guarded(UnsafeCell::new(it.get()))));
    let detached = lock.detach(copy).unwrap();
    detached.add_one();
    detached.attach();
}

fn freeze(lock: &BrLock<Guarded>) {
    match lock.write_or_frozen().unwrap() {
        Access::Exclusive(value) => value.get(),
        Access::Frozen(copy, _) => copy.get(),
    };
}

fn lock_of_readers(bodies: &[fn(&BrLock<Guarded>)], sum: u32) {
    let lock = together(BrLock::new(Guarded::new()), bodies);
    assert_eq!(lock.read().unwrap().shared().get(), sum);
}

fn readers_and_a_writer() {
    lock_of_readers(&[read, read, write], 1);
}

fn readers_beside_a_long_write() {
    lock_of_readers(&[read, detach, freeze], 1);
}

fn a_writer_and_a_long_write() {
    lock_of_readers(&[read, detach, write], 2);
}

fn a_reader_and_two_writers() {
    lock_of_readers(&[read, turn, write], 2);
}

fn look_twice(page: &(AtomicU32, Guarded)) {
    (0..2).for_each(|_| while_read(&page.0, || _ = page.1.get()));
}

fn change_twice(page: &(AtomicU32, Guarded)) {
    (0..2).for_each(|_| while_changed(&page.0, || page.1.add_one()));
}

/// Two threads: with a third that spins loom comes to no end.
fn page(bodies: &[fn(&(AtomicU32, Guarded))], sum: u32) {
    let page = together((AtomicU32::new(0), Guarded::new()), bodies);
    while_read(&page.0, || assert_eq!(page.1.get(), sum));
}

fn page_read_and_changed() {
    page(&[look_twice, change_twice], 2);
}

fn page_changed_by_two() {
    page(&[change_twice, change_twice], 4);
}

pub fn run() {
    let models: [(&str, fn()); 6] = [
        ("readers beside who is alone", readers_and_a_writer),
        ("who is alone after another", a_reader_and_two_writers),
        ("readers beside a long write", readers_beside_a_long_write),
        ("a writer and a long write", a_writer_and_a_long_write),
        ("a page that is read and changed", page_read_and_changed),
        ("a page that two change", page_changed_by_two),
    ];
    for (name, model) in models {
        let begun = Instant::now();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);

        let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = count.clone();
        builder.check(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            model();
        });
        println!("{name}: {count:?} executions in {:.1?}", begun.elapsed());
    }
}
