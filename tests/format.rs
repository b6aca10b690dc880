//! Files of every version that there was, opened by this one.
//!
//! `tests/golden/v1` has databases that version 1 of the format was written with,
//! once: each of them beside a list of what it holds. They are never changed. A
//! later version adds a folder of its own, which `MINIDB_GOLDEN=v2` has made by
//! the generator below; it refuses to replace what is there.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minidb::os::sim::SimDisk;
use minidb::{DB, DBError, DBResult, Options, PersistentDB};
use xxhash_rust::xxh3::xxh3_64;

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

const FILE: &str = "/db";
const LOG: &str = "/db-log";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn open(disk: &SimDisk, options: Options) -> DBResult<PersistentDB> {
    PersistentDB::open_on(Arc::new(disk.clone()), Path::new(FILE), options.no_threads())
}

fn contents(db: &PersistentDB) -> Contents {
    db.check().unwrap();
    db.iter().unwrap().collect::<DBResult<_>>().unwrap()
}

/// The numbers from 0 to 255 in a fixed disorder.
fn noise(len: usize, seed: u8) -> Vec<u8> {
    let byte = |at: usize| (at * at / 3 + at * 7) as u8 ^ seed;
    (0..len).map(byte).collect()
}

/// What each golden database holds.
fn databases() -> Vec<(&'static str, Contents)> {
    let text = |n: u32| (format!("user-{n}").into_bytes(), format!("name {n}").into_bytes());
    let awkward = [
        (vec![], b"the empty key".to_vec()),
        (b"empty value".to_vec(), vec![]),
        (vec![0], vec![0]),
        (vec![0, 0], vec![0; 100]),
        (vec![0xff; 3], vec![0xff; 300]),
        (b"line\nfeed".to_vec(), b"tab\tand NUL\0".to_vec()),
        (noise(200, 0), b"a long key".to_vec()),
        (noise(3000, 0), b"a longer key that begins with it".to_vec()),
        ([noise(3000, 0), vec![1]].concat(), noise(2000, 1)),
    ];
    let large = [1024, 1025, 4096, 20_000].map(|len| {
        let key = format!("{len} bytes").into_bytes();
        (key, noise(len, len as u8))
    });
    // So long that what follows the same beginning stands in blobs.
    let long =
        |n: u32| ([&noise(600, 2)[..], format!("{n:03}").as_bytes()].concat(), noise(200, n as u8));
    vec![
        ("empty", Contents::new()),
        ("text", (0..300).map(text).collect()),
        ("awkward", awkward.into()),
        ("large", large.into()),
        ("long", (0..30).map(long).collect()),
        ("crashed", (0..150).map(text).chain(large_one()).collect()),
    ]
}

fn large_one() -> Option<(Vec<u8>, Vec<u8>)> {
    Some((b"large".to_vec(), noise(5000, 5)))
}

/// Writes a database: half of it before a checkpoint, half after; and some that
/// is removed again.
fn write(disk: &SimDisk, all: &Contents) -> PersistentDB {
    let db = open(disk, Options::new().no_sync()).unwrap();
    for (n, (key, value)) in all.iter().enumerate() {
        if n == all.len() / 2 {
            db.put(b"removed", &noise(3000, 9)).unwrap();
            db.checkpoint().unwrap();
            db.delete(b"removed").unwrap();
            db.write_all([(&b"gone-1"[..], &b"1"[..]), (b"gone-2", b"2")]).unwrap();
            db.clear(Some(b"gone"), Some(b"gone-9")).unwrap();
            db.clear(None, Some(b"")).unwrap();
            db.clear(Some(&[0xff; 4]), None).unwrap();
        }
        db.put(key, value).unwrap();
    }
    db
}

/// One line for each entry: key and value, as in Rust sources; of long ones the
/// length and checksum.
fn list(all: &Contents) -> String {
    let show = |bytes: &[u8]| match bytes.len() {
        0..=100 => format!("\"{}\"", bytes.escape_ascii()),
        len => format!("{len} bytes with XXH3 {:016x}", xxh3_64(bytes)),
    };
    let mut text = String::new();
    for (key, value) in all {
        writeln!(text, "{}: {}", show(key), show(value)).unwrap();
    }
    text
}

/// Makes the golden files of a version that has none.
fn generate(folder: &Path) {
    fs::create_dir(folder).expect("golden files are never replaced");
    for (name, all) in databases() {
        let disk = SimDisk::new(xxh3_64(name.as_bytes()));
        let db = write(&disk, &all);
        let save = |path: &str, extension: &str| {
            let bytes = disk.contents(Path::new(path)).unwrap();
            assert!(bytes.len() < 64 << 10, "{name} has {} bytes", bytes.len());
            fs::write(folder.join(name).with_extension(extension), bytes).unwrap();
        };
        if name == "crashed" {
            save(FILE, "minidb");
            save(LOG, "minidb-log");
        } else {
            drop(db);
            save(FILE, "minidb");
        }
        fs::write(folder.join(name).with_extension("txt"), list(&all)).unwrap();
    }
}

