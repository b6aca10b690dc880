//! The machine's disk, with somebody who is told what is done to its files.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minidb::os::disk::{Disk, File, OpenMode, Permissions};
use minidb::os::system::System;

/// Who is told.
pub trait Watch: Debug + Send + Sync + 'static {
    /// So many bytes were written to a file.
    fn written(&self, _file: &Path, _bytes: u64) {}
    /// A file is about to be synced, once this returns.
    fn syncs(&self, _file: &Path) {}
}

/// The disk.
#[derive(Debug)]
pub struct Watched<W>(pub Arc<W>);

#[derive(Debug)]
struct WatchedFile<W>(Box<dyn File>, PathBuf, Arc<W>);

impl<W: Watch> Disk for Watched<W> {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        System.resolve(path)
    }
    /// A log is known by the name that it gets once it is made.
    fn open(&self, path: &Path, how: OpenMode) -> io::Result<Box<dyn File>> {
        let name = path.to_string_lossy();
        let log = name.strip_suffix("-unfinished").filter(|it| it.ends_with("-log"));
        let name = PathBuf::from(log.unwrap_or(&name));
        Ok(Box::new(WatchedFile(System.open(path, how)?, name, self.0.clone())))
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        System.rename_new(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        System.remove(path)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        System.sync_folder(path)
    }
    fn random(&self) -> io::Result<u64> {
        System.random()
    }
}

impl<W: Watch> File for WatchedFile<W> {
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
    fn set_permissions(&self, permits: Permissions) -> io::Result<()> {
        self.0.set_permissions(permits)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_some(buffer, offset)
    }
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.0.write_some(bytes, offset)?;
        self.2.written(&self.1, written as u64);
        Ok(written)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.2.syncs(&self.1);
        self.0.sync()
    }
}
