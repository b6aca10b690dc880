//! The longest key and value that there may be, and one byte more. This takes 13
//! GiB of memory and of disk, so it is done only in CI, or with MINIDB_LARGE set.
//! One byte more alone takes no memory: nobody reads or writes the zeros.

mod support;

use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use minidb::{DB, DBError, InMemoryDB, MAX_LEN, Options, PersistentDB};
use support::databases;
use support::folder::Folder;

/// A key, a value or a bound over the limit would not come back from the log.
#[test]
fn every_write_refuses_a_length_over_the_limit() {
    if usize::BITS < 64 {
        return; // nothing can be so long
    }
    let over = &vec![0; MAX_LEN + 1][..];
    let refused = Err(DBError::Invalid("a key of 2147483648 bytes is over the limit".into()));
    let refused_value =
        Err(DBError::Invalid("a value of 2147483648 bytes is over the limit".into()));
    let folder = Folder::new("over-the-limit");
    for (kind, db) in databases::each(folder.path()) {
        db.put(b"key", b"value").unwrap();
        assert_eq!(db.put(over, b"").map(drop), refused, "{kind}");
        assert_eq!(db.put(b"", over).map(drop), refused_value, "{kind}");
        assert_eq!(db.delete(over).map(drop), refused, "{kind}");
        assert_eq!(db.clear(Some(over), None), refused, "{kind}");
        assert_eq!(db.clear(None, Some(over)), refused, "{kind}");
        assert_eq!(db.clear(Some(b"z"), Some(over)), refused, "{kind}");
        assert_eq!(db.cas(over, None, None).map(drop), refused, "{kind}");
        assert_eq!(db.cas(b"", None, Some(over)).map(drop), refused_value, "{kind}");
        assert_eq!(db.write_all([(&b"a"[..], &b""[..]), (over, b"")]), refused, "{kind}");
        assert_eq!(db.write_all([(&b"a"[..], &b""[..]), (b"", over)]), refused_value, "{kind}");
        let mut txn = db.begin().unwrap();
        assert_eq!(txn.put(over, b""), refused, "{kind}");
        assert_eq!(txn.put(b"", over), refused_value, "{kind}");
        assert_eq!(txn.put_with(over, b"", |_| Ok(())), refused, "{kind}");
        assert_eq!(txn.delete(over).map(drop), refused, "{kind}");
        assert_eq!(txn.delete_with(over, |_| Ok(())).map(drop), refused, "{kind}");
        assert_eq!(txn.clear(Some(over), None), refused, "{kind}");
        assert_eq!(txn.clear(None, Some(over)), refused, "{kind}");
        assert_eq!(txn.cas(over, None, None).map(drop), refused, "{kind}");
        assert_eq!(txn.cas(b"", None, Some(over)).map(drop), refused_value, "{kind}");
        assert_eq!(txn.write_all([(&b"a"[..], &b""[..]), (over, b"")]), refused, "{kind}");
        assert!(txn.commit().unwrap());
        assert_eq!(db.commits(), Ok(1), "{kind}");
        db.check().unwrap();
    }
}

/// Leave to take so much, which one at a time has.
fn leave() -> Option<MutexGuard<'static, ()>> {
    static ONE: Mutex<()> = Mutex::new(());
    if std::env::var_os("MINIDB_FULL").or(std::env::var_os("MINIDB_LARGE")).is_none() {
        println!("SKIPPED: takes 13 GiB of memory, or of disk; MINIDB_LARGE=1 runs it");
        return None;
    }
    Some(ONE.lock().unwrap())
}

#[test]
fn keys_and_values_may_be_as_long_as_the_limit_and_no_longer() {
    let Some(_leave) = leave() else { return };
    let db = InMemoryDB::new().unwrap();
    let mut long = vec![b'x'; MAX_LEN + 1];
    for (key, value) in [(&long[..], &b""[..]), (b"", &long)] {
        assert!(matches!(db.put(key, value), Err(DBError::Invalid(_))));
    }
    assert_eq!(db.count(), Ok(0));

    let longest = &long[..MAX_LEN];
    assert_eq!(db.put_with(longest, longest, |old| Ok(old.is_none())), Ok(true));
    db.put(&longest[..MAX_LEN - 1], b"shorter").unwrap();
    assert_eq!(db.get_with(longest, |value| value == Some(longest)), Ok(true));
    let mut cursor = db.scan(None, None).unwrap();
    assert!(cursor.last().unwrap());
    assert!(cursor.key() == Some(longest) && cursor.value() == Some(longest));
    assert!(cursor.prev().unwrap());
    assert!(cursor.key().map(<[u8]>::len) == Some(MAX_LEN - 1));
    drop(cursor);
    db.check().unwrap();

    long.truncate(MAX_LEN);
    assert_eq!(db.delete_with(&long, |old| Ok(old == long)), Ok(Some(true)));
    assert_eq!(db.data_bytes(), Ok((MAX_LEN - 1 + "shorter".len()) as u64));
}

/// Opens a file that has the longest entry, which is this twice.
fn open_with(path: &Path, longest: &[u8]) -> PersistentDB {
    let db = PersistentDB::open(path, Options::new().no_sync()).unwrap();
    assert_eq!(db.get_with(longest, |value| value == Some(longest)), Ok(true));
    assert_eq!((db.count(), db.data_bytes()), (Ok(1), Ok(2 * MAX_LEN as u64)));
    db
}

/// Their record in the log has more bytes than 32 bits can say.
#[test]
fn in_a_file_keys_and_values_may_be_as_long_and_no_longer() {
    let Some(_leave) = leave() else { return };
    let folder = Folder::new("limits");
    let at = |name: &str| folder.file(name);
    let db = PersistentDB::open(at("db"), Options::new().no_sync()).unwrap();
    let mut long = vec![b'x'; MAX_LEN + 1];
    for (key, value) in [(&long[..], &b""[..]), (b"", &long)] {
        assert!(matches!(db.put(key, value), Err(DBError::Invalid(_))));
    }
    long.truncate(MAX_LEN);
    db.put(&long, &long).unwrap();
    // As if it had been killed here, with all of it in the log.
    std::fs::copy(at("db"), at("killed")).unwrap();
    std::fs::copy(at("db-log"), at("killed-log")).unwrap();
    drop(db);

    let db = open_with(&at("db"), &long);
    db.check().unwrap();
    assert_eq!(db.delete_with(&long, |old| Ok(old == long)), Ok(Some(true)));
    db.checkpoint().unwrap();
    drop(db);
    assert!(std::fs::metadata(at("db")).unwrap().len() < 1 << 20);
    let db = PersistentDB::open(at("db"), Options::new().no_sync()).unwrap();
    assert_eq!((db.count(), db.data_bytes()), (Ok(0), Ok(0)));
    drop(db);

    drop(open_with(&at("killed"), &long));
    drop(open_with(&at("killed"), &long));
}
