//! Damaged files: what is opened holds exactly what it should, or is refused.
//!
//! A small database is left closed, or as a crash leaves it; then bytes are
//! changed, files cut off, sectors exchanged, and files replaced by those of
//! other times or of another database. Where the log is damaged beyond what
//! anything proves to have been durable, the history up to some commit is right,
//! too; damage there cannot be told from a torn write.
//!
//! With MINIDB_FULL set every byte is damaged; else some, `MINIDB_DAMAGE_BYTES` of them.

#![allow(unsafe_code)] // an allocator that watches the library

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::env;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use minidb::os::sim::{Random, SimDisk};
use minidb::{DB, DBError, DBResult, Options, PersistentDB};

use support::cpu::on_cpu;

/// Remembers the largest allocation of each thread.
struct Watching;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

// SAFETY: it is the system's allocator; noting a size allocates nothing.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller keeps the rules, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }
}

/// What any opening may allocate, beside twice the file.
const ALLOWANCE: usize = 1 << 20;

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

const FILE: &str = "/db";
const LOG: &str = "/db-log";

/// A file and its log, if there is one.
#[derive(Clone, PartialEq, Eq)]
struct Pair {
    file: Vec<u8>,
    log: Option<Vec<u8>>,
}

/// How a database was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Closed,
    Crashed,
    CrashedNoSync,
    /// After it was closed and opened again, without a checkpoint since.
    Reopened,
}

use Left::{Closed, Crashed, CrashedNoSync, Reopened};

const ALL: [Left; 4] = [Closed, Crashed, CrashedNoSync, Reopened];

/// A database's files, and all that it ever held.
struct Subject {
    left: Left,
    pair: Pair,
    /// The files as they were at some commits before.
    earlier: Vec<(usize, Pair)>,
    /// The contents after so many commits.
    states: Vec<Contents>,
    /// How many of them had changed anything, and so were logged.
    logged: Vec<u64>,
    /// The bytes of the log of each record after those that are folded.
    records: Vec<Vec<Range<usize>>>,
    /// How many are in the file, and how many records of the log prove to have
    /// been durable.
    folded: usize,
    durable: usize,
}

fn options(left: Left) -> Options {
    let options = Options::new().no_threads();
    if left == CrashedNoSync { options.no_sync() } else { options }
}

fn open(disk: &SimDisk, options: Options) -> DBResult<PersistentDB> {
    PersistentDB::open_on(Arc::new(disk.clone()), Path::new(FILE), options)
}

fn disk_of(pair: &Pair) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.place(Path::new(FILE), &pair.file);
    if let Some(log) = &pair.log {
        disk.place(Path::new(LOG), log);
    }
    disk
}

/// The files; of the zeros that a log ends with, only some.
fn pair_of(disk: &SimDisk) -> Pair {
    let mut log = disk.contents(Path::new(LOG));
    if let Some(log) = &mut log {
        log.truncate((end_of(log) + 100).min(log.len()));
    }
    Pair { file: disk.contents(Path::new(FILE)).unwrap_or_default(), log }
}

/// The records that replay reads, in its order: the bytes of each, and of jumps to it.
fn records(pair: &Pair) -> Vec<Vec<Range<usize>>> {
    let Some(log) = &pair.log else { return Vec::new() };
    let get = |bytes: &[u8], at: usize| {
        let word = bytes.get(at..at + 8).map(|it| it.try_into().unwrap());
        word.map_or(0, u64::from_le_bytes)
    };
    let root = [0, 4096].into_iter().max_by_key(|slot| get(&pair.file, slot + 16)).unwrap();
    let (mut lsn, mut at) = (get(&pair.file, root + 40), get(&pair.file, root + 72) as usize);
    let (mut found, mut jumps) = (Vec::new(), Vec::new());
    loop {
        let (kind, len) = (get(log, at + 24) >> 56, get(log, at + 24) << 8 >> 8);
        if get(log, at + 8) != lsn || kind == 0 {
            return found;
        }
        let size = 32 + (len as usize).next_multiple_of(8);
        jumps.push(at..at + size);
        if kind == 2 {
            at = get(log, at + 32) as usize;
        } else {
            found.push(std::mem::take(&mut jumps));
            (lsn, at) = (lsn + size as u64, at + size);
        }
    }
}

/// Where the last record ends, which has no zeros at its own.
fn end_of(log: &[u8]) -> usize {
    log.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1).next_multiple_of(8)
}

