//! The longest key and value that there may be, and one byte more. This takes 13
//! GiB of memory, so it is done only in CI, or with MINIDB_LARGE set.

use minidb::{DB, DBError, InMemoryDB, MAX_LEN};

#[test]
fn keys_and_values_may_be_as_long_as_the_limit_and_no_longer() {
    if std::env::var_os("MINIDB_FULL").or(std::env::var_os("MINIDB_LARGE")).is_none() {
        println!("SKIPPED: takes 13 GiB of memory; MINIDB_LARGE=1 runs it");
        return;
    }
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
