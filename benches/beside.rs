//! One reader beside one writer: how fast each is, alone and together, and how
//! long the reader's calls take. And a million puts in one transaction.
//!
//! `cargo bench --bench beside` prints millions of calls a second, and the
//! reader's 99th percentile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use minidb::InMemoryDB;
use minidb::os::sim::Random;

const ENTRIES: u64 = 1_000_000;
/// How often a million puts are measured; the median is told.
const ROUNDS: usize = 9;
/// What the numbers follow from; printed.
const SEED: u64 = 20_261_130;
const LENGTH: Duration = Duration::from_secs(2);

fn key(n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&Random::new(n % ENTRIES).next().to_be_bytes());
    key
}

/// Calls `work` with pseudo-random numbers until it is time; calls a second.
fn pace(stop: &AtomicBool, mut work: impl FnMut(u64)) -> f64 {
    let (start, mut count, mut random) = (Instant::now(), 0u64, Random::new(SEED));
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..64 {
            work(random.next());
        }
        count += 64;
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// Runs each of them, if it is there, for a while at the same time.
fn together(
    reader: Option<&mut (dyn FnMut(u64) + Send)>,
    writer: Option<&(dyn Fn(u64) + Sync)>,
) -> (f64, f64) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stopped = &stop;
        let reading = reader.map(|work| scope.spawn(move || pace(stopped, work)));
        let writing = writer.map(|work| scope.spawn(move || pace(stopped, work)));
        std::thread::sleep(LENGTH);
        stop.store(true, Ordering::Relaxed);
        let pace = |thread: Option<std::thread::ScopedJoinHandle<'_, f64>>| {
            thread.map_or(0.0, |thread| thread.join().expect("it does not panic"))
        };
        (pace(reading), pace(writing))
    })
}

/// A million puts, each by itself and all in one transaction, of keys in random
/// order and in their own: ns for each, from an empty database to a closed one.
fn single_and_together() {
    let ascending = |n: u64| u128::from(n).to_be_bytes();
    for (order, key) in [("random", key as fn(u64) -> [u8; 16]), ("ascending", ascending)] {
        let keys: Vec<_> = (0..ENTRIES).map(key).collect();
        let each = |work: &dyn Fn(&InMemoryDB)| {
            let start = Instant::now();
            let db = InMemoryDB::new().expect("memory");
            work(&db);
            assert_eq!(db.count().expect("memory"), ENTRIES);
            drop(db);
            start.elapsed().as_nanos() as f64 / ENTRIES as f64
        };
        let single = |db: &InMemoryDB| {
            let put = |key: &[u8; 16]| db.put_with(key, &[7; 100], |_| Ok(())).expect("memory");
            keys.iter().for_each(put);
        };
        let together = |db: &InMemoryDB| {
            let mut txn = db.begin().expect("memory");
            keys.iter().for_each(|key| txn.put(key, &[7; 100]).expect("memory"));
            assert!(txn.commit().expect("memory"), "what reads nothing commits");
        };
        let mut rounds = [(); ROUNDS].map(|()| (each(&single), each(&together)));
        let ratio = |(single, together): (f64, f64)| together / single;
        rounds.sort_by(|one, other| ratio(*one).total_cmp(&ratio(*other)));
        let (single, together) = rounds[ROUNDS / 2];
        println!(
            "a put, {order}: {single:.0} ns; of a million in one transaction, {together:.0} ns \
             ({:.2}, of {ROUNDS} rounds {:.2} to {:.2})",
            together / single,
            ratio(rounds[0]),
            ratio(rounds[ROUNDS - 1]),
        );
    }
}

fn main() {
    println!("seed {SEED}");
    single_and_together();
    let db = InMemoryDB::new().expect("memory");
    let put = |n: u64| db.put_with(&key(n), &[n as u8; 100], |_| Ok(())).expect("memory");
    (0..ENTRIES).for_each(put);
    let get = |n: u64| drop(db.get_with(&key(n), |value| value.map(<[u8]>::len)));
    let mut slowest: Vec<u32> = Vec::with_capacity(50_000_000);
    let mut timed = |n: u64| {
        let start = Instant::now();
        get(n);
        slowest.push(start.elapsed().as_nanos().min(u32::MAX.into()) as u32);
    };
    let read_alone = together(Some(&mut |n| get(n)), None).0;
    let write_alone = together(None, Some(&put)).1;
    let (read, write) = together(Some(&mut |n| get(n)), Some(&put));
    together(Some(&mut timed), Some(&put));
    slowest.sort_unstable();
    let p99 = slowest[slowest.len() * 99 / 100];
    println!(
        "reader: {:.2} M/s alone, {:.2} beside a writer ({:.0} %)",
        read_alone / 1e6,
        read / 1e6,
        read / read_alone * 100.0
    );
    println!(
        "writer: {:.2} M/s alone, {:.2} beside a reader ({:.0} %)",
        write_alone / 1e6,
        write / 1e6,
        write / write_alone * 100.0
    );
    println!("99 % of the reader's calls beside the writer took at most {p99} ns");
}
