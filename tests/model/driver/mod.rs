//! Plays sequences of C calls and compares every answer with a model of what
//! the header promises.
//!
//! The model of a view is a `BTreeMap` (`model`); freezing one is sharing it,
//! and the next write copies it. What is played is chosen by a source of choices
//! (`choices`): which call, on which of the open handles, with which arguments
//! (`data`). The calls themselves are behind a safe face (`api`), and the
//! operations are in `handles`, `read`, `write`, `walk`, `transaction`, `files` and
//! `misuse`.
//!
//! The first database gets most of the writes. It grows and shrinks in turn, so
//! that its tree gets levels and loses them. While small it is checked after
//! every step.

mod api;
mod choices;
mod data;
mod files;
#[path = "../../support/folder.rs"]
mod folder;
mod handles;
mod misuse;
mod model;
mod read;
mod transaction;
mod walk;
mod write;

use std::any::Any;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use api::{Arg, Handle, Want};
pub use choices::{Choices, Input, Seeded};
use files::Files;
use minidb::ffi::MINIDB_OK;
use model::{Cursor, Range, Version, View};

/// A view with fewer entries is small: it is checked at every step.
const SMALL: usize = 200;

/// How far a driver goes.
#[derive(Clone, Copy)]
pub struct Limits {
    pub steps: u64,
    /// Number of keys there may be.
    pub keys: usize,
    /// Entries with which a database has grown enough.
    pub entries: usize,
    /// Whether there are keys of 70,000 bytes and values of 100,000.
    pub huge: bool,
    /// Whether databases are files.
    pub files: bool,
    /// Makes the model wrong: it forgets the first delete after this step.
    pub forget_a_delete: Option<u64>,
}

impl Limits {
    /// For choices from the bytes of a fuzzer: small, so that a run is short.
    pub fn of_input() -> Limits {
        let (steps, keys, entries) = (10_000, 1_000, 300);
        Limits { steps, keys, entries, huge: false, files: false, forget_a_delete: None }
    }
}

/// What is open, and what the model says about it.
pub struct Driver<C> {
    choices: C,
    limits: Limits,
    /// Where the files are, if there are any.
    files: Option<Files>,
    views: Vec<View>,
    cursors: Vec<Cursor>,
    /// Some handles that were closed, of either type.
    closed: Vec<Handle>,
    growing: bool,
    /// Entries to grow to.
    target: usize,
    /// Steps after which growing or shrinking ends at the latest.
    patience: usize,
    /// The database that the step wrote to.
    written: Option<Handle>,
    /// The view that is chosen, if not any.
    focus: Option<View>,
    /// Keys that are often chosen meanwhile.
    near: Vec<Vec<u8>>,
    /// Whether an operation runs while another one waits.
    nested: bool,
    step: u64,
    operation: &'static str,
    most_entries: usize,
}

