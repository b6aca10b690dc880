//! Threads that use a store at random, and note what they do.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use minidb::os::sim::Random;
use minidb::planted;

use super::history::Step::{Count, Is, IsNot, Set};
use super::history::{KEYS, State, Step, Tape, Value, count, ended, now};
use super::store::{Store, Transactions, Txn, look, value_of};

/// How transactions have ended.
#[derive(Debug, Default)]
pub struct Ends {
    pub committed: AtomicU64,
    pub conflicts: AtomicU64,
    /// Keys that were seen as soon as they came.
    pub met: AtomicU64,
}

/// Which calls the threads of a play make.
#[derive(Clone, Copy, Debug)]
pub enum Calls {
    /// All of them, with pauses between.
    All,
    /// Puts on one half of the threads, gets and counts on the other half, as fast as can
    /// be; without a snapshot, entries are put in place.
    Single,
}

/// How one history is played.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub seed: u64,
    /// The first thread, and how many.
    pub threads: (u64, u64),
    pub rounds: u64,
    pub calls: Calls,
}

/// One thread at work.
pub struct Player<'a> {
    pub store: &'a Store,
    pub rng: Random,
    pub tape: Tape,
    /// The next value to write; each thread has values of its own.
    pub value: Value,
    pub ends: &'a Ends,
    /// A value that was seen, for each key: what cas may expect.
    pub seen: State,
}

/// So often a thread looks for a key before it counts.
const LOOKS: u32 = 50;

/// Values of a thread; in a history each is written once.
const VALUES: u64 = 1_000;

/// Plays with several threads that begin together; `tape` is for each to note.
pub fn play(store: &Store, setting: Setting, ends: &Ends, tape: impl Fn(u64) -> Tape) -> Vec<Tape> {
    let Setting { seed, threads: (first, threads), rounds, calls } = setting;
    let begin = Barrier::new(threads as usize);
    thread::scope(|scope| {
        let one = |n: u64| {
            let (tape, begin) = (tape(n), &begin);
            let rng = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(n));
            let value = (n * VALUES + 1) as Value;
            let mut player = Player { store, rng, tape, value, ends, seen: [0; KEYS] };
            scope.spawn(move || {
                if let Transactions::Planted(bug) = store.transactions {
                    planted::plant(Some(bug));
                }
                begin.wait();
                for round in 0..rounds {
                    match calls {
                        Calls::All => player.go(),
                        Calls::Single if n.is_multiple_of(2) => player.put_or_clear(round),
                        Calls::Single => player.count_as_it_comes(),
                    }
                }
                player.tape
            })
        };
        let players: Vec<_> = (first..first + threads).map(one).collect();
        players.into_iter().map(|it| it.join().expect("it has finished")).collect()
    })
}

/// What a transaction has read of what was there when it began, all its reads and writes
/// in their order, and its own values.
#[derive(Default)]
struct Body {
    reads: Vec<Step>,
    steps: Vec<Step>,
    own: BTreeMap<usize, Value>,
}

impl Body {
    fn read(&mut self, step: Step) {
        self.reads.push(step);
        self.steps.push(step);
    }

    fn is(&mut self, n: usize, value: Value) {
        match self.own.get(&n) {
            None => self.read(Is(n, value)),
            Some(mine) => assert_eq!(value, *mine, "a transaction sees its own writes"),
        }
    }

    fn is_not(&mut self, n: usize, value: Value) {
        match self.own.get(&n) {
            None => self.read(IsNot(n, value)),
            Some(mine) => assert_ne!(value, *mine, "a transaction sees its own writes"),
        }
    }

    fn set(&mut self, n: usize, value: Value) {
        self.own.insert(n, value);
        self.steps.push(Set(n, value));
    }
}

/// What a scan of a range has shown, as steps.
fn shown(state: State, from: usize, to: usize) -> Vec<Step> {
    (from..to).map(|n| Is(n, state[n])).collect()
}

