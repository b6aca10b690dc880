//! The model: what a view should show, and where a cursor should stand.

use std::cell::RefCell;
use std::collections::{BTreeMap, btree_map};
use std::ffi::CString;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::rc::{Rc, Weak};

use super::api::Handle;
use super::transaction::{Change, Transaction, Walk};

/// What a store holds at one moment.
#[derive(Clone, Default)]
pub struct Version {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    pub key_bytes: u64,
    pub value_bytes: u64,
    pub commits: u64,
    /// What the commit that is being made has written.
    changes: Vec<Change>,
}

impl Version {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn count(&self) -> u64 {
        self.len() as u64
    }

    pub fn data_bytes(&self) -> u64 {
        self.key_bytes + self.value_bytes
    }

    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(key).map(|value| &value[..])
    }

    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.changes.push(Change::Put(key.to_vec(), value.to_vec()));
        self.value_bytes += value.len() as u64;
        match self.entries.insert(key.to_vec(), value.to_vec()) {
            Some(old) => self.value_bytes -= old.len() as u64,
            None => self.key_bytes += key.len() as u64,
        }
    }

    pub fn remove(&mut self, key: &[u8]) {
        self.changes.push(Change::Remove(key.to_vec()));
        self.take(key);
    }

    fn take(&mut self, key: &[u8]) {
        if let Some(value) = self.entries.remove(key) {
            self.key_bytes -= key.len() as u64;
            self.value_bytes -= value.len() as u64;
        }
    }

    pub fn clear(&mut self, range: &Range) {
        if range.to.as_ref() != Some(&range.from) {
            self.changes.push(Change::Clear(range.clone())); // else nothing is written
        }
        let keys: Vec<_> = self.range(range).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.take(key));
    }

    /// Makes changes, and says which: all at once they are a commit, each for
    /// itself they are what a transaction has written.
    pub fn change(&mut self, change: impl FnOnce(&mut Version), is_commit: bool) -> Vec<Change> {
        change(self);
        let changes = std::mem::take(&mut self.changes);
        self.commits += if is_commit { 1 } else { (changes.len() as u64) << 32 };
        changes
    }

    pub fn range(&self, range: &Range) -> Entries<'_> {
        self.entries.range::<[u8], _>((range.lower(), range.upper()))
    }
}

pub type Entries<'a> = btree_map::Range<'a, Vec<u8>, Vec<u8>>;

/// The keys from `from` up to, but not including, `to`.
#[derive(Clone)]
pub struct Range {
    pub from: Vec<u8>,
    /// Not less than `from`.
    pub to: Option<Vec<u8>>,
}

impl Range {
    pub fn new(from: Option<&[u8]>, to: Option<&[u8]>) -> Range {
        let from = from.unwrap_or_default();
        Range { from: from.to_vec(), to: to.map(|to| to.max(from).to_vec()) }
    }

    pub fn prefix(prefix: &[u8]) -> Range {
        // The first key that is after all with the prefix: its last byte that
        // can grow has grown, and ends it.
        let mut to = prefix.to_vec();
        while to.last() == Some(&0xff) {
            to.pop();
        }
        let to = to.pop().map(|last| [&to[..], &[last + 1]].concat());
        Range { from: prefix.to_vec(), to }
    }

    fn lower(&self) -> Bound<&[u8]> {
        Included(&self.from)
    }

    fn upper(&self) -> Bound<&[u8]> {
        self.to.as_deref().map_or(Unbounded, Excluded)
    }

    /// From `key` on, within this range.
    fn from(&self, key: &[u8]) -> Range {
        let from = key.max(&self.from);
        let from = self.to.as_deref().map_or(from, |to| from.min(to));
        Range { from: from.to_vec(), to: self.to.clone() }
    }
}

/// What the handles on one database share.
#[derive(Default)]
pub struct Store {
    pub now: Rc<Version>,
    pub handles: u64,
    /// Those that were begun on it, as far as they are open.
    pub transactions: Vec<Weak<RefCell<Transaction>>>,
    /// The path of its file, if it has one.
    pub path: Option<CString>,
    /// The commits that its file had when it was opened, unless it was made then.
    pub opened_with: Option<u64>,
}

pub type Shared = Rc<RefCell<Store>>;

/// A view and what it should show.
#[derive(Clone)]
pub struct View {
    pub handle: Handle,
    pub store: Shared,
    pub kind: Kind,
}

#[derive(Clone)]
pub enum Kind {
    Database,
    Snapshot(Rc<Version>),
    Transaction(Rc<RefCell<Transaction>>),
}

