//! A disk of a machine that may lose its power at any moment, for tests.
//!
//! 1. A [`SimDisk`] does what a POSIX file system does, and promises no more than the
//!    traits do. Everything follows from its seed and the calls.
//! 2. It logs its changes. [`SimDisk::crash`] makes, from the first operations of the
//!    log, a disk as it could be after a loss of power: operations that were not synced
//!    are there or not, in any combination, and writes may be torn.
//! 3. Calls can be made to fail ([`Fault`]), space to run out, and failed syncs
//!    to lose data for good, as those of common file systems do
//!    ([`SimDisk::lose_after_failed_sync`]).
//!
//! There are no folders and no links: a path is a name. One thread at a time is inside.

mod content;
mod crash;
mod fault;
mod random;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, File, OpenMode, Permissions};
use content::{Content, check_end};
pub use crash::Fate;
use crash::{Inode, Operation, OperationLog, State};
use fault::Faults;
pub use fault::{Call, Fault};
pub use random::Random;

/// The simulated disk; a clone is the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Machine>>);

struct Machine {
    /// The state that a process sees.
    live: State,
    log: OperationLog,
    /// The marks, with their places in the log.
    marks: Vec<(usize, u64)>,
    open: Vec<Opened>,
    /// The next number of a file or of an open file.
    next: u64,
    faults: Faults,
    loses: bool,
    space: u64,
    random: Random,
}

