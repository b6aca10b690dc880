//! Damage of all kinds, and what is left after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{Options, PersistentDB};
use super::*;
use crate::DB;
use crate::os::sim::{Call, Fault, SimDisk};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn at(name: &str) -> &Path {
    Path::new(name)
}

fn rounds(few: u64, many: u64) -> u64 {
    if std::env::var_os("MINIDB_FULL").is_some() { many } else { few }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }
}

/// A database on a disk, what it holds, and all that it has held.
struct Sample {
    disk: SimDisk,
    db: Option<PersistentDB>,
    now: Entries,
    ever: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
}

/// The files of one, to be damaged.
#[derive(Clone)]
struct Files {
    db: Vec<u8>,
    log: Option<Vec<u8>>,
}

impl Sample {
    fn new(seed: u64) -> Sample {
        let disk = SimDisk::new(seed);
        let options = Options::new().no_threads();
        let db = PersistentDB::open_on(Arc::new(disk.clone()), at("db"), options).unwrap();
        Sample { disk, db: Some(db), now: Entries::new(), ever: BTreeMap::new() }
    }

    fn db(&self) -> &PersistentDB {
        self.db.as_ref().unwrap()
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.db().put(key, value).unwrap();
        self.now.insert(key.to_vec(), value.to_vec());
        self.ever.entry(key.to_vec()).or_default().push(value.to_vec());
    }

    /// Writes each `step`th of 600 entries, a few of them long.
    fn write(&mut self, step: usize, version: u8) {
        for n in (0..600).step_by(step) {
            let mut key = format!("{n:05}").into_bytes();
            key.resize(if n % 100 == 0 { 700 } else { key.len() }, b'k');
            let mut value = vec![version; if n % 150 == 1 { 1100 + 70 * n } else { n % 90 }];
            value.extend_from_slice(&key);
            self.put(&key, &value);
        }
    }

    fn delete(&mut self, from: &[u8], to: &[u8]) {
        self.db().clear(Some(from), Some(to)).unwrap();
        self.now.retain(|key, _| !(from..to).contains(&&key[..]));
    }

    fn files(&self) -> Files {
        let db = self.disk.contents(at("db")).unwrap();
        Files { db, log: self.disk.contents(at("db-log")) }
    }

    fn close(&mut self) -> Files {
        self.db = None;
        let files = self.files();
        assert!(files.log.is_none());
        files
    }

    /// Verifies that nothing was found that never was, and returns how many
    /// entries are as they should be.
    fn right(&self, found: &Entries) -> usize {
        for (key, value) in found {
            let key_text = key.escape_ascii();
            assert!(self.ever.get(key).is_some_and(|it| it.contains(value)), "{key_text}");
        }
        self.now.iter().filter(|(key, value)| found.get(*key) == Some(value)).count()
    }
}

impl Files {
    fn disk(&self) -> SimDisk {
        let disk = SimDisk::new(2);
        disk.place(at("db"), &self.db);
        if let Some(log) = &self.log {
            disk.place(at("db-log"), log);
        }
        disk
    }

    fn salvage(&self) -> DBResult<(Salvaged, Entries)> {
        let disk = self.disk();
        let salvaged = salvage_on(&disk, at("db"), at("new"));
        assert_eq!(disk.contents(at("db")).unwrap(), self.db);
        assert_eq!(disk.contents(at("db-log")), self.log);
        let files = 1 + usize::from(self.log.is_some()) + usize::from(salvaged.is_ok());
        assert_eq!(disk.names().len(), files, "nothing else is left: {:?}", disk.names());
        Ok((salvaged?, entries(&disk)))
    }

    fn sectors(&self) -> usize {
        self.db.len() / 512
    }

    fn with_damage(&self, sector: usize) -> Files {
        let mut files = self.clone();
        files.db[sector * 512 + sector * 7 % 512] ^= 1 << (sector % 8);
        files
    }
}

/// The entries of the new file.
fn entries(disk: &SimDisk) -> Entries {
    let options = Options::new().read_only();
    let db = PersistentDB::open_on(Arc::new(disk.clone()), at("new"), options).unwrap();
    db.check().unwrap();
    db.iter().unwrap().map(Result::unwrap).collect()
}

/// A closed database of two states that differ in a few places.
fn closed() -> (Sample, Files) {
    let mut sample = Sample::new(1);
    sample.write(1, 1);
    sample.delete(b"00500", b"00520");
    sample.db().checkpoint().unwrap();
    sample.write(30, 2);
    sample.delete(b"00200", b"00210");
    let files = sample.close();
    (sample, files)
}

