//! The file against a model, on a disk whose calls fail when told to.

use std::collections::BTreeMap;

use super::array::FANOUT;
use super::checkpoint::Checkpoint;
use super::pointer::{BlockPointer, POINTER, hash};
use super::space::RESERVED;
use super::*;
use crate::os::disk::{Disk, OpenMode};
use crate::os::sim::{Call, Fate, Fault, Random, SimDisk};

const FIELDS: Fields = Fields { database: [7; 16], lsn: 0, log: None, meta: [9; META] };

fn path() -> &'static Path {
    Path::new("/db")
}

/// Some bytes, often the same.
fn bytes(rng: &mut Random, len: usize) -> Vec<u8> {
    let (first, step) = (rng.below(20usize), rng.below(3usize));
    (0..len).map(|at| (first + at / 512 * step) as u8 | 1).collect()
}

/// The content of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    blocks: BTreeMap<u32, Sector>,
    blobs: BTreeMap<u32, Vec<u8>>,
    numbers: (Vec<u32>, Vec<u32>),
    blob_bytes: usize,
}

impl Receiver for Model {
    fn reserve(&mut self, blocks: Vec<u32>, blobs: Vec<u32>, _: u64) -> DBResult<()> {
        self.numbers = (blocks, blobs);
        Ok(())
    }

    fn block(&mut self, block: u32, bytes: &Sector) -> DBResult<()> {
        assert!(self.numbers.0.contains(&block) && self.blocks.insert(block, *bytes).is_none());
        Ok(())
    }

    fn blob(
        &mut self,
        id: u32,
        len: u32,
        fill: &mut dyn FnMut(&mut [u8]) -> DBResult<()>,
    ) -> DBResult<()> {
        self.blob_bytes += len as usize;
        let mut bytes = vec![0; len as usize];
        fill(&mut bytes)?;
        assert!(self.numbers.1.contains(&id) && self.blobs.insert(id, bytes).is_none());
        Ok(())
    }
}

impl Model {
    /// Changes some blocks and blobs, numbered below these.
    fn change(&mut self, rng: &mut Random, blocks: u32, blobs: u32) {
        for _ in 0..rng.below(30) {
            let (block, count) = (rng.below(blocks), 1 + rng.below(8));
            for block in block..block + count {
                match rng.below(3) {
                    0 => drop(self.blocks.remove(&block)),
                    _ => drop(self.blocks.insert(block, bytes(rng, 512).try_into().unwrap())),
                }
            }
        }
        for _ in 0..rng.below(6) {
            let (id, longest) = (rng.below(blobs), 1 << rng.below(18));
            match rng.below(2) {
                0 => drop(self.blobs.remove(&id)),
                _ => {
                    let len = 1 + rng.below(longest) as usize;
                    self.blobs.insert(id, bytes(rng, len));
                }
            }
        }
    }

    /// Makes this what the file holds, which held `old`.
    fn save(&self, data: &mut DataFile, old: &Model, rng: &mut Random) -> DBResult<()> {
        let fields = Fields { lsn: data.fields().lsn + 1, ..FIELDS };
        let seed = rng.next();
        data.checkpoint(fields, &|next| {
            let mut rng = Random::new(seed); // it may be filled twice
            let is_new = |block: u32| old.blocks.get(&block) != self.blocks.get(&block);
            // Some may have changed, for all that the caller knows.
            let may =
                |block: u32| is_new(block) || Random::new(seed ^ u64::from(block)).below(4) == 0;
            for &block in self.blocks.keys().filter(|&&block| !may(block)) {
                next.keep_blocks(block, 1)?;
            }
            for (id, _) in self.blobs.iter().filter(|it| old.blobs.get(it.0) == Some(it.1)) {
                next.keep_blob(*id)?;
            }
            for (&block, content) in self.blocks.iter().filter(|it| may(*it.0)) {
                let origin = [block, rng.below(2000), u32::MAX][rng.below(3) as usize];
                next.put_blocks(block, origin, &[*content])?;
            }
            for (id, bytes) in self.blobs.iter().filter(|it| old.blobs.get(it.0) != Some(it.1)) {
                next.put_blob(*id, bytes)?;
            }
            Ok(())
        })
    }
}

