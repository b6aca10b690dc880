//! The latency of single calls beside what may hold them up: a checkpoint, a large commit,
//! a backup, a held snapshot.
//!
//! `cargo bench --bench latency` prints a table in microseconds. One thread makes the calls,
//! one after the other; another one makes the load, again and again. `-- ENTRIES SECONDS`
//! sets the size of the database and the time for each line, 1,000,000 and 2 to begin with.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use minidb::os::sim::Random;
use minidb::{DBResult, Database, InMemoryDB, Options, PersistentDB};

/// What the keys and their order follow from; printed.
const SEED: u64 = 20_261_201;
/// The writes of a large commit, as a part of all entries.
const LARGE: u64 = 4;
/// The puts of a commit whose latency is measured.
const PUTS: u64 = 10;

const VALUE: [u8; 100] = [7; 100];

struct Bench {
    db: Database,
    entries: u64,
    length: Duration,
    copy: PathBuf,
}

/// A call whose latency is measured.
type Call = fn(&Bench, &mut Random) -> DBResult<()>;
/// A load, once.
type Load = fn(&Bench, &mut Random) -> DBResult<()>;

const CALLS: [(&str, Call); 3] = [
    ("get", |bench, random| bench.db.get_with(&bench.key(random), |_| ())),
    ("put", |bench, random| bench.db.put_with(&bench.key(random), &VALUE, |_| Ok(()))),
    ("commit", |bench, random| {
        let mut txn = bench.db.begin()?;
        (0..PUTS).try_for_each(|_| txn.put(&bench.key(random), &VALUE))?;
        txn.commit().map(drop)
    }),
];

const LOADS: [(&str, Load); 5] = [
    ("nothing", |_, _| {
        std::thread::sleep(Duration::from_millis(10));
        Ok(())
    }),
    ("checkpoints", |bench, _| bench.db.checkpoint()),
    ("large commits", |bench, random| {
        let keys: Vec<_> = (0..bench.entries / LARGE).map(|_| bench.key(random)).collect();
        bench.db.write_all(keys.iter().map(|key| (key, &VALUE)))
    }),
    ("backups", |bench, _| {
        bench.db.backup(&bench.copy)?;
        std::fs::remove_file(&bench.copy).expect("it was made");
        Ok(())
    }),
    ("a held snapshot", |bench, _| {
        let _snapshot = bench.db.snapshot()?;
        std::thread::sleep(bench.length / 4);
        Ok(())
    }),
];

impl Bench {
    fn key(&self, random: &mut Random) -> [u8; 16] {
        let mut key = [0; 16];
        let n = random.next() % self.entries;
        key[..8].copy_from_slice(&Random::new(n).next().to_be_bytes());
        key
    }

    /// The sorted latencies of a call beside a load, in ns.
    fn latencies(&self, call: Call, load: Load) -> Vec<u64> {
        let stop = AtomicBool::new(false);
        let mut took = Vec::with_capacity(1 << 24);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random::new(SEED + 1);
                while !stop.load(Ordering::Relaxed) {
                    load(self, &mut random).expect("the load goes on");
                }
            });
            let (start, mut random) = (Instant::now(), Random::new(SEED));
            while start.elapsed() < self.length && took.len() < took.capacity() {
                let before = Instant::now();
                call(self, &mut random).expect("the call succeeds");
                took.push(before.elapsed().as_nanos() as u64);
            }
            stop.store(true, Ordering::Relaxed);
        });
        took.sort_unstable();
        took
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|it| it.parse().ok());
    let (entries, seconds) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(2));
    let folder = std::env::temp_dir().join(format!("minidb-latency-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("it is new");
    println!("seed {SEED}, {entries} entries, {seconds} s for each line; microseconds");
    println!("| database | call | beside | calls | p50 | p99 | p99.9 | longest |");
    println!("| --- | --- | --- | --: | --: | --: | --: | --: |");
    for kind in ["in memory", "nosync", "durable"] {
        let db = open(kind, &folder.join(kind));
        let (length, copy) = (Duration::from_secs(seconds), folder.join("copy"));
        let bench = Bench { db, entries, length, copy };
        let keys: Vec<_> = (0..entries).map(|n| Random::new(n).next().to_be_bytes()).collect();
        let fill = keys.chunks(10_000).try_for_each(|keys| {
            let wide: Vec<_> = keys.iter().map(|key| [&key[..], &[0; 8]].concat()).collect();
            bench.db.write_all(wide.iter().map(|key| (key, &VALUE)))
        });
        fill.expect("there is space");
        for (name, call) in CALLS {
            for (load_name, load) in LOADS {
                if kind == "in memory" && load_name == "checkpoints" {
                    continue;
                }
                let took = bench.latencies(call, load);
                let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize] as f64 / 1e3;
                let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(at);
                println!(
                    "| {kind} | {name} | {load_name} | {} | {p50:.1} | {p99:.1} | {p999:.1} | {most:.0} |",
                    took.len()
                );
            }
        }
    }
    std::fs::remove_dir_all(&folder).expect("it is there");
}

fn open(kind: &str, path: &Path) -> Database {
    let open = |options| PersistentDB::open(path, options).map(Database::from);
    match kind {
        "in memory" => InMemoryDB::new().map(Database::from),
        "nosync" => open(Options::new().no_sync()),
        _ => open(Options::new()),
    }
    .expect("it is new")
}
