//! `InMemoryDB`: a database without files.

use std::ops::Deref;

use super::database::Database;
use super::index::Index;
use super::store::Store;
use crate::error::DBResult;

/// An ordered key-value store in memory: a handle on a [`Database`], which has its
/// operations.
///
/// Cloning it gives another handle on the same data. The data go with the last handle,
/// snapshot or cursor.
///
/// ```
/// use minidb::{DB, InMemoryDB};
///
/// let db = InMemoryDB::new()?;
/// assert_eq!(db.put(b"user-1", b"John")?, None);
/// assert_eq!(db.put(b"user-1", b"Jane")?, Some(b"John".to_vec()));
///
/// let before = db.snapshot()?;
/// assert_eq!(db.delete(b"user-1")?, Some(b"Jane".to_vec()));
/// assert_eq!(db.get(b"user-1")?, None);
/// assert_eq!(before.get(b"user-1")?, Some(b"Jane".to_vec()));
/// # Ok::<(), minidb::DBError>(())
/// ```
#[derive(Clone, Debug)]
pub struct InMemoryDB(Database);

impl InMemoryDB {
    /// A new empty database.
    pub fn new() -> DBResult<InMemoryDB> {
        Ok(InMemoryDB(Database::new(Store::new(Index::new()?), None)))
    }
}

impl From<InMemoryDB> for Database {
    fn from(db: InMemoryDB) -> Database {
        db.0
    }
}

impl Deref for InMemoryDB {
    type Target = Database;

    #[inline]
    fn deref(&self) -> &Database {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cursor, DB, DBError, DBIterator, Snapshot};

    #[test]
    fn the_seed_s_scenario() {
        let db = InMemoryDB::new().unwrap();
        assert_eq!(db.get(b"user-1").unwrap(), None);
        assert_eq!(db.put(b"user-1", b"John").unwrap(), None);
        assert_eq!(db.get(b"user-1").unwrap(), Some(b"John".to_vec()));
        let all: Vec<_> = db.iter().unwrap().map(Result::unwrap).collect();
        assert_eq!(all, [(b"user-1".to_vec(), b"John".to_vec())]);
        assert_eq!(db.delete(b"user-1").unwrap(), Some(b"John".to_vec()));
        assert_eq!(db.delete(b"user-1").unwrap(), None);
        assert_eq!(db.iter().unwrap().count(), 0);
    }

    #[test]
    fn an_error_from_the_caller_stops_a_write() {
        let db = InMemoryDB::new().unwrap();
        db.put(b"a", b"1").unwrap();
        let refuse = |_: Option<&[u8]>| Err::<(), _>(DBError::OutOfMemory);
        assert_eq!(db.put_with(b"a", b"2", refuse), Err(DBError::OutOfMemory));
        let refused = db.delete_with(b"a", |_| Err::<(), _>(DBError::OutOfMemory));
        assert_eq!(refused, Err(DBError::OutOfMemory));
        assert_eq!(db.get(b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(db.commits().unwrap(), 1);
    }

    #[test]
    fn closing_a_snapshot_gives_its_memory_back() {
        let db = InMemoryDB::new().unwrap();
        for n in 0..50_000u32 {
            db.put(&n.to_be_bytes(), &[1; 100]).unwrap();
        }
        let one = db.memory_bytes().unwrap();
        let snapshot = db.snapshot().unwrap();
        for n in 0..50_000u32 {
            db.put(&n.to_be_bytes(), &[2; 100]).unwrap();
        }
        assert!(db.memory_bytes().unwrap() > one * 19 / 10);
        drop(snapshot);
        let after = db.memory_bytes().unwrap();
        assert!(after < one * 12 / 10, "{after} bytes are held, {one} before the snapshot");
        db.check().unwrap();
    }

    #[test]
    fn what_takes_less_gives_its_memory_back() {
        let db = InMemoryDB::new().unwrap();
        let put_all = |len: usize| {
            for n in 0..30_000u32 {
                db.put(&n.to_be_bytes(), &vec![7; len]).unwrap();
            }
            db.memory_bytes().unwrap()
        };
        let long = put_all(1_000);
        let short = put_all(10);
        assert!(short * 4 < long, "{short} of {long} bytes are held for shorter values");
        put_all(1_000);
        db.clear(Some(&100u32.to_be_bytes()), None).unwrap();
        let few = db.memory_bytes().unwrap();
        assert!(few * 4 < long, "{few} of {long} bytes are held after a range was cleared");
        let keys: Vec<_> = (0..30_000u32).map(u32::to_be_bytes).collect();
        let written = || {
            db.write_all(keys.iter().map(|key| (&key[..], &[7; 1_000][..]))).unwrap();
            db.memory_bytes().unwrap()
        };
        let (once, twice) = (written(), written());
        assert!(twice * 10 < once * 12, "{twice} bytes are held, {once} when written once");
        db.check().unwrap();
    }

    #[test]
    fn after_a_panic_under_the_lock_the_database_refuses() {
        let db = InMemoryDB::new().unwrap();
        let panicking = || db.put_with(b"a", b"", |_| -> DBResult<()> { panic!("on purpose") });
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).is_err());
        assert_eq!(db.get(b"a"), Err(DBError::Internal));
        assert_eq!(db.put(b"a", b""), Err(DBError::Internal));
    }

    #[test]
    fn handles_may_be_shared_and_sent() {
        fn ok<T: Send + Sync>() {}
        ok::<InMemoryDB>();
        ok::<Snapshot>();
        ok::<Cursor>();
        ok::<DBIterator>();
    }
}
