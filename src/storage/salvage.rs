//! Salvage: everything readable of a damaged file and its log goes to a new file.
//!
//! The newest readable root leads to the entries that there should be. Where those
//! are lost, the entries of the older root with the same keys take their place, and
//! the log's commits from then on. All of the log's commits since the newest root
//! follow.
//!
//! Promises are those of [`salvage`]. Not here: finding the readable part of the file
//! (`file/salvage.rs`), of the tree (`index/persist/salvage.rs`) and of the log
//! (`log/replay.rs`).

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use super::backup::NewFile;
use super::change::{Change, Changes, Op};
use super::file::{ReadableSectors, Root, Roots, readable_roots};
use super::image;
use super::in_memory_db::InMemoryDB;
use super::index::{self, PageSource, Ranges};
use super::journal::open_to_read;
use super::log::{self, Identity};
use crate::error::{DBError, DBResult};
use crate::os::disk::{Disk, File, OpenMode, Permissions, retry};
use crate::os::system::System;

/// The findings of a salvage: how much was found, and how much lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// Entries that the new file holds.
    pub entries: u64,
    /// Entries of the newest readable root that cannot be read there. Some may have come
    /// back from the log or the older root.
    pub lost: u64,
    /// Entries of the older root in the place of lost ones: values that a key had once,
    /// and perhaps keys that were deleted since by a commit that the log lacks.
    pub outdated: u64,
    /// Root slots that are damaged, of two. The newest root may have been there.
    pub damaged_roots: u64,
    /// Other sectors that are damaged, those of long keys and values not counted.
    pub damaged_sectors: u64,
    /// Commits that were taken from the log.
    pub commits: u64,
    /// Places in the log where commits are missing. Commits after such a place may
    /// contradict the state before it.
    pub gaps: u64,
    /// Whether the file needs a log that is not there.
    pub log_missing: bool,
}

/// Writes everything readable of the database file `damaged` and its log to a new
/// file, `new`.
///
/// 1. Neither is changed. Others may read them meanwhile; it is
///    [`DBError::Busy`] if somebody may write.
/// 2. The new file appears complete or not at all; [`DBError::Exists`] if there
///    is one.
/// 3. A value in it is one that its key had: every byte that is taken has been
///    verified by its checksum.
/// 4. Of a file and a log without damage nothing is missing. Otherwise entries are
///    missing that stood in a damaged place or could be reached only through one, and
///    [`Salvaged`] counts them.
///
/// The entries that are found need not have been the state of the database at any
/// one time: some may be older than the rest, keys that were deleted may
/// be back, and commits that were being made when the database crashed may be
/// there. If both root slots are damaged, only the log is left to be read. If
/// neither an entry nor a commit can be read, it is [`DBError::Corrupt`].
/// [`DBError::NotFound`] if there is no file at `damaged`, and [`DBError::Format`]
/// if it is of a newer version. The entries are held in memory until they are written.
///
/// ```
/// use minidb::{DB, Options, PersistentDB};
///
/// # let folder = std::env::temp_dir().join(format!("minidb-salvage-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # std::env::set_current_dir(&folder).unwrap();
/// # let db = PersistentDB::open("app.db", Options::new())?;
/// # (0..100u8).try_for_each(|n| db.put(&[n], &[n; 100]).map(drop))?;
/// # drop(db);
/// let found = minidb::salvage("app.db", "new.db")?;
/// println!("{} entries are found, {} are lost or older", found.entries, found.lost);
/// let db = PersistentDB::open("new.db", Options::new().existing())?;
/// assert_eq!(db.count()?, found.entries);
/// # assert_eq!((found.entries, found.lost, found.damaged_roots), (100, 0, 0));
/// # drop(db);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), minidb::DBError>(())
/// ```
pub fn salvage(damaged: impl AsRef<Path>, new: impl AsRef<Path>) -> DBResult<Salvaged> {
    salvage_on(&System, damaged, new)
}

/// Salvages as [`salvage`] does, on a given disk.
pub fn salvage_on(
    disk: &dyn Disk,
    damaged: impl AsRef<Path>,
    new: impl AsRef<Path>,
) -> DBResult<Salvaged> {
    let (path, file) = open_to_read(disk, damaged.as_ref())?;
    let file = LenientFile(file);
    // A newer version is refused, and so is a file in the way, before all is read.
    Roots::read(&file, &path)?;
    let new = NewFile::create(disk, new.as_ref())?;
    let (roots, damaged_roots) = readable_roots(&file, &path)?;
    let salvaged = Salvaged { damaged_roots, ..Salvaged::default() };
    let db = InMemoryDB::new()?;
    let mut salvager = Salvager { db, roots, lost: Ranges::default(), salvaged };
    salvager.read_file(&file, &path)?;
    salvager.read_log(disk, &path)?;
    let Salvager { db, roots, mut salvaged, .. } = salvager;
    let snapshot = db.snapshot()?;
    salvaged.entries = snapshot.count()?;
    let found = salvaged.commits + salvaged.entries;
    if found == 0 && (roots.is_empty() || salvaged.lost > 0) {
        let path = path.display();
        return Err(DBError::Corrupt(format!("{path}: nothing of it, or of its log, can be read")));
    }
    new.finish(&snapshot)?;
    Ok(salvaged)
}

/// The state of a salvage: all that was found so far.
struct Salvager {
    db: InMemoryDB,
    /// The newest first.
    roots: Vec<Root>,
    /// Keys of the newest root that are lost.
    lost: Ranges,
    salvaged: Salvaged,
}

