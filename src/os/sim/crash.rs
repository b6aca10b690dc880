//! The state of a disk after a loss of power.
//!
//! An [`OperationLog`] has all operations, and the state before the first. At a cut,
//! after so many operations, those that a successful sync has followed are certain; all
//! others are pending, and the [`Fate`] decides about each. The state of the certain
//! operations is kept from cut to cut, so an image costs little more than its pending
//! operations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::content::{Content, parts};
use super::random::Random;

/// Bytes that a disk writes as a whole or not at all.
const SECTOR: u64 = 512;

pub(super) type Inode = u64;

/// The fate of the operations that are pending when the power is lost. They are
/// numbered from 0, in the order in which they were done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No operation reached the disk.
    DropAll,
    /// All did, as after the end of a process.
    KeepAll,
    /// Each did or did not, or, if it is a write, was torn, by this seed. A torn write
    /// leaves in each sector the new bytes or the old ones; where nothing was durable,
    /// zeros or garbage, too.
    Random(u64),
    /// All operations but this one did.
    OnlyDropped(usize),
    /// Only this operation did.
    OnlyKept(usize),
    /// The operations did whose bit is set; none from the 65th on.
    Subset(u64),
    /// All did, but the last write was torn, by this seed.
    TornLast(u64),
}

/// A successful operation on the disk, or a sync that has failed.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Create(PathBuf, Inode),
    Rename(PathBuf, PathBuf, Inode),
    Remove(PathBuf),
    Write(Inode, u64, Arc<[u8]>),
    SetLen(Inode, u64),
    SyncFile(Inode),
    /// A sync has failed, and the kernel takes its pages for written: no later sync
    /// makes them durable.
    LostSync(Inode),
    SyncFolder(PathBuf),
    Mark,
}

/// The names and contents of files. A file without a name stays: it has one again if
/// the removal of the name is lost.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) names: BTreeMap<PathBuf, Inode>,
    pub(super) files: BTreeMap<Inode, Content>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Pending,
    /// Pending for ever.
    Lost,
    Certain,
}

#[derive(Default)]
pub(super) struct OperationLog {
    operations: Vec<Operation>,
    start: State,
    /// How many operations are in `certain` and `open`.
    cut: usize,
    certain: State,
    /// The places of the other operations in the log, in order. A certain operation is
    /// among them if one before it, on the same file, is lost.
    open: Vec<(usize, Standing)>,
}

impl Operation {
    fn file(&self) -> Option<Inode> {
        match self {
            Operation::Write(inode, ..) | Operation::SetLen(inode, _) => Some(*inode),
            _ => None,
        }
    }

    /// The folder of the name that the operation makes or removes.
    fn folder(&self) -> Option<&Path> {
        match self {
            Operation::Create(name, _)
            | Operation::Remove(name)
            | Operation::Rename(_, name, _) => Some(name.parent().unwrap_or(name)),
            _ => None,
        }
    }

    /// The file that the operation names.
    fn named(&self) -> Option<Inode> {
        match self {
            Operation::Create(_, inode) | Operation::Rename(.., inode) => Some(*inode),
            _ => None,
        }
    }
}

impl State {
    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create(name, inode) => {
                self.names.insert(name.clone(), *inode);
            }
            Operation::Rename(from, to, inode) => {
                self.names.remove(from);
                self.names.insert(to.clone(), *inode);
            }
            Operation::Remove(name) => {
                self.names.remove(name);
            }
            Operation::Write(inode, offset, bytes) => {
                self.files.entry(*inode).or_default().write(bytes, *offset);
            }
            Operation::SetLen(inode, len) => self.files.entry(*inode).or_default().set_len(*len),
            _ => {}
        }
    }

    /// Applies a part of a write, sector by sector. A sector before `durable` has either
    /// its old bytes or the new ones.
    fn tear(&mut self, write: &Operation, durable: u64, random: &mut Random) {
        let Operation::Write(inode, offset, bytes) = write else {
            return;
        };
        let content = self.files.entry(*inode).or_default();
        for (at, part) in parts(*offset, bytes.len(), SECTOR as usize) {
            let start = at - at % SECTOR;
            let end = (at + part.len() as u64).max(content.len().min(start + SECTOR));
            let mut other = vec![0; (end - start) as usize];
            match random.below(6) {
                0..=2 => content.write(&bytes[part], at),
                3 if start >= durable => content.write(&other, start),
                4 if start >= durable => {
                    other.fill_with(|| random.next() as u8);
                    content.write(&other, start);
                }
                _ => {}
            }
        }
    }
}

