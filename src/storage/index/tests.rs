//! The index against `BTreeMap`, every rule checked after every step.

use std::collections::BTreeMap;

use super::memory::UNIT;
use super::tree::*;
use super::*;
use crate::error::OutOfMemory;
use crate::os::sim::Random;
use crate::sync::Views;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keys of every awkward shape: empty, nested, with long shared prefixes, around
/// the lengths at which nodes treat them differently.
fn key(rng: &mut Random, range: usize) -> Vec<u8> {
    let n = rng.below(range);
    match rng.below(8) {
        0 => vec![b'a'; n % 40],
        1 => vec![0xff; n % 20],
        2 => n.to_be_bytes().to_vec(),
        3 => format!("https://example.com/some/long/path/{n:06}").into_bytes(),
        4 => [&[7; 508][..], &n.to_be_bytes()[..1 + n % 8]].concat(),
        5 => [&[8; 600][..], format!("{n}").as_bytes()].concat(),
        6 => [vec![9; 500 + n % 30], vec![n as u8]].concat(),
        _ => format!("{n}").into_bytes(),
    }
}

fn value(rng: &mut Random) -> Vec<u8> {
    let len = match rng.below(20) {
        0 => 0,
        1 => 1020 + rng.below(10),
        2 => 5000,
        _ => rng.below(150),
    };
    vec![rng.next() as u8; len]
}