/// Commits something, and does the same to the contents.
fn commit(db: &PersistentDB, contents: &mut Contents, rng: &mut Random) -> DBResult<()> {
    let mut key = format!("key {:03}", rng.below(200)).into_bytes();
    if rng.below(12) == 0 {
        let tail = rng.below(700);
        key.extend(rng.bytes(tail));
    }
    let len = [rng.below(40), rng.below(600), rng.below(4000)][[0, 0, 1, 1, 1, 2][rng.below(6)]];
    let mut value = rng.bytes(len);
    value.push(1); // so that records do not end with zeros
    match rng.below(10) {
        0 if !contents.is_empty() => {
            let key = contents.keys().nth(rng.below(contents.len())).unwrap().clone();
            db.delete(&key)?;
            contents.remove(&key);
        }
        1 => {
            let to = [&key[..], b"\x01"].concat();
            db.clear(Some(&key), Some(&to))?;
            contents.retain(|it, _| *it < key || *it >= to);
        }
        2 => {
            let other = [&key[..], b" and more"].concat();
            db.write_all([(&key[..], &value[..]), (&other, &value)])?;
            contents.insert(other, value.clone());
            contents.insert(key, value);
        }
        _ => {
            db.put(&key, &value)?;
            contents.insert(key, value);
        }
    }
    Ok(())
}

impl Subject {
    /// A database of about 64 KiB.
    fn new(left: Left, seed: u64) -> Subject {
        let (mut rng, disk) = (seeded(seed), SimDisk::new(seed));
        let mut db = open(&disk, options(left)).unwrap();
        let mut subject = Subject {
            left,
            pair: pair_of(&disk),
            earlier: Vec::new(),
            states: vec![Contents::new()],
            logged: vec![0],
            records: Vec::new(),
            folded: 0,
            durable: 0,
        };
        let (mut contents, commits) = (Contents::new(), 110);
        for n in 1..=commits {
            commit(&db, &mut contents, &mut rng).unwrap();
            subject.states.push(contents.clone());
            subject.logged.push(db.commits().unwrap());
            if n % 20 == 0 {
                subject.earlier.push((n, pair_of(&disk)));
            }
            match n * 10 / commits {
                6 if n * 10 % commits == 0 && left == Reopened => {
                    drop(db);
                    subject.earlier.push((n, pair_of(&disk)));
                    subject.folded = n;
                    db = open(&disk, options(left)).unwrap();
                }
                2 | 6 if n * 10 % commits == 0 => {
                    db.checkpoint().unwrap();
                    subject.folded = n;
                }
                8 if n * 10 % commits == 0 => db.sync().unwrap(),
                _ => {}
            }
        }
        subject.durable = match left {
            Crashed | Reopened => commits - 1,
            Closed | CrashedNoSync => commits * 8 / 10,
        };
        if left == Closed {
            drop(db);
            subject.folded = commits;
        }
        subject.pair = pair_of(&disk);
        subject.records = records(&subject.pair);
        subject
    }

    fn last(&self) -> usize {
        self.states.len() - 1
    }

    /// How many commits are whole if these bytes of the log are damaged.
    fn whole_without(&self, damaged: Range<usize>) -> usize {
        let is_hit = |it: &Range<usize>| it.start < damaged.end && damaged.start < it.end;
        match self.records.iter().position(|record| record.iter().any(is_hit)) {
            // The latest of those that had logged as many.
            Some(whole) => {
                let logged = self.logged[self.folded] + whole as u64;
                self.logged.partition_point(|it| *it <= logged) - 1
            }
            None => self.last(), // nobody reads what was folded into the file
        }
    }

    /// Opens damaged files, which may hold what there was after `least` commits or
    /// later ones. Tells whether they could be opened.
    fn try_open(&self, pair: &Pair, least: usize, what: &str) -> bool {
        let read = self.try_one(pair, least, what, true);
        let written = self.try_one(pair, least, what, false);
        assert_eq!(read, written, "{what}");
        read.is_some()
    }