impl Salvager {
    fn read_file(&mut self, file: &dyn File, path: &Path) -> DBResult<()> {
        let Some(newest) = self.roots.first() else {
            return Ok(());
        };
        let count = image::decode(&newest.fields.meta).count;
        let (found, lost, damaged) = self.read_root(file, path, newest, &Ranges::all())?;
        self.salvaged.lost = count.saturating_sub(found);
        self.salvaged.damaged_sectors = damaged;
        self.lost = lost;
        if let Some(older) = self.roots.get(1).filter(|_| !self.lost.is_empty()) {
            (self.salvaged.outdated, ..) = self.read_root(file, path, older, &self.lost)?;
        }
        Ok(())
    }

    /// Takes the readable entries of a root whose keys are wanted. Returns their number,
    /// the ranges of lost keys, and the number of damaged sectors.
    fn read_root(
        &self,
        file: &dyn File,
        path: &Path,
        root: &Root,
        wanted: &Ranges,
    ) -> DBResult<(u64, Ranges, u64)> {
        let remains = ReadableSectors::read(file, path, root)?;
        let image = image::decode(&root.fields.meta);
        let (found, lost) = index::salvage(&remains, &image, wanted, &mut |key, value| {
            self.db.put_with(key, value, |_| Ok(()))
        })?;
        Ok((found, lost, remains.damaged))
    }

    /// Applies the log's commits since the newest root. Of those since the older root it
    /// applies the changes of lost keys.
    fn read_log(&mut self, disk: &dyn Disk, path: &Path) -> DBResult<()> {
        let mut name = path.to_owned().into_os_string();
        name.push("-log");
        let path = PathBuf::from(name);
        let Some((file, identity)) = self.open_log(disk, &path)? else {
            let newest = self.roots.first();
            self.salvaged.log_missing = newest.is_some_and(|root| root.fields.log.is_some());
            return Ok(());
        };
        let lsn = |root: &Root| root.fields.lsn;
        // Without a root all commits are later.
        let newest = self.roots.first().map_or(0, lsn);
        let older = self.roots.get(1).map_or(newest, lsn);
        let mut next = newest;
        let (db, lost, salvaged) = (&self.db, &self.lost, &mut self.salvaged);
        log::salvage(&file, &path, &identity, |lsns, payload| {
            if lsns.start < older || Changes::of(payload).any(|change| change.is_err()) {
                return Ok(());
            }
            let changes = Changes::of(payload).flatten();
            if lsns.start < newest {
                return db.store().replay(changes.flat_map(|change| within(lost, change)));
            }
            salvaged.gaps += u64::from(lsns.start != next);
            salvaged.commits += 1;
            next = lsns.end;
            db.store().replay(changes)
        })?;
        Ok(())
    }

    /// Opens the log next to the file, if it continues a root.
    fn open_log(&self, disk: &dyn Disk, path: &Path) -> DBResult<Option<(LenientFile, Identity)>> {
        let file = match disk.open(path, OpenMode::Read) {
            Ok(file) => LenientFile(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DBError::io("open", path, &error)),
        };
        let header = log::identify(&file, path)?;
        Ok(self.identity(header).map(|identity| (file, identity)))
    }

    /// The identity of the log, by its header or, if that is damaged, by a root. None if
    /// the log is another database's, or older than the roots.
    fn identity(&self, header: Option<Identity>) -> Option<Identity> {
        let Some(root) = self.roots.first() else {
            return header;
        };
        let database = root.fields.database;
        let mark = root.fields.log;
        let first = mark.map_or(root.sequence + 1, |mark| mark.generation);
        match header {
            Some(it) => Some(it).filter(|it| it.database == database && it.generation >= first),
            None => mark.map(|it| Identity { database, generation: it.generation, salt: it.salt }),
        }
    }
}

impl PageSource for ReadableSectors<'_> {
    type Error = DBError;

    fn units(&self) -> impl Iterator<Item = u32> + '_ {
        self.blocks()
    }

    fn unit(&self, unit: u32) -> Option<&[u8; 512]> {
        self.block(unit)
    }

    fn blob(&self, id: u32) -> DBResult<Option<Vec<u8>>> {
        self.blob(id)
    }
}

/// The changes that a change makes to these keys.
fn within<'a>(keys: &'a Ranges, change: Change<'a>) -> impl Iterator<Item = Change<'a>> {
    let (entry, clear) = match change.op() {
        Op::Clear(from, to) => (None, Some((from.unwrap_or_default(), to))),
        Op::Put(key, _) | Op::Delete(key) => (keys.contains(key).then_some(change), None),
    };
    let cleared = clear.into_iter().flat_map(|(from, to)| {
        keys.iter().filter_map(move |(low, high)| {
            let (from, to) = (from.max(low), high.into_iter().chain(to).min());
            // A bound of a range is a key, so the change exists.
            let clear = Change::clear(Some(from), to).ok();
            clear.filter(|_| to.is_none_or(|to| from < to))
        })
    });
    entry.into_iter().chain(cleared)
}

/// A file that is only read: sectors that the system cannot read are zeros.
#[derive(Debug)]
struct LenientFile(Box<dyn File>);

impl File for LenientFile {
    fn lock(&self, shared: bool) -> io::Result<bool> {
        self.0.lock(shared)
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.0.is_at(path)
    }

    fn is_ordinary(&self) -> io::Result<bool> {
        self.0.is_ordinary()
    }

    fn permissions(&self) -> io::Result<Permissions> {
        self.0.permissions()
    }

    fn set_permissions(&self, _: Permissions) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match retry(|| self.0.read_some(buffer, offset)) {
            Ok(some) => Ok(some),
            Err(_) => {
                let sector = (512 - offset % 512).min(buffer.len() as u64) as usize;
                let buffer = &mut buffer[..sector];
                retry(|| self.0.read_some(buffer, offset)).or_else(|_| {
                    buffer.fill(0);
                    Ok(sector)
                })
            }
        }
    }

    fn write_some(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}
