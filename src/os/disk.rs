//! Files as the engine sees them: the traits [`Disk`] and [`File`].
//!
//! All that the engine does to files goes through these two, so a simulated
//! disk can stand in for the real one. They promise no more than a POSIX file
//! system does:
//!
//! 1. What was written to a file survives a crash of the machine only once
//!    [`File::sync`] has returned; until then any part of it may be lost, the
//!    file's length apart from its content.
//! 2. That a file was created, renamed or removed survives only once
//!    [`Disk::sync_folder`] has returned.
//! 3. After a failed sync nothing is certain, whatever a later one says.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

/// A file system.
pub trait Disk: Debug + Send + Sync {
    /// The path with symbolic links followed; the file itself need not exist,
    /// but its folder must.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// Opens a file.
    fn open(&self, path: &Path, how: OpenMode) -> io::Result<Box<dyn File>>;

    /// Gives a file another name in the same folder; `AlreadyExists` if there
    /// is a file of that name.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes names in the folder of `path` durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// A number that nobody has seen before.
    fn random(&self) -> io::Result<u64>;
}

/// OpenMode a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// To be read; it must exist.
    Read,
    /// To be read and written; it must exist.
    Write,
    /// To be read and written, created if need be.
    Create,
    /// To be read and written; it must not exist yet, not even as a link.
    New,
    /// As `New`, and nobody else may use it but as [`File::set_permissions`] says.
    Private,
}

/// Who may use a file, as Unix has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// What its owner, its group, and others may do: nine bits.
    pub mode: u32,
    /// The number of its owner.
    pub owner: u32,
    /// The number of its group.
    pub group: u32,
}

/// The name of a file until it is whole.
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push("-unfinished");
    PathBuf::from(name)
}

/// An open file. Closed, and with that unlocked, when dropped.
#[allow(clippy::len_without_is_empty)] // nobody asks that of a file
pub trait File: Debug + Send + Sync {
    /// Locks the file without waiting, against all others or only against those
    /// who want that (`shared`). False if somebody has locked it.
    fn lock(&self, shared: bool) -> io::Result<bool>;

    /// Whether this is the file that a path leads to now.
    fn is_at(&self, path: &Path) -> io::Result<bool>;

    /// Whether it is an ordinary file, not a folder, a pipe or a device.
    fn is_ordinary(&self) -> io::Result<bool>;

    /// Who may use it.
    fn permissions(&self) -> io::Result<Permissions>;

    /// Lookup who may, as far as this process can: never others than asked for.
    fn set_permissions(&self, permissions: Permissions) -> io::Result<()>;

    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// OpenMode many bytes its disk still has room for, as far as is known.
    fn room(&self) -> u64 {
        u64::MAX
    }

    /// ReadSet up to `buffer.len()` bytes from `offset`; 0 at the end.
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some of `bytes` at `offset`, and says how many.
    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Cuts the file off, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the file's content and length durable.
    fn sync(&self) -> io::Result<()>;

    /// Fills the buffer from `offset`; `UnexpectedEof` if the file ends before.
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match retry(|| self.read_some(&mut buffer[done..], offset + done as u64))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                some => done += some,
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset`. If that fails, some of them may be
    /// written.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match retry(|| self.write_some(&bytes[done..], offset + done as u64))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                some => done += some,
            }
        }
        Ok(())
    }
}

/// Runs a call again for as long as a signal interrupts it.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
