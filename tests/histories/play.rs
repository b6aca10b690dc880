//! Threads that use a store at random, and note what they do.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::history::Step::{Count, Is, IsNot, Set};
use super::history::{KEYS, State, Step, Tape, Value, now};
use super::store::{Store, Transactions, Txn, look};

/// Random numbers (splitmix64).
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }

    fn key(&mut self) -> usize {
        self.below(KEYS as u64) as usize
    }

    /// Now and then, lets other threads come between.
    fn pause(&mut self) {
        match self.below(8) {
            0..4 => thread::yield_now(),
            4 => (0..self.below(2_000)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }
}

/// How transactions have ended.
#[derive(Debug, Default)]
pub struct Ends {
    pub committed: AtomicU64,
    pub conflicts: AtomicU64,
}

/// One thread at work.
pub struct Player<'a> {
    pub store: &'a Store,
    pub rng: Rng,
    pub tape: Tape,
    /// The next value to write; each thread has values of its own.
    pub value: Value,
    pub ends: &'a Ends,
    /// A value that was seen, for each key: what cas may expect.
    pub seen: State,
}

/// Values of a thread; in a history each is written once.
const VALUES: u64 = 1_000;

/// Plays with several threads that begin together; `tape` is for each to note.
pub fn play(
    store: &Store,
    seed: u64,
    (first, threads): (u64, u64),
    rounds: u64,
    ends: &Ends,
    tape: impl Fn(u64) -> Tape,
) -> Vec<Tape> {
    let begin = Barrier::new(threads as usize);
    thread::scope(|scope| {
        let one = |n: u64| {
            let (tape, begin) = (tape(n), &begin);
            let rng = Rng(seed.wrapping_mul(1_000_003).wrapping_add(n));
            let value = (n * VALUES + 1) as Value;
            let mut player = Player { store, rng, tape, value, ends, seen: [0; KEYS] };
            scope.spawn(move || {
                begin.wait();
                (0..rounds).for_each(|_| player.go());
                player.tape
            })
        };
        let players: Vec<_> = (first..first + threads).map(one).collect();
        players.into_iter().map(|it| it.join().expect("it has finished")).collect()
    })
}

/// What a transaction has read that is not its own, and what is.
#[derive(Default)]
struct Body {
    reads: Vec<Step>,
    own: BTreeMap<usize, Value>,
}

impl Body {
    fn is(&mut self, n: usize, value: Value) {
        match self.own.get(&n) {
            None => self.reads.push(Is(n, value)),
            Some(mine) => assert_eq!(value, *mine, "a transaction sees its own writes"),
        }
    }

    fn is_not(&mut self, n: usize, value: Value) {
        match self.own.get(&n) {
            None => self.reads.push(IsNot(n, value)),
            Some(mine) => assert_ne!(value, *mine, "a transaction sees its own writes"),
        }
    }
}

/// What a scan of a range has shown, as steps.
fn shown(state: State, from: usize, to: usize) -> Vec<Step> {
    (from..to).map(|n| Is(n, state[n])).collect()
}

