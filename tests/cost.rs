//! What a database in a file costs: how much a checkpoint writes, how large the
//! file is, how long opening takes. Times count in release builds only.

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use minidb::os::sim::Random;
use minidb::{DB, InMemoryDB, Options, PersistentDB, Progress, Transaction};

use support::cpu::on_cpu;
use support::disk::{Watch, Watched};
use support::folder::Folder;

/// Counts what is written to the file, and syncs.
#[derive(Debug, Default)]
struct Counting {
    written: AtomicU64,
    syncs: AtomicU64,
}

impl Watch for Counting {
    fn written(&self, file: &Path, bytes: u64) {
        if !file.to_string_lossy().ends_with("-log") {
            self.written.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn syncs(&self, _: &Path) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }
}

/// A new database in a folder, and what counts its calls.
fn counted(folder: &Folder, options: Options) -> (PersistentDB, Arc<Counting>) {
    let counting = Arc::new(Counting::default());
    let disk = Arc::new(Watched(counting.clone()));
    (PersistentDB::open_on(disk, folder.file("cost.db"), options).unwrap(), counting)
}

/// Key number `n`: the order of the keys is fixed, and spreads any row of numbers evenly.
fn key(n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

fn value(n: u64) -> [u8; 100] {
    let mut random = Random::new(n);
    let words: [u64; 13] = std::array::from_fn(|_| random.next());
    std::array::from_fn(|i| (words[i / 8] >> (i % 8 * 8)) as u8)
}

fn fill(db: &PersistentDB, keys: impl Iterator<Item = u64>, salt: u64) {
    keys.for_each(|n| db.put_with(&key(n), &value(n ^ salt), |_| Ok(())).unwrap());
}

/// A million entries of 116 bytes, or fewer where that takes long.
fn entries() -> u64 {
    if cfg!(debug_assertions) { 100_000 } else { 1_000_000 }
}

#[test]
fn a_checkpoint_costs_what_has_changed() {
    let folder = Folder::new("changed");
    let options = Options::new().no_sync().no_threads().checkpoint_bytes(u64::MAX);
    let (db, counting) = counted(&folder, options.clone());
    fill(&db, 0..entries(), 0);
    db.checkpoint().unwrap();
    let whole = std::fs::metadata(folder.file("cost.db")).unwrap().len();
    let check = |db: &PersistentDB, counting: &Counting, what: &str, most: u64| {
        counting.written.store(0, Ordering::Relaxed);
        db.checkpoint().unwrap();
        let share = counting.written.load(Ordering::Relaxed) * 1000 / whole;
        assert!(share <= most, "{what}: {share} thousandths of the file were written");
        println!("{what}: {share} thousandths of {whole} bytes were written");
    };
    // Every hundredth key of all, in no order: they lie in as many leaves as can be.
    fill(&db, (0..entries()).step_by(100), 1);
    check(&db, &counting, "1 % overwritten", 100);
    let some: Vec<_> = (0..entries()).step_by(100).map(|n| (key(n), value(n ^ 2))).collect();
    db.write_all(some.iter().map(|(key, value)| (&key[..], &value[..]))).unwrap();
    check(&db, &counting, "1 % overwritten in one step", 100);
    fill(&db, entries()..entries() + entries() / 100, 3);
    check(&db, &counting, "1 % added", 100);
    for n in (0..entries()).step_by(100) {
        db.delete(&key(n)).unwrap();
    }
    check(&db, &counting, "1 % deleted", 100);
    check(&db, &counting, "nothing", 0);
    db.check().unwrap();
    drop(db);
    let (db, counting) = counted(&folder, options);
    check(&db, &counting, "nothing since it was opened", 0);
    fill(&db, (0..entries()).step_by(1000), 4);
    check(&db, &counting, "0.1 % overwritten", 30);
}

#[test]
fn a_transaction_costs_one_sync() {
    let folder = Folder::new("syncs");
    let (db, counting) = counted(&folder, Options::new().no_threads());
    let mut txn = db.begin().unwrap();
    (0..1_000).for_each(|n| txn.put(&key(n), &value(n)).unwrap());
    counting.syncs.store(0, Ordering::Relaxed);
    assert!(txn.commit().unwrap());
    assert_eq!(counting.syncs.load(Ordering::Relaxed), 1);
    (0..10).for_each(|n| drop(db.put(&key(n), b"").unwrap()));
    assert_eq!(counting.syncs.load(Ordering::Relaxed), 11);
}

/// Processor time of the last thousand of `writes` writes in a transaction, each with a
/// question about the totals.
fn counting(writes: u64, write: impl Fn(&mut Transaction, u64)) -> Duration {
    let db = InMemoryDB::new().unwrap();
    (0..writes).for_each(|n| drop(db.put(&key(n), b"value").unwrap()));
    let mut txn = db.begin().unwrap();
    let mut last = on_cpu();
    for n in 0..writes {
        if n == writes - 1_000 {
            last = on_cpu();
        }
        write(&mut txn, n);
        assert!(txn.count().unwrap() <= 2 * writes && txn.data_bytes().is_ok());
    }
    on_cpu() - last
}

#[test]
fn the_count_of_a_large_transaction_costs_as_that_of_a_small_one() {
    let put = |txn: &mut Transaction, n: u64| txn.put(&key(n * 3 / 2), b"mine").unwrap();
    let clear = |txn: &mut Transaction, n: u64| {
        let (from, to) = (key(n), [&key(n)[..], b"z"].concat());
        txn.clear(Some(&from), Some(&to)).unwrap();
    };
    let clear_all = |txn: &mut Transaction, n: u64| {
        txn.clear(None, None).unwrap();
        txn.put(&key(n % 7), b"mine").unwrap();
    };
    type Write = fn(&mut Transaction, u64);
    let kinds: [(&str, Write); 3] =
        [("put", put), ("clear of a range", clear), ("clear of all", clear_all)];
    for (name, write) in kinds {
        // Of several measurements the best, since caches and other processes disturb them.
        let best = |writes| (0..9).map(|_| counting(writes, write)).min().unwrap();
        let (small, large) = (best(2_000), best(40_000));
        println!("{name}: {small:?} and {large:?} for 1,000 writes");
        assert!(large < 5 * small, "{name}: {small:?} became {large:?}");
    }
}

#[test]
fn a_file_that_is_overwritten_for_ever_stays_small() {
    let folder = Folder::new("overwritten");
    let count = 100_000;
    let rounds = match std::env::var_os("MINIDB_FULL").is_some() {
        true if !cfg!(debug_assertions) => 1_000,
        _ => 5,
    };
    let options = Options::new().no_sync().no_threads().checkpoint_bytes(u64::MAX);
    let db = PersistentDB::open(folder.file("cost.db"), options.clone()).unwrap();
    let live = count * 116;
    for round in 0..rounds {
        fill(&db, 0..count, round);
        db.checkpoint().unwrap();
        let len = std::fs::metadata(folder.file("cost.db")).unwrap().len();
        assert!(len * 10 < live * 25, "round {round}: the file has {len} bytes for {live}");
    }
    let all = db.file_bytes();
    assert!(all < 6 * live, "file and log have {all} bytes for {live}");
    drop(db);
    let len = std::fs::metadata(folder.file("cost.db")).unwrap().len();
    assert!(len * 100 <= live * 135, "closed, the file has {len} bytes for {live}");
    let db = PersistentDB::open(folder.file("cost.db"), options).unwrap();
    db.check().unwrap();
    assert_eq!(db.get(&key(7)).unwrap(), Some(value(7 ^ (rounds - 1)).to_vec()));
}

/// The length of the data file.
fn len_of(folder: &Folder) -> u64 {
    std::fs::metadata(folder.file("cost.db")).unwrap().len()
}

#[test]
fn a_file_shrinks_while_it_is_open() {
    let folder = Folder::new("shrinking");
    let options = Options::new().no_sync().no_threads();
    let db = PersistentDB::open(folder.file("cost.db"), options.clone()).unwrap();
    fill(&db, 0..20_000, 0);
    db.checkpoint().unwrap();
    // Long values and short ones, so that what stays lies before, between and behind.
    let burst = 200u64;
    for n in 0..burst {
        db.put(format!("burst {n}").as_bytes(), &vec![n as u8; 1 << 20]).unwrap();
        fill(&db, n * 100..n * 100 + 100, 1);
    }
    db.checkpoint().unwrap();
    assert!(len_of(&folder) > burst << 20);
    (0..burst).for_each(|n| drop(db.delete(format!("burst {n}").as_bytes()).unwrap()));
    let lens: Vec<u64> = (0..8)
        .map(|_| {
            db.checkpoint().unwrap();
            len_of(&folder)
        })
        .collect();
    println!("{lens:?}");
    assert!(lens[0] <= lens[7] + (burst << 20) && lens.is_sorted_by(|one, next| one >= next));
    assert!(lens[7] * 10 < db.data_bytes().unwrap() * 25 + 10 * (1 << 19), "{lens:?}");
    db.check().unwrap();
    drop(db);
    let db = PersistentDB::open(folder.file("cost.db"), options).unwrap();
    db.check().unwrap();
    assert_eq!(db.count().unwrap(), 20_000);
    assert_eq!(db.get(&key(7)).unwrap(), Some(value(7 ^ 1).to_vec()));
}

#[test]
fn a_closed_file_holds_little_more_than_a_value_that_was_overwritten_often() {
    let folder = Folder::new("rewritten");
    let options = Options::new().no_sync().no_threads();
    let len = 3 << 20;
    for every in [1, 5, 100] {
        let db = PersistentDB::open(folder.file("cost.db"), options.clone()).unwrap();
        for n in 0..30u8 {
            db.put(b"large", &vec![n; len]).unwrap();
            if n % every == 0 {
                db.checkpoint().unwrap();
            }
        }
        let open = len_of(&folder);
        drop(db);
        println!("{open} bytes, closed {}", len_of(&folder));
        assert!(open < 3 * len as u64 && len_of(&folder) * 100 < len as u64 * 110);
    }
}

/// Bytes of the data file and of the log, on disk.
fn lengths(folder: &Folder) -> (u64, u64) {
    let len = |name| std::fs::metadata(folder.file(name)).map_or(0, |it| it.len());
    (len("cost.db"), len("cost.db-log"))
}

#[test]
fn file_and_log_have_a_bound_while_all_is_overwritten() {
    let small = 256 << 10;
    for options in [Options::new().no_sync(), Options::new().no_sync().no_threads()] {
        let folder = Folder::new("bound");
        let count = if cfg!(debug_assertions) { 50_000 } else { 300_000 };
        let options = options.checkpoint_bytes(small);
        let db = PersistentDB::open(folder.file("cost.db"), options).unwrap();
        fill(&db, 0..count, 0);
        let (data, mut most) = (count * 116, (0, 0, 0));
        for round in 1..8 {
            for from in (0..count).step_by(1_000) {
                // In another order than that of the keys, and than that of the last round.
                fill(&db, (from..from + 1_000).map(|n| n * 7_919 % count), round);
                let (file, log) = lengths(&folder);
                most = most.max((file + log, file, log));
            }
        }
        println!("{data} bytes of data, at most {most:?} (both, file, log)");
        assert!(most.0 < 4 * data + (2 << 20), "file and log have {most:?} bytes for {data}");
        db.check().unwrap();
    }
}

#[test]
fn a_log_is_small_again_after_a_burst() {
    for options in [Options::new(), Options::new().no_sync()] {
        let folder = Folder::new("burst");
        let options = options.no_threads();
        let db = PersistentDB::open(folder.file("cost.db"), options).unwrap();
        let value = vec![1; 1 << 20];
        (0..50).for_each(|n| drop(db.put(&key(n), &value).unwrap()));
        assert!(lengths(&folder).1 > 50 << 20);
        db.clear(None, None).unwrap();
        (0..2).for_each(|_| db.checkpoint().unwrap());
        let (_, log) = lengths(&folder);
        assert!(log <= 2 << 20, "the log has {log} bytes");
        (0..50).for_each(|n| drop(db.put(&key(n), b"").unwrap()));
        db.check().unwrap();
        assert_eq!(db.count(), Ok(50));
    }
}

#[test]
fn opening_and_replaying_are_fast_and_can_be_watched() {
    let folder = Folder::new("opening");
    let count = entries();
    let options = || Options::new().no_sync().no_threads().checkpoint_bytes(u64::MAX);
    let db = PersistentDB::open(folder.file("cost.db"), options()).unwrap();
    fill(&db, 0..count, 0);
    // As if it had been killed here: both files as they are now.
    let killed = folder.file("killed.db");
    let log = |path: &Path| PathBuf::from(format!("{}-log", path.display()));
    std::fs::copy(folder.file("cost.db"), &killed).unwrap();
    std::fs::copy(log(&folder.file("cost.db")), log(&killed)).unwrap();
    drop(db);
    let len = std::fs::metadata(folder.file("cost.db")).unwrap().len();
    assert!(len * 100 <= count * 116 * 135, "the file has {len} bytes");

    let seen = Arc::new(Mutex::new(Vec::new()));
    let open = |path: &Path| {
        let seen = seen.clone();
        let options = options().on_progress(move |progress| seen.lock().unwrap().push(progress));
        let (start, busy) = (Instant::now(), on_cpu());
        let db = PersistentDB::open(path, options).unwrap();
        assert_eq!(db.count().unwrap(), count);
        (start.elapsed(), on_cpu() - busy)
    };
    let loading = open(&folder.file("cost.db"));
    assert!(seen.lock().unwrap().iter().any(|it| matches!(it, Progress::Loading(..))));
    let replaying = open(&killed);
    assert!(seen.lock().unwrap().iter().any(|it| matches!(it, Progress::Replaying(..))));
    println!("{count} entries: loaded in {loading:?}, replayed in {replaying:?}");
    if !cfg!(debug_assertions) {
        // On a machine that does much else the clock on the wall says little.
        assert!(loading.1 < Duration::from_secs(1), "{loading:?} to load {count} entries");
        let limit = Duration::from_secs_f64(count as f64 / 500_000.0);
        assert!(replaying.1 < limit, "{replaying:?} to replay {count} records");
    }
}