impl OperationLog {
    pub(super) fn new(start: State) -> OperationLog {
        OperationLog { certain: start.clone(), start, ..OperationLog::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    pub(super) fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    pub(super) fn pending(&mut self, cut: usize) -> usize {
        self.go_to(cut);
        self.open.iter().filter(|it| it.1 != Standing::Certain).count()
    }

    pub(super) fn crash(&mut self, cut: usize, fate: Fate) -> State {
        self.go_to(cut);
        let mut image = self.certain.clone();
        let last_write = self.open.iter().rposition(|(at, standing)| {
            *standing != Standing::Certain && matches!(self.operations[*at], Operation::Write(..))
        });
        let mut random = Random::new(match fate {
            Fate::Random(seed) | Fate::TornLast(seed) => seed,
            _ => 0,
        });
        let kept_of_8 = [1, 4, 7][random.below(3usize)];
        let mut number = 0;
        for (i, (at, standing)) in self.open.iter().enumerate() {
            let operation = &self.operations[*at];
            if *standing == Standing::Certain {
                image.apply(operation);
                continue;
            }
            let is_write = matches!(operation, Operation::Write(..));
            let torn = match fate {
                Fate::Random(_) => is_write && random.below(3) == 0,
                Fate::TornLast(_) => Some(i) == last_write,
                _ => false,
            };
            let kept = match fate {
                Fate::DropAll => false,
                Fate::KeepAll | Fate::TornLast(_) => true,
                Fate::Random(_) => random.below(8) < kept_of_8,
                Fate::OnlyDropped(this) => number != this,
                Fate::OnlyKept(this) => number == this,
                Fate::Subset(bits) => number < 64 && bits >> number & 1 == 1,
            };
            if torn {
                image.tear(operation, self.durable_len(operation), &mut random);
            } else if kept {
                image.apply(operation);
            }
            number += 1;
        }
        image
    }

    /// The certain length of the file of a write.
    fn durable_len(&self, write: &Operation) -> u64 {
        let Some(inode) = write.file() else {
            return 0;
        };
        let mut len = self.certain.files.get(&inode).map_or(0, Content::len);
        for (at, standing) in &self.open {
            match &self.operations[*at] {
                _ if *standing != Standing::Certain => {}
                Operation::Write(it, offset, bytes) if *it == inode => {
                    len = len.max(offset + bytes.len() as u64);
                }
                Operation::SetLen(it, new) if *it == inode => len = *new,
                _ => {}
            }
        }
        len
    }

    /// Moves `certain` and `open` to a cut.
    fn go_to(&mut self, cut: usize) {
        assert!(cut <= self.operations.len(), "there are {} operations", self.operations.len());
        if cut < self.cut {
            self.cut = 0;
            self.certain = self.start.clone();
            self.open.clear();
        }
        while self.cut < cut {
            let (log, open) = (&self.operations, &mut self.open);
            let mut judge = |verdict, concerns: &dyn Fn(&Operation) -> bool| {
                let undecided = |it: &&mut (usize, Standing)| it.1 == Standing::Pending;
                open.iter_mut()
                    .filter(undecided)
                    .filter(|it| concerns(&log[it.0]))
                    .for_each(|it| it.1 = verdict);
            };
            match &log[self.cut] {
                Operation::SyncFile(file) => {
                    judge(Standing::Certain, &|it| it.file() == Some(*file));
                    self.settle();
                }
                Operation::SyncFolder(folder) => {
                    judge(Standing::Certain, &|it| it.folder() == Some(folder.as_path()));
                    self.settle();
                }
                Operation::LostSync(file) => {
                    judge(Standing::Lost, &|it| it.file() == Some(*file));
                }
                Operation::Mark => {}
                _ => open.push((self.cut, Standing::Pending)),
            }
            self.cut += 1;
        }
    }

    /// Moves certain operations from `open` to `certain`, unless an operation before them
    /// on the same file stays.
    fn settle(&mut self) {
        let (log, certain) = (&self.operations, &mut self.certain);
        let mut behind = BTreeSet::new();
        self.open.retain(|(at, standing)| {
            let file = log[*at].file();
            let stays =
                *standing != Standing::Certain || file.is_some_and(|it| behind.contains(&it));
            if stays {
                behind.extend(file);
            } else {
                certain.apply(&log[*at]);
            }
            stays
        });
        // A file is dropped that has no name and gets none, whatever is lost.
        let named: BTreeSet<_> = self.open.iter().filter_map(|it| log[it.0].named()).collect();
        let names = &certain.names;
        certain.files.retain(|it, _| named.contains(it) || names.values().any(|named| named == it));
    }
}