    /// The number of commits that are found.
    fn try_one(&self, pair: &Pair, least: usize, what: &str, read_only: bool) -> Option<usize> {
        let disk = disk_of(pair);
        LARGEST.set(0);
        let start = on_cpu();
        let opened = catch_unwind(AssertUnwindSafe(|| contents(&disk, read_only)));
        let opened = opened.unwrap_or_else(|_| panic!("{what}: it panicked"));
        let longest = pair.file.len().max(pair.log.as_ref().map_or(0, Vec::len));
        assert!(LARGEST.get() <= 2 * longest + ALLOWANCE, "{what}: {} bytes", LARGEST.get());
        assert!(on_cpu() - start < Duration::from_secs(10), "{what}: it takes long");
        match opened {
            Ok(found) => {
                let state = self.states.iter().rposition(|state| *state == found);
                let state = state.unwrap_or_else(|| panic!("{what}: what is found never was"));
                assert!(state >= least, "{what}: {state} commits, not {least}");
                if !read_only {
                    assert_eq!(contents(&disk, true), Ok(found), "{what}: opened again");
                }
                Some(state)
            }
            Err(DBError::Corrupt(_) | DBError::Format(_) | DBError::Io(_)) => {
                assert_eq!(disk.contents(Path::new(LOG)), pair.log, "{what}");
                assert!(disk.contents(Path::new(FILE)).as_ref() == Some(&pair.file), "{what}");
                None
            }
            Err(other) => panic!("{what}: {other}"),
        }
    }
}

/// All that a database holds.
fn contents(disk: &SimDisk, read_only: bool) -> DBResult<Contents> {
    let options = options(CrashedNoSync);
    let db = open(disk, if read_only { options.read_only() } else { options })?;
    let contents = db.iter()?.collect::<DBResult<_>>()?;
    match db.check() {
        // A root slot that a crash could have torn is mended by who writes next.
        Err(DBError::Corrupt(_)) if read_only => {}
        checked => checked?,
    }
    Ok(contents)
}

fn subjects() -> Vec<Subject> {
    ALL.map(|left| Subject::new(left, 1 + left as u64)).into()
}

/// The places of a file of that length to damage: all of them with MINIDB_FULL,
/// but only some in states that are much like another.
fn places(len: usize, left: Left, rng: &mut Random) -> Vec<usize> {
    let full = env::var_os("MINIDB_FULL").is_some();
    if full && matches!(left, Closed | Crashed) || len == 0 {
        return (0..len).collect();
    }
    let few = if full { 2_000 } else { 250 };
    let some = env::var("MINIDB_DAMAGE_BYTES").map_or(few, |some| some.parse().unwrap());
    let mut places: Vec<usize> = (0..some).map(|_| rng.below(len)).collect();
    // What is said in the root slots, or in a log's header, and their checksums.
    let heads = [0..160, 500..512, 4088..4256, 8184..8192];
    places.extend(heads.into_iter().flatten().filter(|&at| at < len));
    places
}

/// Random choices of a test; the seed is printed.
fn seeded(seed: u64) -> Random {
    println!("seed {seed}");
    Random::new(seed)
}

#[test]
fn a_changed_byte_is_found_or_does_no_harm() {
    let mut rng = seeded(11);
    for subject in subjects() {
        let (mut refused, mut opened) = (0, 0);
        let mut damage = |pair: &Pair, least: usize, what: &str| {
            let count =
                if subject.try_open(pair, least, what) { &mut opened } else { &mut refused };
            *count += 1;
        };
        for at in places(subject.pair.file.len(), subject.left, &mut rng) {
            let mut pair = subject.pair.clone();
            for byte in others(pair.file[at], &mut rng) {
                pair.file[at] = byte;
                let what = format!("{:?}: byte {at} of the file is {byte}", subject.left);
                damage(&pair, subject.last(), &what);
            }
        }
        for at in places(subject.pair.log.as_ref().map_or(0, Vec::len), subject.left, &mut rng) {
            let mut pair = subject.pair.clone();
            for byte in others(pair.log.as_ref().unwrap()[at], &mut rng) {
                pair.log.as_mut().unwrap()[at] = byte;
                let what = format!("{:?}: byte {at} of the log is {byte}", subject.left);
                damage(&pair, subject.whole_without(at..at + 1).max(subject.durable), &what);
            }
        }
        println!("{:?}: {refused} refused, {opened} opened", subject.left);
        assert!(refused > 1000);
    }
}

/// What a byte is changed to.
fn others(byte: u8, rng: &mut Random) -> impl Iterator<Item = u8> + use<> {
    let flips = [byte ^ 1 << rng.below(8), byte ^ 1 << rng.below(8)];
    flips.into_iter().chain([0, 0xff]).filter(move |it| *it != byte)
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    let mut rng = seeded(12);
    for subject in subjects() {
        for len in places(subject.pair.file.len(), subject.left, &mut rng) {
            let mut pair = subject.pair.clone();
            pair.file.truncate(len);
            let what = format!("{:?}: a file of {len} bytes", subject.left);
            if len > 0 || pair.log.is_some() {
                // The last sectors may be free.
                subject.try_open(&pair, subject.last(), &what);
            }
        }
        for len in places(subject.pair.log.as_ref().map_or(0, Vec::len), subject.left, &mut rng) {
            let mut pair = subject.pair.clone();
            pair.log.as_mut().unwrap().truncate(len);
            let what = format!("{:?}: a log of {len} bytes", subject.left);
            // What was durable is proved by records that are cut off as well; and
            // without sync even the retired ones need not have been on disk.
            let least = match subject.left {
                CrashedNoSync => subject.folded,
                _ => subject.whole_without(len..usize::MAX).max(subject.folded),
            };
            subject.try_open(&pair, least.min(subject.last()), &what);
        }
    }
}

