//! Back-pressure: a log that grows faster than checkpoints retire it slows its writers.
//!
//! A checkpoint is due at `size` live bytes of log. From twice that on a commit pauses once it
//! is done, for 1 to 20 milliseconds, and from two and a quarter times on until a checkpoint
//! ends, well or not. A commit that pauses holds no lock. So the log has at most two and a
//! quarter times `size` live bytes, and one commit of each thread.
//!
//! A checkpoint that fails raises all limits by `size`, since pauses do not help: writing goes
//! on, and `size` bytes later the next checkpoint is tried.
//!
//! Writers are slowed in stages like those of LevelDB (`DBImpl::MakeRoomForWrite`).

use std::time::Duration;

use super::super::log::Log;
use super::{CheckpointMode, Files};
use crate::planted::{self, Bug};

/// The longest pause of a commit that does not wait for the end of a checkpoint, in ms.
const PAUSE_MS: u64 = 20;

/// Live bytes of log at which a commit has more to do than to commit.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// The live bytes of log for each checkpoint.
    size: u64,
    /// A checkpoint is due,
    checkpoint_at: u64,
    /// commits are slowed.
    slow_at: u64,
    /// Checkpoints that have ended.
    ended: u64,
}

/// The tasks of a commit that has made the log longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) checkpoint: CheckpointMode,
    pub(super) pause: bool,
}

impl Limits {
    /// Sets the limits after a checkpoint, for a next one after `size` live bytes.
    pub(super) fn set(&mut self, size: u64) {
        let (slow_at, ended) = (size.saturating_mul(2), self.ended);
        *self = Limits { size, checkpoint_at: size, slow_at, ended };
    }

    /// The pause of a commit, and whether it lasts until a checkpoint ends.
    fn pause(&self, log: &Log) -> Option<(Duration, bool)> {
        let Limits { size, slow_at, .. } = *self;
        let over = log.live_bytes().checked_sub(slow_at)?;
        let most = (size / 4).max(1);
        let ms = 1 + (PAUSE_MS - 1) * over.min(most) / most;
        Some((Duration::from_millis(ms), over >= most))
    }

    /// The tasks of a commit that holds the log's lock.
    #[inline]
    pub(super) fn due(&mut self, log: &Log) -> Option<Due> {
        let live = log.live_bytes();
        if live < self.checkpoint_at.min(self.slow_at) { None } else { self.find_due(log, live) }
    }

    #[cold]
    fn find_due(&mut self, log: &Log, live: u64) -> Option<Due> {
        let pause = self.pause(log);
        let checkpoint = match pause {
            Some((_, true)) => CheckpointMode::Urgent,
            _ => CheckpointMode::Background,
        };
        // One commit requests it, and not the next one again, should it fail.
        self.checkpoint_at = live.saturating_add(self.size);
        Some(Due { checkpoint, pause: pause.is_some() })
    }
}

impl Files {
    /// Pauses a commit that is done if the checkpoints are behind, until one ends at most.
    #[cold]
    pub(super) fn pause(&self) {
        let Ok(mut log) = self.lock_log() else { return };
        let ended = log.limits.ended;
        let Some((pause, until_end)) = log.limits.pause(&log.log) else { return };
        while log.limits.ended == ended && !planted::is(Bug::WriterNotSlowed) {
            let Ok((next, timed_out)) = self.checkpointed.wait_for(log, pause) else { return };
            if timed_out && !until_end || next.log.failed().is_some() {
                return;
            }
            log = next;
        }
    }
}

/// A checkpoint that is made. Its end wakes the commits that pause for it.
pub(super) struct Attempt<'a> {
    pub(super) files: &'a Files,
    pub(super) is_done: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(log) = self.files.log.get() {
            let mut log = log.lock_ignoring_poison();
            let live = log.log.live_bytes();
            let limits = &mut log.limits;
            limits.ended += 1;
            if !self.is_done {
                limits.slow_at = limits.slow_at.max(live.saturating_add(limits.size));
            }
            self.files.checkpointed.notify_all();
        }
    }
}
