//! Transactions: what they have read and written, and when they are in conflict.
//!
//! The model knows every write of others since a transaction has begun, and all
//! that it has looked at since then; so it says for each commit what it answers.

use std::cell::RefCell;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::ops::RangeBounds;
use std::rc::Rc;

use minidb::ffi::*;

use super::api::{Arg, Want};
use super::handles::VIEWS;
use super::model::{Kind, Range, Store, Version, View};
use super::{Choices, Driver, Handle, api};

/// Over this many bytes written by others, or reads of its own, a transaction may
/// be in conflict without a reason.
const OTHERS_MAX: usize = 4 << 20;
const READS_MAX: usize = 500;

#[derive(Clone)]
pub enum Change {
    Put(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Clear(Range),
}

impl Change {
    fn has(&self, key: &[u8]) -> bool {
        match self {
            Change::Put(it, _) | Change::Remove(it) => it == key,
            Change::Clear(Range { from, to }) => {
                &from[..] <= key && to.as_ref().is_none_or(|to| key < &to[..])
            }
        }
    }

    /// Whether there may be a key that both have written.
    fn overlaps(&self, other: &Change) -> bool {
        match (self, other) {
            (Change::Clear(one), Change::Clear(other)) => {
                let low = (&one.from).max(&other.from);
                [one, other].iter().all(|it| it.to.as_ref().is_none_or(|to| low < to))
            }
            (Change::Clear(_), Change::Put(key, _) | Change::Remove(key)) => self.has(key),
            (Change::Put(key, _) | Change::Remove(key), _) => other.has(key),
        }
    }

    fn apply(&self, version: &mut Version) {
        match self {
            Change::Put(key, value) => version.put(key, value),
            Change::Remove(key) => version.remove(key),
            Change::Clear(range) => version.clear(range),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Change::Put(key, _) | Change::Remove(key) => key.len() + 16,
            Change::Clear(range) => range.from.len() + range.to.as_ref().map_or(0, Vec::len) + 32,
        }
    }
}

enum Read {
    Key(Vec<u8>),
    /// Keys in a row, but for those that so many of its first writes have written.
    Span([Bound<Vec<u8>>; 2], usize),
    /// The number of keys or of bytes that it began with, and the keys that so many of its
    /// first writes have written.
    Total(Total, u64, usize),
    All,
}

/// A number about a version that a view can be asked for.
pub type Total = fn(&Version) -> u64;

/// What a transaction should show and do.
pub struct Transaction {
    pub now: Rc<Version>,
    /// What it began with.
    base: Rc<Version>,
    own: Vec<Change>,
    reads: Vec<Read>,
    /// What others have written since it began.
    others: Vec<Change>,
    /// How often it has begun anew.
    begun: usize,
}

impl Transaction {
    fn new(now: Rc<Version>) -> Transaction {
        let (base, own, reads, others) = (now.clone(), Vec::new(), Vec::new(), Vec::new());
        Transaction { now, base, own, reads, others, begun: 0 }
    }

    pub fn write(&mut self, change: impl FnOnce(&mut Version)) {
        let changes = Rc::make_mut(&mut self.now).change(change, false);
        self.own.extend(changes);
    }

    fn look_at(&mut self, key: &[u8]) {
        if !self.own.iter().any(|own| own.has(key)) {
            self.reads.push(Read::Key(key.to_vec()));
        }
    }

    fn is_hit(&self, read: &Read, other: &Change) -> bool {
        match (read, other) {
            (Read::All, _) => true,
            (Read::Key(key), _) => other.has(key),
            (Read::Span(span, own), Change::Put(key, _) | Change::Remove(key)) => {
                let [low, high] = span;
                let own = &self.own[..*own];
                (low.clone(), high.clone()).contains(key) && !own.iter().any(|own| own.has(key))
            }
            (Read::Span(span, own), Change::Clear(range)) => {
                is_any_left(span, range, &self.own[..*own])
            }
            (Read::Total(_, _, own), other) => {
                self.own[..*own].iter().any(|own| own.overlaps(other))
            }
        }
    }

    /// Keys that it has looked at or written, as far as they stand for themselves or
    /// are where something ends, and those right after them.
    fn edges(&self) -> Vec<Vec<u8>> {
        let own = self.own.iter().filter_map(|own| match own {
            Change::Put(key, _) | Change::Remove(key) => Some(key),
            Change::Clear(_) => None,
        });
        let read = self.reads.iter().flat_map(|read| match read {
            Read::Key(key) => vec![key],
            Read::Span([low, high], _) => [low, high].into_iter().filter_map(key_of).collect(),
            Read::Total(..) | Read::All => Vec::new(),
        });
        own.chain(read).flat_map(|key| [key.clone(), [key, &[0][..]].concat()]).collect()
    }