/// A golden database, and what it holds.
struct Golden {
    name: String,
    file: Vec<u8>,
    log: Option<Vec<u8>>,
    list: String,
}

impl Golden {
    fn disk(&self) -> SimDisk {
        let disk = SimDisk::new(1);
        disk.place(Path::new(FILE), &self.file);
        if let Some(log) = &self.log {
            disk.place(Path::new(LOG), log);
        }
        disk
    }

    /// Verifies that the files on a disk are still these.
    fn assert_untouched(&self, disk: &SimDisk) {
        assert!(disk.contents(Path::new(FILE)).as_ref() == Some(&self.file), "{}", self.name);
        assert!(disk.contents(Path::new(LOG)) == self.log, "{}", self.name);
        assert_eq!(disk.names().len(), 1 + usize::from(self.log.is_some()), "{}", self.name);
    }
}

/// All that there are.
fn all() -> Vec<Golden> {
    if let Ok(version) = env::var("MINIDB_GOLDEN") {
        generate(&golden().join(version));
    }
    let mut all = Vec::new();
    for version in fs::read_dir(golden()).unwrap() {
        for entry in fs::read_dir(version.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "minidb") {
                all.push(Golden {
                    name: path.display().to_string(),
                    file: fs::read(&path).unwrap(),
                    log: fs::read(path.with_extension("minidb-log")).ok(),
                    list: fs::read_to_string(path.with_extension("txt")).unwrap(),
                });
            }
        }
    }
    assert!(all.len() >= databases().len());
    all
}

#[test]
fn golden_files_hold_what_they_did() {
    for golden in all() {
        println!("{}", golden.name);
        let disk = golden.disk();
        let db = open(&disk, Options::new().read_only()).unwrap();
        assert_eq!(list(&contents(&db)), golden.list);
        drop(db);
        golden.assert_untouched(&disk);

        let db = open(&disk, Options::new()).unwrap();
        let held = contents(&db);
        assert_eq!(list(&held), golden.list);
        db.put(b"more", b"of it").unwrap();
        db.delete(b"user-7").unwrap();
        drop(db);
        let db = open(&disk, Options::new().existing()).unwrap();
        let mut expected = held;
        expected.insert(b"more".to_vec(), b"of it".to_vec());
        expected.remove(&b"user-7"[..]);
        assert_eq!(contents(&db), expected);
    }
}

/// The lists say what the generator writes, so they are not only consistent.
#[test]
fn golden_lists_are_those_of_the_generator() {
    for golden in all() {
        let name = Path::new(&golden.name).file_stem().unwrap();
        let (_, all) = databases().into_iter().find(|it| it.0 == name).unwrap();
        assert_eq!(list(&all), golden.list);
        let disk = SimDisk::new(1);
        assert_eq!(contents(&write(&disk, &all)), all);
    }
}

/// Sets a byte in a header of so many bytes, and the checksum at its end.
fn patch(head: &mut [u8], at: usize, byte: u8) {
    head[at] = byte;
    let end = head.len() - 8;
    let hash = xxh3_64(&head[..end]);
    head[end..].copy_from_slice(&hash.to_le_bytes());
}

fn assert_refused(golden: &Golden, what: &str) {
    for options in [Options::new(), Options::new().read_only()] {
        let disk = golden.disk();
        let refused = open(&disk, options).err();
        assert!(matches!(refused, Some(DBError::Format(_))), "{what}: {refused:?}");
        golden.assert_untouched(&disk);
    }
}

#[test]
fn files_of_later_versions_are_refused_and_left_alone() {
    for mut golden in all() {
        let file = golden.file.clone();
        let log = golden.log.clone();
        // The version, and each bit of the features that a reader must know; in
        // both root slots, and in only one.
        let changes = [(8, 2), (8, 3), (11, 1)].into_iter();
        let features = (0..32).map(|bit| (12 + bit / 8, 1 << (bit % 8)));
        for (at, byte) in changes.chain(features) {
            for slots in [&[0, 1][..], &[0], &[1]] {
                for slot in slots {
                    patch(&mut golden.file[slot * 4096..][..4096], at, byte);
                }
                let what = format!("{}: byte {at} is {byte} in {slots:?}", golden.name);
                assert_refused(&golden, &what);
                golden.file.clone_from(&file);
            }
        }
        for byte in [2, 0xff] {
            if let Some(log) = &mut golden.log {
                patch(&mut log[..512], 8, byte);
                assert_refused(&golden, "the log");
            }
            golden.log.clone_from(&log);
        }
    }
}
