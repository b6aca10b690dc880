//! What serialisable transactions exclude: each anomaly by its name, step by
//! step, and then with threads that would run into it; on both kinds of database.

mod support;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use minidb::{Cursor, DB, Database, Transaction};

use support::databases;
use support::folder::Folder;

/// What each thread does so many times.
const ROUNDS: u64 = 150;

/// Runs a test on every kind of database.
fn on_every_kind(name: &str, test: impl Fn(&Database)) {
    let folder = Folder::new(name);
    for (kind, db) in databases::each(folder.path()) {
        println!("{kind}");
        test(&db);
        db.check().unwrap();
    }
}

fn number(value: Option<Vec<u8>>) -> i64 {
    value.map_or(0, |value| String::from_utf8(value).unwrap().parse().unwrap())
}

fn get(txn: &mut Transaction, key: &str) -> i64 {
    number(txn.get(key.as_bytes()).unwrap())
}

fn put(txn: &mut Transaction, key: &str, value: i64) {
    txn.put(key.as_bytes(), value.to_string().as_bytes()).unwrap();
}

fn set(db: &Database, entries: &[(&str, i64)]) {
    let values: Vec<_> = entries.iter().map(|(_, value)| value.to_string()).collect();
    let keys = entries.iter().map(|(key, _)| key.as_bytes());
    db.write_all(keys.zip(values.iter().map(String::as_bytes))).unwrap();
}

fn now(db: &Database, key: &str) -> i64 {
    number(db.get(key.as_bytes()).unwrap())
}

/// All values that a cursor walks over.
fn rest(mut cursor: Cursor) -> Vec<i64> {
    let mut values = Vec::new();
    while cursor.next().unwrap() {
        values.push(number(cursor.value().map(<[u8]>::to_vec)));
    }
    values
}

/// Does something again and again, until it commits; returns how often.
fn retry(db: &Database, mut body: impl FnMut(&mut Transaction)) -> u64 {
    let mut txn = db.begin().unwrap();
    for tries in 1.. {
        body(&mut txn);
        thread::yield_now(); // so that others come between, also on few cores
        if txn.commit().unwrap() {
            return tries;
        }
    }
    unreachable!()
}

/// Runs the bodies in threads that begin together.
fn together(bodies: &[&(dyn Fn() + Sync)]) {
    let begin = Barrier::new(bodies.len());
    thread::scope(|scope| {
        for body in bodies {
            scope.spawn(|| {
                begin.wait();
                body();
            });
        }
    });
}

#[test]
fn no_dirty_read() {
    on_every_kind("dirty-read", |db| {
        set(db, &[("x", 0)]);
        let mut txn = db.begin().unwrap();
        put(&mut txn, "x", 1);
        put(&mut txn, "y", 1);
        assert_eq!((now(db, "x"), rest(db.scan(None, None).unwrap())), (0, vec![0]));
        assert_eq!(get(&mut db.begin().unwrap(), "x"), 0);
        assert_eq!(db.snapshot().unwrap().get(b"y").unwrap(), None);
        drop(txn);
        assert_eq!(rest(db.scan(None, None).unwrap()), [0]);

        // What is never committed is odd.
        let stop = AtomicBool::new(false);
        let write = || {
            for n in 1..ROUNDS as i64 {
                let mut txn = db.begin().unwrap();
                put(&mut txn, "x", 2 * n + 1);
                thread::yield_now();
                if n % 3 > 0 {
                    put(&mut txn, "x", 2 * n);
                    assert!(txn.commit().unwrap());
                }
            }
            stop.store(true, Ordering::Relaxed);
        };
        let read = || {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(now(db, "x") % 2, 0);
                assert_eq!(get(&mut db.begin().unwrap(), "x") % 2, 0);
            }
        };
        together(&[&write, &read]);
    });
}

#[test]
fn no_dirty_write() {
    on_every_kind("dirty-write", |db| {
        let write = |n: i64| {
            for _ in 0..ROUNDS {
                let mut txn = db.begin().unwrap();
                put(&mut txn, "x", n);
                thread::yield_now();
                put(&mut txn, "y", n);
                assert!(txn.commit().unwrap());
                let values = rest(db.scan(None, None).unwrap());
                assert_eq!(values[0], values[1], "two transactions have been mixed");
            }
        };
        together(&[&|| write(1), &|| write(2), &|| write(3)]);
    });
}

