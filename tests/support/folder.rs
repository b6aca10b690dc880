//! A folder for the files of one test, which goes with the test.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Free space that a file system in memory must have to be used: all tests at once fit.
const WANTED: u64 = 512 << 20;

/// An empty folder of its own; dropping it removes it with its files.
pub struct Folder(PathBuf);

impl Folder {
    /// A folder below cargo's target folder, if there is one.
    pub fn new(name: &str) -> Folder {
        let target = option_env!("CARGO_TARGET_TMPDIR").map(PathBuf::from);
        Folder::inside(&target.unwrap_or_else(std::env::temp_dir), name)
    }

    /// A folder in memory, if the system has space there: for tests that do not test the disk.
    pub fn in_memory(name: &str) -> Folder {
        let memory = Path::new("/dev/shm");
        if free_bytes(memory) > WANTED { Folder::inside(memory, name) } else { Folder::new(name) }
    }

    fn inside(place: &Path, name: &str) -> Folder {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = place.join(format!("minidb-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Free bytes of the file system at a path; 0 if there is none.
#[allow(unsafe_code)] // std does not ask the system
fn free_bytes(path: &Path) -> u64 {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL");
    // SAFETY: plain numbers, for which zero is a value.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the text ends with NUL; `found` is the call's to fill.
    let code = unsafe { libc::statvfs(path.as_ptr(), &mut found) };
    if code == 0 { found.f_bavail.saturating_mul(found.f_frsize) } else { 0 }
}
