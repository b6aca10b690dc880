//! The sizes that README states, in bytes for an entry, beside those that are measured.
//!
//! The counts depend on no clock, but for those with checkpoints in the background: their pace
//! decides how much is kept of the entries that are overwritten.

mod support;

use std::fs;

use minidb::os::sim::Random;
use minidb::{Database, InMemoryDB, Options, PersistentDB};

use support::folder::Folder;
use support::root;

/// Entries: as many as the table is about.
const N: u64 = 100_000;

/// The lengths of each key and value.
const KEY: usize = 16;
const VALUE: usize = 100;

/// The columns of the table: keys in the order in which they are put.
const KINDS: [&str; 3] = ["decimal keys, in order", "decimal keys, at random", "random bytes"];

fn keys(kind: &str) -> Vec<[u8; KEY]> {
    let mut random = Random::new(1);
    let decimal = |n: u64| format!("{n:0KEY$}").into_bytes().try_into().expect("16 digits");
    let mut key = |n| match kind {
        "decimal keys, in order" => decimal(n),
        "decimal keys, at random" => decimal(random.next() % 10u64.pow(KEY as u32)),
        _ => (u128::from(random.next()) << 64 | u128::from(random.next())).to_be_bytes(),
    };
    (0..N).map(&mut key).collect()
}

/// The most bytes of memory, and of file and log, while entries were put.
#[derive(Clone, Copy)]
struct Peak {
    memory: u64,
    files: u64,
}

/// Puts all entries, and looks at the sizes after each thousandth of them.
fn put_all<'a>(db: &Database, keys: impl Iterator<Item = &'a [u8; KEY]>, round: u8) -> Peak {
    let mut peak = Peak { memory: 0, files: 0 };
    for (n, key) in keys.enumerate() {
        db.put_with(key, &[n as u8 ^ round; VALUE], |_| Ok(())).unwrap();
        if n % 100 == 99 {
            peak.memory = peak.memory.max(db.memory_bytes().unwrap());
            peak.files = peak.files.max(db.file_bytes());
        }
    }
    peak
}

/// Overwrites all entries, in an order of its own.
fn overwrite(db: &Database, keys: &[[u8; KEY]], round: u8) -> Peak {
    let order = (0..N).map(|n| &keys[(n * 61_803_399 % N) as usize]);
    put_all(db, order, round)
}

/// A row of README's table: its numbers for each kind of keys.
fn stated(row: &str) -> [u64; KINDS.len()] {
    let readme = fs::read_to_string(root().join("README.md")).expect("README is there");
    let mut rows = readme.lines().map(|line| line.trim_matches('|').split('|').map(str::trim));
    let mut row = rows.find_map(|mut it| (it.next() == Some(row)).then_some(it)).expect(row);
    let mut number = || row.next().expect("each kind has a number").parse().expect("a number");
    [number(), number(), number()]
}

/// Compares bytes for an entry with a number of README, which rounds them up by `slack` percent
/// at most, or is a bound of which nothing more is said.
fn compare(row: &str, kind: usize, bytes: u64, slack: Option<u64>) {
    let (stated, measured) = (stated(row)[kind], bytes.div_ceil(N));
    println!("{}, {row}: {measured}, stated {stated}", KINDS[kind]);
    assert!(measured <= stated, "{}, {row}: {measured}, stated {stated}", KINDS[kind]);
    let lowest = slack.map_or(0, |slack| stated * (100 - slack) / 100);
    assert!(measured >= lowest, "{}, {row}: only {measured}, stated {stated}", KINDS[kind]);
}

const IN_MEMORY: &str = "memory, in memory: loading, overwriting";
const IN_A_FILE: &str = "memory, in a file: loading, overwriting, at most";
const CLOSED: &str = "file, closed, at most";
const LOADING: &str = "file and log, loading, at most";
const OVERWRITING: &str = "file and log, overwriting, at most";

#[test]
fn the_columns_of_the_table_are_the_kinds_of_keys() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README is there");
    assert!(readme.contains(&format!("| {} |", KINDS.join(" | "))));
}

#[test]
fn of_databases_in_memory() {
    for (n, kind) in KINDS.iter().enumerate() {
        let keys = keys(kind);
        let db: Database = InMemoryDB::new().unwrap().into();
        compare(IN_MEMORY, n, put_all(&db, keys.iter(), 0).memory, Some(3));
        compare(IN_MEMORY, n, overwrite(&db, &keys, 1).memory, Some(3));
        // A checkpoint keeps the pages of one moment until they are written, as a snapshot does.
        for round in 2..5 {
            let _checkpoint = db.snapshot().unwrap();
            compare(IN_A_FILE, n, overwrite(&db, &keys, round).memory, Some(10));
        }
    }
}

#[test]
fn of_databases_in_files() {
    // The least log for a checkpoint is small, so that it depends on the size of the file.
    let options = Options::new().no_sync().checkpoint_bytes(1 << 20);
    for (n, kind) in KINDS.iter().enumerate() {
        let keys = keys(kind);
        for (threads, options) in [(false, options.clone().no_threads()), (true, options.clone())] {
            let folder = Folder::in_memory("sizing");
            let path = folder.file("sizing.db");
            let db: Database = PersistentDB::open(&path, options).unwrap().into();
            let loading = put_all(&db, keys.iter(), 0);
            compare(IN_A_FILE, n, loading.memory, None);
            let rounds = if threads { 3 } else { 6 };
            let overwriting: Vec<_> = (0..rounds).map(|it| overwrite(&db, &keys, it)).collect();
            let most = |of: fn(&Peak) -> u64| overwriting.iter().map(of).max().unwrap();
            compare(IN_A_FILE, n, most(|it| it.memory), None);
            drop(db);
            let closed = fs::metadata(&path).unwrap().len();
            compare(CLOSED, n, closed, (!threads).then_some(20));
            if !threads {
                // How far a thread is behind depends on the machine.
                compare(LOADING, n, loading.files, Some(30));
                compare(OVERWRITING, n, most(|it| it.files), Some(20));
            }
        }
    }
}
