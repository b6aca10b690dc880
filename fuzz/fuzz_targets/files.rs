//! Files that an input makes up, opened: what the targets `open` and `log` share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use minidb::os::sim::SimDisk;
use minidb::{DB, DBError, DBResult, Options, PersistentDB};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const FILE: &str = "/db";
const LOG: &str = "/db-log";

const SLOT: usize = 4096;
const SECTOR: usize = 512;
const PLACE: usize = 12;
const RECORDS: usize = 4096;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

/// A file whose checksums are made right, so that more of it is looked at.
struct Sealing<'a> {
    bytes: &'a mut [u8],
    seen: BTreeSet<u32>,
}

impl Sealing<'_> {
    /// The sector, if it lies in the file and was not met before.
    fn enter(&mut self, sector: u32) -> Option<usize> {
        let start = sector as usize * SECTOR;
        let fits = sector >= 16 && start + SECTOR <= self.bytes.len();
        (fits && self.seen.insert(sector)).then_some(start)
    }

    /// Seals the sector that the place at `at` names, with what is below it;
    /// `levels` of tables, then what `element` seals.
    fn seal(&mut self, at: usize, levels: u32, element: &mut dyn FnMut(&mut Self, usize)) {
        let Some(start) = self.enter(u32_at(self.bytes, at)) else {
            return;
        };
        match levels {
            0 => element(self, start),
            _ => {
                (0..SECTOR / PLACE).for_each(|i| self.seal(start + i * PLACE, levels - 1, element))
            }
        }
        let hash = xxh3_64(&self.bytes[start..start + SECTOR]);
        self.bytes[at + 4..at + PLACE].copy_from_slice(&hash.to_le_bytes());
    }

    /// Seals the blobs of a sector of records.
    fn seal_blobs(&mut self, start: usize) {
        for record in (start..start + SECTOR).step_by(16) {
            let sectors = u32_at(self.bytes, record).div_ceil(SECTOR as u32);
            let levels = (0..6).find(|&levels| 42u32.pow(levels) >= sectors);
            if sectors > 0 {
                self.seal(record + 4, levels.unwrap_or(6), &mut |_, _| {});
            }
        }
    }
}

/// Makes the checksums of a file right, as far as there can be right ones.
pub fn seal_file(bytes: &mut [u8]) {
    for slot in (0..2 * SLOT).step_by(SLOT) {
        if bytes.len() < slot + SLOT {
            return;
        }
        let mut sealing = Sealing { bytes, seen: BTreeSet::new() };
        // Memory is taken for each number of a blob up to the highest; three
        // levels have room for two million.
        let levels = |sealing: &Sealing<'_>, at: usize, most: u32| {
            Some(u32_at(sealing.bytes, slot + at)).filter(|&levels| levels <= most)
        };
        if let Some(levels) = levels(&sealing, 80, 6) {
            sealing.seal(slot + 84, levels, &mut |_, _| {});
        }
        if let Some(levels) = levels(&sealing, 96, 3) {
            sealing.seal(slot + 100, levels, &mut |it, start| it.seal_blobs(start));
        }
        let hash = xxh3_64(&bytes[slot..slot + SLOT - 8]);
        bytes[slot + SLOT - 8..slot + SLOT].copy_from_slice(&hash.to_le_bytes());
    }
}

/// Makes a log that of the file's newer root, and its records valid ones.
pub fn seal_log(file: &[u8], log: &mut [u8]) {
    if file.len() < 2 * SLOT || log.len() < SECTOR {
        return;
    }
    let newer = usize::from(u64_at(file, SLOT + 16) > u64_at(file, 16)) * SLOT;
    let root = &file[newer..newer + SLOT];
    log[16..32].copy_from_slice(&root[24..40]);
    log[32..48].copy_from_slice(&root[56..72]);
    let hash = xxh3_64(&log[..SECTOR - 8]);
    log[SECTOR - 8..SECTOR].copy_from_slice(&hash.to_le_bytes());
    let (salt, mut lsn, mut at) = (u64_at(root, 64), u64_at(root, 40), u64_at(root, 72));
    let mut seen = BTreeSet::new();
    let end = (log.len() as u64).saturating_sub(32);
    while (RECORDS as u64..=end).contains(&at) && seen.insert(at) {
        let start = at as usize;
        let word = u64_at(log, start + 24);
        let (kind, len) = (word >> 56, word & ((1 << 56) - 1));
        let size = 32 + len.next_multiple_of(8);
        let Some(record) = log.get_mut(start..start.saturating_add(size as usize)) else {
            return;
        };
        record[8..16].copy_from_slice(&lsn.to_le_bytes());
        if u64_at(record, 16) > lsn {
            record[16..24].fill(0);
        }
        let hash = xxh3_64_with_seed(&record[8..], salt);
        record[..8].copy_from_slice(&hash.to_le_bytes());
        if kind == 2 && len == 8 {
            at = u64_at(record, 32);
        } else {
            (at, lsn) = (at + size, lsn.wrapping_add(size));
        }
    }
}

fn open(disk: &SimDisk, options: Options) -> DBResult<PersistentDB> {
    let options = options.no_sync().no_threads();
    PersistentDB::open_on(Arc::new(disk.clone()), Path::new(FILE), options)
}

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// All that a database holds, if it keeps its own rules.
fn contents(db: &PersistentDB) -> DBResult<Contents> {
    let entries = db.iter()?.collect::<DBResult<Vec<_>>>()?;
    db.check()?;
    let contents: Contents = entries.iter().cloned().collect();
    assert_eq!(contents.len(), entries.len(), "checked, and a key is there twice");
    for (key, value) in entries.iter().take(50) {
        assert_eq!(db.get(key)?.as_ref(), Some(value));
    }
    Ok(contents)
}

/// Opens the files, and uses what opens.
pub fn try_open(file: &[u8], log: Option<&[u8]>) {
    let disk = SimDisk::new(1);
    disk.place(Path::new(FILE), file);
    if let Some(log) = log {
        disk.place(Path::new(LOG), log);
    }
    let read = open(&disk, Options::new().read_only()).and_then(|db| contents(&db));
    let written = open(&disk, Options::new()).and_then(|db| {
        let mut held = contents(&db)?;
        let keys: Vec<_> = held.keys().step_by(3).cloned().collect();
        for (n, key) in keys.iter().take(100).enumerate() {
            match n % 2 {
                0 => drop(held.remove(key).zip(db.delete(key)?)),
                _ => drop(held.insert(key.clone(), vec![1; 1500]).zip(db.put(key, &[1; 1500])?)),
            }
        }
        db.put(b"more", b"of it")?;
        held.insert(b"more".to_vec(), b"of it".to_vec());
        assert_eq!(contents(&db)?, held);
        Ok(held)
    });
    for refused in [read.err(), written.as_ref().err().cloned()].into_iter().flatten() {
        let expected = matches!(refused, DBError::Corrupt(_) | DBError::Format(_))
            || refused == DBError::OutOfMemory;
        assert!(expected, "{refused}");
    }
    if let Ok(held) = written {
        let db = open(&disk, Options::new()).expect("it was written just now");
        assert_eq!(contents(&db), Ok(held));
    }
}
