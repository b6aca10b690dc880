//! Threads on one database, through the Rust API and through C. CI runs this
//! under ThreadSanitizer, too.

#![allow(unsafe_code, reason = "calls the C API")]

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::thread;

use minidb::ffi::*;
use minidb::{DB, InMemoryDB};

const KEYS: u64 = 500;
const ROUNDS: u64 = 20_000;

fn key(n: u64) -> [u8; 8] {
    (n % KEYS).to_be_bytes()
}

/// A value that says which key it belongs to, of a length that varies.
fn value(n: u64, round: u64) -> Vec<u8> {
    key(n).repeat(1 + (round % 40) as usize)
}

fn assert_belongs(key: &[u8], value: &[u8]) {
    assert!(value.chunks(8).all(|part| part == key), "a value of another key, or torn");
}

#[test]
fn readers_see_whole_values_while_others_write() {
    let db = InMemoryDB::new().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers = [1, 2].map(|n| {
            let db = &db;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let k = round * 7 * n;
                    match round % 5 {
                        0 => drop(db.delete(&key(k)).unwrap()),
                        _ => drop(db.put(&key(k), &value(k, round)).unwrap()),
                    }
                }
            })
        });
        for n in 0..2 {
            let (db, stop) = (&db, &stop);
            scope.spawn(move || {
                for k in n.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if let Some(value) = db.get(&key(k)).unwrap() {
                        assert_belongs(&key(k), &value);
                    }
                }
            });
        }
        writers.into_iter().for_each(|it| it.join().unwrap());
        stop.store(true, Ordering::Relaxed);
    });
    db.check().unwrap();
}

#[test]
fn snapshots_and_cursors_stay_as_they_are_while_others_write() {
    let db = InMemoryDB::new().unwrap();
    for n in 0..KEYS {
        db.put(&key(n), &value(n, n)).unwrap();
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers = [0, 1].map(|_| {
            let db = &db;
            scope.spawn(move || {
                for _ in 0..100 {
                    let snapshot = db.snapshot().unwrap();
                    let (mut count, mut bytes) = (0, 0);
                    for entry in snapshot.iter().unwrap() {
                        let (key, value) = entry.unwrap();
                        assert_belongs(&key, &value);
                        count += 1;
                        bytes += (key.len() + value.len()) as u64;
                    }
                    assert_eq!((count, bytes), (snapshot.count(), snapshot.data_bytes()));
                }
            })
        });
        let (db, stop) = (&db, &stop);
        scope.spawn(move || {
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                match round % 100 {
                    99 => db.clear(Some(&key(round)), Some(&key(round + 5))).unwrap(),
                    _ => drop(db.put(&key(round * 3), &value(round * 3, round)).unwrap()),
                }
            }
        });
        readers.into_iter().for_each(|it| it.join().unwrap());
        stop.store(true, Ordering::Relaxed);
    });
    db.check().unwrap();
}

#[test]
fn a_counter_loses_no_increment() {
    let db = InMemoryDB::new().unwrap();
    let increment = || {
        for _ in 0..2_000 {
            loop {
                let old = db.get(b"counter").unwrap();
                let n = old.as_ref().map_or(0, |it| u64::from_be_bytes(it[..].try_into().unwrap()));
                if db.cas(b"counter", old.as_deref(), Some(&(n + 1).to_be_bytes())).unwrap() {
                    break;
                }
            }
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(increment))));
    assert_eq!(db.get(b"counter").unwrap(), Some(8_000u64.to_be_bytes().to_vec()));
}

/// One thread opens and closes a handle again and again, others use whichever
/// is there: each call is done or refused, and no closed handle is followed.
#[test]
fn a_handle_is_closed_while_others_call_on_it() {
    let shared = AtomicPtr::new(ptr::null_mut::<minidb_t>());
    let (stop, done, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let db = shared.load(Ordering::Relaxed);
                    let (none, key) = (ptr::null_mut(), c"key".as_ptr().cast());
                    let mut cursor = ptr::null_mut();
                    // SAFETY: whatever `db` is, the pointers are to what they should be.
                    let codes = unsafe {
                        let put = minidb_put(db, key, 3, key, 3, none, ptr::null_mut());
                        let scan = minidb_scan(db, ptr::null(), 0, ptr::null(), 0, &mut cursor);
                        minidb_cursor_next(cursor);
                        minidb_cursor_close(cursor);
                        [put, scan]
                    };
                    for code in codes {
                        assert!([MINIDB_OK, MINIDB_INVALID].contains(&code), "{code}");
                        let count = if code == MINIDB_OK { &done } else { &refused };
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for _ in 0..1_000 {
            let mut db = ptr::null_mut();
            // SAFETY: `db` is a variable for the handle.
            assert_eq!(unsafe { minidb_open(ptr::null(), 0, &mut db) }, MINIDB_OK);
            shared.store(db, Ordering::Relaxed);
            thread::yield_now();
            // SAFETY: it is a handle, closed once.
            unsafe { minidb_close(db) };
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{done:?} calls were done, {refused:?} refused");
    assert!(done.into_inner() > 0 && refused.into_inner() > 0);
}
