//! The worker: a thread that makes checkpoints in the background.
//!
//! It starts with a request and ends when there is none; an idle database has no thread.

use super::{Files, Journal};
use crate::os::thread::{join, spawn};
use crate::sync::{Arc, JoinHandle, Mutex};

/// The state of the worker.
#[derive(Debug, Default)]
pub(super) struct Worker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    requested: bool,
    running: bool,
    /// The thread that was started last.
    thread: Option<JoinHandle<()>>,
}

/// Notes the end of a thread that unwinds.
struct Running<'a>(&'a Worker);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.0.lock_ignoring_poison().running = false;
    }
}

impl Worker {
    /// Takes the request, if there is one.
    fn next(&self) -> bool {
        let mut state = self.0.lock_ignoring_poison();
        let requested = std::mem::take(&mut state.requested);
        state.running = requested;
        requested
    }

    /// Drops the request, and waits for the thread to end.
    pub(super) fn end(&self) {
        let thread = {
            let mut state = self.0.lock_ignoring_poison();
            state.requested = false;
            state.thread.take()
        };
        if let Some(thread) = thread {
            join(thread);
        }
    }
}

impl Journal {
    /// Requests a checkpoint from the worker. False if it does not run and no thread can
    /// be made.
    pub(super) fn request_from_worker(&self) -> bool {
        let mut state = self.files.worker.0.lock_ignoring_poison();
        state.requested = true;
        if state.running {
            return true;
        }
        if let Some(ended) = state.thread.take() {
            join(ended); // but for its last steps
        }
        let files = Arc::clone(&self.files);
        let work = move || make_checkpoints(&files);
        state.thread = spawn("minidb", work).ok();
        state.running = state.thread.is_some();
        state.requested = state.running;
        state.running
    }
}

fn make_checkpoints(files: &Files) {
    let running = Running(&files.worker);
    while files.worker.next() {
        // It reports to nobody: what it could not fold is in the log.
        let _ = files.checkpoint();
    }
    std::mem::forget(running); // the last call of `next` has noted the end
}
