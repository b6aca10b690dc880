//! Writing what has changed, and then a root that reaches it.
//!
//! The pieces are given twice: first all that are old, so that their sectors
//! are kept, then those that are new. Of a new unit whose bytes are in the file
//! already, under its number or in the page that it comes from, counted from the
//! end where entries gather, the sector is kept as well; so a page in which one
//! entry has changed costs one sector or two, not all of it.

use std::collections::BTreeMap;
use std::path::Path;

use super::array::{Array, ArrayBuilder, FANOUT, Place, Sector, Tables, Top, hash};
use super::blob::{Blob, RECORDS};
use super::io::{Output, offset, read_all};
use super::root::{Fields, Root};
use super::space::{Bits, RESERVED, SECTOR, Space};
use super::{DataFile, blob};
use crate::error::{DBError, DBResult};
use crate::fallible::collect;
use crate::os::disk::File;
use crate::planted::{self, Bug};

/// What the next root will reach.
#[derive(Debug)]
pub(crate) struct Checkpoint<'a> {
    writer: Writer<'a>,
    units: ArrayBuilder<'a>,
    unit_base: &'a Array,
    /// Units that the next root has.
    living: Bits,
    record_base: &'a Array,
    blobs: &'a BTreeMap<u32, Blob>,
    kept_blobs: Bits,
    new_blobs: BTreeMap<u32, Blob>,
    /// Nothing may stay from this sector on.
    limit: u32,
}

/// What gives a checkpoint all that the file is to hold.
type Fill<'a> = dyn FnMut(&mut Checkpoint<'_>, &dyn File) -> DBResult<()> + 'a;

/// Where new sectors go.
#[derive(Debug)]
struct Writer<'a> {
    path: &'a Path,
    space: &'a mut Space,
    output: Output<'a>,
}

/// What was written, not yet reached by a root.
struct Written {
    units: (Top, Tables),
    records: (Top, Tables),
    kept_blobs: Bits,
    new_blobs: BTreeMap<u32, Blob>,
    bytes: u64,
}

impl Writer<'_> {
    fn write(&mut self, content: &Sector) -> DBResult<Place> {
        let sector = self.space.alloc().ok_or_else(|| {
            DBError::Full(format!("{} cannot be larger than 2 TiB", self.path.display()))
        })?;
        self.output.put(sector, content).map_err(|error| self.failed(&error))?;
        Ok(Place { sector, hash: hash(content) })
    }

    fn failed(&self, error: &std::io::Error) -> DBError {
        DBError::io("write", self.path, error)
    }
}

impl Checkpoint<'_> {
    /// Units in a row that are as they were.
    pub(crate) fn keep_units(&mut self, unit: u32, count: u32) -> DBResult<()> {
        for unit in unit..unit + count {
            let place = self.unit_base.get(unit);
            if place.is_none() || !self.writer.space.keep(place.sector) {
                return Err(DBError::Internal);
            }
            self.living.add(unit);
        }
        Ok(())
    }

    /// Units in a row that may have changed, and come from those before `origin`.
    pub(crate) fn put_units(
        &mut self,
        unit: u32,
        origin: u32,
        contents: &[Sector],
    ) -> DBResult<()> {
        let first = origin.saturating_sub(contents.len() as u32);
        for (at, content) in (0..).zip(contents) {
            let hash = hash(content);
            let old = [unit + at, first + at].map(|it| self.unit_base.get(it));
            let same = |place: &Place| {
                let same = !place.is_none() && place.hash == hash && place.sector < self.limit;
                same && self.writer.space.keep(place.sector)
            };
            let place = match old.into_iter().find(same) {
                Some(place) => place,
                None => self.writer.write(content)?,
            };
            self.units.set(unit + at, place);
            self.living.add(unit + at);
        }
        Ok(())
    }

    /// A blob that is in the file.
    pub(crate) fn keep_blob(&mut self, id: u32) -> DBResult<()> {
        let blob = self.blobs.get(&id).ok_or(DBError::Internal)?;
        for sector in blob.sectors() {
            if !self.writer.space.keep(sector) {
                return Err(DBError::Internal);
            }
        }
        self.kept_blobs.add(id);
        Ok(())
    }

    /// A blob that is not in the file yet.
    pub(crate) fn put_blob(&mut self, id: u32, bytes: &[u8]) -> DBResult<()> {
        let blob = Blob::write(bytes, &mut |sector| self.writer.write(sector))?;
        self.new_blobs.insert(id, blob);
        Ok(())
    }

    fn finish(mut self) -> DBResult<Written> {
        for (unit, _) in self.unit_base.elements() {
            if !self.living.has(unit) {
                self.units.set(unit, Place::default());
            }
        }
        let units = self.writer.finish(self.units, self.unit_base, self.limit)?;
        let mut records = ArrayBuilder::new(self.record_base);
        let gone = self.blobs.keys().filter(|&&id| !self.kept_blobs.has(id));
        let far = self.record_base.elements().filter(|(_, place)| place.sector >= self.limit);
        let changed = gone.chain(self.new_blobs.keys()).map(|id| id / RECORDS);
        let mut changed = collect(changed.chain(far.map(|(number, _)| number)))?;
        changed.sort_unstable();
        changed.dedup();
        for (number, place) in self.record_base.elements() {
            if changed.binary_search(&number).is_err() && !self.writer.space.keep(place.sector) {
                return Err(DBError::Internal);
            }
        }
        for number in changed {
            let mut sector = [0; SECTOR];
            let ids = number * RECORDS..(number + 1) * RECORDS;
            for (id, record) in ids.zip(sector.as_chunks_mut().0) {
                let kept = self.blobs.get(&id).filter(|_| self.kept_blobs.has(id));
                if let Some(blob) = self.new_blobs.get(&id).or(kept) {
                    *record = blob.record();
                }
            }
            let place = match blob::records(&sector).next() {
                Some(_) => self.writer.write(&sector)?,
                None => Place::default(),
            };
            records.set(number, place);
        }
        let records = self.writer.finish(records, self.record_base, self.limit)?;
        self.writer.output.flush().map_err(|error| self.writer.failed(&error))?;
        let (kept_blobs, new_blobs) = (self.kept_blobs, self.new_blobs);
        Ok(Written { units, records, kept_blobs, new_blobs, bytes: self.writer.output.written })
    }
}