impl Player<'_> {
    fn key(&mut self) -> usize {
        self.rng.below(KEYS)
    }

    /// Now and then, lets other threads come between.
    fn pause(&mut self) {
        match self.rng.below(8) {
            0..4 => thread::yield_now(),
            4 => (0..self.rng.below(2_000)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }

    fn new_value(&mut self) -> Value {
        self.value += 1;
        assert!(u64::from(self.value) % VALUES != 0, "each value is written once");
        self.value
    }

    /// One operation or transaction.
    pub fn go(&mut self) {
        match self.rng.below(17) {
            0..3 => self.get(),
            3..5 => self.write(),
            5 => {
                let n = self.key();
                self.delete(n);
            }
            6 | 7 => self.cas(),
            8 => self.scan(),
            9 => self.snapshot(),
            10 => self.count(),
            _ => self.transaction(),
        }
        self.pause();
    }

    fn get(&mut self) {
        let n = self.key();
        let invoked = now();
        self.seen[n] = self.store.get(n);
        self.tape.read((invoked, ended()), vec![Is(n, self.seen[n])]);
    }

    /// Puts the keys one after the other, and clears when all are there.
    fn put_or_clear(&mut self, round: u64) {
        let n = round as usize % (KEYS + 1);
        if n < KEYS {
            let value = self.new_value();
            self.put(n, value);
        } else {
            self.clear(0, KEYS);
        }
    }

    fn count(&mut self) {
        let invoked = now();
        let count = self.store.count();
        self.tape.read((invoked, ended()), vec![Count(count)]);
    }

    /// Waits a while for a key to come, and counts right after that.
    fn count_as_it_comes(&mut self) {
        let (store, n) = (self.store, self.key());
        for look in 0..LOOKS {
            let invoked = now();
            let found = store.find(n);
            let between = now();
            if found.is_none() {
                continue;
            }
            if look == 0 {
                return; // it has been there for long
            }
            let count = store.count();
            let returned = ended();
            self.tape.read((invoked, between), vec![Is(n, value_of(found))]);
            self.tape.read((between | 1, returned), vec![Count(count)]);
            self.ends.met.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }

    fn write(&mut self) {
        let (store, n, value) = (self.store, self.key(), self.new_value());
        match self.rng.below(8) {
            0 => {
                let other = (n + 1) % KEYS;
                let entries = [(n, value), (other, self.new_value())];
                let steps = entries.map(|(n, value)| Set(n, value)).to_vec();
                self.tape.write(steps.clone(), || (store.write(&entries), steps));
            }
            1 => {
                let to = n + self.rng.below(KEYS - n + 1);
                self.clear(n, to);
            }
            _ => self.put(n, value),
        }
    }

    fn clear(&mut self, from: usize, to: usize) {
        let (store, steps) = (self.store, (from..to).map(|n| Set(n, 0)).collect::<Vec<_>>());
        self.tape.write(steps.clone(), || (store.clear(from, to), steps));
    }

    fn put(&mut self, n: usize, value: Value) {
        let store = self.store;
        let done = || {
            let old = store.put(n, value);
            (old, vec![Is(n, old), Set(n, value)])
        };
        self.tape.write(vec![Set(n, value)], done);
        self.seen[n] = value;
    }

    fn delete(&mut self, n: usize) {
        let store = self.store;
        let done = || {
            let old = store.delete(n);
            (old, vec![Is(n, old), Set(n, 0)])
        };
        self.tape.write(vec![Set(n, 0)], done);
    }

    fn cas(&mut self) {
        let (store, n) = (self.store, self.key());
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
        let from = self.key();
        (from, from + 1 + self.rng.below(KEYS - from))
    }

    fn scan(&mut self) {
        let (from, to) = self.range();
        let back = self.rng.below(2) == 0;
        let invoked = now();
        let state = self.store.scan(from, to, back);
        self.tape.read((invoked, ended()), shown(state, from, to));
    }

    /// What a snapshot shows, whenever it is asked, is of when it was made.
    fn snapshot(&mut self) {
        let invoked = now();
        let snapshot = self.store.db.snapshot().unwrap();
        let made = (invoked, ended());
        let mut steps = Vec::new();
        for _ in 0..2 + self.rng.below(3) {
            self.pause();
            let n = self.key();
            self.seen[n] = look(&snapshot, n);
            steps.push(Is(n, self.seen[n]));
        }
        steps.push(Count(snapshot.count().unwrap() as usize));
        self.tape.read(made, steps);
    }

    /// A transaction, and perhaps another one that it begins anew with.
    fn transaction(&mut self) {
        let invoked = now();
        let mut txn = self.store.begin();
        let mut begun = (invoked, ended());
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
            self.pause();
            let n = self.key();
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
                            body.set(n, desired);
                        }
                        false => body.is_not(n, expected),
                    }
                }
                6 => {
                    let there = txn.count();
                    if body.own.is_empty() {
                        body.read(Count(there));
                    } else if self.rng.below(4) > 0 {
                        body.steps.push(Count(there));
                    } else {
                        let state = txn.scan(0, KEYS, false);
                        assert_eq!(there, count(state));
                        (0..KEYS).for_each(|n| body.is(n, state[n]));
                    }
                }
                7 if self.store.transactions != Transactions::NothingIsValidated => {
                    txn.set(n, 0);
                    body.set(n, 0);
                }
                _ => {
                    let value = self.new_value();
                    txn.set(n, value);
                    body.set(n, value);
                }
            }
        }
        body
    }

    /// Commits; returns the time in which it has begun anew. What was read was there
    /// while it began; if it has written and could be committed, now as well.
    fn commit(&mut self, txn: &mut Txn<'_>, Body { steps, own, .. }: Body) -> (u64, u64) {
        let ends = self.ends;
        let invoked = now();
        self.tape.write(steps.clone(), || {
            let committed = txn.commit();
            let end = if committed { &ends.committed } else { &ends.conflicts };
            end.fetch_add(1, Ordering::Relaxed);
            // What has only read need not be up to date.
            ((), if committed && !own.is_empty() { steps } else { Vec::new() })
        });
        (invoked, ended())
    }
}
