//! The worker: one thread that makes checkpoints in the background, for all databases of
//! the process.
//!
//! It starts with a request and ends when there is none, so an idle process has no thread of
//! the library's. It makes checkpoints in the order of the requests. The child of a fork has a
//! worker of its own.

use std::collections::VecDeque;

use super::{Files, Journal};
#[cfg(not(minidb_shuttle))]
use crate::os::fork::PerProcess;
use crate::os::thread::Thread;
use crate::sync::{Arc, Condvar, Mutex};

/// The worker of a process.
#[derive(Default)]
struct Worker {
    state: Mutex<State>,
    /// Notified when a checkpoint ends.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// The databases that wait for a checkpoint, from the first to the last.
    queue: VecDeque<Arc<Files>>,
    /// The database whose checkpoint is made.
    current: Option<usize>,
    running: bool,
    /// The thread that was started last.
    thread: Option<Thread>,
}

/// The worker, made by the first request.
#[cfg(not(minidb_shuttle))]
static WORKER: PerProcess<Worker> = PerProcess::new(forget);

#[cfg(not(minidb_shuttle))]
extern "C" fn forget() {
    WORKER.forget();
}

#[cfg(minidb_shuttle)]
shuttle::lazy_static! { static ref WORKER: PerSchedule = PerSchedule::default(); }

/// The worker of a schedule.
#[cfg(minidb_shuttle)]
#[derive(Default)]
struct PerSchedule(Worker);

#[cfg(minidb_shuttle)]
impl PerSchedule {
    fn get(&self) -> Option<&Worker> {
        Some(&self.0)
    }

    fn get_or_new(&self) -> Option<&Worker> {
        self.get()
    }
}

fn id(files: &Arc<Files>) -> usize {
    (&raw const **files).addr()
}

impl State {
    fn remove(&mut self, files: &Arc<Files>) {
        self.queue.retain(|it| !Arc::ptr_eq(it, files));
    }

    /// Waits for the last steps of a thread that has nothing to do.
    fn join(&mut self) {
        if !self.running
            && let Some(thread) = self.thread.take()
        {
            thread.join();
        }
    }
}

impl Worker {
    /// Ends the checkpoint of a database, and takes the next database.
    fn next(&self, done: Option<Arc<Files>>) -> Option<Arc<Files>> {
        drop(done); // before its closing goes on
        let mut state = self.state.lock_ignoring_poison();
        let next = state.queue.pop_front();
        state.current = next.as_ref().map(id);
        state.running = next.is_some();
        self.ended.notify_all();
        next
    }
}

impl Journal {
    /// Requests a checkpoint from the worker. False if it does not run and no thread can
    /// be made, or if the checkpoint is urgent and the worker makes that of another database,
    /// which may be on a slow disk.
    pub(super) fn request_from_worker(&self, is_urgent: bool) -> bool {
        let Some(worker) = WORKER.get_or_new() else { return false };
        let mut state = worker.state.lock_ignoring_poison();
        if is_urgent && state.current.is_some_and(|it| it != id(&self.files)) {
            state.remove(&self.files);
            return false;
        }
        if !state.queue.iter().any(|it| Arc::ptr_eq(it, &self.files)) {
            if state.queue.try_reserve(1).is_err() {
                return false;
            }
            state.queue.push_back(self.files.clone());
        }
        if !state.running {
            state.join();
            state.thread = Thread::spawn(make_checkpoints);
            state.running = state.thread.is_some();
            if !state.running {
                state.remove(&self.files);
            }
        }
        state.running
    }

    /// Drops the request of a database that is closed, and waits until its checkpoint ends.
    pub(super) fn leave_worker(&self) {
        let Some(worker) = WORKER.get() else { return };
        let mut state = worker.state.lock_ignoring_poison();
        state.remove(&self.files);
        while state.current == Some(id(&self.files)) {
            let Ok(next) = worker.ended.wait(state) else { return };
            state = next;
        }
        state.join();
    }
}

fn make_checkpoints() {
    let Some(worker) = WORKER.get() else { return };
    let mut files = worker.next(None);
    while let Some(its) = &files {
        // It reports to nobody: what it could not fold is in the log, also after a panic.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| its.checkpoint()));
        files = worker.next(files);
    }
}
