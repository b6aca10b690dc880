//! The files of the operating system.
//!
//! 1. No call hangs if a path leads to a pipe or a device.
//! 2. No descriptor is below 3, where the output of the host would go into the file,
//!    and none is passed on by exec().
//! 3. A lock is the open file's: it excludes other open files of this process, too,
//!    by any path, and ends with the process. A child of fork() has none of the
//!    parent's files.
//! 4. On a network's file system, where that would not hold, no file is opened to be
//!    written.
//!
//! A call may stop half-way or be interrupted by a signal. The reads and writes of
//! the trait [`File`] go on then; all other calls are repeated here. Each call that is a
//! cancellation point holds back the cancellation of its thread.

mod descriptors;
#[cfg(test)]
mod tests;

#[cfg(target_os = "linux")]
use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use descriptors::{Descriptor, close, close_in_children, register};

use super::disk::{self, Disk, File, OpenMode, Permissions};
use crate::sync::uncancelled;

/// As many symbolic links as Linux follows.
const MAX_LINKS: usize = 40;

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

#[derive(Debug)]
struct RealFile {
    descriptor: &'static Descriptor,
}

impl Disk for System {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            if path.as_os_str().as_bytes().ends_with(b"/") {
                return Err(io::Error::from_raw_os_error(libc::EISDIR));
            }
            let Some(name) = path.file_name() else {
                return Err(io::ErrorKind::InvalidInput.into()); // "" or ".."
            };
            let folder = retry(|| fs::canonicalize(folder(&path)))?;
            let whole = folder.join(name);
            match retry(|| fs::read_link(&whole)) {
                Ok(target) => path = folder.join(target),
                // Not a link, or not there.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(whole),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(whole),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::ELOOP))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile::open(path, mode)?))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match rename_no_replace(from, to) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {}
            done => return done,
        }
        link_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        retry(|| fs::remove_file(path))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECTORY);
        let folder = match open_high(folder(path), &options) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return sync_unlisted(folder(path));
            }
            opened => opened?,
        };
        let synced = retry(|| folder.sync_all());
        close(folder.into_raw_fd());
        match synced {
            // Some file systems cannot, since they need not.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            done => done,
        }
    }

    fn random(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        retry(|| {
            // SAFETY: the call fills the eight bytes, or fails.
            #[cfg(target_os = "linux")]
            let done = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } == 8;
            #[cfg(not(target_os = "linux"))]
            // SAFETY: the call fills the eight bytes, or fails.
            let done = unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) } == 0;
            if done { Ok(()) } else { Err(io::Error::last_os_error()) }
        })?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

impl RealFile {
    fn open(path: &Path, mode: OpenMode) -> io::Result<RealFile> {
        // Before the file is made.
        if mode != OpenMode::Read && is_remote(folder(path))? {
            let why = "locks on a network's file system do not exclude other machines";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        if !close_in_children() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read);
        options
            .create(mode == OpenMode::Create)
            .create_new(matches!(mode, OpenMode::New | OpenMode::Private));
        options.mode(if mode == OpenMode::Private { 0o600 } else { 0o666 });
        let file = open_high(path, options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY))?;
        Ok(RealFile { descriptor: register(file.into_raw_fd()) })
    }

    /// The file as one of std, which stays open when that is dropped.
    fn std(&self) -> ManuallyDrop<fs::File> {
        // SAFETY: the descriptor is open until this file is dropped, since only this file
        // closes it; in a child of fork() its number is that of no file.
        ManuallyDrop::new(unsafe { fs::File::from_raw_fd(self.descriptor.number()) })
    }

    fn flock(&self, operation: i32) -> io::Result<()> {
        // SAFETY: the call takes no memory of this process.
        retry(|| check(unsafe { libc::flock(self.descriptor.number(), operation) }))
    }
}

