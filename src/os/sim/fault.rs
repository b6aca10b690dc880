//! Calls that fail on purpose.

use std::io;

/// The methods of a [`Disk`](super::Disk) and its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each has the name of its method
pub enum Call {
    Resolve,
    Open,
    RenameNew,
    Remove,
    SyncFolder,
    Random,
    Lock,
    IsAt,
    IsOrdinary,
    Permissions,
    SetPermissions,
    Len,
    ReadSome,
    WriteSome,
    SetLen,
    Sync,
}

impl Call {
    /// All methods.
    pub const ALL: &'static [Call] = {
        use Call::*;
        &[
            Resolve,
            Open,
            RenameNew,
            Remove,
            SyncFolder,
            Random,
            Lock,
            IsAt,
            IsOrdinary,
            Permissions,
            SetPermissions,
            Len,
            ReadSome,
            WriteSome,
            SetLen,
            Sync,
        ]
    };
}

/// A call that fails. It has no effect, but for [`short`](Fault::short).
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The number of the call among the next calls of these kinds, from 0 on.
    pub at: u64,
    /// The error; 0 for none.
    pub errno: i32,
    /// Whether all later calls of these kinds fail, too.
    pub forever: bool,
    /// The kinds of calls.
    pub kinds: &'static [Call],
    /// Whether reads and writes do half of their work: without an error they return how
    /// much that is; with one they fail though half is done.
    pub short: bool,
}

/// How a call fails, if it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) errno: i32,
    pub(super) short: bool,
}

impl Outcome {
    pub(super) fn check(self) -> io::Result<()> {
        match self.errno {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) calls: u64,
    to_come: Vec<Fault>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.to_come.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.to_come.clear();
    }

    /// Counts a call, and returns how it fails.
    pub(super) fn meet(&mut self, call: Call) -> Outcome {
        self.calls += 1;
        let mut outcome = Outcome::default();
        self.to_come.retain_mut(|fault| {
            if !fault.kinds.contains(&call) {
                return true;
            }
            if fault.at > 0 {
                fault.at -= 1;
                return true;
            }
            outcome = Outcome { errno: fault.errno, short: fault.short };
            fault.forever
        });
        outcome
    }
}
