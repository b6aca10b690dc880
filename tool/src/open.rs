//! Opening a database: for reading or writing, waiting for other processes if that is asked.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use minidb::{DBError, Database, Options, PersistentDB, Progress as Opening};

use crate::bytes::printable;
use crate::failure::{Done, Failure};
use crate::progress::{Progress, Unit};

/// What a command does with its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads it, and writes nothing.
    Read,
    /// Writes to it; it must be there.
    Write,
    /// Writes to it; it is made if it is not there.
    Create,
}

/// The database that a command works on.
pub struct Target {
    pub path: PathBuf,
    /// How long a command waits for other processes.
    pub wait: Duration,
    /// Whether progress is told in lines where there is no terminal.
    pub lines: bool,
    /// The database, if the shell has it open.
    pub shell: Option<Database>,
}

impl Target {
    /// Opens the database. As long as another process has it, tries again until the time to
    /// wait is over.
    pub fn open(&self, access: Access) -> Done<Database> {
        if let Some(db) = &self.shell {
            return Ok(db.clone());
        }
        let options = match access {
            Access::Read => Options::new().read_only(),
            Access::Write => Options::new().existing(),
            Access::Create => Options::new(),
        };
        let progress = Progress::new("open", Unit::Bytes, None, self.lines);
        let progress = Arc::new(Mutex::new(Some(progress)));
        let watched = progress.clone();
        let options = options.on_progress(move |opening| {
            let (Opening::Loading(done, total) | Opening::Replaying(done, total)) = opening else {
                return;
            };
            if let Ok(Some(progress)) = watched.lock().as_deref_mut() {
                progress.set_total(total);
                progress.at(done);
            }
        });
        let open = || PersistentDB::open(&self.path, options.clone()).map(Into::into);
        let opened = when_free(&self.path, self.wait, open);
        if let Ok(mut progress) = progress.lock() {
            *progress = None; // the database keeps its options
        }
        opened
    }

    /// Whether the shell has the database open.
    pub fn is_shell(&self) -> bool {
        self.shell.is_some()
    }

    /// The path of the log, if the file can be found.
    pub fn log_path(&self) -> Option<PathBuf> {
        let mut path = fs::canonicalize(&self.path).ok()?.into_os_string();
        path.push("-log");
        Some(path.into())
    }
}

/// Does what another process may be in the way of, again and again until `wait` is over.
pub fn when_free<T>(
    path: &Path,
    wait: Duration,
    mut attempt: impl FnMut() -> Result<T, DBError>,
) -> Done<T> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        match attempt() {
            Err(DBError::Busy(what)) => {
                let left = wait.saturating_sub(begun.elapsed());
                if left.is_zero() {
                    let owner = owner(path).map(|it| format!(" by {it}")).unwrap_or_default();
                    return Err(Failure::Locked(format!("in use{owner}: {what}")));
                }
                thread::sleep(pause.min(left));
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            Err(DBError::Format(what)) if path.is_dir() => return Err(Failure::Io(what)),
            done => return Ok(done?),
        }
    }
}

/// The processes that have a file locked, as far as the system tells.
fn owner(path: &Path) -> Option<String> {
    let file = fs::metadata(path).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let mut owners: Vec<String> = locks
        .lines()
        .filter_map(parse_lock)
        .filter(|(process, device, inode)| {
            *inode == file.ino() && (*device == file.dev() || has_open(*process, &file))
        })
        .map(|(process, ..)| format!("process {process}{}", name(process)))
        .collect();
    owners.sort_unstable();
    owners.dedup();
    if owners.is_empty() { None } else { Some(owners.join(", ")) }
}

/// The process, the device and the inode of a line of `/proc/locks` that is a lock of a whole
/// open file. It reads like `1: FLOCK ADVISORY WRITE 708 08:01:1311 0 EOF`; a line with `->`
/// is of a process that waits.
fn parse_lock(line: &str) -> Option<(u32, u64, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, _, process, file, ..] = fields[..] else { return None };
    let mut numbers = file.split(':');
    let mut hexadecimal = || u64::from_str_radix(numbers.next()?, 16).ok();
    let (major, minor) = (hexadecimal()?, hexadecimal()?);
    // As glibc puts a device's two numbers into one.
    let device =
        (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32;
    Some((process.parse().ok()?, device, numbers.next()?.parse().ok()?))
}

/// Whether a process has a file open. Some file systems have other device numbers in
/// `/proc/locks` than elsewhere.
fn has_open(process: u32, file: &fs::Metadata) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    descriptors
        .flatten()
        .filter_map(|it| fs::metadata(it.path()).ok())
        .any(|open| (open.dev(), open.ino()) == (file.dev(), file.ino()))
}

/// The name of a process, in brackets.
fn name(process: u32) -> String {
    match fs::read(format!("/proc/{process}/comm")) {
        Ok(name) => format!(" ({})", printable(name.trim_ascii_end())),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_locks_of_the_system_is_read() {
        let line = "1: FLOCK  ADVISORY  WRITE 26980 fe:00:10985515 0 EOF";
        assert_eq!(parse_lock(line), Some((26980, 0xfe00, 10985515)));
        assert_eq!(parse_lock("1: -> FLOCK  ADVISORY  WRITE 26980 fe:00:10985515 0 EOF"), None);
        assert_eq!(parse_lock("2: POSIX  ADVISORY  WRITE 708 08:01:1311 0 EOF"), None);
        assert_eq!(parse_lock(""), None);
    }
}