impl File for RealFile {
    fn lock(&self, shared: bool) -> io::Result<bool> {
        let kind = if shared { libc::LOCK_SH } else { libc::LOCK_EX };
        match self.flock(kind | libc::LOCK_NB) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let there = match retry(|| fs::metadata(path)) {
            Ok(there) => there,
            Err(error) if leads_nowhere(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        let here = retry(|| self.std().metadata())?;
        Ok((here.dev(), here.ino()) == (there.dev(), there.ino()))
    }

    fn is_ordinary(&self) -> io::Result<bool> {
        Ok(retry(|| self.std().metadata())?.is_file())
    }

    fn permissions(&self) -> io::Result<Permissions> {
        let found = retry(|| self.std().metadata())?;
        Ok(Permissions { mode: found.mode() & 0o777, owner: found.uid(), group: found.gid() })
    }

    fn set_permissions(&self, wanted: Permissions) -> io::Result<()> {
        let (file, own) = (self.std(), self.permissions()?);
        // Mostly only root may give a file away, and others to their own groups.
        if own.owner != wanted.owner {
            let _ = fchown(&*file, Some(wanted.owner), None);
        }
        if own.group != wanted.group {
            let _ = fchown(&*file, None, Some(wanted.group));
        }
        let own = self.permissions()?;
        let mut mode = wanted.mode;
        if own.group != wanted.group {
            mode &= !0o070 | mode << 3; // another group gets what all do
        }
        if own.mode != mode {
            retry(|| file.set_permissions(fs::Permissions::from_mode(mode)))?;
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(retry(|| self.std().metadata())?.len())
    }

    #[allow(clippy::useless_conversion, reason = "elsewhere these are shorter numbers")]
    fn free_space(&self) -> u64 {
        // SAFETY: plain numbers, for which zero is a value.
        let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: `found` is the call's to fill.
        match unsafe { libc::fstatvfs(self.descriptor.number(), &mut found) } {
            // Some systems know no numbers.
            0 if found.f_blocks > 0 => {
                u64::from(found.f_bavail).saturating_mul(found.f_frsize.into())
            }
            _ => u64::MAX,
        }
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        uncancelled(|| self.std().read_at(buffer, offset))
    }

    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        uncancelled(|| self.std().write_at(bytes, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        retry(|| self.std().set_len(len))
    }

    /// `fdatasync`, or what is as good elsewhere.
    fn sync(&self) -> io::Result<()> {
        retry(|| self.std().sync_data())
    }
}

impl Drop for RealFile {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a process that is just being made
        // and has the descriptor until it calls exec(). Not in a child, though
        // nobody told it that it is one: the lock is the parent's.
        if self.descriptor.process() == std::process::id() {
            let _ = self.flock(libc::LOCK_UN);
        }
        self.descriptor.close();
    }
}

/// The folder of a path.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}

/// Opens a file (std adds `O_CLOEXEC`) with a descriptor above those of the standard
/// streams.
fn open_high(path: &Path, options: &OpenOptions) -> io::Result<fs::File> {
    let file = retry(|| options.open(path))?;
    if file.as_raw_fd() > 2 {
        return Ok(file);
    }
    // SAFETY: the call takes no memory of this process.
    let high =
        retry(|| match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) } {
            -1 => Err(io::Error::last_os_error()),
            high => Ok(high),
        })?;
    close(file.into_raw_fd());
    // SAFETY: a descriptor that was just made, which nobody else knows.
    Ok(unsafe { fs::File::from_raw_fd(high) })
}

/// Repeats a call that is interrupted by a signal, and holds cancellation back.
fn retry<T>(call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    uncancelled(|| disk::retry(call))
}

/// Makes the names in a folder durable that may be written but not listed, and so not be
/// opened for a sync: by a sync of its file system, through a file without a name.
fn sync_unlisted(folder: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE);
        if let Ok(file) = open_high(folder, &options) {
            // SAFETY: the call takes no memory of this process.
            let synced = retry(|| check(unsafe { libc::syncfs(file.as_raw_fd()) }));
            close(file.into_raw_fd());
            return synced;
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = folder;
    // SAFETY: the call takes no memory of this process.
    unsafe { libc::sync() };
    Ok(())
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn leads_nowhere(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A path for system calls that std does not have.
#[cfg(target_os = "linux")]
fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Renames a file by a link, for file systems that cannot refuse to replace another:
/// for a moment both names exist. Without links, another process may create the new
/// name between the look and the rename.
fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    match retry(|| fs::hard_link(from, to)) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP)) => {
            return match retry(|| fs::symlink_metadata(to)) {
                Err(error) if leads_nowhere(&error) => retry(|| fs::rename(from, to)),
                there => there.and(Err(io::ErrorKind::AlreadyExists.into())),
            };
        }
        linked => linked?,
    }
    retry(|| fs::remove_file(from)).inspect_err(|_| {
        let _ = fs::remove_file(to); // as it was before
    })
}

#[cfg(all(target_os = "linux", not(target_env = "musl")))]
use libc::renameat2;

/// The call by its number: musl has no function for it.
#[cfg(all(target_os = "linux", target_env = "musl"))]
unsafe fn renameat2(
    from_folder: i32,
    from: *const libc::c_char,
    to_folder: i32,
    to: *const libc::c_char,
    flags: libc::c_uint,
) -> i32 {
    // SAFETY: as the caller promises of the texts.
    unsafe { libc::syscall(libc::SYS_renameat2, from_folder, from, to_folder, to, flags) as i32 }
}

#[cfg(target_os = "linux")]
fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    let (here, flag) = (libc::AT_FDCWD, libc::RENAME_NOREPLACE);
    // SAFETY: both are texts that end with NUL and outlive the call.
    retry(|| check(unsafe { renameat2(here, from.as_ptr(), here, to.as_ptr(), flag) }))
}

/// Whether a folder is on a file system that other machines may use, too, and that
/// does not share locks with them.
fn is_remote(folder: &Path) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        let folder = c_path(folder)?;
        // SAFETY: plain numbers, for which zero is a value.
        let mut found: libc::statfs = unsafe { std::mem::zeroed() };
        // SAFETY: the text ends with NUL; `found` is the call's to fill.
        retry(|| check(unsafe { libc::statfs(folder.as_ptr(), &mut found) }))?;
        Ok(is_network(found.f_type as u32))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        Ok(false)
    }
}

/// AFS, 9p, CIFS, Coda, NCP, NFS, and SMB 1 and 2, by the kernel's numbers.
#[cfg(target_os = "linux")]
fn is_network(kind: u32) -> bool {
    matches!(
        kind,
        0x5346_414f
            | 0x0102_1997
            | 0xff53_4d42
            | 0x7375_7245
            | 0x564c
            | 0x6969
            | 0x517b
            | 0xfe53_4d42
    )
}