#[test]
fn of_an_undamaged_database_nothing_is_lost() {
    let (sample, files) = closed();
    let nothing = Salvaged { entries: sample.now.len() as u64, ..Salvaged::default() };
    assert_eq!(files.salvage().unwrap(), (nothing, sample.now));

    let mut sample = Sample::new(1);
    let empty = Salvaged::default();
    assert_eq!(sample.files().salvage().unwrap(), (empty, Entries::new()));
    sample.write(2, 1);
    sample.db().checkpoint().unwrap();
    sample.write(3, 2);
    sample.delete(b"00100", b"00300");
    let (found, all) = sample.files().salvage().unwrap();
    let expected =
        Salvaged { entries: sample.now.len() as u64, commits: 201, ..Salvaged::default() };
    assert_eq!((found, all), (expected, sample.now));
}

/// Damages each sector of a closed file; returns what each costs of the
/// entries, and how many older states were found instead.
fn costs(sample: &Sample, files: &Files) -> (Vec<usize>, u64) {
    let (mut costs, mut outdated) = (Vec::new(), 0);
    for sector in 0..files.sectors() {
        let Ok((found, all)) = files.with_damage(sector).salvage() else {
            assert_eq!(files.db[..512], [0; 512], "sector {sector} is not of the only root");
            continue;
        };
        let right = sample.right(&all);
        if found.damaged_roots == 0 {
            let known = right as u64 + found.lost;
            assert!(known >= sample.now.len() as u64, "sector {sector}: {found:?}");
            let more = all.len() as u64 - right as u64;
            assert!(more <= found.outdated, "sector {sector}: {found:?}");
        }
        outdated += found.outdated;
        costs.push(sample.now.len() - right);
    }
    (costs, outdated)
}

#[test]
fn a_damaged_sector_costs_no_more_than_what_was_in_it() {
    let (sample, files) = closed();
    let (costs, outdated) = costs(&sample, &files);
    let nothing = costs.iter().filter(|&&cost| cost == 0).count();
    assert!(nothing > 30, "{nothing} sectors cost nothing");
    assert!(costs.iter().all(|&cost| cost < 70), "no more than a leaf: {costs:?}");
    assert!(outdated > 0, "the older root helps");
}

#[test]
fn without_an_older_root_only_tables_cost_more_than_a_leaf() {
    let mut sample = Sample::new(1);
    sample.write(1, 1);
    sample.db().snapshot().unwrap().backup_on(&sample.disk, at("copy")).unwrap();
    let files = Files { db: sample.disk.contents(at("copy")).unwrap(), log: None };
    let (costs, outdated) = costs(&sample, &files);
    assert_eq!(outdated, 0);
    let much = costs.iter().filter(|&&cost| cost >= 80).count();
    assert!(much < 6, "{much} sectors cost much: {costs:?}");
}

#[test]
fn what_the_log_still_has_is_not_lost() {
    let mut sample = Sample::new(1);
    // Little enough for the log not to be used again from its head.
    sample.write(2, 1);
    sample.put(b"00033", &[3; 3000]);
    sample.delete(b"00500", b"00520");
    sample.db().checkpoint().unwrap();
    sample.write(30, 2);
    let files = sample.files();
    for sector in 0..files.sectors() {
        let (found, all) = files.with_damage(sector).salvage().unwrap();
        assert_eq!(sample.right(&all), sample.now.len(), "sector {sector}: {found:?}");
        assert_eq!(all.len(), sample.now.len(), "sector {sector}: {found:?}");
    }
    let mut bad = files.clone();
    bad.log.as_mut().unwrap()[40] ^= 1;
    assert_eq!(bad.salvage().unwrap().1, sample.now, "the root knows what the log's header says");
    bad.db[..8192].fill(0);
    assert!(matches!(bad.salvage(), Err(DBError::Corrupt(_))));
    bad.log = files.log.clone();
    let (found, all) = bad.salvage().unwrap();
    assert_eq!((found.damaged_roots, found.gaps, all), (2, 0, sample.now));
}

#[test]
fn what_is_found_in_the_file_is_not_undone_by_older_commits() {
    let mut sample = Sample::new(1);
    sample.write(2, 1);
    let key = b"00003";
    sample.put(key, b"first");
    sample.put(key, b"second");
    sample.db().checkpoint().unwrap();
    let mut files = sample.files();
    let log = files.log.as_mut().unwrap();
    let place = log.windows(6).position(|bytes| bytes == b"second").unwrap();
    log[place] ^= 1;
    let undone = |sector: &usize| {
        let (_, all) = files.with_damage(*sector).salvage().unwrap();
        all[&key[..]] == b"first"
    };
    let count = (16..files.sectors()).filter(undone).count();
    assert!((1..12).contains(&count), "in {count} sectors, rather than those of its leaf");
}

