//! Files with few units and blobs that have large numbers: what is left when most
//! was deleted, or a file that was made to do harm. They take as much memory as
//! others, and go on as others do.

#![allow(unsafe_code)] // an allocator that watches the library

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use minidb::os::sim::{Fate, Random, SimDisk};
use minidb::{DB, DBResult, Options, PersistentDB};
use xxhash_rust::xxh3::xxh3_64;

/// Counts what each thread has allocated, and the most there was at once.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: it is the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NOW.set(NOW.get() + layout.size() as isize);
        MOST.set(MOST.get().max(NOW.get()));
        // SAFETY: the caller keeps the rules, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        NOW.set(NOW.get() - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }
}

/// What `work` returns, and how much it had allocated at most.
fn most_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = NOW.get();
    MOST.set(before);
    let done = work();
    (done, (MOST.get() - before) as u64)
}

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

const FILE: &str = "/db";

fn options() -> Options {
    Options::new().no_threads()
}

fn open(disk: &SimDisk, options: Options) -> PersistentDB {
    PersistentDB::open_on(Arc::new(disk.clone()), Path::new(FILE), options).unwrap()
}

/// A disk that has nothing but this file.
fn disk_of(file: &[u8]) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.place(Path::new(FILE), file);
    disk
}

fn contents(db: &PersistentDB) -> Contents {
    db.check().unwrap();
    db.iter().unwrap().collect::<DBResult<_>>().unwrap()
}

/// A file that somebody has made up, as docs/FORMAT.md has it.
struct Forged(Vec<u8>);

impl Forged {
    /// Adds a sector, and returns its place.
    fn put(&mut self, sector: &[u8]) -> Vec<u8> {
        let number = (self.0.len() / 512) as u32;
        self.0.extend_from_slice(sector);
        self.0.resize((number as usize + 1) * 512, 0);
        let hash = xxh3_64(&self.0[number as usize * 512..]);
        [&number.to_le_bytes()[..], &hash.to_le_bytes()].concat()
    }

    /// An array with one element, as a root has it.
    fn array(&mut self, mut number: u32, element: &[u8]) -> Vec<u8> {
        let mut place = self.put(element);
        for _ in 0..6 {
            let table = [&vec![0; 12 * (number % 42) as usize][..], &place].concat();
            place = self.put(&table);
            number /= 42;
        }
        [&6u32.to_le_bytes()[..], &place].concat()
    }

    /// Adds tables over a row of sectors, and returns the array as a root has it.
    fn tables(&mut self, mut row: Vec<Vec<u8>>) -> Vec<u8> {
        let mut levels = 0u32;
        while row.len() > 1 || levels == 0 {
            row = row.chunks(42).map(|pointers| self.put(&pointers.concat())).collect();
            levels += 1;
        }
        [&levels.to_le_bytes()[..], &row[0]].concat()
    }

    /// Makes it a file of these arrays.
    fn finish(mut self, units: &[u8], records: &[u8], meta: &[u8]) -> Vec<u8> {
        let magic = b"minidb\r\n\x01\0\0\0\0\0\0\0".as_slice();
        let mut root = [magic, &1u64.to_le_bytes(), &[7; 16]].concat();
        root.resize(80, 0);
        root.extend([units, records, meta].concat());
        root.resize(4088, 0);
        root.extend(xxh3_64(&root).to_le_bytes());
        self.0[4096..8192].copy_from_slice(&root);
        self.0
    }
}

/// A file with one key, whose value is a blob, and with room between.
fn forge(unit: u32, blob: u32) -> Vec<u8> {
    let mut forged = Forged(vec![0; 200 * 512]);
    let mut leaf = [0; 512];
    leaf[16..22].copy_from_slice(&[1, 0, 0, 0, 0xe9, 1]);
    leaf[32..40].copy_from_slice(&[1, 0x80, 0xe9, 1, 0, 0, 0, b'k']);
    leaf[16 + 0x1e9..].copy_from_slice(&[&[0, 0, b'k'][..], &blob.to_le_bytes()].concat());
    let units = forged.array(unit, &leaf);
    let value = forged.put(b"value");
    let mut records = vec![0; 16 * (blob % 32) as usize];
    records.extend([&5u32.to_le_bytes()[..], &value].concat());
    let records = forged.array(blob / 32, &records);
    let meta = [unit << 3, 0, 1, 0, 6, 0, 1].map(u32::to_le_bytes).concat();
    forged.finish(&units, &records, &meta)
}