/// An operation: how often it is chosen while growing and while shrinking, its
/// name, and what it does.
type Operation<C> = (usize, usize, &'static str, fn(&mut Driver<C>));

/// How far a driver went.
#[derive(Debug)]
pub struct Played {
    pub steps: u64,
    /// The most entries that the first database had.
    pub entries: usize,
}

/// Plays until the choices or the steps end. If an answer differs, returns the
/// step and the difference.
pub fn play(choices: impl Choices, limits: Limits) -> Result<Played, String> {
    let mut driver = Driver::new(choices, limits);
    match catch_unwind(AssertUnwindSafe(|| driver.run())) {
        Ok(()) => Ok(Played { steps: driver.step, entries: driver.most_entries }),
        Err(panic) => Err(format!("step {}, {}", driver.step, message(&*panic))),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}

impl<C: Choices> Driver<C> {
    const OPERATIONS: [Operation<C>; 28] = [
        (50, 10, "put", Self::put),
        (5, 50, "delete", Self::delete),
        (4, 1, "write", Self::write),
        (1, 4, "clear", Self::clear),
        (8, 8, "cas", Self::cas),
        (2, 2, "write to a snapshot", Self::write_refused),
        (14, 14, "get", Self::get),
        (6, 6, "get_into", Self::get_into),
        (4, 4, "each", Self::each),
        (6, 6, "stat", Self::stat),
        (3, 3, "sync, checkpoint or check", Self::maintain),
        (1, 1, "strerror, version or free", Self::texts),
        (1, 1, "open", Self::open),
        (3, 3, "snapshot", Self::snapshot),
        (3, 3, "begin", Self::begin),
        (6, 6, "commit", Self::commit_transaction),
        (8, 8, "a transaction and a write beside it", Self::race),
        (1, 1, "begin or commit on another view", Self::misuse_transaction),
        (3, 3, "close", Self::close),
        (4, 4, "scan", Self::scan),
        (4, 4, "scan_prefix", Self::scan_prefix),
        (24, 24, "cursor_first, _last, _next or _prev", Self::go),
        (6, 6, "cursor_seek", Self::seek),
        (4, 4, "cursor_key and _value", Self::borrow),
        (8, 8, "cursor_read", Self::read),
        (3, 3, "cursor_close", Self::cursor_close),
        (1, 1, "reopen, back up or look at the file", Self::use_files),
        (5, 5, "misuse", Self::misuse),
    ];

    pub fn new(choices: C, limits: Limits) -> Self {
        Driver {
            choices,
            limits,
            files: limits.files.then(Files::new),
            views: Vec::new(),
            cursors: Vec::new(),
            closed: Vec::new(),
            growing: false,
            target: 0,
            patience: 1,
            written: None,
            focus: None,
            near: Vec::new(),
            nested: false,
            step: 0,
            operation: "open",
            most_entries: 0,
        }
    }

    pub fn run(&mut self) {
        while self.step < self.limits.steps && !self.choices.ended() {
            self.step += 1;
            self.turn();
            self.operate();
            self.verify();
        }
        self.finish();
    }

    /// Lets the first database grow or shrink.
    fn turn(&mut self) {
        let len = self.views.iter().find(|view| view.is_database()).map_or(0, View::len);
        self.most_entries = self.most_entries.max(len);
        self.patience -= 1;
        let enough = if self.growing { len >= self.target } else { len <= 5 };
        if enough || self.patience == 0 {
            self.growing = !self.growing;
            let half = self.limits.entries / 2;
            self.target = half + self.choices.below(half);
            self.patience = 200 + 4 * self.limits.entries;
        }
    }

    fn operate(&mut self) {
        let weight = |row: &Operation<C>| if self.growing { row.0 } else { row.1 };
        let mut n = self.choices.below(Self::OPERATIONS.iter().map(weight).sum());
        let row = Self::OPERATIONS.iter().find(|row| {
            let found = n < weight(row);
            n = n.wrapping_sub(weight(row));
            found
        });
        let (_, _, name, operation) = row.expect("the number is below the sum of all weights");
        self.operation = name;
        operation(self);
    }

    /// Checks what the step wrote to, and in turn the others; the more there is
    /// to check, the less often.
    fn verify(&mut self) {
        let written = self.written.take();
        if self.views.is_empty() {
            return;
        }
        let due = |view: &View, period: u64| {
            let len = view.len();
            self.step.is_multiple_of(if len < SMALL { period } else { period * len as u64 / 50 })
        };
        // Checking reads everything; most transactions are spared that.
        let spared = |view: &View| view.transaction().is_some() && !self.step.is_multiple_of(5);
        let written = self.views.iter().find(|view| Some(view.handle) == written);
        let written = written.filter(|view| !spared(view));
        // A check reads the whole file.
        let often = if self.files.is_some() { 16 } else { 1 };
        if let Some(view) = written.filter(|view| due(view, often)) {
            self.check(view);
        }
        let in_turn = |period: u64| &self.views[(self.step / period) as usize % self.views.len()];
        if due(in_turn(8), 8) && !spared(in_turn(8)) {
            self.check(in_turn(8));
        }
        if due(in_turn(64), 64) && !spared(in_turn(64)) {
            self.compare(in_turn(64));
        }
    }

    /// Compares everything, and closes all handles in any order.
    fn finish(&mut self) {
        self.operation = "the end";
        self.views.iter().for_each(|view| {
            self.check(view);
            self.compare(view);
        });
        while !self.views.is_empty() || !self.cursors.is_empty() {
            let n = self.choices.below(self.views.len() + self.cursors.len());
            match n.checked_sub(self.views.len()) {
                None => self.close_view(n),
                Some(n) => {
                    self.compare_entry(&self.cursors[n]);
                    self.close_cursor(n);
                }
            }
            self.views.iter().for_each(|view| self.check_handles(view));
        }
    }

    #[track_caller]
    fn same<T: PartialEq + Debug>(&self, what: &str, got: T, expected: T) {
        let operation = self.operation;
        assert!(got == expected, "{operation}: {what} is {got:?}, should be {expected:?}");
    }

    #[track_caller]
    fn done(&self, code: i32) {
        self.same("the code", code, MINIDB_OK);
    }

    /// Whether a view of so many entries may be frozen for long, at the cost of
    /// copying its model.
    fn may_freeze(&mut self, entries: usize) -> bool {
        entries < SMALL || self.choices.below(entries) < SMALL
    }

    /// A database, mostly the first.
    fn database(&mut self) -> View {
        if let Some(view) = &self.focus {
            return view.clone();
        }
        let count = self.views.iter().filter(|view| view.is_database()).count();
        if count == 0 {
            self.open_now();
        }
        let n = if self.choices.once_in(8) { self.choices.below(count.max(1)) } else { 0 };
        let mut databases = self.views.iter().filter(|view| view.is_database());
        databases.nth(n).expect("there is one").clone()
    }

    /// Any view.
    fn view(&mut self) -> View {
        if self.focus.is_some() || self.views.is_empty() || self.choices.once_in(2) {
            return self.database();
        }
        self.views[self.choices.below(self.views.len())].clone()
    }

    /// A key; mostly one that is there, when there shall be fewer.
    fn key(&mut self, version: &Version) -> Vec<u8> {
        if !self.near.is_empty() && !self.choices.once_in(4) {
            return self.near[self.choices.below(self.near.len())].clone();
        }
        let key = data::key(self.choices.below(self.limits.keys), self.limits.huge);
        let there = if self.growing { 1 } else { 3 };
        if self.choices.below(4) < there {
            let next = version.range(&Range::new(Some(&key), None)).next();
            return next.map_or(key, |(key, _)| key.clone());
        }
        key
    }

    fn key_arg(&mut self, view: &View) -> Arg {
        let key = self.key(&view.version());
        self.arg(key)
    }

    fn value_arg(&mut self) -> Arg {
        let value = data::value(&mut self.choices, self.limits.huge);
        self.some_arg(value)
    }

    /// An argument in any of the forms that mean these bytes.
    fn arg(&mut self, bytes: Vec<u8>) -> Arg {
        if bytes.is_empty() && self.choices.once_in(2) {
            return Arg::NULL;
        }
        self.some_arg(bytes)
    }

    /// The same where NULL means something else.
    fn some_arg(&mut self, bytes: Vec<u8>) -> Arg {
        if self.choices.once_in(4) && !bytes.contains(&0) {
            return Arg::text(bytes);
        }
        Arg::bytes(bytes)
    }

    /// Two bounds of any kind, or, if `narrow`, with a few entries between.
    fn bounds(&mut self, version: &Version, narrow: bool) -> [Arg; 2] {
        let from = self.key(version);
        if narrow {
            let rest = Range::new(Some(&from), None);
            let to = version.range(&rest).nth(self.choices.below(20));
            let to = to.map_or_else(|| from.clone(), |(key, _)| key.clone());
            return [self.some_arg(from), self.some_arg(to)];
        }
        let to = self.key(version);
        [from, to].map(|bound| match self.choices.once_in(4) {
            true => Arg::NULL,
            false => self.some_arg(bound),
        })
    }

    fn want(&mut self) -> Want {
        match self.choices.below(8) {
            0 => Want { bytes: false, len: false },
            1 => Want { bytes: false, len: true },
            2 => Want { bytes: true, len: false },
            _ => Want::BOTH,
        }
    }
}