impl Writer<'_> {
    /// Writes the new tables of an array, and keeps the old ones.
    fn finish(
        &mut self,
        mut draft: ArrayBuilder<'_>,
        base: &Array,
        limit: u32,
    ) -> DBResult<(Top, Tables)> {
        let place_of = |level: usize, number: u32| match base.tables.get(level + 1) {
            Some(above) => above[&(number / FANOUT)].get(number % FANOUT),
            None => base.top.place,
        };
        let old = || {
            let levels = base.tables.iter().enumerate();
            levels.flat_map(|(level, tables)| tables.keys().map(move |&number| (level, number)))
        };
        for (level, number) in old() {
            if place_of(level, number).sector >= limit {
                draft.touch(level, number);
            }
        }
        let (top, new) = draft.finish(&mut |sector| self.write(sector))?;
        for (level, number) in old() {
            let is_new = new.get(level).is_some_and(|tables| tables.contains_key(&number));
            if !is_new && !self.space.keep(place_of(level, number).sector) {
                return Err(DBError::Internal);
            }
        }
        Ok((top, new))
    }
}

impl DataFile {
    /// Makes what `fill` gives what the file holds, with these fields in its root.
    /// If it fails, the file holds what it did; or, if the new root could be
    /// neither written for sure nor not, the one or the other.
    pub(crate) fn checkpoint(
        &mut self,
        fields: Fields,
        fill: &dyn Fn(&mut Checkpoint<'_>) -> DBResult<()>,
    ) -> DBResult<()> {
        self.space.begin(false);
        match self.rewrite(fields, u32::MAX, &mut |checkpoint, _| fill(checkpoint)) {
            // There may be gaps that suffice.
            Err(DBError::Full(_)) => {
                self.space.begin(true);
                self.rewrite(fields, u32::MAX, &mut |checkpoint, _| fill(checkpoint))
            }
            done => done,
        }
    }

    /// If it fails, what it has added to the file is cut off again.
    fn rewrite(&mut self, fields: Fields, limit: u32, fill: &mut Fill<'_>) -> DBResult<()> {
        let done = self.write_new(limit, fill).and_then(|new| self.publish(fields, new));
        if done.is_err() {
            let end = offset(self.space.give_up());
            if self.file.len().is_ok_and(|len| len > end) {
                let _ = self.file.set_len(end);
            }
        }
        done
    }

    fn write_new(&mut self, limit: u32, fill: &mut Fill<'_>) -> DBResult<Written> {
        let (file, path) = (&*self.file, &*self.path);
        let output = Output::new(file);
        let mut checkpoint = Checkpoint {
            writer: Writer { path, space: &mut self.space, output },
            units: ArrayBuilder::new(&self.units),
            unit_base: &self.units,
            living: Bits::default(),
            record_base: &self.records,
            blobs: &self.blobs,
            kept_blobs: Bits::default(),
            new_blobs: BTreeMap::new(),
            limit,
        };
        fill(&mut checkpoint, file)?;
        checkpoint.finish()
    }

    /// Waits until what was written is on disk, and makes it reachable.
    fn publish(&mut self, fields: Fields, written: Written) -> DBResult<()> {
        if written.bytes > 0 {
            self.sync()?;
        }
        let (units, records) = (written.units.0, written.records.0);
        let root = Root { sequence: self.root.sequence + 1, fields, units, records };
        let flipped = self.write_root(&root).and_then(|()| self.sync());
        if let Err(error) = flipped {
            self.space.strand();
            return Err(error);
        }
        self.space.commit();
        self.root = root;
        self.units.accept(units, written.units.1);
        self.records.accept(records, written.records.1);
        self.blobs.retain(|&id, _| written.kept_blobs.has(id));
        self.blobs.extend(written.new_blobs);
        Ok(())
    }

    fn write_root(&self, root: &Root) -> DBResult<()> {
        let written = self.file.write(&root.to_bytes(), root.slot_start());
        written.map_err(|error| DBError::io("write", &self.path, &error))
    }

    fn sync(&self) -> DBResult<()> {
        // A lack of space that shows only now is a failure like any other.
        self.file
            .sync()
            .map_err(|error| DBError::Io(format!("cannot sync {}: {error}", self.path.display())))
    }

    /// Makes another root with what the newest one reaches.
    pub(crate) fn mark(&mut self, fields: Fields) -> DBResult<()> {
        let (units, records) = (self.root.units, self.root.records);
        let root = Root { sequence: self.root.sequence + 1, fields, units, records };
        self.write_root(&root)?;
        self.sync()?;
        self.root = root;
        Ok(())
    }

    /// Writes the newest root once more where it is: after a crash it may have
    /// been read from a cache, and not be on disk.
    pub(crate) fn confirm(&mut self) -> DBResult<()> {
        if planted::is(Bug::RootNotConfirmed) {
            return Ok(());
        }
        self.write_root(&self.root)?;
        self.sync()
    }

    /// Sectors that a file with the same content needs, and some more.
    fn needed(&self) -> u32 {
        let tables = self.units.table_count() + self.records.table_count();
        RESERVED + self.space.used().count() + tables as u32 + 2 * RECORDS
    }

    /// Moves what lies at the end to free sectors before it and cuts the file
    /// off, if that makes it notably smaller.
    pub(crate) fn compact(&mut self) -> DBResult<()> {
        let limit = self.needed();
        if self.space.end() / 8 * 7 <= limit {
            return Ok(());
        }
        let places = || self.units.elements().map(|(unit, place)| (place, unit));
        let mut far = collect(places().filter(|(it, _)| it.sector >= limit))?;
        let near = collect(places().filter(|(it, _)| it.sector < limit))?;
        let is_near = |blob: &Blob| blob.sectors().all(|sector| sector < limit);
        let blobs = || self.blobs.iter().map(|(&id, blob)| (id, blob));
        let stay = blobs().filter(|(_, blob)| is_near(blob)).map(|(id, _)| id);
        let go = blobs().filter(|(_, blob)| !is_near(blob));
        let (stay, go) = (collect(stay)?, collect(go.map(|(id, blob)| (id, blob.len, blob.top)))?);
        let path = self.path.clone();
        self.space.begin(true);
        self.rewrite(self.root.fields, limit, &mut |checkpoint, file| {
            near.iter().try_for_each(|(_, unit)| checkpoint.keep_units(*unit, 1))?;
            stay.iter().try_for_each(|id| checkpoint.keep_blob(*id))?;
            read_all(file, &path, std::mem::take(&mut far), &mut |unit, sector| {
                checkpoint.put_units(unit, unit + 1, std::slice::from_ref(sector?))
            })?;
            for &(id, len, top) in &go {
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(len as usize)?;
                bytes.resize(len as usize, 0);
                Blob::read(file, &path, top, &mut bytes)?;
                checkpoint.put_blob(id, &bytes)?;
            }
            Ok(())
        })?;
        let end = offset(self.space.cut());
        let cut = self.file.set_len(end);
        cut.map_err(|error| DBError::io("cut off", &self.path, &error))
    }
}