#[test]
fn forged_numbers_take_no_memory() {
    let (unit_max, blob_max) = ((1 << 29) - 1, (((1 << 27) - 2) << 5) + 31);
    for (unit, blob) in [(0, 0), (unit_max, 0), (0, blob_max), (unit_max, blob_max)] {
        let file = forge(unit, blob);
        let value = || Some(b"value".to_vec());
        let check = |what: &str, most: u64| {
            println!("unit {unit}, blob {blob}: {most} bytes to {what}");
            assert!(most < 2 * file.len() as u64 + (1 << 20), "{most} bytes to {what}");
        };
        for options in [options().read_only(), options()] {
            let disk = disk_of(&file);
            let (db, most) = most_of(|| open(&disk, options));
            check("open", most);
            assert!(db.memory_bytes().unwrap() < 1 << 20);
            assert_eq!(db.get(b"k").unwrap(), value());
            check("close", most_of(|| drop(db)).1);
        }
        let disk = disk_of(&file);
        let db = open(&disk, options());
        db.put(b"other", &[1; 5000]).unwrap();
        check("make a checkpoint", most_of(|| db.checkpoint().unwrap()).1);
        db.check().unwrap();
        check("close", most_of(|| drop(db)).1);
        let (db, most) = most_of(|| open(&disk, options()));
        check("open again", most);
        assert_eq!((db.get(b"k").unwrap(), db.count().unwrap()), (value(), 2));
    }
}

/// A file of nothing but sectors that begin with the same bytes in the blocks' array, or
/// in that of blob records; `Forged::tables` adds what leads to them.
fn crowd(sector: &[u8], in_records: bool) -> Vec<u8> {
    let mut forged = Forged(vec![0; 8192]);
    let row = (0..40_000u32).map(|n| forged.put(&[sector, &n.to_le_bytes()].concat()));
    let row = row.collect();
    let (array, none) = (forged.tables(row), vec![0; 16]);
    let (units, records) = if in_records { (&none, &array) } else { (&array, &none) };
    forged.finish(units, records, &[0; 40])
}

/// Each table and each record takes more memory than in the file, if they all lead
/// somewhere.
#[test]
fn more_pointers_than_sectors_take_no_memory() {
    let place = [&16u32.to_le_bytes()[..], &[1; 8]].concat();
    let records = crowd(&[&1u32.to_le_bytes()[..], &place].concat().repeat(31), true);
    // Tables where the root says that there is one level more.
    let mut tables = crowd(&place.repeat(41), false);
    let levels = u32::from_le_bytes(tables[4096 + 80..4096 + 84].try_into().unwrap());
    tables[4096 + 80] = levels as u8 + 1;
    let hash = xxh3_64(&tables[4096..8184]).to_le_bytes();
    tables[8184..8192].copy_from_slice(&hash);
    for (what, file) in [("records", records), ("tables", tables)] {
        let (disk, path) = (disk_of(&file), Path::new(FILE));
        let open = || PersistentDB::open_on(Arc::new(disk.clone()), path, options().read_only());
        let (refused, most) = most_of(open);
        println!("{what}: of {} bytes {most} are taken", file.len());
        let why = refused.err().unwrap().to_string();
        assert!(why.contains("do not have their checksum"), "{why}");
        assert!(most < 2 * file.len() as u64, "{what}: {most} bytes");
        let (salvaged, most) = most_of(|| minidb::salvage_on(&disk, path, Path::new("/new")));
        println!("{what}: salvaging takes {most}: {salvaged:?}");
        assert!(most < 3 * file.len() as u64, "{what}: {most} bytes");
    }
}

/// Makes each record of blobs in a file lead to the one that leads to the longest.
fn share_the_longest(file: &mut [u8]) {
    fn change(file: &mut [u8], levels: u32, place: &mut [u8], edit: &mut dyn FnMut(&mut [u8])) {
        let at = u32::from_le_bytes(place[..4].try_into().unwrap()) as usize * 512;
        if at == 0 {
            return;
        }
        let mut sector = file[at..at + 512].to_vec();
        match levels {
            0 => edit(&mut sector),
            _ => (0..42).for_each(|n| change(file, levels - 1, &mut sector[n * 12..][..12], edit)),
        }
        place[4..12].copy_from_slice(&xxh3_64(&sector).to_le_bytes());
        file[at..at + 512].copy_from_slice(&sector);
    }
    let len = |record: &[u8]| u32::from_le_bytes(record[..4].try_into().unwrap());
    let mut longest = vec![0; 16];
    for round in 0..2 {
        for start in [0, 4096] {
            let mut root = file[start..start + 4096].to_vec();
            let levels = root[96].into();
            change(file, levels, &mut root[100..112], &mut |sector| {
                for record in sector.chunks_mut(16) {
                    if round == 0 && len(record) > len(&longest) {
                        longest = record.to_vec();
                    } else if round == 1 && len(record) > 0 {
                        record.copy_from_slice(&longest);
                    }
                }
            });
            let hash = xxh3_64(&root[..4088]).to_le_bytes();
            root[4088..].copy_from_slice(&hash);
            file[start..start + 4096].copy_from_slice(&root);
        }
    }
}

