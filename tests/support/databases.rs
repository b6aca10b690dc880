//! Databases of each kind, for tests that are about all of them.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;

use minidb::{Database, InMemoryDB, Options, PersistentDB};

pub fn memory() -> Database {
    InMemoryDB::new().expect("there is memory").into()
}

pub fn file(path: &Path, options: Options) -> Database {
    let db = PersistentDB::open(path, options);
    db.unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

/// New databases in memory and, in an empty folder, in files, with and without sync; each
/// with the name of its kind.
pub fn each(folder: &Path) -> [(&'static str, Database); 3] {
    let file = |name: &str, options| file(&folder.join(name), options);
    [
        ("in memory", memory()),
        ("in a file without sync", file("nosync.minidb", Options::new().no_sync())),
        ("in a file", file("sync.minidb", Options::new())),
    ]
}