fn create(disk: &SimDisk) -> DataFile {
    let file = disk.open(path(), OpenMode::Create).unwrap();
    disk.sync_folder(path()).unwrap();
    let mut data = DataFile::create(file.into(), path().into(), FIELDS);
    data.checkpoint(FIELDS, &|_| Ok(())).unwrap();
    data
}

fn load(disk: &SimDisk) -> DBResult<(DataFile, Model)> {
    let file = disk.open(path(), OpenMode::Write).unwrap();
    let roots = Roots::read(&*file, path())?;
    let mut model = Model::default();
    let data = DataFile::load(file.into(), path().into(), &roots, &mut model)?;
    (model.numbers, model.blob_bytes) = Default::default();
    Ok((data, model))
}

#[test]
fn what_checkpoints_write_is_what_is_loaded() {
    for seed in 0..12 {
        println!("seed {seed}");
        let (mut rng, disk) = (Random::new(seed), SimDisk::new(seed));
        let (mut data, mut model) = (create(&disk), Model::default());
        for round in 0..60 {
            let old = model.clone();
            if round % 20 == 19 {
                model = Model::default();
            }
            model.change(&mut rng, 10 << (round / 5), 1 + 20 * round);
            model.save(&mut data, &old, &mut rng).unwrap();
            if rng.below(4) == 0 {
                data.compact(false).unwrap();
                let content = model.blobs.values().map(|it| it.len() + 2000).sum::<usize>();
                let sparse = model.blocks.len() * 512 * 3;
                let most = (content + sparse) / 2 * 3 + 60_000;
                assert!(data.bytes() < most as u64, "{} of {most}", data.bytes());
                let len = disk.contents(path()).unwrap().len() as u64;
                assert!(len >= data.bytes());
            }
            data.verify().unwrap();
            let (loaded, found) = load(&disk).unwrap();
            assert!(found == model, "round {round}");
            assert_eq!(loaded.root, data.root);
            if rng.below(2) == 0 {
                data = loaded;
            }
        }
    }
}

/// Sectors behind the roots that are not the same.
fn differing(one: &[u8], other: &[u8]) -> usize {
    let sector = |bytes: &[u8], at: usize| bytes.get(at * 512..(at + 1) * 512).map(<[u8]>::to_vec);
    let all = one.len().max(other.len()) / 512;
    (RESERVED as usize..all).filter(|&at| sector(one, at) != sector(other, at)).count()
}

#[test]
fn a_sector_that_has_not_changed_is_not_written() {
    let (mut rng, disk) = (Random::new(3), SimDisk::new(3));
    let (mut data, mut model) = (create(&disk), Model::default());
    for block in 0..1000 {
        model.blocks.insert(block, [block as u8; 512]);
    }
    model.save(&mut data, &Model::default(), &mut rng).unwrap();
    let old = model.clone();
    model.blocks.insert(500, [1; 512]);
    let before = disk.contents(path()).unwrap();
    model.save(&mut data, &old, &mut rng).unwrap();
    let after = disk.contents(path()).unwrap();
    // The block, its table, and the one above.
    assert_eq!(differing(&before, &after), 3);
    // A page that moved has its sectors already; only tables are new.
    let moved = model.blocks[&7];
    let next = |next: &mut Checkpoint<'_>| {
        next.keep_blocks(0, 7)?;
        next.put_blocks(2000, 8, &[moved])
    };
    data.checkpoint(FIELDS, &next).unwrap();
    assert_eq!(differing(&after, &disk.contents(path()).unwrap()), 5);
    assert_eq!(load(&disk).unwrap().1.blocks[&2000], moved);
}