    /// Whether it must be in conflict, if that is certain; `latest` is what there is now.
    fn is_overtaken(&self, latest: &Version) -> Option<bool> {
        if self.own.is_empty() || self.reads.is_empty() {
            return Some(false);
        }
        let has_changed = |read: &Read| match read {
            Read::Total(total, seen, _) => total(latest) != *seen,
            _ => false,
        };
        if self.reads.iter().any(has_changed) {
            return Some(true);
        }
        let hit = |other: &Change| self.reads.iter().any(|read| self.is_hit(read, other));
        let others: usize = self.others.iter().map(Change::bytes).sum();
        let sure = others < OTHERS_MAX && self.reads.len() < READS_MAX;
        Some(self.others.iter().any(hit)).filter(|overtaken| *overtaken || sure)
    }
}

fn key_of(bound: &Bound<Vec<u8>>) -> Option<&Vec<u8>> {
    match bound {
        Included(key) | Excluded(key) => Some(key),
        Unbounded => None,
    }
}

/// Whether a key lies in a span and a range that none of the writes has written.
fn is_any_left(span: &[Bound<Vec<u8>>; 2], range: &Range, own: &[Change]) -> bool {
    let [low, high] = span;
    let mut key = match low {
        Unbounded => Vec::new(),
        Included(key) => key.clone(),
        Excluded(key) => [key, &[0][..]].concat(),
    };
    if key < range.from {
        key.clone_from(&range.from);
    }
    loop {
        let within = (Unbounded, high.clone()).contains(&key);
        if !within || range.to.as_ref().is_some_and(|to| key >= *to) {
            return false;
        }
        match own.iter().find(|own| own.has(&key)) {
            None => return true,
            Some(Change::Clear(Range { to: None, .. })) => return false,
            Some(Change::Clear(Range { to: Some(to), .. })) => key.clone_from(to),
            Some(_) => key.push(0), // the next key that there could be
        }
    }
}

/// How a cursor tells its transaction what it walks over.
pub struct Walk {
    transaction: Rc<RefCell<Transaction>>,
    /// Since then it does not count any more.
    begun: usize,
    /// Writes made before.
    writes: usize,
}

impl Walk {
    pub fn new(transaction: Rc<RefCell<Transaction>>) -> Walk {
        let (begun, writes) = {
            let transaction = transaction.borrow();
            (transaction.begun, transaction.own.len())
        };
        Walk { transaction, begun, writes }
    }

    pub fn over(&self, span: [Bound<&[u8]>; 2]) {
        let mut transaction = self.transaction.borrow_mut();
        if transaction.begun == self.begun {
            let span = span.map(|bound| bound.map(<[u8]>::to_vec));
            transaction.reads.push(Read::Span(span, self.writes));
        }
    }
}

impl Store {
    /// Applies a commit, of which the transactions hear.
    pub fn commit(&mut self, change: impl FnOnce(&mut Version)) {
        let changes = Rc::make_mut(&mut self.now).change(change, true);
        self.transactions.retain(|it| it.strong_count() > 0);
        for transaction in self.transactions.iter().filter_map(|it| it.upgrade()) {
            // One that is borrowed is the one that commits.
            if let Ok(mut transaction) = transaction.try_borrow_mut() {
                transaction.others.extend(changes.iter().cloned());
            }
        }
    }
}

impl View {
    pub fn transaction(&self) -> Option<Rc<RefCell<Transaction>>> {
        match &self.kind {
            Kind::Transaction(transaction) => Some(transaction.clone()),
            _ => None,
        }
    }

    /// In a transaction, that counts.
    pub fn looked_at(&self, key: &[u8]) {
        if let Some(transaction) = self.transaction() {
            transaction.borrow_mut().look_at(key);
        }
    }

    pub fn looked_at_total(&self, total: Total) {
        if let Some(transaction) = self.transaction() {
            let mut transaction = transaction.borrow_mut();
            let (seen, own) = (total(&transaction.base), transaction.own.len());
            transaction.reads.push(Read::Total(total, seen, own));
        }
    }

    pub fn looked_at_all(&self) {
        if let Some(transaction) = self.transaction() {
            transaction.borrow_mut().reads.push(Read::All);
        }
    }
}

impl<C: Choices> Driver<C> {
    /// A database, mostly the first, or a transaction.
    pub(super) fn writable(&mut self) -> View {
        if self.focus.is_none()
            && self.choices.once_in(4)
            && let Some(transaction) = self.transaction()
        {
            return transaction;
        }
        self.database()
    }