#[test]
fn no_lost_update() {
    on_every_kind("lost-update", |db| {
        set(db, &[("x", 10)]);
        let (mut one, mut other) = (db.begin().unwrap(), db.begin().unwrap());
        let (a, b) = (get(&mut one, "x"), get(&mut other, "x"));
        put(&mut one, "x", a + 1);
        put(&mut other, "x", b + 2);
        assert!(one.commit().unwrap());
        assert!(!other.commit().unwrap(), "it would have overwritten what it has not seen");
        let b = get(&mut other, "x"); // begun anew
        put(&mut other, "x", b + 2);
        assert!(other.commit().unwrap());
        assert_eq!(now(db, "x"), 13);

        let tries = AtomicU64::new(0);
        let add = || {
            for _ in 0..ROUNDS {
                let n = retry(db, |txn| {
                    let x = get(txn, "x");
                    put(txn, "x", x + 1);
                });
                tries.fetch_add(n, Ordering::Relaxed);
            }
        };
        together(&[&add, &add, &add, &add]);
        assert_eq!(now(db, "x"), 13 + 4 * ROUNDS as i64);
        println!("{tries:?} tries for {} updates", 4 * ROUNDS);
    });
}

#[test]
fn no_non_repeatable_read() {
    on_every_kind("non-repeatable-read", |db| {
        set(db, &[("x", 1)]);
        let mut txn = db.begin().unwrap();
        assert_eq!(get(&mut txn, "x"), 1);
        set(db, &[("x", 2)]);
        assert_eq!(get(&mut txn, "x"), 1);
        put(&mut txn, "y", 1);
        assert!(!txn.commit().unwrap());

        let stop = AtomicBool::new(false);
        let write = || {
            (0..ROUNDS).for_each(|n| set(db, &[("x", n as i64)]));
            stop.store(true, Ordering::Relaxed);
        };
        let read = || {
            while !stop.load(Ordering::Relaxed) {
                let mut txn = db.begin().unwrap();
                let first = get(&mut txn, "x");
                thread::yield_now();
                assert_eq!(get(&mut txn, "x"), first);
                assert!(txn.commit().unwrap(), "what wrote nothing commits");
            }
        };
        together(&[&write, &read, &read]);
    });
}

#[test]
fn no_phantom() {
    on_every_kind("phantom", |db| {
        let seats = |txn: &mut Transaction| rest(txn.scan_prefix(b"seat/").unwrap()).len();
        let mut txn = db.begin().unwrap();
        assert_eq!(seats(&mut txn), 0);
        set(db, &[("seat/1", 1)]);
        assert_eq!(seats(&mut txn), 0);
        put(&mut txn, "seat/2", 1);
        assert!(!txn.commit().unwrap(), "a seat was taken where it saw none");

        // Ten seats, and more who want one: each takes one if it sees one left.
        let take = |n: u64| {
            for i in 0..5 {
                retry(db, |txn| {
                    if seats(txn) < 10 {
                        put(txn, &format!("seat/{n}-{i}"), 1);
                    }
                });
            }
        };
        together(&[&|| take(1), &|| take(2), &|| take(3), &|| take(4)]);
        assert_eq!(rest(db.scan(None, None).unwrap()).len(), 10);
    });
}

#[test]
fn no_write_skew() {
    on_every_kind("write-skew", |db| {
        // Either may leave if it sees the other on call.
        let leave = |txn: &mut Transaction, who: &str| {
            if get(txn, "alice") + get(txn, "bob") == 2 {
                put(txn, who, 0);
            }
        };
        set(db, &[("alice", 1), ("bob", 1)]);
        let (mut one, mut other) = (db.begin().unwrap(), db.begin().unwrap());
        leave(&mut one, "alice");
        leave(&mut other, "bob");
        assert!(one.commit().unwrap() && !other.commit().unwrap());

        for _ in 0..ROUNDS / 5 {
            set(db, &[("alice", 1), ("bob", 1)]);
            let try_to = |who: &'static str| {
                move || {
                    retry(db, |txn| leave(txn, who));
                }
            };
            together(&[&try_to("alice"), &try_to("bob")]);
            assert_eq!(now(db, "alice") + now(db, "bob"), 1, "nobody is left, or both are");
        }
    });
}

