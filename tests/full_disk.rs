//! Full disks: what frees space works in every state that a refused commit leaves.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use minidb::os::sim::{Fate, Random, SimDisk};
use minidb::planted::{Bug, plant};
use minidb::{DB, DBError, DBResult, Options, PersistentDB};

const FILE: &str = "/db";
const SPACE: u64 = 1 << 20;

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

fn open(disk: &SimDisk, no_sync: bool) -> DBResult<PersistentDB> {
    let options = Options::new().no_threads();
    let options = if no_sync { options.no_sync() } else { options };
    PersistentDB::open_on(Arc::new(disk.clone()), Path::new(FILE), options)
}

/// How a disk is filled.
#[derive(Clone, Copy, Debug)]
struct Load {
    no_sync: bool,
    /// Whether keys come in their order.
    in_order: bool,
    /// The length of values, and the entries of a commit.
    len: usize,
    batch: usize,
    /// A checkpoint is made after so many commits.
    every: usize,
}

fn loads() -> Vec<Load> {
    let mut loads = Vec::new();
    for (len, batch, every) in [(1000, 1, 0), (100, 1, 0), (3000, 1, 7), (20, 50, 0), (0, 20, 90)] {
        for no_sync in [false, true] {
            let in_order = loads.len() % 3 != 1;
            loads.push(Load { no_sync, in_order, len, batch, every });
        }
    }
    loads
}

struct Full {
    disk: SimDisk,
    db: Option<PersistentDB>,
    all: Contents,
    load: Load,
    rng: Random,
    next: u32,
}

impl Full {
    /// A database on a disk that it fills until a put is refused.
    fn new(load: Load, seed: u64) -> Full {
        println!("seed {seed}, {load:?}");
        let disk = SimDisk::new(seed);
        disk.set_space(SPACE);
        let db = Some(open(&disk, load.no_sync).unwrap());
        let (all, rng) = (Contents::new(), Random::new(seed));
        let mut full = Full { disk, db, all, load, rng, next: 0 };
        let puts = full.fill();
        println!("{puts} commits, {} entries", full.all.len());
        full
    }

    fn db(&self) -> &PersistentDB {
        self.db.as_ref().unwrap()
    }

    /// Puts entries until there is no space; returns how many commits were done.
    fn fill(&mut self) -> usize {
        for commits in 0.. {
            let Load { len, batch, every, .. } = self.load;
            let entries: Vec<_> = (0..batch).map(|_| self.entry(len)).collect();
            let pairs = entries.iter().map(|(key, value)| (&key[..], &value[..]));
            match self.db().write_all(pairs) {
                Ok(()) => self.all.extend(entries),
                Err(DBError::Full(_)) => return commits,
                Err(error) => panic!("{error}"),
            }
            if every > 0 && commits % every == every - 1 {
                self.db().checkpoint().unwrap();
            }
        }
        unreachable!("the disk is full at last")
    }

    fn entry(&mut self, len: usize) -> (Vec<u8>, Vec<u8>) {
        self.next += 1;
        let n = if self.load.in_order { self.next } else { self.rng.below(1u32 << 30) };
        (format!("{n:010}").into_bytes(), vec![n as u8; len])
    }

    fn delete(&mut self, key: &[u8]) {
        self.db().delete(key).unwrap();
        self.all.remove(key);
    }

    fn clear(&mut self, from: Option<&[u8]>, to: Option<&[u8]>) {
        self.db().clear(from, to).unwrap();
        self.all.retain(|key, _| {
            from.is_some_and(|from| &key[..] < from) || to.is_some_and(|to| &key[..] >= to)
        });
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        self.all.keys().cloned().collect()
    }

    fn check(&self) {
        let found: Contents = self.db().iter().unwrap().collect::<DBResult<_>>().unwrap();
        assert!(found == self.all, "{} entries, not {}", found.len(), self.all.len());
        self.db().check().unwrap();
    }

    /// Opens the database again after a close, or as if the process was killed.
    fn reopen(&mut self, killed: bool) {
        if killed {
            self.disk = self.disk.crash(self.disk.operations(), Fate::KeepAll);
            self.disk.set_space(SPACE);
        }
        self.db = None;
        self.db = Some(open(&self.disk, self.load.no_sync).unwrap());
        self.check();
    }

    /// Frees space in one of the ways.
    fn free(&mut self, way: usize) {
        let keys = self.keys();
        match way {
            0 => self.clear(None, Some(&keys[keys.len() / 2])),
            1 => keys.iter().step_by(2).for_each(|key| self.delete(key)),
            2 => {
                for _ in 0..keys.len() {
                    let key = &keys[self.rng.below(keys.len())];
                    self.delete(key);
                }
            }
            3 => {
                for keys in keys.chunks(20) {
                    self.clear(
                        Some(&keys[0]),
                        keys.get(15).map_or(keys.last(), Some).map(|it| &it[..]),
                    );
                }
            }
            _ => self.clear(None, None),
        }
    }
}

/// Fills a disk, perhaps opens the database again, frees space, and fills the disk again.
fn play(case: usize) {
    let (ways, states) = (5, 3);
    let (load, way, state) = (loads()[case / 15], case / states % ways, case % states);
    let mut full = Full::new(load, case as u64);
    let count = full.all.len();
    if state > 0 {
        full.reopen(state == 2);
    }
    full.free(way);
    full.check();
    full.db().checkpoint().unwrap();
    let left = full.all.len();
    full.fill();
    let again = full.all.len() - left;
    println!("way {way}, state {state}: of {count} {left} are left, and {again} are put");
    full.check();
    full.reopen(state != 1);
    full.db().checkpoint().unwrap();
    full.check();
    assert!(again > (count - left) / 4, "too little of what was freed is used again");
}

fn cases() -> impl Iterator<Item = usize> {
    let step = if std::env::var_os("MINIDB_FULL").is_some() { 1 } else { 4 };
    (0..loads().len() * 15).step_by(step)
}

#[test]
fn what_frees_space_works_on_a_full_disk_and_then_puts_do() {
    cases().for_each(play);
}

#[test]
fn a_reserve_that_puts_take_is_missed() {
    plant(Some(Bug::ReserveSpent));
    let found = cases().find(|&case| catch_unwind(|| play(case)).is_err());
    plant(None);
    println!("found by case {found:?}");
    assert!(found.is_some());
}