    fn transaction(&mut self) -> Option<View> {
        let of = |view: &&View| view.transaction().is_some();
        let count = self.views.iter().filter(of).count();
        let n = self.choices.below(count.max(1));
        self.views.iter().filter(of).nth(n).cloned()
    }

    pub(super) fn looked_at_old(&self, view: &View, key: &Arg, want: Want) {
        if want.bytes || want.len {
            view.looked_at(key.get());
        }
    }

    pub(super) fn begin(&mut self) {
        let view = self.database();
        if self.views.len() < VIEWS && self.may_freeze(view.len()) {
            self.begin_on(&view);
        }
    }

    fn begin_on(&mut self, view: &View) -> View {
        let (code, handle) = api::begin(view.handle);
        self.done(code);
        let transaction = Rc::new(RefCell::new(Transaction::new(view.version())));
        view.store.borrow_mut().transactions.push(Rc::downgrade(&transaction));
        self.add_view(handle, view.store.clone(), Kind::Transaction(transaction));
        self.views.last().expect("it was just added").clone()
    }

    /// A short transaction, and before its commit writes of others near to what it
    /// has looked at and written: where a conflict begins and ends.
    pub(super) fn race(&mut self) {
        let database = self.database();
        if self.nested || self.views.len() >= VIEWS || !self.may_freeze(database.len()) {
            return;
        }
        let view = self.begin_on(&database);
        let transaction = view.transaction().expect("it is one");
        self.focus = Some(view.clone());
        for _ in 0..1 + self.choices.below(4) {
            match self.choices.below(11) {
                0..3 => self.scan(),
                3 => self.scan_prefix(),
                4 => self.get(),
                5 => self.cas(),
                6 => self.delete(),
                7 if self.choices.once_in(4) => self.clear(),
                8 if self.choices.once_in(2) => self.stat(),
                _ => self.put(),
            }
            self.near = transaction.borrow().edges();
        }
        self.focus = Some(database);
        for _ in 0..1 + self.choices.below(2) {
            match self.choices.below(8) {
                0 => self.delete(),
                1 => self.cas(),
                2 if self.choices.once_in(4) => self.clear(),
                _ => self.put(),
            }
        }
        (self.focus, self.near) = (None, Vec::new());
        self.commit_view(&view);
        if !self.choices.once_in(4)
            && let Some(n) = self.views.iter().position(|it| it.handle == view.handle)
        {
            self.close_view(n);
        }
    }

    pub(super) fn commit_transaction(&mut self) {
        let Some(view) = self.transaction() else {
            return self.begin();
        };
        self.commit_view(&view);
    }

    fn commit_view(&mut self, view: &View) {
        let transaction = view.transaction().expect("it is one");
        let mut transaction = transaction.borrow_mut();
        let code = api::commit(view.handle);
        let latest = view.store.borrow().now.clone();
        let expected = match transaction.is_overtaken(&latest) {
            Some(true) => MINIDB_CONFLICT,
            Some(false) => MINIDB_OK,
            None if code == MINIDB_CONFLICT => MINIDB_CONFLICT,
            None => MINIDB_OK,
        };
        self.same("the code", code, expected);
        let mut store = view.store.borrow_mut();
        if code == MINIDB_OK && !transaction.own.is_empty() {
            store.commit(|version| transaction.own.iter().for_each(|own| own.apply(version)));
            self.written = self.database_of(view);
        }
        let begun = transaction.begun + 1;
        *transaction = Transaction { begun, ..Transaction::new(store.now.clone()) };
    }

    /// The handle of a database on the same store, if there is one.
    fn database_of(&self, view: &View) -> Option<Handle> {
        let same = |it: &&View| it.is_database() && Rc::ptr_eq(&it.store, &view.store);
        self.views.iter().find(same).map(|it| it.handle)
    }

    /// Transactions are begun on databases, and only they are committed.
    pub(super) fn misuse_transaction(&mut self) {
        let view = self.view();
        if !view.is_database() {
            let refused = (MINIDB_INVALID, Handle::NULL);
            self.same("begin", api::begin(view.handle), refused);
        }
        if view.transaction().is_none() {
            self.same("commit", api::commit(view.handle), MINIDB_INVALID);
        }
        let bad = self.bad_handle(false);
        self.same("begin", api::begin(bad), (MINIDB_INVALID, Handle::NULL));
        self.same("commit", api::commit(bad), MINIDB_INVALID);
    }
}