#[test]
fn no_read_skew() {
    on_every_kind("read-skew", |db| {
        set(db, &[("x", 50), ("y", 50)]);
        let mut txn = db.begin().unwrap();
        assert_eq!(get(&mut txn, "x"), 50);
        set(db, &[("x", 20), ("y", 80)]);
        assert_eq!(get(&mut txn, "y"), 50);
        assert!(txn.commit().unwrap());
        assert_eq!(get(&mut txn, "y"), 80);

        let writing = AtomicU64::new(2);
        let write = |step: i64| {
            for _ in 0..ROUNDS {
                retry(db, |txn| {
                    let (x, y) = (get(txn, "x"), get(txn, "y"));
                    put(txn, "x", x - step);
                    put(txn, "y", y + step);
                });
            }
            writing.fetch_sub(1, Ordering::Relaxed);
        };
        let read = || {
            while writing.load(Ordering::Relaxed) > 0 {
                let mut txn = db.begin().unwrap();
                let x = get(&mut txn, "x");
                thread::yield_now();
                assert_eq!(x + get(&mut txn, "y"), 100, "in a transaction");
                assert_eq!(rest(db.scan(None, None).unwrap()).iter().sum::<i64>(), 100);
                let snapshot = db.snapshot().unwrap();
                let [x, y] = [b"x", b"y"].map(|key| number(snapshot.get(key).unwrap()));
                assert_eq!(x + y, 100, "in a snapshot");
            }
        };
        together(&[&|| write(1), &|| write(-2), &read]);
    });
}

/// The anomaly of Fekete, O'Neil and O'Neil (2004): who only reads sees one
/// transaction and not another that must have come before it.
#[test]
fn no_read_only_anomaly() {
    on_every_kind("read-only-anomaly", |db| {
        set(db, &[("checking", 0), ("savings", 0)]);
        let (mut withdraw, mut deposit) = (db.begin().unwrap(), db.begin().unwrap());
        let balance = get(&mut withdraw, "checking") + get(&mut withdraw, "savings");
        put(&mut withdraw, "checking", balance - 11); // with a fee, being in debt
        let savings = get(&mut deposit, "savings");
        put(&mut deposit, "savings", savings + 20);
        assert!(deposit.commit().unwrap());
        let mut report = db.begin().unwrap();
        assert_eq!((get(&mut report, "checking"), get(&mut report, "savings")), (0, 20));
        assert!(report.commit().unwrap());
        assert!(!withdraw.commit().unwrap(), "the report has seen 20 before the fee");
    });
}

#[test]
fn of_a_race_of_cas_one_wins() {
    on_every_kind("cas", |db| {
        // In a transaction and on the database itself.
        let mut txn = db.begin().unwrap();
        assert!(txn.cas(b"lock", None, Some(b"1")).unwrap());
        assert!(db.cas(b"lock", None, Some(b"2")).unwrap());
        assert!(!txn.commit().unwrap());
        assert_eq!(now(db, "lock"), 2);
        let mut txn = db.begin().unwrap();
        assert!(!txn.cas(b"lock", None, Some(b"1")).unwrap());
        assert!(db.cas(b"lock", Some(b"2"), None).unwrap());
        put(&mut txn, "y", 1);
        assert!(!txn.commit().unwrap(), "it was told that the lock was taken");

        let won = AtomicU64::new(0);
        let race = |n: i64| {
            for round in 0..ROUNDS / 3 {
                let (key, mine) = (round.to_be_bytes(), n.to_string());
                if db.cas(&key, None, Some(mine.as_bytes())).unwrap() {
                    won.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(number(db.get(&key).unwrap()), n);
                }
            }
        };
        let by_transaction = || {
            for round in 0..ROUNDS / 3 {
                let mut mine = false;
                retry(db, |txn| {
                    mine = txn.cas(&round.to_be_bytes(), None, Some(b"0")).unwrap();
                });
                won.fetch_add(mine.into(), Ordering::Relaxed);
            }
        };
        together(&[&|| race(1), &|| race(2), &by_transaction, &by_transaction]);
        assert_eq!(won.into_inner(), ROUNDS / 3);
    });
}
