//! Stores with few keys: honest ones, and some that are not, to be caught.

use std::collections::BTreeMap;

use minidb::planted::Bug;
use minidb::{Cursor, DB, Database, Snapshot, Transaction};

use super::history::{KEYS, State, Value, count};

/// What the transactions of a store are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transactions {
    Honest,
    /// What a scan has walked over is not validated: phantoms.
    RangesAreNotValidated,
    /// A snapshot and a write_all: snapshot isolation without first-writer-wins.
    NothingIsValidated,
    /// The library has a bug.
    Planted(Bug),
}

pub struct Store {
    pub db: Database,
    pub transactions: Transactions,
}

pub enum Txn<'a> {
    Honest(Transaction),
    /// Scans do not go through the transaction.
    RangesAreNotValidated(Transaction, Snapshot, BTreeMap<usize, Value>),
    NothingIsValidated(&'a Database, Snapshot, BTreeMap<usize, Value>),
}

fn key(n: usize) -> [u8; 1] {
    [b'a' + n as u8]
}

/// Values take more than a word, so that a torn one would be noticed.
fn encode(value: Value) -> Vec<u8> {
    value.to_be_bytes().repeat(20)
}

fn decode(bytes: &[u8]) -> Value {
    assert!(bytes.len() == 40 && bytes.chunks(2).all(|part| part == &bytes[..2]), "torn");
    u16::from_be_bytes([bytes[0], bytes[1]])
}

pub fn value_of(bytes: Option<Vec<u8>>) -> Value {
    bytes.as_deref().map_or(0, decode)
}

fn option(value: Value) -> Option<Vec<u8>> {
    (value != 0).then(|| encode(value))
}

/// What a cursor shows, forwards or backwards.
fn walk(mut cursor: Cursor, back: bool) -> State {
    let mut state = [0; KEYS];
    while if back { cursor.prev().unwrap() } else { cursor.next().unwrap() } {
        let n = usize::from(cursor.key().unwrap()[0] - b'a');
        state[n] = decode(cursor.value().unwrap());
    }
    state
}

impl Store {
    pub fn get(&self, n: usize) -> Value {
        value_of(self.find(n))
    }

    /// Gets the bytes of a value, which are yet to be decoded.
    pub fn find(&self, n: usize) -> Option<Vec<u8>> {
        self.db.get(&key(n)).unwrap()
    }

    pub fn put(&self, n: usize, new: Value) -> Value {
        value_of(self.db.put(&key(n), &encode(new)).unwrap())
    }

    pub fn delete(&self, n: usize) -> Value {
        value_of(self.db.delete(&key(n)).unwrap())
    }

    pub fn cas(&self, n: usize, expected: Value, desired: Value) -> bool {
        let (expected, desired) = (option(expected), option(desired));
        self.db.cas(&key(n), expected.as_deref(), desired.as_deref()).unwrap()
    }

    pub fn write(&self, entries: &[(usize, Value)]) {
        let encoded = entries.iter().map(|(n, value)| (key(*n), encode(*value)));
        let encoded: Vec<_> = encoded.collect();
        self.db.write_all(encoded.iter().map(|(key, value)| (&key[..], &value[..]))).unwrap();
    }

    pub fn clear(&self, from: usize, to: usize) {
        self.db.clear(Some(&key(from)), Some(&key(to))).unwrap();
    }

    pub fn scan(&self, from: usize, to: usize, back: bool) -> State {
        walk(self.db.scan(Some(&key(from)), Some(&key(to))).unwrap(), back)
    }

    pub fn count(&self) -> usize {
        self.db.count().unwrap() as usize
    }

    pub fn begin(&self) -> Txn<'_> {
        loop {
            let txn = self.db.begin().unwrap();
            if let Transactions::Honest | Transactions::Planted(_) = self.transactions {
                return Txn::Honest(txn);
            }
            let (snapshot, own) = (self.db.snapshot().unwrap(), BTreeMap::new());
            match self.transactions {
                Transactions::NothingIsValidated => {
                    return Txn::NothingIsValidated(&self.db, snapshot, own);
                }
                // Both must be of one moment.
                _ if snapshot.commits() == txn.commits() => {
                    return Txn::RangesAreNotValidated(txn, snapshot, own);
                }
                _ => {}
            }
        }
    }
}

/// A look into a snapshot.
pub fn look(snapshot: &Snapshot, n: usize) -> Value {
    value_of(snapshot.get(&key(n)).unwrap())
}

impl Txn<'_> {
    pub fn get(&mut self, n: usize) -> Value {
        match self {
            Txn::Honest(txn) | Txn::RangesAreNotValidated(txn, ..) => {
                value_of(txn.get(&key(n)).unwrap())
            }
            Txn::NothingIsValidated(_, snapshot, own) => {
                own.get(&n).copied().unwrap_or_else(|| look(snapshot, n))
            }
        }
    }

    pub fn scan(&mut self, from: usize, to: usize, back: bool) -> State {
        let bounds = (key(from), key(to));
        let bounds = (Some(&bounds.0[..]), Some(&bounds.1[..]));
        match self {
            Txn::Honest(txn) => walk(txn.scan(bounds.0, bounds.1).unwrap(), back),
            Txn::RangesAreNotValidated(_, snapshot, own)
            | Txn::NothingIsValidated(_, snapshot, own) => {
                let mut state = walk(snapshot.scan(bounds.0, bounds.1).unwrap(), back);
                own.range(from..to.max(from)).for_each(|(n, value)| state[*n] = *value);
                state
            }
        }
    }

    pub fn set(&mut self, n: usize, new: Value) {
        if let Txn::RangesAreNotValidated(_, _, own) | Txn::NothingIsValidated(_, _, own) = self {
            own.insert(n, new);
        }
        if let Txn::Honest(txn) | Txn::RangesAreNotValidated(txn, ..) = self {
            match option(new) {
                Some(value) => txn.put(&key(n), &value).unwrap(),
                None => drop(txn.delete(&key(n)).unwrap()),
            }
        }
    }

    pub fn cas(&mut self, n: usize, expected: Value, desired: Value) -> bool {
        if let Txn::Honest(txn) = self {
            let (expected, desired) = (option(expected), option(desired));
            return txn.cas(&key(n), expected.as_deref(), desired.as_deref()).unwrap();
        }
        let equal = self.get(n) == expected;
        if equal {
            self.set(n, desired);
        }
        equal
    }

    pub fn count(&mut self) -> usize {
        match self {
            Txn::Honest(txn) => txn.count().unwrap() as usize,
            _ => count(self.scan(0, KEYS, false)),
        }
    }

    /// Tells whether it could be committed; an honest one has begun anew then.
    pub fn commit(&mut self) -> bool {
        match self {
            Txn::Honest(txn) | Txn::RangesAreNotValidated(txn, ..) => txn.commit().unwrap(),
            Txn::NothingIsValidated(db, _, own) => {
                let entries = own.iter().map(|(n, value)| (key(*n), encode(*value)));
                let entries: Vec<_> = entries.collect();
                let put = entries.iter().map(|(key, value)| (&key[..], &value[..]));
                db.write_all(put).unwrap();
                true
            }
        }
    }
}