#[test]
fn keys_and_values_that_share_sectors_are_not_salvaged_more_than_once() {
    let disk = SimDisk::new(1);
    let db = open(&disk, options().no_sync());
    for n in 0..300 {
        db.put(format!("{n:0600}").as_bytes(), &[n as u8; 1500]).unwrap();
    }
    db.put(b"long", &vec![1; 1 << 20]).unwrap();
    drop(db);
    let mut file = disk.contents(Path::new(FILE)).unwrap();
    share_the_longest(&mut file);
    let disk = disk_of(&file);
    let salvage = || minidb::salvage_on(&disk, Path::new(FILE), Path::new("/new"));
    let (salvaged, most) = most_of(salvage);
    println!("of {} bytes {most} are taken: {salvaged:?}", file.len());
    assert!(most < 3 * file.len() as u64, "{most} bytes");
}

/// Random choices of a test; the seed is printed.
fn seeded(seed: u64) -> Random {
    println!("seed {seed}");
    Random::new(seed)
}

fn random_entry(rng: &mut Random) -> (Vec<u8>, Vec<u8>) {
    let (n, byte) = (rng.below(1 << 20), rng.below(256) as u8);
    // Some are too long for a leaf.
    let key = format!("{n:07}{}", "-".repeat([9, 600][rng.below(2)])).into_bytes();
    (key, vec![byte; [20, 200, 1100, 5000][rng.below(4)]])
}

/// The file of a database that once had `count` entries, and what it has now.
fn emptied(seed: u64, count: usize, left: usize) -> (Vec<u8>, Contents) {
    let (mut rng, disk) = (seeded(seed), SimDisk::new(seed));
    let db = open(&disk, options().no_sync().checkpoint_bytes(u64::MAX));
    let mut all: Contents = (0..count).map(|_| random_entry(&mut rng)).collect();
    db.write_all(all.iter().map(|(key, value)| (&key[..], &value[..]))).unwrap();
    let every = all.len() / left;
    let gone = all.keys().enumerate().filter(|(n, _)| n % every != 1);
    let gone: Vec<_> = gone.map(|(_, key)| key.clone()).collect();
    let mut txn = db.begin().unwrap();
    for key in &gone {
        txn.delete(key).unwrap();
        all.remove(key);
    }
    assert!(txn.commit().unwrap());
    db.checkpoint().unwrap();
    drop((txn, db));
    (disk.contents(Path::new(FILE)).unwrap(), all)
}

#[test]
fn what_most_was_deleted_of_takes_little_memory_and_goes_on() {
    let (file, mut model) = emptied(1, 40_000, 40);
    let allowed = 2 * file.len() as u64 + (1 << 20);
    let disk = disk_of(&file);
    let (db, most) = most_of(|| open(&disk, options().no_sync()));
    println!("a file of {} bytes takes {most}", file.len());
    assert!(most < allowed && db.memory_bytes().unwrap() < allowed);
    assert!(contents(&db) == model);
    let mut rng = seeded(2);
    for round in 0..20 {
        let (key, value) = random_entry(&mut rng);
        db.put(&key, &value).unwrap();
        model.insert(key, value);
        let gone = model.keys().nth(rng.below(model.len())).unwrap().clone();
        db.delete(&gone).unwrap();
        model.remove(&gone);
        if round % 5 != 2 {
            let before = disk.contents(Path::new(FILE)).unwrap();
            db.checkpoint().unwrap();
            // The first one writes all of it, others do not.
            let after = disk.contents(Path::new(FILE)).unwrap();
            let sectors = before.chunks(512).zip(after.chunks(512));
            let added = after.len().saturating_sub(before.len()) / 512;
            let changed = sectors.filter(|(old, new)| old != new).count() + added;
            println!("round {round}: {changed} sectors changed");
            assert!(round == 0 || changed < 120, "{changed} sectors changed");
        }
        assert!(contents(&db) == model);
        // As if it were killed here.
        let killed = disk.crash(disk.operations(), Fate::KeepAll);
        assert!(contents(&open(&killed, options())) == model);
    }
    drop(db);
    let db = open(&disk, options());
    assert!(contents(&db) == model);
    assert!(db.memory_bytes().unwrap() < allowed);
}

#[test]
fn power_may_be_lost_while_numbers_are_renewed() {
    for seed in 0..6 {
        let (file, mut model) = emptied(seed, 6_000, 20);
        let (mut rng, disk) = (seeded(seed), disk_of(&file));
        let start = disk.operations();
        let db = open(&disk, options());
        let mut states = vec![(start, model.clone())];
        for _ in 0..8 {
            let (key, value) = random_entry(&mut rng);
            db.put(&key, &value).unwrap();
            model.insert(key, value);
            states.push((disk.operations(), model.clone()));
            if rng.below(3) == 0 {
                db.checkpoint().unwrap();
            }
        }
        drop(db);
        for cut in start..=disk.operations() {
            let fate = [Fate::DropAll, Fate::KeepAll, Fate::Random(rng.next())][rng.below(3)];
            let found = contents(&open(&disk.crash(cut, fate), options()));
            let safe = states.iter().rposition(|(after, _)| *after <= cut).unwrap();
            let state = states.iter().rposition(|(_, state)| *state == found);
            assert!(state.is_some_and(|it| it >= safe), "cut {cut}, {fate:?}: {state:?}, {safe}");
        }
    }
}
