//! What is done to a database: operations, written out or chosen by a seed.

use std::sync::Arc;

use crate::history::State;
use crate::random::Random;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A key, and how long its value is.
    Put(usize, usize),
    Delete(usize),
    /// Whether it expects what is there; the length of the new value, if any.
    Cas(usize, bool, Option<usize>),
    /// From one key up to another.
    Clear(usize, usize),
    WriteAll(Vec<(usize, usize)>),
    /// Puts, deletes and clears in one commit, a put first.
    Transact(Vec<Op>),
    Sync,
    Checkpoint,
    Snapshot,
    Backup,
    /// Whether without sync from then on.
    Reopen(bool),
}

#[derive(Clone, Debug)]
pub struct Workload {
    pub seed: u64,
    pub no_sync: bool,
    pub checkpoint_bytes: u64,
    pub ops: Vec<Op>,
}

/// Some are longer than a sector, and so the separators between them; some begin
/// others.
pub fn keys() -> Vec<Arc<[u8]>> {
    let long = |last: &str| ["p".repeat(700).as_bytes(), last.as_bytes()].concat();
    let mut keys: Vec<Vec<u8>> =
        ["", "a", "a\0", "ab", "b", "key", "z"].iter().map(|it| it.as_bytes().to_vec()).collect();
    keys.extend(["", "1", "2", "22"].map(long));
    keys.push(vec![255; 520]);
    keys.into_iter().map(Arc::from).collect()
}

pub const KEYS: usize = 12;

/// A value that no other commit, key or place in it has.
pub fn value(commit: u64, key: usize, len: usize) -> Arc<[u8]> {
    let mut value = vec![0; len];
    for (at, word) in (0u64..).zip(value.chunks_mut(8)) {
        let says = commit << 32 | (key as u64) << 24 | at;
        word.copy_from_slice(&says.to_be_bytes()[..word.len()]);
    }
    value.into()
}

/// Lengths of values: in a page, at the limits of a blob, of several sectors.
const SMALL: &[usize] = &[0, 4, 40, 40, 200, 300, 900];
const MIXED: &[usize] = &[0, 7, 60, 500, 1000, 1030, 1600, 4500, 9000];
const LARGE: &[usize] = &[10, 600, 2000, 5000, 20_000, 40_000, 70_000];

impl Workload {
    pub fn random(seed: u64) -> Workload {
        let mut random = Random::of(&[seed]);
        let lens = random.pick(&[SMALL, MIXED, MIXED, LARGE]);
        let keys = random.pick(&[3, 6, KEYS]);
        let len = random.pick(&[8, 16, 24, 40]);
        let no_sync = random.one_in(2);
        let checkpoint_bytes = random.pick(&[64, 2048, 1 << 15, 1 << 20]);
        let ops = (0..len).map(|_| Op::random(&mut random, keys, lens)).collect();
        Workload { seed, no_sync, checkpoint_bytes, ops }
    }
}

impl Op {
    pub fn random(random: &mut Random, keys: usize, lens: &[usize]) -> Op {
        // Spread over all of them, so that neighbours are among few ones, too.
        let key = |random: &mut Random| random.below(keys) * (KEYS / keys);
        match random.below(40) {
            0..=11 => Op::Put(key(random), random.pick(lens)),
            12..=15 => Op::Delete(key(random)),
            16..=18 => {
                let desired = (!random.one_in(3)).then(|| random.pick(lens));
                Op::Cas(key(random), !random.one_in(4), desired)
            }
            19 => Op::Clear(key(random), key(random)),
            20..=22 => {
                let entry = |random: &mut Random| (key(random), random.pick(lens));
                Op::WriteAll((0..2 + random.below(4)).map(|_| entry(random)).collect())
            }
            23..=25 => {
                let more = (0..1 + random.below(4)).map(|_| match random.below(5) {
                    0 | 1 => Op::Delete(key(random)),
                    2 => Op::Clear(key(random), key(random)),
                    _ => Op::Put(key(random), random.pick(lens)),
                });
                let more: Vec<Op> = more.collect();
                let put = Op::Put(key(random), random.pick(lens));
                Op::Transact([vec![put], more].concat())
            }
            26..=28 => Op::Sync,
            29..=32 => Op::Checkpoint,
            33 | 34 => Op::Snapshot,
            35 => Op::Backup,
            _ => Op::Reopen(random.one_in(2)),
        }
    }

    /// What the database holds after it, as far as it commits anything.
    pub fn apply(&self, keys: &[Arc<[u8]>], before: &State, commit: u64) -> Option<State> {
        let mut state = before.clone();
        match self {
            Op::Put(key, len) => drop(state.insert(keys[*key].clone(), value(commit, *key, *len))),
            Op::Delete(key) => drop(state.remove(&keys[*key])?),
            Op::Cas(_, false, _) => return None,
            // An absent key that is to stay absent is swapped, which changes nothing.
            Op::Cas(key, true, None) => drop(state.remove(&keys[*key])),
            Op::Cas(key, true, Some(len)) => {
                state.insert(keys[*key].clone(), value(commit, *key, *len));
            }
            Op::Clear(from, to) => {
                let (from, to) = (&keys[*from], &keys[*to]);
                state.retain(|key, _| key < from || key >= to);
            }
            Op::WriteAll(entries) => {
                for (key, len) in entries {
                    state.insert(keys[*key].clone(), value(commit, *key, *len));
                }
            }
            Op::Transact(ops) => {
                for op in ops {
                    state = op.apply(keys, &state, commit).unwrap_or(state);
                }
            }
            _ => return None,
        }
        Some(state)
    }
}

/// All rows of `len` operations of these.
pub fn rows(of: &[Op], len: usize) -> Vec<Vec<Op>> {
    let mut rows = vec![Vec::new()];
    for _ in 0..len {
        let longer = rows.iter().flat_map(|row| {
            of.iter().map(move |op| row.iter().chain([op]).cloned().collect::<Vec<_>>())
        });
        rows = longer.collect();
    }
    rows
}