#[test]
fn a_log_of_an_earlier_time_is_left_alone() {
    let mut sample = Sample::new(1);
    sample.write(3, 1);
    let crashed = sample.files();
    let now = sample.now.clone();
    sample.write(2, 2);
    let disk = crashed.disk();
    let options = Options::new().no_threads();
    drop(PersistentDB::open_on(Arc::new(disk.clone()), at("db"), options).unwrap());
    let files = Files { db: disk.contents(at("db")).unwrap(), log: sample.files().log };
    let (found, all) = files.salvage().unwrap();
    assert_eq!((found.commits, found.log_missing), (0, false));
    assert_eq!(all, now);
}

#[test]
fn a_damaged_root_costs_what_only_it_knows() {
    let (sample, files) = closed();
    for slot in 0..2 {
        let mut bad = files.clone();
        bad.db[slot * 4096 + 100] ^= 1;
        let (found, all) = bad.salvage().unwrap();
        assert_eq!(found.damaged_roots, 1);
        let right = sample.right(&all);
        assert!(right + 40 > sample.now.len(), "slot {slot}: {right} of {}", sample.now.len());
        bad.db[slot * 4096 + 100] ^= 1;
        bad.db[slot * 4096 + 512..slot * 4096 + 4000].fill(7);
        assert_eq!(bad.salvage().unwrap().1, sample.now, "all roots are alike there");
    }
}

#[test]
fn damage_in_the_log_costs_the_commits_there() {
    let mut sample = Sample::new(1);
    sample.write(1, 1);
    sample.db().checkpoint().unwrap();
    for n in 0..100u8 {
        sample.put(&[b'a', n], &[n; 48]);
    }
    let files = sample.files();
    let log = files.log.clone().unwrap();
    let needle = [50; 48];
    let place = log.windows(48).position(|bytes| bytes == needle).unwrap();
    let mut bad = files.clone();
    bad.log.as_mut().unwrap()[place] ^= 1;
    let (found, all) = bad.salvage().unwrap();
    assert_eq!((found.commits, found.gaps, found.lost), (99, 1, 0));
    sample.now.remove(&b"a\x32"[..]);
    assert_eq!(all, sample.now);
    bad.log = None;
    assert!(bad.salvage().unwrap().0.log_missing);
    // That of another database is none.
    let other = Sample::new(2);
    bad.log = other.files().log;
    let (found, all) = bad.salvage().unwrap();
    assert!(found.log_missing && found.commits == 0);
    sample.now.retain(|key, _| key[0] != b'a');
    assert_eq!(all, sample.now);
}

#[test]
fn of_files_with_random_bytes_in_a_tenth_much_is_left() {
    let mut open = Sample::new(1);
    open.write(1, 1);
    open.db().checkpoint().unwrap();
    open.write(2, 2);
    let files = open.files();
    for (sample, files) in [(open, files), closed()] {
        let (mut right, mut count) = (0, 0);
        for seed in 0..rounds(40, 2000) {
            eprintln!("seed {seed}"); // the last one, if this fails
            let (mut random, mut bad) = (Random(seed), files.clone());
            for bytes in [Some(&mut bad.db), bad.log.as_mut()].into_iter().flatten() {
                for _ in 0..bytes.len() / 5120 {
                    let start = random.below(bytes.len() / 512) * 512;
                    bytes[start..start + 512].fill_with(|| random.below(256) as u8);
                }
            }
            count += sample.now.len();
            right += match bad.salvage() {
                Ok((_, all)) => sample.right(&all),
                Err(error) => {
                    let refused = matches!(error, DBError::Corrupt(_) | DBError::Format(_));
                    assert!(refused, "seed {seed}: {error}");
                    0
                }
            };
        }
        assert!(right * 3 > count, "{right} of {count}");
    }
}

#[test]
fn what_the_system_cannot_read_counts_as_damaged() {
    let mut sample = Sample::new(1);
    sample.write(1, 1);
    sample.db().checkpoint().unwrap();
    sample.write(30, 2);
    let files = sample.files();
    let mut any_read = false;
    for at_read in 0.. {
        let mut all_read = true;
        for forever in [false, true] {
            let disk = files.disk();
            let kinds = &[Call::ReadSome];
            disk.fail(Fault { at: at_read, errno: libc::EIO, forever, kinds, short: false });
            let done = salvage_on(&disk, at("db"), at("new"));
            disk.heal();
            match done {
                Ok(found) => {
                    let right = sample.right(&entries(&disk));
                    any_read |= forever;
                    assert!(right > 0, "read {at_read}: nothing is found, and no error");
                    assert!(forever || right == sample.now.len(), "read {at_read}: {found:?}");
                    all_read &= right == sample.now.len();
                }
                Err(error) => {
                    assert!(forever && !any_read, "read {at_read}: {error}");
                    assert!(at_read < 4 || matches!(error, DBError::Corrupt(_)), "{error}");
                    all_read = false;
                }
            }
        }
        if all_read {
            return;
        }
    }
}

