//! Bugs on purpose, so that the tests can show that they would find them.
//!
//! A test plants one for its own thread. Without the feature `simulation` none
//! can be, and nothing of this is in the library.

/// What is done wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
#[cfg_attr(not(feature = "simulation"), allow(dead_code))] // they are asked for only
pub enum Bug {
    AcknowledgedBeforeSync,
    ShownBeforeSync,
    ShownAfterFailure,
    FailedSyncForgotten,
    ClearNotLogged,
    HalfBatch,
    DurableClaimed,
    DurableIgnored,
    TailKept,
    RecordUnchecked,
    SectorUnchecked,
    RootUnchecked,
    RootNotConfirmed,
    FreedTooEarly,
    RetiredTooEarly,
    LapOverLiving,
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

    /// Plants a bug for this thread, or takes it away.
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
