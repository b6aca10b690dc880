//! A soak: small and large values that drift in size, snapshots, transactions, large commits,
//! clears, checkpoints, backups and checks, all at the same time, in one process after the
//! other; every second one is killed. Memory, files, descriptors and threads keep to bounds.
//!
//! MINIDB_SOAK is the length in seconds: 5 without it, 300 with MINIDB_FULL. An hour is
//! `MINIDB_SOAK=3600 cargo test --release --test soak`.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use minidb::os::sim::Random;
use minidb::{DBError, DBResult, Database, Options, PersistentDB};

use support::folder::Folder;

/// Entries with short values, and with long ones.
const SMALL: usize = 20_000;
const LARGE: usize = 40;
const LARGE_MAX: usize = 200_000;
/// Live bytes of log for each checkpoint.
const CHECKPOINT: u64 = 4 << 20;

const MIB: u64 = 1 << 20;
/// No call takes as long: one that does hangs.
const HANGS: Duration = Duration::from_secs(60);

/// One process of the soak.
struct Life {
    db: Database,
    path: PathBuf,
    start: Instant,
    /// The longest call of each kind.
    longest: Mutex<BTreeMap<&'static str, Duration>>,
    stop: AtomicBool,
}

impl Life {
    fn time<T>(&self, kind: &'static str, call: impl FnOnce() -> DBResult<T>) -> DBResult<T> {
        let start = Instant::now();
        let result = call();
        let took = start.elapsed();
        assert!(took < HANGS, "{kind} took {took:?}");
        let mut longest = self.longest.lock().unwrap();
        let most = longest.entry(kind).or_default();
        *most = took.max(*most);
        result
    }

    /// A length that rises and falls with time.
    fn drifting(&self, random: &mut Random) -> usize {
        let seconds = self.start.elapsed().as_secs() as usize;
        20 + random.below(1 + [10, 60, 150, 300, 100][seconds % 5])
    }

    fn small(&self, random: &mut Random) -> DBResult<()> {
        let key = key(random.below(SMALL));
        if random.below(4) == 0 {
            return self.time("delete", || self.db.delete_with(&key, |_| Ok(()))).map(drop);
        }
        let value = vec![7; self.drifting(random)];
        self.time("put", || self.db.put_with(&key, &value, |_| Ok(())))
    }

    fn large(&self, random: &mut Random) -> DBResult<()> {
        let key = format!("large {}", random.below(LARGE));
        let value = vec![8; random.below(LARGE_MAX)];
        self.time("put of a large value", || self.db.put_with(key.as_bytes(), &value, |_| Ok(())))?;
        thread::sleep(Duration::from_millis(3));
        Ok(())
    }

