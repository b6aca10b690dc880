//! Snapshots, reads concurrent with a writer, and transactions.

use minidb::os::sim::SimDisk;
use minidb::{DB, InMemoryDB};

use minidb::schedules::point;

use crate::runner::{open, options, together};

pub fn snapshots() {
    let disk = SimDisk::new(1);
    let db = open(&disk, options());
    for n in 0..4 {
        db.put(&[n], &[0; 40]).unwrap();
    }
    let look = || {
        let snapshot = db.snapshot().unwrap();
        let all = || -> Vec<_> { snapshot.iter().unwrap().map(Result::unwrap).collect() };
        let before = all();
        let other = snapshot.clone();
        assert_eq!(all(), before);
        drop(other);
        assert_eq!((all().len(), snapshot.count().unwrap()), (before.len(), before.len() as u64));
    };
    let write = || {
        db.put(&[1], &[1; 50]).unwrap();
        db.delete(&[2]).unwrap().unwrap();
    };
    let fold = || db.checkpoint().unwrap();
    together(&[&look, &look, &write, &fold]);
    db.check().unwrap();
    assert_eq!(db.count().unwrap(), 3);
}

pub fn in_place() {
    let db = InMemoryDB::new().unwrap();
    let put = |key: u8, n: u8| db.put_with(&[key], &[n; 16], |_| Ok(())).unwrap();
    (0..3).for_each(|key| put(key, 0));
    let write = |step: u8| (1..4).for_each(|n| put(n * step % 3, n));
    let read = || {
        for key in [0, 1, 2, 1] {
            let whole = |it: Option<&[u8]>| {
                let (first, rest) = it.unwrap().split_at(8);
                let first = first.to_vec();
                point();
                first == rest
            };
            assert!(db.get_with(&[key], whole).unwrap(), "half of a value");
        }
        let snapshot = db.snapshot().unwrap();
        let before: Vec<_> = snapshot.iter().unwrap().map(Result::unwrap).collect();
        assert!(
            before.iter().eq(&snapshot.iter().unwrap().map(Result::unwrap).collect::<Vec<_>>())
        );
    };
    together(&[&|| write(1), &|| write(2), &read]);
    db.check().unwrap();
    let (bytes, count) = (db.data_bytes().unwrap(), db.count().unwrap());
    assert_eq!((bytes, count, db.commits().unwrap()), (3 * 17, 3, 9));
}

/// A put that one reader finds is in the counts that any reader asks for from then on,
/// and these are of one moment.
pub fn counts() {
    let db = InMemoryDB::new().unwrap();
    let numbers = || [db.count().unwrap(), db.data_bytes().unwrap() / 2, db.commits().unwrap()];
    let has = |n: u8| db.get(&[n]).unwrap().is_some();
    let write = || (0..3).for_each(|n| db.put_with(&[n], &[n], |_| Ok(())).unwrap());
    let read = || {
        for n in 0..3 {
            let found = has(n);
            let numbers = numbers();
            assert!(!found || numbers.iter().all(|it| *it > n.into()), "{n}, not counted");
            assert!(numbers.is_sorted(), "numbers of several moments");
            assert!(numbers[0] <= n.into() || has(n), "{n}, counted before it can be read");
        }
    };
    together(&[&write, &read, &read]);
    assert_eq!(numbers(), [3; 3]);
}

/// A write of many entries is seen whole, and a transaction beside it loses no increment.
pub fn long_writes() {
    let (memory, disk) = (InMemoryDB::new().unwrap(), SimDisk::new(1));
    let file = open(&disk, options());
    for db in [&*memory, &*file] {
        let write = || {
            for n in 1..3 {
                let value = [n];
                let entries = [b"a", b"b", b"c", b"d"].map(|key| (&key[..], &value[..]));
                db.write_all(entries).unwrap();
            }
        };
        let read = || {
            let mut last = 0;
            for _ in 0..2 {
                let first = number(db.get(b"a").unwrap());
                let snapshot = db.snapshot().unwrap();
                let [a, d] = [b"a", b"d"].map(|key| number(snapshot.get(key).unwrap()));
                assert_eq!((a, snapshot.count().unwrap()), (d, 4 * u64::from(a > 0)), "half of it");
                assert!(last <= first && first <= a, "a write was undone");
                last = number(db.get(b"d").unwrap());
                assert!(a <= last, "a write was undone");
            }
        };
        let follow = || {
            let mut txn = db.begin().unwrap();
            while {
                let now = number(txn.get(b"a").unwrap());
                txn.put(b"e", &[now]).unwrap();
                !txn.commit().unwrap()
            } {}
            let [now, last] = [b"e", b"a"].map(|key| number(db.get(key).unwrap()));
            assert!(now <= last);
            db.delete(b"e").unwrap();
        };
        together(&[&write, &read]);
        db.clear(None, None).unwrap();
        together(&[&write, &follow]);
        db.check().unwrap();
        assert_eq!(db.count().unwrap(), 4);
    }
}

fn number(value: Option<Vec<u8>>) -> u8 {
    value.map_or(0, |it| it[0])
}

pub fn transactions() {
    let disk = SimDisk::new(1);
    let db = open(&disk, options());
    let increment = || {
        let mut txn = db.begin().unwrap();
        loop {
            let next = number(txn.get(b"a").unwrap()) + 1;
            txn.put(b"a", &[next]).unwrap();
            txn.put(b"b", &[next]).unwrap();
            if txn.commit().unwrap() {
                break;
            }
        }
    };
    let look = || {
        let mut last = 0;
        for _ in 0..3 {
            let snapshot = db.snapshot().unwrap();
            let now = number(snapshot.get(b"a").unwrap());
            assert_eq!(number(snapshot.get(b"b").unwrap()), now, "half of a commit");
            assert!(now >= last, "a commit was undone");
            last = now;
        }
    };
    together(&[&increment, &increment, &look]);
    assert_eq!(number(db.get(b"a").unwrap()), 2);
    first_reader();
}

/// The first transaction begins while another commit is under way, and does not conflict
/// with it over a key that it did not read.
fn first_reader() {
    let disk = SimDisk::new(1);
    let db = open(&disk, options());
    let write = || drop(db.put(b"written", b"").unwrap());
    let read = || {
        let mut txn = db.begin().unwrap();
        assert_eq!(txn.get(b"read").unwrap(), None);
        txn.put(b"result", b"").unwrap();
        assert!(txn.commit().unwrap(), "a conflict about nothing");
    };
    together(&[&write, &read]);
}
