//! Planted bugs: the tests must find each of them.
//!
//! A test plants a bug for its own thread. Without the feature `simulation` no bug can
//! be planted, and the library has no code for them.

/// A bug, named by the step that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
#[cfg_attr(not(feature = "simulation"), allow(dead_code))] // the library only asks for them
pub enum Bug {
    AcknowledgedBeforeSync,
    PublishedBeforeSync,
    PublishedAfterFailure,
    FailedSyncForgotten,
    FlightForgotten,
    WriterNotSlowed,
    ClearNotLogged,
    HalfBatch,
    CountNotValidated,
    CountedNotRead,
    DurableClaimed,
    DurableIgnored,
    TailKept,
    RecordUnchecked,
    SectorUnchecked,
    RootUnchecked,
    RootNotConfirmed,
    FreedTooEarly,
    RetiredTooEarly,
    ReserveSpent,
    LapOverLive,
    LogCutForOneRoot,
    LogNotRenewed,
    LogBegunTooEarly,
    LogNamedTooEarly,
    LogRemovedTooEarly,
}

#[cfg(feature = "simulation")]
mod thread {
    use super::Bug;
    use std::cell::Cell;

    thread_local!(static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) });

    /// Plants a bug for this thread, or removes the planted one.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "simulation")]
pub(crate) use thread::is;
#[cfg(feature = "simulation")]
pub use thread::plant;

#[cfg(not(feature = "simulation"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