fn put(index: &mut Index, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, OutOfMemory> {
    index.put(key, value, |old| Ok(old.map(<[u8]>::to_vec)))
}

fn delete(index: &mut Index, key: &[u8]) -> Result<Option<Vec<u8>>, OutOfMemory> {
    index.delete(key, |old| Ok(old.to_vec()))
}

fn contents(snapshot: &Snapshot) -> Model {
    let mut cursor = Cursor::new(snapshot.clone(), Bounds::default());
    let mut all = Model::new();
    while cursor.next().unwrap() {
        let (key, value) = (cursor.key().unwrap().to_vec(), cursor.value().unwrap().to_vec());
        assert!(all.insert(key, value).is_none());
    }
    let mut backward = all.iter().rev();
    while cursor.prev().unwrap() {
        let (key, value) = backward.next().unwrap();
        assert_eq!((cursor.key().unwrap(), cursor.value().unwrap()), (&key[..], &value[..]));
    }
    assert!(backward.next().is_none());
    all
}

fn compare(index: &Index, model: &Model) {
    index.check().unwrap();
    assert_eq!(index.totals().count, model.len() as u64);
    let bytes: usize = model.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert_eq!(index.totals().bytes, bytes as u64);
}

fn run(seed: u64, steps: usize, range: usize, snapshots: usize) {
    println!("seed {seed}, {steps} steps, keys up to {range}, {snapshots} snapshots");
    let rng = &mut Random::new(seed);
    let mut index = Index::new().unwrap();
    let mut model = Model::new();
    let mut frozen: Vec<(Snapshot, Model)> = Vec::new();
    for step in 0..steps {
        let key = key(rng, range);
        // Grows and shrinks in turn.
        let deletes = if (step / (steps / 4 + 1)).is_multiple_of(2) { 30 } else { 65 };
        match rng.below(100) {
            0 if snapshots > 0 => {
                if frozen.len() == snapshots {
                    let (snapshot, then) = frozen.swap_remove(rng.below(snapshots));
                    assert_eq!(contents(&snapshot), then);
                    snapshot.check().unwrap();
                }
                frozen.push((index.snapshot().unwrap(), model.clone()));
            }
            1 if rng.below(4) == 0 => {
                let to = self::key(rng, range);
                index.clear(Some(&key), Some(&to)).unwrap();
                if key < to {
                    let gone: Vec<_> = model.range(key..to).map(|(key, _)| key.clone()).collect();
                    gone.iter().for_each(|key| drop(model.remove(key)));
                }
            }
            n if n < deletes => {
                assert_eq!(delete(&mut index, &key).unwrap(), model.remove(&key));
            }
            _ => {
                let value = value(rng);
                assert_eq!(index.get_latest(&key), model.get(&key).map(|value| &value[..]));
                assert_eq!(put(&mut index, &key, &value).unwrap(), model.insert(key, value));
            }
        }
        if step % 16 == 0 || steps < 5_000 {
            compare(&index, &model);
        }
        index.committed();
        while rng.below(3) == 0 && index.collect(5) {}
    }
    for (snapshot, then) in frozen.drain(..) {
        assert_eq!(contents(&snapshot), then);
    }
    index.pages.unregister_newest();
    while index.collect(1000) {}
    assert_eq!(contents(&index.snapshot().unwrap()), model);
    index.pages.unregister_newest();
    assert_eq!(index.pages.retired(), (0, 0), "nothing is kept for snapshots that are gone");
    index.clear(None, None).unwrap();
    assert_eq!(index.pages.population(), (1, 0), "an empty tree is one page");
}

#[test]
fn random_changes_match_the_model() {
    for seed in 0..6 {
        run(seed, 4_000, 60, 0);
        run(seed, 4_000, 2_000, 3);
    }
    run(100, 30_000, 20_000, 4);
}

/// Pages and blobs move while snapshots are read, and when they are gone little is idle.
#[test]
fn what_remains_in_thin_slabs_moves_and_snapshots_stay() {
    let (seed, rng) = (11, &mut Random::new(11));
    println!("seed {seed}");
    let (mut index, mut model) = (Index::new().unwrap(), Model::new());
    while model.len() < 12_000 {
        let len = if rng.below(10) == 0 { 1025 + rng.below(8_000) } else { rng.below(200) };
        let (key, value) = (key(rng, 100_000), vec![rng.next() as u8; len]);
        put(&mut index, &key, &value).unwrap();
        model.insert(key, value);
    }
    let mut snapshots: Vec<(Snapshot, Model)> = Vec::new();
    let mut keys: Vec<_> = model.keys().cloned().collect();
    while keys.len() > 2_000 {
        if keys.len() % 500 == 0 {
            if snapshots.len() == 4 {
                snapshots.remove(rng.below(4));
            }
            for (snapshot, then) in &snapshots {
                assert_eq!(contents(snapshot), *then);
            }
            snapshots.push((index.snapshot().unwrap(), model.clone()));
        }
        let key = keys.swap_remove(rng.below(keys.len()));
        assert_eq!(delete(&mut index, &key).unwrap(), model.remove(&key));
        index.committed();
        while index.collect(64) {}
    }
    // A reader has bytes of a snapshot in its hands.
    let (newest, then) = snapshots.pop().unwrap();
    let values: Vec<_> = then.keys().map(|key| newest.get(key)).collect();
    for (snapshot, then) in snapshots {
        assert_eq!(contents(&snapshot), then);
        drop(snapshot);
        index.unregister_dropped();
        while index.collect(64) {}
        compare(&index, &model);
    }
    (0..2_000).for_each(|_| index.committed());
    assert!(then.values().eq(values.into_iter().flatten()));
    drop(newest);
    index.unregister_dropped();
    while index.collect(64) {}
    (0..2_000).for_each(|_| index.committed());
    compare(&index, &model);
    assert_eq!(contents(&index.snapshot().unwrap()), model);
    let mut fresh = Index::new().unwrap();
    model.iter().for_each(|(key, value)| drop(put(&mut fresh, key, value).unwrap()));
    let [held, needed] = [&index, &fresh].map(|index| index.pages.memory_bytes());
    println!("{held} bytes are held, a new store holds {needed}");
    assert!(held < needed * 3 / 2, "{held} bytes are held, not {needed}");
}

#[test]
fn ascending_keys_fill_leaves_to_the_brim() {
    let mut index = Index::new().unwrap();
    for n in 0..20_000u64 {
        put(&mut index, &n.to_be_bytes(), &[7; 100]).unwrap();
    }
    index.check().unwrap();
    let (pages, _) = index.pages.population();
    let ideal = 20_000 * (8 + 100 + 11) / 4080;
    assert!(pages < ideal * 11 / 10, "{pages} pages where {ideal} would do");
}

#[test]
fn a_failed_change_of_many_steps_leaves_no_trace() {
    let rng = &mut Random::new(7);
    let mut index = Index::new().unwrap();
    for _ in 0..3_000 {
        put(&mut index, &key(rng, 2_000), &value(rng)).unwrap();
    }
    let before = contents(&index.snapshot().unwrap());
    index.pages.unregister_newest();
    let population = index.pages.population();
    let failed = index.atomically(|index| {
        for _ in 0..2_000 {
            put(index, &key(rng, 3_000), &value(rng))?;
            delete(index, &key(rng, 3_000))?;
        }
        Err(OutOfMemory)
    });
    assert_eq!(failed, Err(OutOfMemory));
    assert_eq!(index.pages.population(), population);
    compare(&index, &before);
    assert_eq!(contents(&index.snapshot().unwrap()), before);
}

/// Batches with just too little memory, on either side of every limit.
#[test]
fn a_batch_without_memory_is_applied_whole_or_not_at_all() {
    for (seed, long_keys) in [(1, false), (2, true), (3, false)] {
        let rng = &mut Random::new(seed);
        let (mut index, mut model) = (Index::new().unwrap(), Model::new());
        let key = |rng: &mut Random| match rng.below(3) {
            0 if long_keys => [&[7; 600][..], &rng.next().to_be_bytes()].concat(),
            _ => rng.next().to_be_bytes().to_vec(),
        };
        for _ in 0..20_000 {
            let (key, value) = (key(rng), vec![1; rng.below(200)]);
            put(&mut index, &key, &value).unwrap();
            model.insert(key, value);
        }
        let snapshot = (seed == 3).then(|| index.snapshot().unwrap());
        index.pages.reserve(100).unwrap();
        index.pages.refusing = true;
        let (mut applied, mut refused) = (0, 0);
        while refused < 50 {
            let batch: Vec<_> = (0..2 + rng.below(30)).map(|_| (key(rng), vec![2; 900])).collect();
            let plain = batch.iter().all(|(key, value)| Index::needs_no_blob(key, value));
            let apply = |index: &mut Index| {
                batch.iter().try_for_each(|(key, value)| put(index, key, value).map(drop))
            };
            let done =
                if plain { index.batch(batch.len(), apply) } else { index.atomically(apply) };
            match done {
                Ok(()) => model.extend(batch),
                Err(OutOfMemory) => refused += 1,
            }
            applied += usize::from(done.is_ok());
            if applied % 64 == 0 || done.is_err() {
                compare(&index, &model);
            }
        }
        assert!(applied > 0, "no batch was applied");
        drop(snapshot);
        index.pages.refusing = false;
        while index.collect(usize::MAX) {}
        index.batch(2, |index| delete(index, &[]).and(delete(index, b"a")).map(drop)).unwrap();
        assert_eq!(contents(&index.snapshot().unwrap()), model);
    }
}

/// Undoing needs nothing: no memory for the notes of snapshots that are gone either.
#[test]
fn changes_are_undone_without_memory() {
    println!("seed 11");
    let mut rng = Random::new(11);
    let (mut index, mut model) = (Index::new().unwrap(), Model::new());
    for _ in 0..2_000 {
        random_step(&mut index, &mut model, &mut rng, 1_000);
    }
    for round in 0..60 {
        let (before, mut later) = (model.clone(), model.clone());
        let mut change = |index: &mut Index| {
            let end = index.freeze()?;
            for _ in 0..rng.below(40) {
                random_step(index, &mut later, &mut rng, 1_000);
            }
            drop(end);
            for _ in 0..rng.below(40) {
                random_step(index, &mut later, &mut rng, 1_000);
            }
            index.clear(Some(&[0x40]), Some(&[0x60]))?;
            let end = index.freeze()?;
            random_step(index, &mut later, &mut rng, 1_000);
            drop(end);
            index.pages.refuse_notes(true);
            Ok::<(), OutOfMemory>(())
        };
        if round % 2 == 0 {
            index.begin_unpublished().unwrap();
            change(&mut index).unwrap();
            index.roll_back();
        } else {
            let refused = index.atomically(|index| change(index).and(Err(OutOfMemory)));
            assert_eq!(refused, Err(OutOfMemory));
        }
        index.pages.refuse_notes(false);
        index.collect(usize::MAX);
        compare(&index, &before);
    }
}

#[test]
fn a_snapshot_outlives_its_index() {
    let mut index = Index::new().unwrap();
    put(&mut index, b"key", &[1; 5_000]).unwrap();
    let snapshot = index.snapshot().unwrap();
    put(&mut index, b"key", b"new").unwrap();
    drop(index);
    assert_eq!(snapshot.get(b"key"), Some(&[1; 5_000][..]));
}

#[test]
fn an_unchanged_tree_has_one_snapshot_however_often_it_is_taken() {
    let mut index = Index::new().unwrap();
    assert!(index.shared().existing_snapshot().is_none());
    let first = index.snapshot().unwrap();
    let second = index.shared().existing_snapshot().expect("nothing has changed");
    assert_eq!((first.pinned_epoch(), second.pinned_epoch()), (None, None));
    put(&mut index, b"a", b"").unwrap();
    assert!(first.pinned_epoch().is_some());
    assert!(index.shared().existing_snapshot().is_none());
    assert_eq!((second.totals().count, index.totals().count), (0, 1));
}

#[test]
fn an_older_snapshot_does_not_pass_for_the_one_taken_last() {
    let mut index = Index::new().unwrap();
    put(&mut index, b"a", b"1").unwrap();
    let old = index.snapshot().unwrap();
    put(&mut index, b"a", b"2").unwrap();
    drop(index.snapshot().unwrap());
    index.pages.unregister_newest();
    assert!(index.shared().existing_snapshot().is_none());
    assert_eq!(index.snapshot().unwrap().get(b"a"), Some(&b"2"[..]));
    assert_eq!(old.get(b"a"), Some(&b"1"[..]));
}

#[test]
fn snapshots_that_nobody_let_go_of_are_found_in_time() {
    let mut index = Index::new().unwrap();
    let mut snapshots = Vec::new();
    for n in 0..1_000u64 {
        put(&mut index, &n.to_be_bytes(), &[7; 100]).unwrap();
        snapshots.push(index.snapshot().unwrap());
        // Most are dropped, and the index is not told.
        if n % 10 == 0 {
            snapshots.truncate(3);
        }
        while index.collect(100) {}
    }
    index.check().unwrap();
    let (kept, _) = index.pages.retired();
    assert!(kept < 200, "{kept} pages are kept for {} snapshots", snapshots.len());
}

#[test]
fn bounds_of_a_prefix() {
    let mut index = Index::new().unwrap();
    let keys: [&[u8]; 7] = [b"", b"a", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff"];
    for key in keys {
        put(&mut index, key, b"").unwrap();
    }
    let snapshot = index.snapshot().unwrap();
    for prefix in [&b""[..], b"a", b"a\xff", b"b", b"\xff", b"\xff\xff", b"\xff\xff\xff", b"c"] {
        let mut cursor = Cursor::new(snapshot.clone(), Bounds::prefix(prefix).unwrap());
        let mut found = Vec::new();
        while cursor.next().unwrap() {
            found.push(cursor.key().unwrap().to_vec());
        }
        let expected: Vec<_> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(found, expected);
    }
}

/// An image as a file would hold it.
#[derive(Clone, Default)]
struct Stored {
    units: BTreeMap<u32, [u8; UNIT]>,
    blobs: BTreeMap<u32, Vec<u8>>,
    image: ImageMeta,
}

impl Stored {
    /// The next image, which takes from this one what is old.
    fn next(&self, snapshot: &Snapshot, since: Option<u64>) -> Stored {
        let mut next = Stored { image: snapshot.image_meta(), ..Stored::default() };
        let store = &mut |part: ImagePart<'_>| {
            match part {
                ImagePart::KeptPage { unit, units } => {
                    next.units.extend((unit..unit + units).map(|it| (it, self.units[&it])));
                }
                ImagePart::ChangedPage { unit, units, .. } => {
                    next.units.extend((unit..).zip(units.iter().copied()))
                }
                ImagePart::KeptBlob(id) => drop(next.blobs.insert(id, self.blobs[&id].clone())),
                ImagePart::NewBlob { id, bytes } => drop(next.blobs.insert(id, bytes.to_vec())),
            }
            Ok(())
        };
        snapshot.image_parts(since, store).unwrap();
        next
    }

    /// With little memory for large numbers, all names change.
    fn restore(&self, memory: u64) -> Result<(Index, u64), Unrestored> {
        let (units, blobs) = (self.units.keys().copied(), self.blobs.keys().copied());
        let mut tree = Restoring::new(units.collect(), blobs.collect(), memory)?;
        self.units.iter().for_each(|(unit, bytes)| tree.unit(*unit, bytes));
        for (id, bytes) in &self.blobs {
            let fill = |to: &mut [u8]| {
                to.copy_from_slice(bytes);
                Ok::<(), OutOfMemory>(())
            };
            tree.blob(*id, bytes.len() as u32, fill)?;
        }
        tree.finish(self.image)
    }
}

fn random_step(index: &mut Index, model: &mut Model, rng: &mut Random, range: usize) {
    let key = key(rng, range);
    if rng.below(3) == 0 {
        assert_eq!(delete(index, &key).unwrap(), model.remove(&key));
    } else {
        let value = value(rng);
        assert_eq!(put(index, &key, &value).unwrap(), model.insert(key, value));
    }
    index.committed();
}

#[test]
fn an_image_restores_the_tree_and_tells_what_is_old() {
    let mut rng = Random::new(7);
    let (mut index, mut model) = (Index::new().unwrap(), Model::new());
    let (mut stored, mut since) = (Stored::default(), None);
    for round in 0..60 {
        for _ in 0..rng.below(400) {
            random_step(&mut index, &mut model, &mut rng, 3000);
        }
        let snapshot = index.checkpoint_snapshot().unwrap();
        // What comes after the snapshot is not in the image.
        let (mut later, before) = (model.clone(), model.clone());
        for _ in 0..rng.below(100) {
            random_step(&mut index, &mut later, &mut rng, 3000);
        }
        stored = stored.next(&snapshot, since);
        since = Some(snapshot.checkpoint_epoch());
        drop(snapshot);
        let rename = rng.below(2) == 0;
        let (restored, moment) = stored.restore(if rename { 0 } else { u64::MAX }).unwrap();
        assert_eq!(moment == 0, rename && !stored.units.is_empty());
        compare(&restored, &before);
        model = later;
        if round % 7 == 0 {
            (index, since, model) = (restored, Some(moment), before);
        }
        compare(&index, &model);
    }
}

#[test]
fn an_image_with_any_byte_changed_restores_or_is_refused() {
    let mut rng = Random::new(8);
    let (mut index, mut model) = (Index::new().unwrap(), Model::new());
    for _ in 0..300 {
        random_step(&mut index, &mut model, &mut rng, 300);
    }
    let snapshot = index.checkpoint_snapshot().unwrap();
    let good = Stored::default().next(&snapshot, None);
    let units: Vec<u32> = good.units.keys().copied().collect();
    let mut refused = 0;
    for round in 0..20_000 {
        let mut bad = good.clone();
        let unit = bad.units.get_mut(&units[rng.below(units.len())]).unwrap();
        unit[rng.below(UNIT)] = rng.next() as u8;
        match bad.restore(if round % 2 == 0 { 0 } else { u64::MAX }) {
            Ok((tree, _)) => drop(tree.check()),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000, "{refused} were refused");
}

#[test]
fn hidden_changes_are_shown_or_undone() {
    let mut rng = Random::new(9);
    let (mut index, mut model) = (Index::new().unwrap(), Model::new());
    for _ in 0..500 {
        random_step(&mut index, &mut model, &mut rng, 500);
    }
    for _ in 0..200 {
        let reader = (rng.below(2) == 0).then(|| index.snapshot().unwrap());
        let before = model.clone();
        index.begin_unpublished().unwrap();
        for _ in 0..1 + rng.below(20) {
            random_step(&mut index, &mut model, &mut rng, 500);
        }
        assert_eq!(contents(&index.snapshot().unwrap()), before);
        let frozen = index.freeze().unwrap();
        let middle = model.clone();
        for _ in 0..rng.below(20) {
            random_step(&mut index, &mut model, &mut rng, 500);
        }
        if rng.below(2) == 0 {
            drop(frozen);
            index.roll_back();
            model = before.clone();
        } else {
            index.publish(Some(frozen));
            assert_eq!(contents(&index.snapshot().unwrap()), middle);
            if rng.below(2) == 0 {
                index.roll_back();
                model = middle;
            } else {
                index.publish(None);
            }
        }
        assert!(reader.is_none_or(|reader| contents(&reader) == before));
        index.collect(usize::MAX);
        compare(&index, &model);
    }
}