    fn read(&self, random: &mut Random) -> DBResult<()> {
        let key = key(random.below(SMALL));
        self.time("get", || self.db.get_with(&key, |_| ()))?;
        if random.below(100) == 0 {
            let mut cursor = self.time("scan", || self.db.scan(Some(&key), None))?;
            for _ in 0..100 {
                if !self.time("next", || cursor.next())? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn transact(&self, random: &mut Random) -> DBResult<()> {
        let mut txn = self.time("begin", || self.db.begin())?;
        for _ in 0..5 {
            let key = key(random.below(SMALL));
            let len = txn.get_with(&key, |value| value.map_or(10, <[u8]>::len))?;
            txn.put(&key, &vec![9; len])?;
        }
        self.time("commit", || txn.commit()).map(drop)
    }

    /// The large steps, one after the other.
    fn keep_house(&self, random: &mut Random) -> DBResult<()> {
        let snapshot = self.time("snapshot", || self.db.snapshot())?;
        let count = snapshot.count()?;
        self.time("checkpoint", || self.db.checkpoint())?;
        let copy = self.path.with_extension("copy");
        self.time("backup", || self.db.backup(&copy))?;
        fs::remove_file(&copy).expect("the backup is there");
        let keys: Vec<_> = (0..SMALL / 2).map(|_| key(random.below(SMALL))).collect();
        let value = vec![6; self.drifting(random)];
        self.time("large commit", || self.db.write_all(keys.iter().map(|key| (key, &value))))?;
        let (from, to) = (random.below(SMALL), random.below(SMALL));
        let (from, to) = (key(from.min(to)), key(from.max(to).min(from + SMALL / 10)));
        self.time("clear", || self.db.clear(Some(&from), Some(&to)))?;
        self.time("check", || self.db.check())?;
        assert_eq!(snapshot.count()?, count, "a snapshot has changed");
        Ok(())
    }

    fn repeat(&self, seed: u64, step: fn(&Life, &mut Random) -> DBResult<()>) {
        let mut random = Random::new(seed);
        while !self.stop.load(Relaxed) {
            step(self, &mut random).expect("nothing is refused");
        }
    }

    /// Looks again and again whether the bounds are kept, and says how much there was.
    fn watch(&self, length: Duration) {
        let before = (entries("/proc/self/fd"), anonymous());
        let mut most = [0; 6];
        while self.start.elapsed() < length {
            thread::sleep(Duration::from_millis(100));
            let len = |extension| {
                let path = format!("{}{extension}", self.path.display());
                fs::metadata(path).map_or(0, |file| file.len())
            };
            let data = self.db.data_bytes().expect("it can be read");
            let (rss, file, log) = (anonymous().saturating_sub(before.1), len(""), len("-log"));
            let (descriptors, threads) = (entries("/proc/self/fd"), entries("/proc/self/task"));
            let now = [data, rss, file, log, descriptors, threads];
            (0..6).for_each(|i| most[i] = most[i].max(now[i]));
            // As README states, for the most data that there were; snapshots keep old pages.
            assert!(file + log <= 4 * most[0] + CHECKPOINT * 9 / 4 + 16 * MIB, "{now:?}");
            assert!(rss <= 4 * most[0] + 64 * MIB, "{now:?}");
            // The log; a backup, its folder, the files of this look.
            assert!(descriptors <= before.0 + 6, "{now:?}");
            assert!(threads <= 1 + 5 + 1, "{now:?}"); // the worker
        }
        let [data, rss, file, log, descriptors, threads] = most;
        let [data, rss, file, log] = [data, rss, file, log].map(|bytes| bytes / MIB);
        println!(
            "at most {data} MiB of data, {rss} of memory, {file} of file, {log} of log, \
             {descriptors} descriptors, {threads} threads; longest calls {:?}",
            self.longest.lock().unwrap()
        );
    }
}

fn key(n: usize) -> [u8; 12] {
    let mut key = *b"key 00000000";
    key[4..].copy_from_slice(format!("{n:08}").as_bytes());
    key
}

fn entries(folder: &str) -> u64 {
    fs::read_dir(folder).map_or(0, |entries| entries.count() as u64)
}

/// Bytes of memory of this process that are not from files, if the system tells.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|it| it.split_whitespace().next()).and_then(|it| it.parse().ok());
    kib.unwrap_or(0u64) * 1024
}

fn live(path: &Path, length: Duration, seed: u64) {
    let options = Options::new().checkpoint_bytes(CHECKPOINT);
    let options = if seed.is_multiple_of(3) { options } else { options.no_sync() };
    let db: Database = match PersistentDB::open(path, options) {
        Ok(db) => db.into(),
        Err(error) => panic!("{error}"),
    };
    let (start, longest) = (Instant::now(), Mutex::default());
    let life = Life { db, path: path.into(), start, longest, stop: AtomicBool::new(false) };
    thread::scope(|scope| {
        let steps = [Life::small, Life::large, Life::read, Life::transact, Life::keep_house];
        for (n, step) in (0..).zip(steps) {
            let life = &life;
            scope.spawn(move || life.repeat(seed * 10 + n, step));
        }
        life.watch(length);
        life.stop.store(true, Relaxed);
    });
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, life, path, millis, seed] = &arguments[..]
        && life == "life"
    {
        let number = |text: &String| text.parse::<u64>().expect("a number");
        return live(Path::new(path), Duration::from_millis(number(millis)), number(seed));
    }
    let full = if std::env::var_os("MINIDB_FULL").is_some() { 300 } else { 5 };
    let seconds = std::env::var("MINIDB_SOAK").map_or(full, |it| it.parse().expect("seconds"));
    let length = Duration::from_millis((seconds * 1000 / 6).clamp(1500, 60_000));
    let (folder, start, mut seed) = (Folder::new("soak"), Instant::now(), 0u64);
    let path = folder.file("soak.db");
    while start.elapsed() < Duration::from_secs(seconds) {
        seed += 1;
        println!("seed {seed}");
        let program = std::env::current_exe().expect("this program has a path");
        let mut life = Command::new(program);
        life.arg("life").arg(&path).arg(length.as_millis().to_string()).arg(seed.to_string());
        let mut life = life.stdin(Stdio::null()).spawn().expect("a process");
        if seed.is_multiple_of(2) {
            let part = Random::new(seed).below(length.as_millis() as usize) as u64;
            thread::sleep(Duration::from_millis(part));
            assert_eq!(life.try_wait().expect("a child"), None, "it ended early");
            life.kill().expect("it is there");
            life.wait().expect("it is there");
        } else {
            assert!(life.wait().expect("it is there").success());
        }
        match PersistentDB::open(&path, Options::new().read_only()) {
            Ok(db) => db.check().expect("it is whole"),
            Err(DBError::NotFound(_)) => {} // it was killed before
            Err(error) => panic!("{error}"),
        }
    }
    println!("soak: {seed} lives in {:?}", start.elapsed());
}
