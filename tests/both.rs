//! What a database promises, whichever one it is: each test runs on an
//! [`InMemoryDB`] and on a [`PersistentDB`], with and without waiting for the disk.
//! What is in a file at the end is what the database held when it was closed.

mod support;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use minidb::os::sim::Random;
use minidb::{
    Cursor, DB, DBError, DBIterator, DBResult, Database, InMemoryDB, Options, PersistentDB,
    Snapshot,
};

use support::folder::Folder;

/// A handle on a database of either kind.
trait Both: DB + Clone + Deref<Target = Database> {}

impl<T: DB + Clone + Deref<Target = Database>> Both for T {}

fn refuse_put(db: &Database, key: &[u8], value: &[u8]) -> DBResult<()> {
    db.put_with(key, value, |_| Err(DBError::OutOfMemory))
}

fn refuse_delete(db: &Database, key: &[u8]) -> DBResult<Option<()>> {
    db.delete_with(key, |_| Err(DBError::OutOfMemory))
}

fn write_all(db: &Database, entries: &[(&[u8], &[u8])]) -> DBResult<()> {
    db.write_all(entries.iter().copied())
}

fn panic_in_put(db: &Database, key: &[u8]) -> DBResult<()> {
    db.put_with(key, b"", |_| panic!("on purpose"))
}

type Entry = (Vec<u8>, Vec<u8>);

fn entries(db: &dyn DB) -> Vec<Entry> {
    db.iter().unwrap().map(Result::unwrap).collect()
}

/// Runs a test on a file, opens that again, and compares.
fn on_file(options: Options, test: impl FnOnce(PersistentDB)) {
    let folder = Folder::new("both");
    let path = folder.file("test.minidb");
    let db = PersistentDB::open(&path, options.clone()).unwrap();
    test(db.clone());
    let held = (entries(&db), db.commits(), db.data_bytes());
    drop(db);
    let db = PersistentDB::open(&path, options.existing()).unwrap();
    db.check().unwrap();
    assert_eq!((entries(&db), db.commits(), db.data_bytes()), held);
}

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        mod in_memory {
            $(#[test] fn $name() { super::$name(minidb::InMemoryDB::new().unwrap()); })*
        }
        mod on_a_file {
            $(#[test] fn $name() { super::on_file(minidb::Options::new(), super::$name); })*
        }
        mod without_sync {
            $(#[test] fn $name() {
                super::on_file(minidb::Options::new().no_sync(), super::$name);
            })*
        }
    };
}

tests! {
    the_seed_s_scenario, entries_are_in_the_order_of_their_keys, an_iterator_shows_one_moment,
    an_error_from_the_caller_stops_a_write, each_write_is_a_commit, a_swap_needs_what_it_expects,
    random_writes_do_what_they_do_to_a_map, threads_share_a_database, memory_comes_back,
}

fn the_seed_s_scenario(db: impl Both) {
    assert_eq!(db.get(b"user-1"), Ok(None));
    assert_eq!(db.put(b"user-1", b"John"), Ok(None));
    assert_eq!(db.get(b"user-1"), Ok(Some(b"John".to_vec())));
    assert_eq!(db.put(b"user-1", b"Jane"), Ok(Some(b"John".to_vec())));
    assert_eq!(entries(&db), [(b"user-1".to_vec(), b"Jane".to_vec())]);
    assert_eq!(db.delete(b"user-1"), Ok(Some(b"Jane".to_vec())));
    assert_eq!(db.delete(b"user-1"), Ok(None));
    assert_eq!(entries(&db), []);
}