#[test]
fn what_cannot_be_salvaged_is_refused() {
    let (_, files) = closed();
    let of = |db: &[u8]| Files { db: db.to_vec(), log: None }.salvage().map(|it| it.0);
    assert!(matches!(of(b""), Err(DBError::Corrupt(_))));
    assert!(matches!(of(&[b'x'; 20_000]), Err(DBError::Corrupt(_))));
    let mut torn = files.db.clone();
    torn[100] ^= 1;
    torn[4196] ^= 1;
    assert!(matches!(of(&torn), Err(DBError::Corrupt(_))));
    let mut empty = files.db.clone();
    empty[8192..].fill(7);
    assert!(matches!(of(&empty), Err(DBError::Corrupt(_))), "only the roots can be read");

    let disk = files.disk();
    let missing = salvage_on(&disk, at("none"), at("new"));
    assert!(matches!(missing, Err(DBError::NotFound(_))));
    assert!(matches!(salvage_on(&disk, at("db"), at("db")), Err(DBError::Exists(_))));
    let db = PersistentDB::open_on(Arc::new(disk.clone()), at("db"), Options::new()).unwrap();
    assert!(matches!(salvage_on(&disk, at("db"), at("new")), Err(DBError::Busy(_))));
    drop(db);
    let options = Options::new().read_only();
    let _reader = PersistentDB::open_on(Arc::new(disk.clone()), at("db"), options).unwrap();
    assert!(salvage_on(&disk, at("db"), at("new")).is_ok());
}

#[test]
fn a_file_in_the_way_is_found_before_the_damaged_one_is_read() {
    let (_, files) = closed();
    let reads_and_error = |in_the_way: Option<&str>| {
        let disk = files.disk();
        in_the_way.inspect(|name| disk.place(at(name), &files.db));
        let before = disk.calls();
        let error = salvage_on(&disk, at("db"), at("new")).err();
        let left = in_the_way.map(|name| disk.contents(at(name)));
        assert!(left.is_none_or(|left| left.as_ref() == Some(&files.db)));
        (disk.calls() - before, error)
    };
    let (all, error) = reads_and_error(None);
    assert_eq!(error, None);
    for name in ["new", "new-unfinished"] {
        let (calls, error) = reads_and_error(Some(name));
        assert!(matches!(error, Some(DBError::Exists(_))), "{name}: {error:?}");
        assert!(calls * 3 < all, "{name}: {calls} calls of {all}");
    }
}

#[test]
fn an_unfinished_backup_is_not_salvaged_into_itself() {
    let (_, files) = closed();
    let disk = SimDisk::new(2);
    disk.place(at("db-unfinished"), &files.db);
    let salvaged = salvage_on(&disk, at("db-unfinished"), at("db"));
    assert!(matches!(salvaged, Err(DBError::Busy(_))));
    assert_eq!(disk.contents(at("db-unfinished")), Some(files.db));
}

#[test]
fn the_damaged_file_and_its_log_keep_bytes_permissions_and_times() {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let mut sample = Sample::new(1);
    sample.write(2, 1);
    sample.db().checkpoint().unwrap();
    sample.write(30, 2);
    let whole = sample.files();
    let mut hopeless = whole.clone();
    hopeless.db.fill(7);
    hopeless.log.as_mut().unwrap().fill(7);
    for (files, hope) in [(whole.with_damage(40), true), (hopeless, false)] {
        let folder = std::env::temp_dir().join(format!("minidb-salvage-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (db, log) = (folder.join("db"), folder.join("db-log"));
        fs::write(&db, &files.db).unwrap();
        fs::write(&log, files.log.as_ref().unwrap()).unwrap();
        let state = || {
            [&db, &log].map(|path| {
                let it = fs::metadata(path).unwrap();
                (fs::read(path).unwrap(), it.mode(), it.ino(), it.mtime_nsec(), it.ctime_nsec())
            })
        };
        fs::set_permissions(&db, fs::Permissions::from_mode(0o440)).unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(0o400)).unwrap();
        let before = state();
        let salvaged = salvage(&db, folder.join("new"));
        assert_eq!(salvaged.is_ok(), hope, "{salvaged:?}");
        assert!(state() == before);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2 + usize::from(hope));
        fs::remove_dir_all(&folder).unwrap();
    }
}