impl Player<'_> {
    fn new_value(&mut self) -> Value {
        self.value += 1;
        assert!(u64::from(self.value) % VALUES != 0, "each value is written once");
        self.value
    }

    /// One operation or transaction.
    pub fn go(&mut self) {
        match self.rng.below(18) {
            0..3 => self.get(),
            3..5 => self.write(),
            5 => self.delete(),
            6 | 7 => self.cas(),
            8 => self.scan(),
            9 => self.snapshot(),
            10 | 11 => self.count(),
            _ => self.transaction(),
        }
        self.rng.pause();
    }

    fn get(&mut self) {
        let n = self.rng.key();
        let invoked = now();
        self.seen[n] = self.store.get(n);
        self.tape.read((invoked, now()), vec![Is(n, self.seen[n])]);
    }

    fn write(&mut self) {
        let (store, n, value) = (self.store, self.rng.key(), self.new_value());
        match self.rng.below(8) {
            0 => {
                let other = (n + 1) % KEYS;
                let entries = [(n, value), (other, self.new_value())];
                let steps = entries.map(|(n, value)| Set(n, value)).to_vec();
                self.tape.write(steps.clone(), || (store.write(&entries), steps));
            }
            1 => {
                let to = n + self.rng.below((KEYS - n) as u64 + 1) as usize;
                let steps: Vec<_> = (n..to).map(|n| Set(n, 0)).collect();
                self.tape.write(steps.clone(), || (store.clear(n, to), steps));
            }
            _ => {
                let done = || {
                    let old = store.put(n, value);
                    (old, vec![Is(n, old), Set(n, value)])
                };
                self.tape.write(vec![Set(n, value)], done);
                self.seen[n] = value;
            }
        }
    }

    fn delete(&mut self) {
        let (store, n) = (self.store, self.rng.key());
        let done = || {
            let old = store.delete(n);
            (old, vec![Is(n, old), Set(n, 0)])
        };
        self.tape.write(vec![Set(n, 0)], done);
    }

    fn cas(&mut self) {
        let (store, n) = (self.store, self.rng.key());
        let expected = self.seen[n];
        let desired = if self.rng.below(5) == 0 { 0 } else { self.new_value() };
        let steps = vec![Is(n, expected), Set(n, desired)];
        let done = || match store.cas(n, expected, desired) {
            true => (desired, steps.clone()),
            false => (0, vec![IsNot(n, expected)]),
        };
        self.seen[n] = self.tape.write(steps.clone(), done);
    }

    fn range(&mut self) -> (usize, usize) {
        let from = self.rng.key();
        (from, from + 1 + self.rng.below((KEYS - from) as u64) as usize)
    }

    fn scan(&mut self) {
        let (from, to) = self.range();
        let back = self.rng.below(2) == 0;
        let invoked = now();
        let state = self.store.scan(from, to, back);
        self.tape.read((invoked, now()), shown(state, from, to));
    }

    /// Counts the keys, or their bytes and those of their values.
    fn count(&mut self) {
        let (bytes, invoked) = (self.rng.below(2) == 0, now());
        let count = self.store.count(bytes);
        self.tape.read((invoked, now()), vec![Count(count)]);
    }

    /// What a snapshot shows, whenever it is asked, is of when it was made.
    fn snapshot(&mut self) {
        let invoked = now();
        let snapshot = self.store.db.snapshot().unwrap();
        let made = (invoked, now());
        let mut steps = Vec::new();
        for _ in 0..2 + self.rng.below(3) {
            self.rng.pause();
            let n = self.rng.key();
            self.seen[n] = look(&snapshot, n);
            steps.push(Is(n, self.seen[n]));
        }
        self.tape.read(made, steps);
    }

    /// A transaction, and perhaps another one that it begins anew with.
    fn transaction(&mut self) {
        let invoked = now();
        let mut txn = self.store.begin();
        let mut begun = (invoked, now());
        for _ in 0..1 + self.rng.below(2) {
            let body = self.body(&mut txn);
            self.tape.read(begun, body.reads.clone());
            if self.rng.below(10) == 0 {
                return; // it is rolled back
            }
            begun = self.commit(&mut txn, body);
            if self.store.transactions != Transactions::Honest {
                return;
            }
        }
    }

    fn body(&mut self, txn: &mut Txn<'_>) -> Body {
        let mut body = Body::default();
        for _ in 0..1 + self.rng.below(5) {
            self.rng.pause();
            let n = self.rng.key();
            match self.rng.below(10) {
                0..3 => {
                    self.seen[n] = txn.get(n);
                    body.is(n, self.seen[n]);
                }
                3..5 => {
                    let (from, to) = self.range();
                    let state = txn.scan(from, to, self.rng.below(2) == 0);
                    (from..to).for_each(|n| body.is(n, state[n]));
                }
                5 => {
                    let (expected, desired) = (self.seen[n], self.new_value());
                    match txn.cas(n, expected, desired) {
                        true => {
                            body.is(n, expected);
                            body.own.insert(n, desired);
                        }
                        false => body.is_not(n, expected),
                    }
                }
                6 if self.rng.below(4) == 0 => {
                    let state = txn.scan(0, KEYS, false);
                    let there = state.iter().filter(|value| **value != 0).count();
                    assert_eq!(txn.count(), there as u64);
                    (0..KEYS).for_each(|n| body.is(n, state[n]));
                }
                7 if self.store.transactions != Transactions::NothingIsValidated => {
                    txn.set(n, 0);
                    body.own.insert(n, 0);
                }
                _ => {
                    let value = self.new_value();
                    txn.set(n, value);
                    body.own.insert(n, value);
                }
            }
        }
        body
    }

    /// Commits; returns the time in which it has begun anew. What was read was there
    /// while it began; if it has written and could be committed, now as well.
    fn commit(&mut self, txn: &mut Txn<'_>, Body { reads, own }: Body) -> (u64, u64) {
        let writes = own.iter().map(|(n, value)| Set(*n, *value));
        let steps: Vec<_> = reads.into_iter().chain(writes).collect();
        let ends = self.ends;
        let invoked = now();
        self.tape.write(steps.clone(), || {
            let committed = txn.commit();
            let end = if committed { &ends.committed } else { &ends.conflicts };
            end.fetch_add(1, Ordering::Relaxed);
            // What has only read need not be up to date.
            ((), if committed && !own.is_empty() { steps } else { Vec::new() })
        });
        (invoked, now())
    }
}
