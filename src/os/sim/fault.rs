//! Calls that fail on purpose.

use std::io;

/// What the engine may call of a [`Disk`](super::Disk) and its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // they are called as the methods are
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
    Permit,
    Len,
    ReadSome,
    WriteSome,
    SetLen,
    Sync,
}

impl Call {
    /// All of them.
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
            Permit,
            Len,
            ReadSome,
            WriteSome,
            SetLen,
            Sync,
        ]
    };
}

/// A call that fails. What it should have done is not done, but for
/// [`short`](Fault::short).
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Which one, of the calls of these kinds: 0 is the next.
    pub at: u64,
    /// The error; 0 for none.
    pub errno: i32,
    /// Whether all later ones fail, too.
    pub forever: bool,
    /// The kinds of calls.
    pub kinds: &'static [Call],
    /// Whether reads and writes do half of what they should: without an error
    /// they say so, with one they fail though half is done.
    pub short: bool,
}

/// What happens to a call instead.
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

    /// Counts a call, and says what happens to it.
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