#[test]
fn a_checkpoint_that_fails_leaves_what_there_was() {
    for seed in 0..150 {
        println!("seed {seed}");
        let (mut rng, disk) = (Random::new(seed), SimDisk::new(seed));
        disk.lose_after_failed_sync(seed % 2 == 0);
        let (mut data, mut model) = (create(&disk), Model::default());
        for _ in 0..12 {
            let old = model.clone();
            model.change(&mut rng, 300, 50);
            let kinds = &[Call::WriteSome, Call::Sync];
            let errno = [libc::EIO, libc::ENOSPC][rng.below(2) as usize];
            let at = rng.below(6);
            let short = rng.below(2) == 0;
            disk.fail(Fault { at, errno, forever: rng.below(2) == 0, kinds, short });
            let done = model.save(&mut data, &old, &mut rng);
            disk.heal();
            for fate in [Fate::DropAll, Fate::KeepAll, Fate::Random(rng.next())] {
                let (_, found) = load(&disk.crash(disk.operations(), fate)).unwrap();
                assert!(found == model || done.is_err() && found == old);
            }
            data.verify().unwrap();
            let (loaded, found) = load(&disk).unwrap();
            match done {
                Ok(()) => assert!(found == model),
                // Opened again, it is the one or the other.
                Err(_) if rng.below(3) == 0 => {
                    assert!(found == model || found == old);
                    (data, model) = (loaded, found);
                    data.confirm().unwrap();
                    model.save(&mut data, &model, &mut rng).unwrap();
                }
                // It goes on from what it held.
                Err(_) => model.save(&mut data, &old, &mut rng).unwrap(),
            }
            data.verify().unwrap();
            let (_, found) = load(&disk.crash(disk.operations(), Fate::DropAll)).unwrap();
            assert!(found == model);
        }
    }
}

#[test]
fn every_changed_byte_is_found() {
    let (mut rng, disk) = (Random::new(5), SimDisk::new(5));
    let (mut data, mut model) = (create(&disk), Model::default());
    for _ in 0..3 {
        let old = model.clone();
        model.change(&mut rng, 100, 10);
        model.save(&mut data, &old, &mut rng).unwrap();
    }
    let good = disk.contents(path()).unwrap();
    let file = disk.open(path(), OpenMode::Write).unwrap();
    let mut found = 0;
    for at in 0..good.len() {
        let byte = good[at] ^ 1 << rng.below(8);
        file.write(&[byte], at as u64).unwrap();
        let verified = data.verify();
        match load(&disk) {
            // It was not in use; or the older root will do.
            Ok((_, loaded)) => assert!(verified.is_ok() && loaded == model || at < 8192),
            Err(_) => assert!(verified.is_err(), "byte {at}"),
        }
        assert!(verified.is_err() || at >= 8192, "byte {at}");
        found += usize::from(verified.is_err());
        file.write(&good[at..=at], at as u64).unwrap();
    }
    println!("{found} of {}", good.len());
    assert!(found > good.len() / 3);
    data.verify().unwrap();
}

#[test]
fn arrays_grow_and_shrink_by_levels() {
    let (mut rng, disk) = (Random::new(6), SimDisk::new(6));
    let (mut data, mut model) = (create(&disk), Model::default());
    let edges = [0, 41, 42, 42 * 42 - 1, 42 * 42, 42 * 42 * 42, u32::MAX / 8];
    let steps = edges.iter().chain(edges.iter().rev());
    for (n, &edge) in steps.enumerate() {
        let old = model.clone();
        if n < edges.len() {
            model.blocks.insert(edge, [n as u8; 512]);
            model.blobs.insert(edge, vec![n as u8; 100]);
        } else {
            model.blocks.remove(&edge);
            model.blobs.remove(&edge);
        }
        model.save(&mut data, &old, &mut rng).unwrap();
        let (loaded, found) = load(&disk).unwrap();
        assert!(found == model, "step {n}");
        data = loaded;
    }
    assert_eq!((data.root.blocks, data.root.records), (ArrayRoot::default(), ArrayRoot::default()));
}

/// A file that somebody has made up, with checksums that are right.
struct Forged(Vec<u8>);

impl Forged {
    fn put(&mut self, sector: &Sector) -> BlockPointer {
        self.0.extend_from_slice(sector);
        BlockPointer { sector: (self.0.len() / 512) as u32 - 1, hash: hash(sector) }
    }

