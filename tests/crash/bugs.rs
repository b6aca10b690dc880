//! Disks on which the database seems to do something wrongly, beside the bugs
//! that can be planted in the engine itself.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use minidb::os::disk::{Disk, File, OpenMode, Permissions, unfinished};
use minidb::os::sim::SimDisk;

use crate::player::{LOG, PATH};

/// What the database seems to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBug {
    LogNotSynced,
    DataNotSynced,
    RootNotSynced,
    CopyNotSynced,
    FolderNotSynced,
    FailedSyncSucceeds,
    ShortWriteIsWhole,
    LastWriteAfterSync,
    EndOfLogNotRead,
    RootsReadOnce,
    NothingLocked,
    /// Nothing; but somebody watches when the log is synced.
    Watched,
}

type Watch = Box<dyn Fn()>;

thread_local! {
    static PLANTED: Cell<Option<DiskBug>> = const { Cell::new(None) };
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// What is called before each sync of a log on a disk that is watched.
pub fn watch(watch: Option<Watch>) {
    WATCH.set(watch);
}

/// Plants a bug for this thread, or takes it away. Returns what was there.
pub fn plant(bug: Option<DiskBug>) -> Option<DiskBug> {
    PLANTED.replace(bug)
}

/// The disk as the database sees it.
pub fn dress(disk: &SimDisk) -> Arc<dyn Disk> {
    match PLANTED.get() {
        Some(bug) => Arc::new(BadDisk { disk: disk.clone(), bug }),
        None => Arc::new(disk.clone()),
    }
}

#[derive(Debug)]
struct BadDisk {
    disk: SimDisk,
    bug: DiskBug,
}

#[derive(Debug)]
struct BadFile {
    file: Box<dyn File>,
    path: PathBuf,
    bug: DiskBug,
    state: Mutex<FileState>,
}

#[derive(Debug, Default)]
struct FileState {
    /// Whether a root was written since the last sync.
    root: bool,
    /// What waits for the next sync, and where it goes then.
    late: Option<(Vec<u8>, u64)>,
    /// The roots as they were when they were first read.
    roots: Option<Vec<u8>>,
}

impl Disk for BadDisk {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.disk.resolve(path)
    }

    fn open(&self, path: &Path, how: OpenMode) -> io::Result<Box<dyn File>> {
        let (bug, state) = (self.bug, Mutex::default());
        let file = self.disk.open(path, how)?;
        // The log is made under another name.
        let is_log = path == unfinished(LOG.as_ref());
        let path = if is_log { PathBuf::from(LOG) } else { path.to_owned() };
        Ok(Box::new(BadFile { file, path, bug, state }))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        match self.bug {
            DiskBug::FolderNotSynced => Ok(()),
            _ => self.disk.sync_folder(path),
        }
    }

    fn random(&self) -> io::Result<u64> {
        self.disk.random()
    }
}

impl BadFile {
    fn is(&self, path: &str) -> bool {
        self.path == Path::new(path)
    }

    fn state(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().expect("nothing panics under it")
    }

    fn write_late(&self) -> io::Result<()> {
        let late = self.state().late.take();
        late.map_or(Ok(()), |(bytes, offset)| self.file.write(&bytes, offset))
    }
}

impl File for BadFile {
    fn lock(&self, shared: bool) -> io::Result<bool> {
        Ok(self.file.lock(shared)? || self.bug == DiskBug::NothingLocked)
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.file.is_at(path)
    }

    fn is_ordinary(&self) -> io::Result<bool> {
        self.file.is_ordinary()
    }

    fn permissions(&self) -> io::Result<Permissions> {
        self.file.permissions()
    }

    fn set_permissions(&self, permits: Permissions) -> io::Result<()> {
        self.file.set_permissions(permits)
    }

    fn free_space(&self) -> u64 {
        self.file.free_space()
    }

    fn len(&self) -> io::Result<u64> {
        self.write_late()?;
        let cut = self.bug == DiskBug::EndOfLogNotRead && self.is(LOG);
        self.file.len().map(|len| if cut { len - len % 512 } else { len })
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.write_late()?;
        let some = self.file.read_some(buffer, offset)?;
        if self.bug == DiskBug::RootsReadOnce && self.is(PATH) && offset == 0 && some == 8192 {
            buffer.copy_from_slice(self.state().roots.get_or_insert(buffer.to_vec()));
        }
        Ok(some)
    }

    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.write_late()?;
        self.state().root |= offset < 8192;
        match self.bug {
            DiskBug::LastWriteAfterSync => {
                self.state().late = Some((bytes.to_vec(), offset));
                Ok(bytes.len())
            }
            DiskBug::ShortWriteIsWhole => self.file.write_some(bytes, offset).map(|_| bytes.len()),
            _ => self.file.write_some(bytes, offset),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write_late()?;
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        let root = std::mem::take(&mut self.state().root);
        if self.bug == DiskBug::Watched && self.is(LOG) {
            WATCH.with_borrow(|watch| watch.iter().for_each(|watch| watch()));
        }
        let skipped = match self.bug {
            DiskBug::LogNotSynced => self.is(LOG),
            DiskBug::DataNotSynced => self.is(PATH) && !root,
            DiskBug::RootNotSynced => self.is(PATH) && root,
            DiskBug::CopyNotSynced => !self.is(PATH) && !self.is(LOG),
            _ => false,
        };
        let done = if skipped { Ok(()) } else { self.file.sync() };
        self.write_late()?;
        if self.bug == DiskBug::FailedSyncSucceeds { Ok(()) } else { done }
    }
}