impl View {
    /// What the view shows; keep it no longer than needed, since the next write
    /// copies it if somebody does.
    pub fn version(&self) -> Rc<Version> {
        match &self.kind {
            Kind::Database => self.store.borrow().now.clone(),
            Kind::Snapshot(version) => version.clone(),
            Kind::Transaction(transaction) => transaction.borrow().now.clone(),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.version().len()
    }

    pub fn is_database(&self) -> bool {
        matches!(self.kind, Kind::Database)
    }

    /// Applies a commit to a database, or writes to a transaction.
    pub fn commit(&self, change: impl FnOnce(&mut Version)) {
        match self.transaction() {
            Some(transaction) => transaction.borrow_mut().write(change),
            None => self.store.borrow_mut().commit(change),
        }
    }
}

/// A cursor and where it should stand.
pub struct Cursor {
    pub handle: Handle,
    pub store: Shared,
    version: Rc<Version>,
    range: Range,
    at: Position,
    /// Tells its transaction what it walks over.
    walk: Option<Walk>,
}

enum Position {
    New,
    Before,
    At(Vec<u8>),
    After,
}

#[derive(Clone, Copy)]
pub enum Move<'a> {
    First,
    Last,
    Next,
    Prev,
    Seek(&'a [u8]),
}

impl Cursor {
    pub fn new(handle: Handle, view: &View, range: Range) -> Cursor {
        let (store, version) = (view.store.clone(), view.version());
        let walk = view.transaction().map(Walk::new);
        Cursor { handle, store, version, range, at: Position::New, walk }
    }

    pub fn version(&self) -> Rc<Version> {
        self.version.clone()
    }

    /// The entry that the cursor stands at.
    pub fn entry(&self) -> Option<(&[u8], &[u8])> {
        match &self.at {
            Position::At(key) => Some((key, self.version.get(key)?)),
            _ => None,
        }
    }

    /// Moves, and tells whether there was an entry.
    pub fn go(&mut self, to: Move<'_>) -> bool {
        let found = match to {
            Move::First => self.version.range(&self.range).next(),
            Move::Last => self.version.range(&self.range).next_back(),
            Move::Next => self.after().and_then(|mut entries| entries.next()),
            Move::Prev => self.before().and_then(|mut entries| entries.next_back()),
            Move::Seek(key) => self.version.range(&self.range.from(key)).next(),
        };
        if let Some(walk) = &self.walk {
            self.note(walk, to, found.map(|(key, _)| &key[..]));
        }
        self.at = match (found, to) {
            (Some((key, _)), _) => Position::At(key.clone()),
            (None, Move::First | Move::Prev) => Position::Before,
            (None, Move::Last | Move::Next | Move::Seek(_)) => Position::After,
        };
        matches!(self.at, Position::At(_))
    }

    /// Tells the transaction that a move `to` would find `found`.
    fn note(&self, walk: &Walk, to: Move<'_>, found: Option<&[u8]>) {
        let back = matches!(to, Move::Last | Move::Prev);
        let start = match (to, &self.at) {
            (Move::Seek(key), _) => Included(key.max(&self.range.from)),
            (Move::Next | Move::Prev, Position::At(key)) => Included(&key[..]),
            (Move::Next, Position::After) | (Move::Prev, Position::Before) => return,
            _ if back => self.range.upper(),
            _ => self.range.lower(),
        };
        let end = if back { self.range.lower() } else { self.range.upper() };
        let end = found.map_or(end, Included);
        walk.over(if back { [end, start] } else { [start, end] });
    }

    /// Tells the transaction that the next entry was looked at.
    pub fn peek(&self) {
        if let Some(walk) = &self.walk {
            let next = self.after().and_then(|mut entries| entries.next());
            self.note(walk, Move::Next, next.map(|(key, _)| &key[..]));
        }
    }

    /// The entries after where the cursor stands.
    pub fn after(&self) -> Option<Entries<'_>> {
        match &self.at {
            Position::New | Position::Before => Some(self.version.range(&self.range)),
            Position::At(key) => Some(self.between(Excluded(key), self.range.upper())),
            Position::After => None,
        }
    }

    /// The entries before where the cursor stands.
    fn before(&self) -> Option<Entries<'_>> {
        match &self.at {
            Position::New | Position::After => Some(self.version.range(&self.range)),
            Position::At(key) => Some(self.between(self.range.lower(), Excluded(key))),
            Position::Before => None,
        }
    }

    fn between(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Entries<'_> {
        self.version.entries.range::<[u8], _>((lower, upper))
    }
}