    /// A table of these pointers, from entry `first` on.
    fn table(&mut self, first: u32, pointers: &[BlockPointer]) -> BlockPointer {
        let mut table = [0; SECTOR];
        for (at, pointer) in (first as usize..).zip(pointers) {
            assert!(at < FANOUT as usize);
            table[at * POINTER..][..POINTER].copy_from_slice(&pointer.to_bytes());
        }
        self.put(&table)
    }

    fn assert_refused(mut self, blocks: ArrayRoot, records: ArrayRoot) {
        let root = Root { sequence: 1, fields: FIELDS, blocks, records };
        self.0[4096..8192].copy_from_slice(&root.to_bytes());
        let disk = SimDisk::new(0);
        disk.place(path(), &self.0);
        let file = disk.open(path(), OpenMode::Read).unwrap();
        let roots = Roots::read(&*file, path()).unwrap();
        let mut model = Model::default();
        let refused = DataFile::load(file.into(), path().into(), &roots, &mut model).err();
        assert!(matches!(refused, Some(DBError::Corrupt(_))));
        assert!(model.blob_bytes <= self.0.len());
    }
}

#[test]
fn a_forged_file_is_refused() {
    let new = || Forged(vec![0; 8192]);
    let top = |levels: u32, pointer: BlockPointer| ArrayRoot { levels, pointer };

    // A table that two arrays share.
    let mut forged = new();
    let block = forged.put(&[1; 512]);
    let table = forged.table(3, &[block]);
    forged.assert_refused(top(1, table), top(1, table));

    // A sector twice, among the roots, or beyond the end.
    for sector in [16, 1, 15, 18, 1 << 20, u32::MAX] {
        let mut forged = new();
        let block = forged.put(&[1; 512]);
        let table = forged.table(0, &[block, BlockPointer { sector, ..block }]);
        forged.assert_refused(top(1, table), ArrayRoot::default());
    }

    // The highest number there is, which has none after it.
    let mut forged = new();
    let mut pointer = forged.put(&[0xff; 512]);
    for digit in [3, 15, 36, 37, 36, 32] {
        pointer = forged.table(digit, &[pointer]); // u32::MAX in base 42
    }
    forged.assert_refused(top(6, pointer), ArrayRoot::default());
}

#[test]
fn forged_blobs_take_no_more_memory_than_the_file_has() {
    let mut forged = Forged(vec![0; 8192]);
    let content = forged.put(&[1; 512]);
    let blob = Blob::new(0, 5000, content);
    let records = [blob.record(); 32].concat();
    let records = forged.put(&records.try_into().unwrap());
    let table = forged.table(0, &[records]);
    forged.assert_refused(ArrayRoot::default(), ArrayRoot { levels: 1, pointer: table });
}

#[test]
fn blobs_that_share_a_sector_and_blobs_asked_for_again_and_again_are_lost() {
    let mut forged = Forged(vec![0; 8192]);
    let content = forged.put(&[1; 512]);
    let beyond = BlockPointer { sector: 1 << 20, ..content };
    let mut records = [0; SECTOR];
    for (at, blob) in [Blob::new(0, 500, content), Blob::new(1, 500, content)]
        .iter()
        .chain(&[Blob::new(2, 500, beyond), Blob::new(3, 5000, content)])
        .enumerate()
    {
        records[at * 16..][..16].copy_from_slice(&blob.record());
    }
    let records = forged.put(&records);
    let pointer = forged.table(0, &[records]);
    let disk = SimDisk::new(0);
    disk.place(path(), &forged.0);
    let file = disk.open(path(), OpenMode::Read).unwrap();
    let (blocks, records) = (ArrayRoot::default(), ArrayRoot { levels: 1, pointer });
    let root = Root { sequence: 1, fields: FIELDS, blocks, records };
    let found = ReadableSectors::read(&*file, path(), &root).unwrap();
    let lens = |id| found.blob(id).unwrap().map(|bytes| bytes.len());
    assert_eq!([0, 1, 2, 3].map(lens), [Some(500), None, None, None]);
    let again = (0..100).filter(|_| lens(0).is_some()).count();
    assert!((1..8).contains(&again), "{again} times");
    assert_eq!(found.damaged, 0);
}
