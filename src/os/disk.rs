//! Files as the engine sees them: the traits [`Disk`] and [`File`].
//!
//! The engine uses files through these two only, so a simulated disk can stand in
//! for the real one. They promise no more than a POSIX file system does:
//!
//! 1. Bytes that were written to a file survive a crash of the machine once
//!    [`File::sync`] has returned; until then any part of them may be lost, the
//!    file's length apart from its content.
//! 2. The creation, the renaming and the removal of a file survive once
//!    [`Disk::sync_folder`] has returned.
//! 3. After a failed sync nothing is certain, even if a later one succeeds.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

/// A file system.
pub trait Disk: Debug + Send + Sync {
    /// Follows the symbolic links of a path. The folder of the file must exist; the
    /// file itself need not.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>>;

    /// Gives a file another name in the same folder; `AlreadyExists` if there
    /// is a file of that name.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in the folder of `path` durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// A random number, which no other call returns.
    fn random(&self) -> io::Result<u64>;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Opens an existing file to read it.
    Read,
    /// Opens an existing file to read and write it.
    Write,
    /// Opens a file to read and write it, and creates it if there is none.
    Create,
    /// Creates a file to read and write it; there must be none, not even a link.
    New,
    /// Creates a file as `New` does, for its owner only until
    /// [`File::set_permissions`].
    Private,
}

/// The permissions of a file, as Unix has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Nine bits: reading, writing and executing for the owner, the group, and others.
    pub mode: u32,
    /// The user id of the owner.
    pub owner: u32,
    /// The id of the group.
    pub group: u32,
}

/// The name that the file for `path` has until it is complete.
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push("-unfinished");
    PathBuf::from(name)
}

/// An open file. Dropping it closes and unlocks it.
#[allow(clippy::len_without_is_empty)] // nobody asks that of a file
pub trait File: Debug + Send + Sync {
    /// Locks the file without waiting: exclusively, or shared with other shared locks.
    /// False if another lock is in the way.
    fn lock(&self, shared: bool) -> io::Result<bool>;

    /// Whether the path leads to this file now.
    fn is_at(&self, path: &Path) -> io::Result<bool>;

    /// Whether the file is an ordinary one, not a folder, a pipe or a device.
    fn is_ordinary(&self) -> io::Result<bool>;

    /// The permissions of the file.
    fn permissions(&self) -> io::Result<Permissions>;

    /// Changes the permissions as far as this process can. Nobody may use the file who
    /// may not by `permissions`.
    fn set_permissions(&self, permissions: Permissions) -> io::Result<()>;

    /// The length of the file in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Free bytes of the disk that the file is on, as far as that is known.
    fn free_space(&self) -> u64 {
        u64::MAX
    }

    /// Reads up to `buffer.len()` bytes from `offset`; 0 at the end.
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some of `bytes` at `offset`, and returns how many.
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

/// Repeats a call that is interrupted by a signal.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
