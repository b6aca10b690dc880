//! Waiting for a thread that wakes nobody: spin a little, yield a little, then sleep.
//!
//! Latches, the slots of readers and pins are left with one plain write, so their holders
//! cannot wake a waiter. A waiter that only yields would keep the processor from a holder of
//! lower priority for ever, as real-time threads do; so it sleeps in the end.

use std::time::Duration;

use super::{sleep, spin_loop, yield_now};

/// Looks before the first yield: a holder that runs is done within a microsecond.
const SPINS: u32 = 128;
/// Looks before the first sleep.
const YIELDS: u32 = SPINS + 8;
/// The longest sleep is the first one, of 16 microseconds, doubled so often.
const DOUBLED: u32 = 7;

/// The looks of a waiter at what it waits for, so far.
#[derive(Debug, Default)]
pub(crate) struct Wait(u32);

impl Wait {
    #[inline]
    pub(crate) const fn new() -> Wait {
        Wait(0)
    }

    /// Lets some time pass until the next look: ever more.
    #[cold]
    pub(crate) fn pause(&mut self) {
        self.0 = self.0.saturating_add(1);
        match self.0 {
            ..SPINS => spin_loop(),
            SPINS..YIELDS => yield_now(),
            _ => sleep(Duration::from_micros(16 << (self.0 - YIELDS).min(DOUBLED))),
        }
    }

    /// Waits until a condition holds.
    #[inline]
    pub(crate) fn until(holds: impl Fn() -> bool) {
        let mut wait = Wait::new();
        while !holds() {
            wait.pause();
        }
    }
}
