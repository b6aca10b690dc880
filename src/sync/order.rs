//! The lock order, checked in debug builds.
//!
//! A thread that holds a lock takes only locks that come later in [`Rank`], so no circle of
//! threads can wait for each other. A page's latch comes after all of them, and a thread
//! holds one at a time. Locks under which no other one is taken (the tables of handles, the
//! state of the worker) have no rank, and neither has the read guard of the index: no lock is
//! waited for under it but a latch.

/// The locks that are held together, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(debug_assertions), allow(dead_code))] // the numbers are for the check
pub(crate) enum Rank {
    /// A transaction behind the C ABI.
    Transaction,
    /// The data file: one checkpoint, verification or close at a time.
    DataFile,
    /// The log: the order of commits.
    Log,
    /// The turn of a long write of the index, for which other writers wait.
    Turn,
    /// The index: its upgradable and its exclusive guard.
    Index,
    /// The read set of a transaction.
    ReadSet,
    /// The history of recent commits.
    History,
}

/// A rank that a thread holds, until dropped.
#[derive(Debug)]
pub(crate) struct Held(#[cfg(all(debug_assertions, not(minidb_shuttle)))] Option<Rank>);

#[cfg(all(debug_assertions, not(minidb_shuttle)))]
mod checked {
    use std::cell::Cell;

    use super::{Held, Rank};

    thread_local!(static HELD: Cell<u32> = const { Cell::new(0) });

    impl Held {
        /// Notes that this thread is about to wait for a lock.
        pub(crate) fn new(rank: Option<Rank>) -> Held {
            if let Some(rank) = rank {
                let held = HELD.get();
                assert!(held >> rank as u32 == 0, "{rank:?} is locked too late ({held:b})");
                HELD.set(held | 1 << rank as u32);
            }
            Held(rank)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            if let Some(rank) = self.0 {
                HELD.set(HELD.get() & !(1 << rank as u32));
            }
        }
    }
}

#[cfg(not(all(debug_assertions, not(minidb_shuttle))))]
impl Held {
    #[inline(always)]
    pub(crate) fn new(_: Option<Rank>) -> Held {
        Held()
    }
}

#[cfg(all(test, debug_assertions, not(minidb_shuttle)))]
mod tests {
    use super::super::Mutex;
    use super::Rank;

    #[test]
    fn locks_are_taken_in_their_order() {
        let (log, history) = (Mutex::ranked(Rank::Log, ()), Mutex::ranked(Rank::History, ()));
        for _ in 0..2 {
            let _log = log.lock().unwrap();
            let _history = history.lock().unwrap();
        }
    }

    #[test]
    #[should_panic(expected = "Log is locked too late")]
    fn a_lock_out_of_order_is_found() {
        let (log, history) = (Mutex::ranked(Rank::Log, ()), Mutex::ranked(Rank::History, ()));
        let _history = history.lock().unwrap();
        let _log = log.lock();
    }

    #[test]
    #[should_panic(expected = "Log is locked too late")]
    fn a_lock_that_is_held_already_is_found() {
        let logs = [Mutex::ranked(Rank::Log, ()), Mutex::ranked(Rank::Log, ())];
        let _held = logs.each_ref().map(Mutex::lock);
    }
}
