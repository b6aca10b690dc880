//! Threads on one database, through the Rust API and through C. CI runs this
//! under ThreadSanitizer, too, which does not know what std's threads and test
//! harness do: so it has its own `main`, and threads by pthread_create.

#![allow(unsafe_code, reason = "calls the C API, and makes threads")]

mod support;

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use minidb::ffi::*;
use minidb::{DB, InMemoryDB, Options, PersistentDB};

use support::folder::Folder;

type Body<'a> = &'a (dyn Fn() + Sync);

/// Runs each of the bodies in a thread of its own until all are done. One that
/// panics ends the process.
fn together(bodies: &[Body<'_>]) {
    extern "C" fn start(body: *mut c_void) -> *mut c_void {
        // SAFETY: it is one of `bodies`, which outlives the thread.
        unsafe { (*body.cast::<Body<'_>>())() };
        ptr::null_mut()
    }
    let make = |body: &Body<'_>| {
        let body = ptr::from_ref(body).cast_mut().cast();
        let mut thread = 0;
        // SAFETY: `thread` is set by it; `body` may be shared, being Sync.
        let code = unsafe { libc::pthread_create(&mut thread, ptr::null(), start, body) };
        assert_eq!(code, 0, "a thread can be made");
        thread
    };
    for thread in bodies.iter().map(make).collect::<Vec<_>>() {
        // SAFETY: it was just made, and is joined once.
        assert_eq!(unsafe { libc::pthread_join(thread, ptr::null_mut()) }, 0);
    }
}

fn main() {
    let tests: [(&str, fn()); 9] = [
        ("readers see whole values while others write", whole_values),
        ("snapshots and cursors stay as they are while others write", frozen_views),
        ("a long write is seen whole by readers beside it", long_writes),
        ("a leaf is changed in place beside readers", in_place),
        ("a put is counted when it can be read", counts),
        ("a counter loses no increment", counter),
        ("transactions keep a sum", transfers),
        ("threads share the syncs of a file", shared_syncs),
        ("a handle is closed while others call on it", closing),
    ];
    for (name, test) in tests {
        test();
        println!("{name}: ok");
    }
    println!("threads: {} passed, 0 failed", tests.len());
}

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

fn whole_values() {
    let db = InMemoryDB::new().unwrap();
    let writing = AtomicU64::new(2);
    let write = |n: u64| {
        for round in 0..ROUNDS {
            let k = round * 7 * n;
            match round % 5 {
                0 => drop(db.delete(&key(k)).unwrap()),
                _ => drop(db.put(&key(k), &value(k, round)).unwrap()),
            }
        }
        writing.fetch_sub(1, Ordering::Relaxed);
    };
    let read = || {
        for k in (0..).take_while(|_| writing.load(Ordering::Relaxed) > 0) {
            if let Some(value) = db.get(&key(k)).unwrap() {
                assert_belongs(&key(k), &value);
            }
        }
    };
    together(&[&|| write(1), &|| write(2), &read, &read]);
    db.check().unwrap();
}

fn frozen_views() {
    let db = InMemoryDB::new().unwrap();
    for n in 0..KEYS {
        db.put(&key(n), &value(n, n)).unwrap();
    }
    let reading = AtomicU64::new(2);
    let read = || {
        for _ in 0..100 {
            let snapshot = db.snapshot().unwrap();
            let (mut count, mut bytes) = (0, 0);
            for entry in snapshot.iter().unwrap() {
                let (key, value) = entry.unwrap();
                assert_belongs(&key, &value);
                count += 1;
                bytes += (key.len() + value.len()) as u64;
            }
            assert_eq!((count, bytes), (snapshot.count().unwrap(), snapshot.data_bytes().unwrap()));
        }
        reading.fetch_sub(1, Ordering::Relaxed);
    };
    let write = || {
        for round in (0..).take_while(|_| reading.load(Ordering::Relaxed) > 0) {
            match round % 100 {
                99 => db.clear(Some(&key(round)), Some(&key(round + 5))).unwrap(),
                _ => drop(db.put(&key(round * 3), &value(round * 3, round)).unwrap()),
            }
        }
    };
    together(&[&read, &read, &write]);
    db.check().unwrap();
}

/// Values of one length are overwritten in place, and one half of a value is
/// never seen beside another.
fn long_writes() {
    const ENTRIES: u64 = 5_000; // more than a write takes for short
    let db = InMemoryDB::new().unwrap();
    let done = AtomicBool::new(false);
    let write = || {
        for round in 1..30u64 {
            let entries: Vec<_> = (0..ENTRIES).map(|n| (n.to_be_bytes(), round)).collect();
            let values: Vec<_> = entries.iter().map(|it| it.1.to_be_bytes()).collect();
            let pairs = entries.iter().zip(&values).map(|(it, value)| (&it.0[..], &value[..]));
            db.write_all(pairs).unwrap();
            db.clear(Some(&[]), Some(&(round * 100).to_be_bytes())).unwrap();
        }
        done.store(true, Ordering::SeqCst);
    };
    let read = || {
        let mut last = 0;
        while !done.load(Ordering::SeqCst) {
            let snapshot = db.snapshot().unwrap();
            let rounds: Vec<_> = snapshot.iter().unwrap().map(|it| it.unwrap().1).collect();
            assert!(rounds.iter().all(|round| *round == rounds[0]), "half of a write");
            let count = rounds.len() as u64;
            assert_eq!(snapshot.count().unwrap(), count);
            let round =
                rounds.first().map_or(0, |it| u64::from_be_bytes(it[..].try_into().unwrap()));
            assert!([0, ENTRIES, ENTRIES - round * 100].contains(&count), "half of a write");
            assert!(round >= last, "a write was undone");
            let now = db.get(&(ENTRIES - 1).to_be_bytes()).unwrap();
            last = now.map_or(0, |it| u64::from_be_bytes(it.try_into().unwrap()));
            assert!(last >= round, "a write was undone");
        }
    };
    together(&[&write, &read, &read]);
    db.check().unwrap();
}

fn in_place() {
    let db = InMemoryDB::new().unwrap();
    let all = |round: u64| [round.to_be_bytes(); 12].concat();
    (0..KEYS).for_each(|n| drop(db.put(&key(n), &all(0)).unwrap()));
    let writing = AtomicU64::new(2);
    let write = |step: u64| {
        for round in 0..ROUNDS {
            db.put_with(&key(round * step), &all(round), |_| Ok(())).unwrap();
        }
        writing.fetch_sub(1, Ordering::Relaxed);
    };
    let read = || {
        for n in (0..).take_while(|_| writing.load(Ordering::Relaxed) > 0) {
            let whole = |value: Option<&[u8]>| {
                value.unwrap().chunks(8).all(|it| it == &value.unwrap()[..8])
            };
            assert!(db.get_with(&key(n), whole).unwrap(), "half of a value");
            if n % 1000 == 0 {
                assert_eq!(db.snapshot().unwrap().count().unwrap(), KEYS);
            }
        }
    };
    together(&[&|| write(7), &|| write(11), &read, &read]);
    db.check().unwrap();
}

/// Once a reader finds a key, the numbers include it, and the other way round. Asked one
/// after the other, in any order, they never go back.
fn counts() {
    const ALL: u64 = 200_000;
    let db = InMemoryDB::new().unwrap();
    let has = |n: u64| db.get_with(&n.to_be_bytes(), |value| value.is_some()).unwrap();
    let put = |n: u64| db.put_with(&n.to_be_bytes(), b"12345678", |_| Ok(())).unwrap();
    let (count, commits) = (|| db.count().unwrap(), || db.commits().unwrap());
    let entries = || db.data_bytes().unwrap() / 16;
    let read = || {
        while count() < ALL {
            for ask in
                [[&count as &dyn Fn() -> u64, &entries, &commits], [&commits, &entries, &count]]
            {
                let before = ask[0]();
                assert!(before == 0 || has(before - 1), "counted before it can be read");
                let found = (before..).take_while(|n| has(*n)).last().map_or(0, |n| n + 1);
                let numbers = ask.map(|ask| ask());
                assert!(numbers.iter().all(|n| *n >= found), "readable before it is counted");
                assert!(ask.map(|ask| ask()).is_sorted(), "the numbers are of several moments");
            }
        }
    };
    together(&[&|| (0..ALL).for_each(put), &read]);
    db.check().unwrap();
}

/// Moves between accounts, in transactions that are tried again on conflict.
fn transfers() {
    let db = InMemoryDB::new().unwrap();
    const ACCOUNTS: u64 = 20;
    (0..ACCOUNTS).for_each(|n| drop(db.put(&key(n), &100u64.to_be_bytes()).unwrap()));
    let number =
        |bytes: Option<Vec<u8>>| u64::from_be_bytes(bytes.unwrap()[..].try_into().unwrap());
    let moving = AtomicU64::new(3);
    let transfer = |seed: u64| {
        let mut txn = db.begin().unwrap();
        for n in 0..1_000 {
            let (from, to) = ((n * seed) % ACCOUNTS, (n * 3 + seed) % ACCOUNTS);
            loop {
                let (a, b) =
                    (number(txn.get(&key(from)).unwrap()), number(txn.get(&key(to)).unwrap()));
                if from != to && a > 0 {
                    txn.put(&key(from), &(a - 1).to_be_bytes()).unwrap();
                    txn.put(&key(to), &(b + 1).to_be_bytes()).unwrap();
                }
                if txn.commit().unwrap() {
                    break;
                }
            }
        }
        moving.fetch_sub(1, Ordering::Relaxed);
    };
    let sum = || {
        while moving.load(Ordering::Relaxed) > 0 {
            let all = db.iter().unwrap().map(|entry| number(Some(entry.unwrap().1)));
            assert_eq!(all.sum::<u64>(), 100 * ACCOUNTS);
        }
    };
    together(&[&|| transfer(7), &|| transfer(11), &|| transfer(13), &sum]);
    assert_eq!(db.count().unwrap(), ACCOUNTS);
}

/// Commits of several threads to a file, with checkpoints among them.
fn shared_syncs() {
    let folder = Folder::new("threads");
    let path = folder.file("a.minidb");
    let options = || Options::new().no_threads().checkpoint_bytes(64 << 10);
    let db = PersistentDB::open(&path, options()).unwrap();
    let write = |thread: u64| {
        for n in 0..200u64 {
            let key = [thread.to_be_bytes(), n.to_be_bytes()].concat();
            assert_eq!(db.put(&key, &[7; 100]).unwrap(), None);
            assert_eq!(db.get(&key).unwrap(), Some(vec![7; 100]));
            if n % 10 == 0 {
                assert!(db.delete(&key).unwrap().is_some());
            }
        }
    };
    together(&[&|| write(1), &|| write(2), &|| write(3), &|| write(4)]);
    db.check().unwrap();
    drop(db);
    let db = PersistentDB::open(&path, options().existing()).unwrap();
    assert_eq!(db.count().unwrap(), 4 * 180);
}

fn counter() {
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
    together(&[&increment, &increment, &increment, &increment]);
    assert_eq!(db.get(b"counter").unwrap(), Some(8_000u64.to_be_bytes().to_vec()));
}

/// One thread opens and closes a handle again and again, others use whichever
/// is there: each call is done or refused, and no closed handle is followed.
fn closing() {
    let shared = AtomicPtr::new(ptr::null_mut::<minidb_t>());
    let (stop, done, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let call = || {
        while !stop.load(Ordering::Relaxed) {
            for code in calls(shared.load(Ordering::Relaxed)) {
                assert!([MINIDB_OK, MINIDB_INVALID].contains(&code), "{code}");
                let count = if code == MINIDB_OK { &done } else { &refused };
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    // Now and then waits for others to use the handle, and then to be refused.
    let wait_for_more = |round: u64, count: &AtomicU64| {
        let (before, begun) = (count.load(Ordering::Relaxed), Instant::now());
        while round.is_multiple_of(100) && count.load(Ordering::Relaxed) == before {
            assert!(begun.elapsed() < Duration::from_secs(60), "{count:?} and no more");
            std::thread::yield_now();
        }
    };
    let open_and_close = || {
        for round in 0..1_000 {
            let mut db = ptr::null_mut();
            // SAFETY: `db` is a variable for the handle.
            assert_eq!(unsafe { minidb_open(ptr::null(), 0, &mut db) }, MINIDB_OK);
            shared.store(db, Ordering::Relaxed);
            std::thread::yield_now();
            wait_for_more(round, &done);
            // SAFETY: it is a handle, closed once.
            unsafe { minidb_close(db) };
            wait_for_more(round, &refused);
        }
        stop.store(true, Ordering::Relaxed);
    };
    together(&[&call, &call, &call, &open_and_close]);
    println!("{done:?} calls were done, {refused:?} refused");
    assert!(done.into_inner() > 0 && refused.into_inner() > 0);
}

/// What some calls on a handle return, whatever it is.
fn calls(db: *mut minidb_t) -> [i32; 2] {
    let (none, key) = (ptr::null_mut(), c"key".as_ptr().cast());
    let mut cursor = ptr::null_mut();
    // SAFETY: the pointers are to what they should be; `db` is never followed.
    unsafe {
        let put = minidb_put(db, key, 3, key, 3, none, ptr::null_mut());
        let scan = minidb_scan(db, ptr::null(), 0, ptr::null(), 0, &mut cursor);
        minidb_cursor_next(cursor);
        minidb_cursor_close(cursor);
        [put, scan]
    }
}