#[test]
fn sectors_in_each_others_place_are_found() {
    let mut rng = seeded(13);
    for subject in subjects() {
        let mut check = |of_log: bool, len: usize| {
            let sectors = len / 512;
            for at in places(sectors * sectors, subject.left, &mut rng) {
                let (one, other) = (at / sectors, at % sectors);
                if one >= other {
                    continue;
                }
                let mut pair = subject.pair.clone();
                let bytes = if of_log { pair.log.as_mut().unwrap() } else { &mut pair.file };
                let (low, high) = bytes.split_at_mut(other * 512);
                low[one * 512..][..512].swap_with_slice(&mut high[..512]);
                let what = format!("{:?}, log {of_log}: {one} and {other}", subject.left);
                let least = match of_log {
                    true => [one, other]
                        .map(|it| subject.whole_without(it * 512..it * 512 + 512))
                        .into_iter()
                        .min()
                        .unwrap(),
                    false => subject.last(),
                };
                subject.try_open(&pair, least.max(subject.folded), &what);
            }
        };
        check(false, subject.pair.file.len());
        check(true, subject.pair.log.as_ref().map_or(0, Vec::len));
        let mut pair = subject.pair.clone();
        pair.file[..8192].rotate_left(4096);
        assert!(!subject.try_open(&pair, subject.last(), "the root slots"));
    }
}

#[test]
fn garbage_is_found() {
    let mut rng = seeded(14);
    for subject in subjects() {
        for round in 0..places(2000, subject.left, &mut rng).len() {
            let mut pair = subject.pair.clone();
            let of_log = pair.log.is_some() && rng.below(2) == 0;
            let bytes = if of_log { pair.log.as_mut().unwrap() } else { &mut pair.file };
            let start = rng.below(bytes.len());
            let most = 1 << rng.below(13);
            let len = (1 + rng.below(most)).min(bytes.len() - start);
            let garbage = if rng.below(2) == 0 { rng.bytes(len) } else { vec![0; len] };
            bytes[start..start + len].copy_from_slice(&garbage);
            let what =
                format!("{:?}, {round}: log {of_log}, {len} bytes from {start}", subject.left);
            let least =
                if of_log { subject.whole_without(start..start + len) } else { subject.last() };
            subject.try_open(&pair, least, &what);
        }
    }
}

#[test]
fn files_of_other_times_are_not_mixed_up() {
    for subject in subjects() {
        let Pair { file, log } = &subject.pair;
        if log.is_some() {
            let missing = Pair { file: file.clone(), log: None };
            assert!(!subject.try_open(&missing, 0, "no log"));
        }
        for (n, earlier) in &subject.earlier {
            let what = |of: &str| format!("{:?}: the {of} of commit {n}", subject.left);
            // Together they are a copy of what there was.
            assert!(subject.try_open(earlier, *n, &what("pair")));
            // The older log is one that was cut off, the older root another way
            // to the same; but neither may be taken for more than it is.
            let mixed = Pair { file: file.clone(), log: earlier.log.clone() };
            let least = if log.is_none() { subject.last() } else { subject.folded };
            subject.try_open(&mixed, least, &what("log"));
            let mixed = Pair { file: earlier.file.clone(), log: log.clone() };
            subject.try_open(&mixed, subject.last(), &what("file"));
        }
    }
}

#[test]
fn files_of_other_databases_are_not_mixed_up() {
    for one in subjects() {
        for other in ALL.map(|left| Subject::new(left, 77)) {
            let what = format!("the file of {:?}, the log of {:?}", one.left, other.left);
            let mixed = Pair { file: one.pair.file.clone(), log: other.pair.log.clone() };
            let opened =
                [true, false].map(|it| one.try_one(&mixed, one.last(), &what, it).is_some());
            // What would have to be overwritten is of use to the other one.
            let alone = one.left == Closed;
            assert_eq!(opened, [alone, alone && other.left == Closed], "{what}");
        }
    }
}
