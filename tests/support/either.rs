//! A database of either kind, for tests that are about both.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;

use minidb::{Cursor, DB, DBResult, InMemoryDB, Options, PersistentDB, Snapshot, Transaction};

/// In memory or in a file.
#[derive(Clone)]
pub enum Either {
    Memory(InMemoryDB),
    File(PersistentDB),
}

/// Does the same to either.
macro_rules! either {
    ($this:expr, $db:ident => $call:expr) => {
        match $this {
            Either::Memory($db) => $call,
            Either::File($db) => $call,
        }
    };
}

type Entry<'a> = (&'a [u8], &'a [u8]);

impl Either {
    pub fn memory() -> Either {
        Either::Memory(InMemoryDB::new().expect("there is memory"))
    }

    pub fn file(path: &Path, options: Options) -> Either {
        let db = PersistentDB::open(path, options);
        Either::File(db.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// New databases in memory and, in an empty folder, in files, with and
    /// without sync; each with what kind it is.
    pub fn each(folder: &Path) -> [(&'static str, Either); 3] {
        let file = |name: &str, options| Either::file(&folder.join(name), options);
        [
            ("in memory", Either::memory()),
            ("in a file without sync", file("nosync.minidb", Options::new().no_sync())),
            ("in a file", file("sync.minidb", Options::new())),
        ]
    }

    pub fn get(&self, key: &[u8]) -> DBResult {
        either!(self, db => db.get(key))
    }

    pub fn put(&self, key: &[u8], value: &[u8]) -> DBResult {
        either!(self, db => db.put(key, value))
    }

    pub fn delete(&self, key: &[u8]) -> DBResult {
        either!(self, db => db.delete(key))
    }

    pub fn cas(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        desired: Option<&[u8]>,
    ) -> DBResult<bool> {
        either!(self, db => db.cas(key, expected, desired))
    }

    pub fn clear(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<()> {
        either!(self, db => db.clear(from, to))
    }

    pub fn write_all<'a>(&self, entries: impl IntoIterator<Item = Entry<'a>>) -> DBResult<()> {
        either!(self, db => db.write_all(entries))
    }

    pub fn scan(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> DBResult<Cursor> {
        either!(self, db => db.scan(from, to))
    }

    pub fn snapshot(&self) -> DBResult<Snapshot> {
        either!(self, db => db.snapshot())
    }

    pub fn begin(&self) -> DBResult<Transaction> {
        either!(self, db => db.begin())
    }

    pub fn commits(&self) -> DBResult<u64> {
        either!(self, db => db.commits())
    }

    pub fn count(&self) -> DBResult<u64> {
        either!(self, db => db.count())
    }

    pub fn data_bytes(&self) -> DBResult<u64> {
        either!(self, db => db.data_bytes())
    }

    pub fn check(&self) -> DBResult<()> {
        either!(self, db => db.check())
    }
}
