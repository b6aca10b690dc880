//! Which descriptors the files of this process have.
//!
//! A child of fork() inherits them, and with them the locks: those are the open
//! file's, not the process's. So the child closes them, by a hook that runs in
//! fork() there.
//!
//! 1. A descriptor is closed by whoever takes its number out of its [`Slot`],
//!    and by nobody else: never twice, never when it is somebody else's by now.
//! 2. No lock is held and nothing is allocated by what a child calls.
//!
//! Slots are never freed, only used again: as many stay as files were ever open
//! at once.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

/// Of a slot that no file has.
const FREE: i32 = -1;

/// Of a file that was the parent's: no system call takes it for a descriptor.
const GONE: i32 = -2;

/// Where a file keeps its descriptor.
#[derive(Debug)]
pub(super) struct Slot {
    descriptor: AtomicI32,
    /// The process that opened it; set after the descriptor.
    process: AtomicU32,
    /// The one that was made before; set before anyone sees this one.
    next: *const Slot,
}

// SAFETY: the pointer never changes, and is null or leads to a slot that lives
// for ever.
unsafe impl Send for Slot {}
// SAFETY: as above; the descriptor is atomic.
unsafe impl Sync for Slot {}

/// The one that was made last.
static NEWEST: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

fn slots() -> impl Iterator<Item = &'static Slot> {
    // SAFETY: null or a slot, which lives for ever.
    let slot = |it: *const Slot| unsafe { it.as_ref() };
    std::iter::successors(slot(NEWEST.load(Ordering::Acquire)), move |it| slot(it.next))
}

/// Keeps a descriptor, until [`Slot::close`].
pub(super) fn keep(descriptor: i32) -> &'static Slot {
    let (order, failed) = (Ordering::AcqRel, Ordering::Relaxed);
    let take = |it: &&Slot| it.descriptor.compare_exchange(FREE, descriptor, order, failed).is_ok();
    let process = std::process::id();
    if let Some(slot) = slots().find(take) {
        slot.process.store(process, Ordering::Relaxed);
        return slot;
    }
    let mut next = NEWEST.load(Ordering::Acquire);
    let (descriptor, process) = (AtomicI32::new(descriptor), AtomicU32::new(process));
    let slot = Box::leak(Box::new(Slot { descriptor, process, next }));
    while let Err(newer) = NEWEST.compare_exchange(next, slot, order, Ordering::Acquire) {
        next = newer;
        slot.next = next;
    }
    slot
}

impl Slot {
    pub(super) fn descriptor(&self) -> i32 {
        self.descriptor.load(Ordering::Relaxed)
    }

    /// The process that opened the file.
    pub(super) fn process(&self) -> u32 {
        self.process.load(Ordering::Relaxed)
    }

    /// Closes the descriptor, if it still is this process's, and gives the slot
    /// back.
    pub(super) fn close(&self) {
        close(self.descriptor.swap(FREE, Ordering::AcqRel));
    }
}

/// Has all descriptors closed in the child of each fork() from now on, so that it
/// neither keeps the locks nor can write to the files. False if there is no memory
/// to remember that.
pub(super) fn close_in_children() -> bool {
    // Twice does no harm.
    static HOOKED: AtomicBool = AtomicBool::new(false);
    if !HOOKED.load(Ordering::Relaxed) {
        // SAFETY: the hook is a plain function that lives as long as the library.
        let hooked = unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) == 0 };
        HOOKED.store(hooked, Ordering::Relaxed);
        return hooked;
    }
    true
}

/// Calls only what a signal handler may. The files that had the descriptors are to
/// be dropped, or forgotten.
extern "C" fn close_in_child() {
    let here = std::process::id();
    // A hook that ran before this one may have opened files of the child's own.
    let is_parents = |it: &Slot| it.descriptor() != FREE && it.process() != here;
    for slot in slots().filter(|it| is_parents(it)) {
        // The slot is its file's until that is dropped.
        close(slot.descriptor.swap(GONE, Ordering::Relaxed));
    }
}

/// Not tried again when a signal interrupts it: the number is free by then.
pub(super) fn close(descriptor: i32) {
    if descriptor >= 0 {
        // SAFETY: it was taken out of its slot or never put into one, so nobody
        // else uses or closes it.
        unsafe { libc::close(descriptor) };
    }
}
