//! What a database in a file costs: how much a checkpoint writes, how large the
//! file is, how long opening takes. Times count in release builds only.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use minidb::os::disk::{Disk, File, How};
use minidb::os::system::System;
use minidb::{DB, Options, PersistentDB, Progress};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("minidb-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn db(&self) -> PathBuf {
        self.0.join("cost.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The machine's disk, with what is written to each file counted.
#[derive(Debug, Default)]
struct Counting {
    file: Arc<AtomicU64>,
    log: Arc<AtomicU64>,
    syncs: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Counted(Box<dyn File>, Arc<AtomicU64>, Arc<AtomicU64>);

impl Disk for Counting {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        System.resolve(path)
    }
    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn File>> {
        let is_log = path.to_string_lossy().ends_with("-log");
        let count = if is_log { &self.log } else { &self.file };
        Ok(Box::new(Counted(System.open(path, how)?, count.clone(), self.syncs.clone())))
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        System.rename_new(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        System.remove(path)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        System.sync_folder(path)
    }
    fn random(&self) -> io::Result<u64> {
        System.random()
    }
}

impl File for Counted {
    fn lock(&self, shared: bool) -> io::Result<bool> {
        self.0.lock(shared)
    }
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.0.is_at(path)
    }
    fn is_ordinary(&self) -> io::Result<bool> {
        self.0.is_ordinary()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_some(buffer, offset)
    }
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.0.write_some(bytes, offset)?;
        self.1.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.2.fetch_add(1, Ordering::Relaxed);
        self.0.sync()
    }
}

fn key(n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

fn value(n: u64) -> [u8; 100] {
    std::array::from_fn(|i| (n.wrapping_mul(0xff51_afd7_ed55_8ccd) >> (i % 57)) as u8)
}

fn fill(db: &PersistentDB, keys: impl Iterator<Item = u64>, salt: u64) {
    keys.for_each(|n| db.put_with(&key(n), &value(n ^ salt), |_| Ok(())).unwrap());
}

/// Time that this thread has run.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// A million entries of 116 bytes, or fewer where that takes long.
fn entries() -> u64 {
    if cfg!(debug_assertions) { 100_000 } else { 1_000_000 }
}

#[test]
fn a_checkpoint_costs_what_has_changed() {
    let folder = Folder::new("changed");
    let written = Arc::<AtomicU64>::default();
    let open = || {
        let disk = Counting { file: written.clone(), ..Counting::default() };
        let options = Options::new().no_sync().no_threads().checkpoint_bytes(u64::MAX);
        PersistentDB::open_on(Arc::new(disk), &folder.db(), options).unwrap()
    };
    let db = open();
    fill(&db, 0..entries(), 0);
    db.checkpoint().unwrap();
    let whole = std::fs::metadata(folder.db()).unwrap().len();
    let check = |db: &PersistentDB, what: &str, most: u64| {
        written.store(0, Ordering::Relaxed);
        db.checkpoint().unwrap();
        let share = written.load(Ordering::Relaxed) * 1000 / whole;
        assert!(share <= most, "{what}: {share} thousandths of the file were written");
        println!("{what}: {share} thousandths of {whole} bytes were written");
    };
    // Every hundredth key of all, in no order: they lie in as many leaves as can be.
    fill(&db, (0..entries()).step_by(100), 1);
    check(&db, "1 % overwritten", 100);
    let some: Vec<_> = (0..entries()).step_by(100).map(|n| (key(n), value(n ^ 2))).collect();
    db.write_all(some.iter().map(|(key, value)| (&key[..], &value[..]))).unwrap();
    check(&db, "1 % overwritten in one step", 100);
    fill(&db, entries()..entries() + entries() / 100, 3);
    check(&db, "1 % added", 100);
    for n in (0..entries()).step_by(100) {
        db.delete(&key(n)).unwrap();
    }
    check(&db, "1 % deleted", 100);
    check(&db, "nothing", 0);
    db.check().unwrap();
    drop(db);
    let db = open();
    check(&db, "nothing since it was opened", 0);
    fill(&db, (0..entries()).step_by(1000), 4);
    check(&db, "0.1 % overwritten", 30);
}

#[test]
fn a_transaction_costs_one_sync() {
    let folder = Folder::new("syncs");
    let disk = Counting::default();
    let syncs = disk.syncs.clone();
    let options = Options::new().no_threads();
    let db = PersistentDB::open_on(Arc::new(disk), &folder.db(), options).unwrap();
    let mut txn = db.begin().unwrap();
    (0..1_000).for_each(|n| txn.put(&key(n), &value(n)).unwrap());
    syncs.store(0, Ordering::Relaxed);
    assert!(txn.commit().unwrap());
    assert_eq!(syncs.load(Ordering::Relaxed), 1);
    (0..10).for_each(|n| drop(db.put(&key(n), b"").unwrap()));
    assert_eq!(syncs.load(Ordering::Relaxed), 11);
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
    let db = PersistentDB::open(folder.db(), options.clone()).unwrap();
    let live = count * 116;
    for round in 0..rounds {
        fill(&db, 0..count, round);
        db.checkpoint().unwrap();
        let len = std::fs::metadata(folder.db()).unwrap().len();
        assert!(len * 10 < live * 25, "round {round}: the file has {len} bytes for {live}");
    }
    let all = db.file_bytes();
    assert!(all < 6 * live, "file and log have {all} bytes for {live}");
    drop(db);
    let len = std::fs::metadata(folder.db()).unwrap().len();
    assert!(len * 100 <= live * 135, "closed, the file has {len} bytes for {live}");
    let db = PersistentDB::open(folder.db(), options).unwrap();
    db.check().unwrap();
    assert_eq!(db.get(&key(7)).unwrap(), Some(value(7 ^ (rounds - 1)).to_vec()));
}

#[test]
fn opening_and_replaying_are_fast_and_can_be_watched() {
    let folder = Folder::new("opening");
    let count = entries();
    let options = || Options::new().no_sync().no_threads().checkpoint_bytes(u64::MAX);
    let db = PersistentDB::open(folder.db(), options()).unwrap();
    fill(&db, 0..count, 0);
    // As if it had been killed here: both files as they are now.
    let killed = folder.0.join("killed.db");
    let log = |path: &Path| PathBuf::from(format!("{}-log", path.display()));
    std::fs::copy(folder.db(), &killed).unwrap();
    std::fs::copy(log(&folder.db()), log(&killed)).unwrap();
    drop(db);
    let len = std::fs::metadata(folder.db()).unwrap().len();
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
    let loading = open(&folder.db());
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
