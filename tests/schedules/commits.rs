//! Commits to a file, and what happens beside them.

use std::sync::Mutex;

use minidb::os::sim::{Call, Fate, Fault, SimDisk};
use minidb::{DB, DBError, PersistentDB};

use crate::runner::{Known, keys, open, options, together};

fn key(thread: u8, n: u8) -> [u8; 2] {
    [b'a' + thread, b'0' + n]
}

pub fn group_commit() {
    let disk = SimDisk::new(1);
    let (db, known) = (open(&disk, options()), Known::default());
    let write = |thread| {
        for n in 0..2 {
            db.put(&key(thread, n), b"").unwrap();
            known.add(&disk, &key(thread, n));
        }
    };
    let read = || {
        for _ in 0..3 {
            keys(&db).iter().for_each(|key| known.add(&disk, key));
        }
        if db.get(&key(0, 1)).unwrap().is_some() {
            known.add(&disk, &key(0, 1));
        }
    };
    // Whether it finds the key or puts it, then it is known to be there.
    let ask = || {
        db.cas(&key(0, 0), None, Some(b"")).unwrap();
        known.add(&disk, &key(0, 0));
    };
    together(&[&|| write(0), &|| write(1), &|| write(2), &read, &ask]);
    assert_eq!(keys(&db).len(), 6);
    known.verify(&disk);
}

/// Three threads commit while a call fails; returns which keys were
/// acknowledged, in order, and the errors.
fn failing(db: &PersistentDB) -> (Vec<Vec<u8>>, Vec<DBError>) {
    let (done, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let write = |thread| {
        for n in 0..2 {
            match db.put(&key(thread, n), b"") {
                Ok(_) => done.lock().unwrap().push(key(thread, n).to_vec()),
                Err(error) => failed.lock().unwrap().push(error),
            }
        }
    };
    together(&[&|| write(0), &|| write(1), &|| write(2)]);
    let mut done = done.into_inner().unwrap();
    done.sort();
    (done, failed.into_inner().unwrap())
}

pub fn failed_sync() {
    let disk = SimDisk::new(1);
    let db = open(&disk, options());
    let (kinds, errno) = (&[Call::Sync], libc::EIO);
    disk.fail(Fault { at: 1, errno, forever: false, kinds, short: false });
    disk.lose_after_failed_sync(true);
    let (done, failed) = failing(&db);
    assert!(failed.iter().all(|it| matches!(it, DBError::Io(..))), "{failed:?}");
    assert_eq!(keys(&db), done);
    assert!(matches!(db.put(b"later", b""), Err(DBError::Io(..))) || failed.is_empty());
    let image = disk.crash(disk.operations(), Fate::DropAll);
    assert_eq!(keys(&open(&image, options().read_only())), done);
}

pub fn full() {
    let disk = SimDisk::new(1);
    let db = open(&disk, options());
    let (kinds, errno) = (&[Call::WriteSome], libc::ENOSPC);
    disk.fail(Fault { at: 0, errno, forever: false, kinds, short: true });
    let (mut done, failed) = failing(&db);
    assert!(!failed.is_empty() && failed.iter().all(|it| matches!(it, DBError::Full(_))));
    assert_eq!(keys(&db), done);
    db.put(b"later", b"").unwrap();
    done.push(b"later".to_vec());
    for fate in [Fate::DropAll, Fate::KeepAll] {
        let image = disk.crash(disk.operations(), fate);
        assert_eq!(keys(&open(&image, options().read_only())), done);
    }
}

/// The keys of a database, and how many commits made them.
fn all(db: &PersistentDB) -> (Vec<Vec<u8>>, u64) {
    db.check().unwrap();
    (keys(db), db.commits().unwrap())
}

fn all_after(disk: &SimDisk, fate: Fate) -> (Vec<Vec<u8>>, u64) {
    all(&open(&disk.crash(disk.operations(), fate), options()))
}

pub fn checkpoints() {
    let disk = SimDisk::new(1);
    let (db, known) = (open(&disk, options().checkpoint_bytes(1_000)), Known::default());
    let write = |thread| {
        for n in 0..4 {
            db.put(&key(thread, n), &[thread; 600]).unwrap();
            if n > 0 {
                known.add(&disk, &key(thread, n)); // the first is deleted again
            }
        }
        db.delete(&key(thread, 0)).unwrap().unwrap();
    };
    let fold = || {
        db.checkpoint().unwrap();
        db.check().unwrap();
    };
    together(&[&|| write(0), &|| write(1), &fold]);
    let made = all(&db);
    assert_eq!((made.0.len(), made.1), (6, 10));
    for fate in [Fate::DropAll, Fate::KeepAll] {
        assert_eq!(all_after(&disk, fate), made);
    }
    known.verify(&disk);
    drop(db);
    assert_eq!(all(&open(&disk, options().read_only())), made);
}

pub fn without_sync() {
    let disk = SimDisk::new(1);
    let db = open(&disk, options().no_sync().checkpoint_bytes(1_000));
    let known = Known::default();
    let write = |thread| {
        for n in 0..3 {
            db.put(&key(thread, n), &[thread; 300]).unwrap();
        }
    };
    let sync = || {
        for _ in 0..2 {
            let seen = keys(&db);
            db.sync().unwrap();
            seen.iter().for_each(|key| known.add(&disk, key));
        }
    };
    together(&[&|| write(0), &|| write(1), &sync]);
    let made = all(&db);
    assert_eq!((made.0.len(), made.1), (6, 6));
    assert_eq!(all_after(&disk, Fate::KeepAll), made);
    known.verify(&disk);
}

/// Three writers and the worker; some checkpoints fail, after which writing goes on.
pub fn slowed() {
    for fails in [false, true] {
        let disk = SimDisk::new(1);
        let db = open(&disk, minidb::Options::new().no_sync().checkpoint_bytes(1_000));
        if fails {
            let (kinds, errno) = (&[Call::Sync], libc::EIO);
            disk.fail(Fault { at: 1, errno, forever: false, kinds, short: false });
        }
        let write = |thread| {
            for n in 0..12 {
                db.put(&key(thread, n % 2), &[thread; 600]).unwrap();
            }
        };
        together(&[&|| write(0), &|| write(1), &|| write(2)]);
        // Two and a quarter times 1,000, a commit of each thread, and gaps between them.
        let log = disk.contents("db-log".as_ref()).unwrap().len();
        assert!(fails || log <= 4096 + 2 * (2_250 + 3 * 700), "{log}");
        assert_eq!(all(&db), all_after(&disk, Fate::KeepAll));
    }
}