fn entries_are_in_the_order_of_their_keys(db: impl Both) {
    let keys = [&b""[..], b"\0", b"a", b"a\0", b"ab", b"b", b"\x80", b"\xff", b"\xff\xff"];
    for key in keys.iter().rev() {
        db.put(key, key).unwrap();
    }
    let found: Vec<_> = entries(&db).into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, keys);
    db.clear(Some(b"a"), Some(b"b")).unwrap();
    let mut cursor = db.scan(Some(b"\0"), None).unwrap();
    assert!(cursor.next().unwrap() && cursor.key() == Some(b"\0"));
    assert!(cursor.next().unwrap() && cursor.key() == Some(b"b"));
}

fn an_iterator_shows_one_moment(db: impl Both) {
    write_all(&db, &[(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]).unwrap();
    let iter: DBIterator = db.iter().unwrap();
    db.clear(None, None).unwrap();
    db.put(b"c", b"4").unwrap();
    let found: Vec<_> = iter.map(Result::unwrap).collect();
    assert_eq!(found, [(b"a".to_vec(), b"3".to_vec()), (b"b".to_vec(), b"2".to_vec())]);
}

fn an_error_from_the_caller_stops_a_write(db: impl Both) {
    db.put(b"a", b"1").unwrap();
    for _ in 0..3 {
        assert_eq!(refuse_put(&db, b"a", b"2"), Err(DBError::OutOfMemory));
        assert_eq!(refuse_put(&db, b"b", b"2"), Err(DBError::OutOfMemory));
        assert_eq!(refuse_delete(&db, b"a"), Err(DBError::OutOfMemory));
        assert_eq!(refuse_delete(&db, b"b"), Ok(None));
    }
    assert_eq!(db.get(b"a"), Ok(Some(b"1".to_vec())));
    assert_eq!((db.count(), db.commits()), (Ok(1), Ok(1)));
    db.put(b"c", b"3").unwrap();
    assert_eq!(refuse_delete(&db, b"c"), Err(DBError::OutOfMemory));
}

fn each_write_is_a_commit(db: impl Both) {
    db.put(b"a", b"1").unwrap();
    db.put(b"a", b"1").unwrap();
    write_all(&db, &[(b"b", b""), (b"c", b"")]).unwrap();
    db.delete(b"b").unwrap();
    db.clear(Some(b"x"), None).unwrap();
    assert_eq!(db.commits(), Ok(5));
    db.delete(b"x").unwrap();
    db.cas(b"a", Some(b"2"), None).unwrap();
    assert_eq!(db.commits(), Ok(5));
}

fn a_swap_needs_what_it_expects(db: impl Both) {
    assert_eq!(db.cas(b"k", Some(b""), Some(b"1")), Ok(false));
    assert_eq!(db.cas(b"k", None, Some(b"")), Ok(true));
    assert_eq!(db.cas(b"k", None, Some(b"1")), Ok(false));
    assert_eq!(db.cas(b"k", Some(b""), Some(b"1")), Ok(true));
    assert_eq!(db.cas(b"k", Some(b"1"), None), Ok(true));
    assert_eq!(db.cas(b"k", None, None), Ok(true));
    assert_eq!(db.count(), Ok(0));
}

fn random_writes_do_what_they_do_to_a_map(db: impl Both) {
    let seed = 20_261_125;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut model = BTreeMap::new();
    for _ in 0..1_000 {
        let key = random.below(80).to_string().into_bytes();
        match random.below(5) {
            0 => assert_eq!(db.delete(&key), Ok(model.remove(&key))),
            1 => assert_eq!(db.get(&key), Ok(model.get(&key).cloned())),
            _ => {
                let value = vec![b'v'; random.below(2_000)];
                assert_eq!(db.put(&key, &value), Ok(model.insert(key, value)));
            }
        }
    }
    assert_eq!(entries(&db), model.into_iter().collect::<Vec<_>>());
    db.check().unwrap();
}

/// False if another thread was faster.
fn count_up(db: &impl Both) -> bool {
    let old = db.get(b"count").unwrap();
    let count: u32 = old.as_deref().map_or(0, |it| str::from_utf8(it).unwrap().parse().unwrap());
    db.cas(b"count", old.as_deref(), Some((count + 1).to_string().as_bytes())).unwrap()
}

fn threads_share_a_database(db: impl Both) {
    thread::scope(|scope| {
        for n in 0..4u8 {
            let db = db.clone();
            scope.spawn(move || {
                for i in 0..50u8 {
                    assert_eq!(db.put(&[n, i], b"own"), Ok(None));
                    while !count_up(&db) {}
                }
            });
        }
    });
    assert_eq!(db.get(b"count"), Ok(Some(b"200".to_vec())));
    assert_eq!(db.count(), Ok(4 * 50 + 1));
    db.check().unwrap();
}

fn memory_comes_back(db: impl Both) {
    let value = [7; 100];
    let keys: Vec<_> = (0..50_000u32).map(u32::to_be_bytes).collect();
    let all: Vec<_> = keys.iter().map(|key| (&key[..], &value[..])).collect();
    write_all(&db, &all).unwrap();
    let once = db.memory_bytes().unwrap();
    let snapshot = db.snapshot().unwrap();
    write_all(&db, &all).unwrap();
    assert!(db.memory_bytes().unwrap() > once * 19 / 10);
    drop(snapshot);
    let after = db.memory_bytes().unwrap();
    assert!(after < once * 12 / 10, "{after} bytes are held, {once} before the snapshot");
    db.clear(Some(&100u32.to_be_bytes()), None).unwrap();
    let few = db.memory_bytes().unwrap();
    assert!(few * 4 < once, "{few} of {once} bytes are held after a range was cleared");
}

fn is_outlived_by_its_views(db: impl Both) {
    write_all(&db, &[(b"a", b"1"), (b"b", b"2")]).unwrap();
    let snapshot = db.snapshot().unwrap();
    let mut cursor = db.scan(None, None).unwrap();
    db.put(b"a", b"changed").unwrap();
    drop(db);
    assert_eq!(snapshot.get(b"a"), Ok(Some(b"1".to_vec())));
    snapshot.check().unwrap();
    assert!(cursor.last().unwrap() && cursor.value() == Some(b"2"));
    assert!(cursor.prev().unwrap() && cursor.value() == Some(b"1"));
}

#[test]
fn snapshots_and_cursors_outlive_their_database() {
    is_outlived_by_its_views(InMemoryDB::new().unwrap());
    let folder = Folder::new("both");
    let path = folder.file("test.minidb");
    is_outlived_by_its_views(PersistentDB::open(&path, Options::new()).unwrap());
    is_outlived_by_its_views(PersistentDB::open(&path, Options::new().no_sync()).unwrap());
}

/// Not one of the tests above: in a file, the call's record may stay in the log.
fn refuses_after_a_panic(db: &impl Both) {
    db.put(b"a", b"1").unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| panic_in_put(db, b"a"))).is_err());
    assert_eq!(db.get(b"a"), Err(DBError::Internal));
    assert_eq!(db.put(b"a", b""), Err(DBError::Internal));
}

#[test]
fn after_a_panic_under_the_lock_a_database_refuses() {
    refuses_after_a_panic(&InMemoryDB::new().unwrap());
    for options in [Options::new(), Options::new().no_sync()] {
        let folder = Folder::new("both");
        let path = folder.file("test.minidb");
        let db = PersistentDB::open(&path, options.clone()).unwrap();
        refuses_after_a_panic(&db);
        drop(db);
        let db = PersistentDB::open(&path, options).unwrap();
        assert!(db.get(b"a").unwrap().is_some_and(|it| it == b"1" || it == b""));
        db.check().unwrap();
    }
}

#[test]
fn handles_may_be_shared_and_sent() {
    fn ok<T: Send + Sync>() {}
    ok::<InMemoryDB>();
    ok::<PersistentDB>();
    ok::<Snapshot>();
    ok::<Cursor>();
    ok::<DBIterator>();
}
