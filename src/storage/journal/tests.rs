//! Databases on disks that are not much larger than they are, and the cost of a commit.

use std::path::Path;

use super::super::persistent_db::PersistentDB;
use super::*;
use crate::DB;
use crate::os::sim::SimDisk;
use crate::sync::UPGRADES;

fn open(disk: &SimDisk, options: &Options) -> PersistentDB {
    let (disk, options) = (std::sync::Arc::new(disk.clone()), options.clone().no_threads());
    PersistentDB::open_on(disk, Path::new("/db"), options).unwrap()
}

/// Puts keys in turn until so many bytes of values are written.
fn overwrite(db: &PersistentDB, keys: usize, len: usize, bytes: u64) -> DBResult<()> {
    (0..bytes as usize / len).try_for_each(|n| {
        let key = (n % keys).to_be_bytes();
        db.put(&key, &vec![n as u8; len])?;
        Ok(())
    })
}

/// A commit applies and publishes, each under the exclusive guard; only the first one after
/// an open also has to freeze the state before it.
#[test]
fn a_synced_commit_holds_the_index_exclusively_twice() {
    let db = open(&SimDisk::new(1), &Options::new());
    let upgrades = |commit: &dyn Fn()| {
        let before = UPGRADES.get();
        commit();
        UPGRADES.get() - before
    };
    let put = |n: u8| move |db: &PersistentDB| drop(db.put(&[n], b"value").unwrap());
    assert_eq!(upgrades(&|| put(0)(&db)), 3);
    for n in 1..50 {
        assert_eq!(upgrades(&|| put(n)(&db)), 2, "put {n}");
    }
    assert_eq!(upgrades(&|| drop(db.delete(&[7]).unwrap())), 2);
    assert!(upgrades(&|| db.write_all([(&b"a"[..], &b"1"[..]), (b"b", b"2")]).unwrap()) <= 3);
}

#[test]
fn what_is_overwritten_for_ever_never_fills_the_disk() {
    for options in [Options::new(), Options::new().no_sync()] {
        let large = (5_000, 100, 20 << 20);
        for (keys, len, space) in
            [(1, 10, 300_000), (20, 100, 1 << 20), (10, 3000, 1 << 20), (300, 1000, 3 << 20), large]
        {
            println!("{keys} values of {len} bytes on a disk of {space}");
            let disk = SimDisk::new(1);
            disk.set_space(space);
            for _ in 0..3 {
                let db = open(&disk, &options);
                overwrite(&db, keys, len, space).unwrap();
                db.check().unwrap();
            }
        }
    }
}

#[test]
fn the_log_is_folded_when_there_is_no_space_for_it() {
    for options in [Options::new(), Options::new().no_sync()] {
        let disk = SimDisk::new(1);
        let db = open(&disk, &options);
        for _ in 0..3 {
            overwrite(&db, 20, 3000, 100_000).unwrap();
            db.checkpoint().unwrap();
        }
        overwrite(&db, 20, 3000, 60_000).unwrap();
        // Somebody else takes all that is left but a block.
        disk.set_space(db.file_bytes() + 4096);
        let mut refused = 0;
        for n in 0..1000usize {
            match db.put(&(n % 20).to_be_bytes(), &[n as u8; 3000]) {
                Err(DBError::Full(_)) => refused += 1,
                done => drop(done.unwrap()),
            }
        }
        println!("{refused} were refused");
        assert!(refused < 50);
        db.check().unwrap();
    }
}