/// An open file.
struct Opened {
    id: u64,
    inode: Inode,
    /// If the file is locked, whether the lock is shared.
    lock: Option<bool>,
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: u64,
    inode: Inode,
    mode: OpenMode,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::with(State::default(), seed)
    }

    fn with(state: State, seed: u64) -> SimDisk {
        let next = state.files.keys().chain(state.names.values()).max().map_or(0, |it| it + 1);
        SimDisk(Arc::new(Mutex::new(Machine {
            live: state.clone(),
            log: OperationLog::new(state),
            marks: Vec::new(),
            open: Vec::new(),
            next,
            faults: Faults::default(),
            loses: false,
            space: u64::MAX,
            random: Random::new(seed),
        })))
    }

    /// Number of operations in the log. Syncs and marks count, reads do not.
    pub fn operations(&self) -> usize {
        self.machine().log.len()
    }

    /// Adds a mark to the log, for an acknowledged commit for example.
    pub fn mark(&self, what: u64) {
        let mut machine = self.machine();
        let place = machine.log.len();
        machine.marks.push((place, what));
        machine.log.push(Operation::Mark);
    }

    /// The marks among the first `cut` operations.
    pub fn marks_before(&self, cut: usize) -> Vec<u64> {
        let machine = self.machine();
        let end = machine.marks.partition_point(|it| it.0 < cut);
        machine.marks[..end].iter().map(|it| it.1).collect()
    }

    /// A new disk as it could be if the power was lost after the first `cut`
    /// operations. It is quick if the cuts of successive calls do not descend.
    pub fn crash(&self, cut: usize, fate: Fate) -> SimDisk {
        let mut machine = self.machine();
        let mut image = machine.log.crash(cut, fate);
        image.forget_nameless(&[]);
        let seed = machine.random.clone().next() ^ cut as u64;
        SimDisk::with(image, seed)
    }

    /// Number of operations that a [`Fate`] decides about at this cut.
    pub fn pending(&self, cut: usize) -> usize {
        self.machine().log.pending(cut)
    }

    /// Makes a call fail. Earlier faults stay.
    pub fn fail(&self, fault: Fault) {
        self.machine().faults.add(fault);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.machine().faults.clear();
    }

    /// Number of calls of the traits' methods so far.
    pub fn calls(&self) -> u64 {
        self.machine().faults.calls
    }

    /// Whether a failed sync of a file loses the bytes that it should have made durable:
    /// the file shows them still, but no later sync makes them durable unless they are
    /// written again.
    pub fn lose_after_failed_sync(&self, loses: bool) {
        self.machine().loses = loses;
    }

    /// Limits the sum of all lengths. A write is done as far as it fits; the rest is
    /// refused (`ENOSPC`).
    pub fn set_space(&self, bytes: u64) {
        self.machine().space = bytes;
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<PathBuf> {
        self.machine().live.names.keys().cloned().collect()
    }

    /// The content of a file.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let machine = self.machine();
        machine.live.names.get(path).map(|inode| machine.live.to_vec(*inode))
    }

    /// Makes a durable file, which replaces one of that name.
    pub fn place(&self, path: &Path, bytes: &[u8]) {
        let mut machine = self.machine();
        let inode = machine.number();
        machine.change(Operation::Create(path.to_owned(), inode));
        machine.change(Operation::Write(inode, 0, bytes.into()));
        machine.log.push(Operation::SyncFile(inode));
        machine.sync_folder(path);
        machine.forget_nameless();
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        crate::sync::point();
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine, for a call that may fail by a fault.
    fn call(&self, call: Call) -> io::Result<MutexGuard<'_, Machine>> {
        let mut machine = self.machine();
        machine.faults.meet(call).check()?;
        Ok(machine)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

impl State {
    fn to_vec(&self, inode: Inode) -> Vec<u8> {
        self.files.get(&inode).map(Content::to_vec).unwrap_or_default()
    }

    fn len(&self, inode: Inode) -> u64 {
        self.files.get(&inode).map_or(0, Content::len)
    }

    /// Frees the files that have no name and are not open.
    fn forget_nameless(&mut self, open: &[Opened]) {
        let names = &self.names;
        self.files.retain(|inode, _| {
            names.values().any(|it| it == inode) || open.iter().any(|it| it.inode == *inode)
        });
    }
}

impl Machine {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn change(&mut self, operation: Operation) {
        self.live.apply(&operation);
        self.log.push(operation);
    }

    fn forget_nameless(&mut self) {
        self.live.forget_nameless(&self.open);
    }

    fn find(&self, path: &Path) -> io::Result<Inode> {
        self.live.names.get(path).copied().ok_or_else(|| error(libc::ENOENT))
    }

    fn sync_folder(&mut self, path: &Path) {
        self.log.push(Operation::SyncFolder(path.parent().unwrap_or(path).to_owned()));
    }

    fn free_space(&self) -> u64 {
        self.space.saturating_sub(self.live.files.values().map(Content::len).sum())
    }
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl Disk for SimDisk {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.call(Call::Resolve).map(|_| path.to_owned())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let mut machine = self.call(Call::Open)?;
        let inode = match (machine.find(path), mode) {
            (Ok(_), OpenMode::New | OpenMode::Private) => return Err(error(libc::EEXIST)),
            (Ok(inode), _) => inode,
            (Err(error), OpenMode::Read | OpenMode::Write) => return Err(error),
            (Err(_), OpenMode::Create | OpenMode::New | OpenMode::Private) => {
                let inode = machine.number();
                machine.change(Operation::Create(path.to_owned(), inode));
                inode
            }
        };
        let id = machine.number();
        machine.open.push(Opened { id, inode, lock: None });
        Ok(Box::new(SimFile { disk: self.clone(), id, inode, mode }))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut machine = self.call(Call::RenameNew)?;
        let inode = machine.find(from)?;
        if machine.find(to).is_ok() {
            return Err(error(libc::EEXIST));
        }
        machine.change(Operation::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.call(Call::Remove)?;
        machine.find(path)?;
        machine.change(Operation::Remove(path.to_owned()));
        machine.forget_nameless();
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.call(Call::SyncFolder)?.sync_folder(path);
        Ok(())
    }

    fn random(&self) -> io::Result<u64> {
        Ok(self.call(Call::Random)?.random.next())
    }
}

impl File for SimFile {
    fn lock(&self, shared: bool) -> io::Result<bool> {
        let mut machine = self.disk.call(Call::Lock)?;
        let others = machine.open.iter().filter(|it| it.inode == self.inode && it.id != self.id);
        let free = others.filter_map(|it| it.lock).all(|its| its && shared);
        if free && let Some(mine) = machine.open.iter_mut().find(|it| it.id == self.id) {
            mine.lock = Some(shared);
        }
        Ok(free)
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let machine = self.disk.call(Call::IsAt)?;
        Ok(machine.live.names.get(path) == Some(&self.inode))
    }

    fn is_ordinary(&self) -> io::Result<bool> {
        self.disk.call(Call::IsOrdinary).map(|_| true)
    }

    fn permissions(&self) -> io::Result<Permissions> {
        self.disk.call(Call::Permissions).map(|_| Permissions::default())
    }

    fn set_permissions(&self, _: Permissions) -> io::Result<()> {
        self.disk.call(Call::SetPermissions).map(|_| ())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.call(Call::Len)?.live.len(self.inode))
    }

    fn free_space(&self) -> u64 {
        self.disk.machine().free_space()
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut machine = self.disk.machine();
        let outcome = machine.faults.meet(Call::ReadSome);
        outcome.check()?;
        let len = if outcome.short { buffer.len().div_ceil(2) } else { buffer.len() };
        let content = machine.live.files.get(&self.inode);
        Ok(content.map_or(0, |it| it.read(&mut buffer[..len], offset)))
    }

    fn write_some(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut machine = self.disk.machine();
        let outcome = machine.faults.meet(Call::WriteSome);
        let wanted = match (outcome.errno, outcome.short) {
            (0, true) => bytes.len().div_ceil(2),
            (0, false) => bytes.len(),
            (_, true) => bytes.len() / 2,
            (_, false) => 0,
        };
        if self.mode == OpenMode::Read {
            return Err(error(libc::EBADF));
        }
        check_end(offset, bytes.len())?;
        let end = machine.live.len(self.inode).saturating_add(machine.free_space());
        let some = wanted.min(end.saturating_sub(offset) as usize);
        if some > 0 {
            machine.change(Operation::Write(self.inode, offset, bytes[..some].into()));
        }
        outcome.check()?;
        if some == 0 && wanted > 0 { Err(error(libc::ENOSPC)) } else { Ok(some) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut machine = self.disk.call(Call::SetLen)?;
        if self.mode == OpenMode::Read {
            return Err(error(libc::EINVAL));
        }
        check_end(len, 0)?;
        if len.saturating_sub(machine.live.len(self.inode)) > machine.free_space() {
            return Err(error(libc::ENOSPC));
        }
        machine.change(Operation::SetLen(self.inode, len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut machine = self.disk.machine();
        let outcome = machine.faults.meet(Call::Sync).check();
        match outcome {
            Ok(()) => machine.log.push(Operation::SyncFile(self.inode)),
            Err(_) if machine.loses => machine.log.push(Operation::LostSync(self.inode)),
            Err(_) => {}
        }
        outcome
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut machine = self.disk.machine();
        machine.open.retain(|it| it.id != self.id);
        machine.forget_nameless();
    }
}
