//! The descriptors of this process's files.
//!
//! A child of fork() inherits them, and with them the locks, which are the open
//! file's, not the process's. So a hook that runs in the child closes them.
//!
//! 1. The code that takes a number out of its [`Descriptor`] closes it, and no other
//!    code: never twice, and never when the number is another file's by now.
//! 2. The hook holds no lock and allocates nothing.
//!
//! A [`Descriptor`] is never freed, only used again: as many stay as files were ever
//! open at once. The first two, which one database needs, go with a plugin that is unloaded.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

use crate::sync::uncancelled;

/// The number of a descriptor that no file has.
const FREE: i32 = -1;

/// The number of a file of the parent's. No system call takes it for a descriptor.
const GONE: i32 = -2;

/// The descriptor of a file.
#[derive(Debug)]
pub(super) struct Descriptor {
    number: AtomicI32,
    /// The process that opened the file; set after the number.
    process: AtomicU32,
    /// The descriptor that was made before; set before this one can be reached.
    next: *const Descriptor,
}

// SAFETY: the pointer never changes, and is null or leads to a descriptor that lives
// for ever.
unsafe impl Send for Descriptor {}
// SAFETY: the pointer leads to what may be shared, and the numbers are atomic.
unsafe impl Sync for Descriptor {}

static FIRST: Descriptor = Descriptor::new(FREE, 0, ptr::null());
static SECOND: Descriptor = Descriptor::new(FREE, 0, &FIRST);

/// The descriptor that was made last.
static NEWEST: AtomicPtr<Descriptor> = AtomicPtr::new((&raw const SECOND).cast_mut());

fn descriptors() -> impl Iterator<Item = &'static Descriptor> {
    // SAFETY: the pointer is null or leads to a descriptor, which lives for ever.
    let find = |it: *const Descriptor| unsafe { it.as_ref() };
    std::iter::successors(find(NEWEST.load(Ordering::Acquire)), move |it| find(it.next))
}

/// Registers the number of an open descriptor, until [`Descriptor::close`].
pub(super) fn register(number: i32) -> &'static Descriptor {
    let (order, failed) = (Ordering::AcqRel, Ordering::Relaxed);
    let take = |it: &&Descriptor| it.number.compare_exchange(FREE, number, order, failed).is_ok();
    let process = std::process::id();
    if let Some(free) = descriptors().find(take) {
        free.process.store(process, Ordering::Relaxed);
        return free;
    }
    let mut next = NEWEST.load(Ordering::Acquire);
    let new = Box::leak(Box::new(Descriptor::new(number, process, next)));
    while let Err(newer) = NEWEST.compare_exchange(next, new, order, Ordering::Acquire) {
        next = newer;
        new.next = next;
    }
    new
}

impl Descriptor {
    const fn new(number: i32, process: u32, next: *const Descriptor) -> Descriptor {
        Descriptor { number: AtomicI32::new(number), process: AtomicU32::new(process), next }
    }

    pub(super) fn number(&self) -> i32 {
        self.number.load(Ordering::Relaxed)
    }

    /// The process that opened the file.
    pub(super) fn process(&self) -> u32 {
        self.process.load(Ordering::Relaxed)
    }

    /// Closes the descriptor, if it still is this process's, and frees it for another
    /// file.
    pub(super) fn close(&self) {
        close(self.number.swap(FREE, Ordering::AcqRel));
    }
}

/// Arranges that all descriptors are closed in the child of each fork() from now on, so
/// that it neither keeps the locks nor can write to the files. False if there is no
/// memory for the hook.
pub(super) fn close_in_children() -> bool {
    // Registering the hook twice does no harm.
    static HOOKED: AtomicBool = AtomicBool::new(false);
    if !HOOKED.load(Ordering::Relaxed) {
        // SAFETY: the hook is a plain function that lives as long as the library.
        let hooked = unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) == 0 };
        HOOKED.store(hooked, Ordering::Relaxed);
        return hooked;
    }
    true
}

/// Closes the parent's descriptors. It makes only calls that a signal handler may
/// make. The files that had the descriptors are dropped, or forgotten.
extern "C" fn close_in_child() {
    let here = std::process::id();
    // A hook that ran before this one may have opened files of the child's own.
    let is_parents = |it: &Descriptor| it.number() != FREE && it.process() != here;
    for descriptor in descriptors().filter(|it| is_parents(it)) {
        // The descriptor stays its file's until that is dropped.
        close(descriptor.number.swap(GONE, Ordering::Relaxed));
    }
}

/// Closes a descriptor. A call that a signal interrupts is not repeated: the number is
/// free by then.
pub(super) fn close(descriptor: i32) {
    if descriptor >= 0 {
        // SAFETY: the number was taken out of its `Descriptor` or never put into one, so
        // no other code uses or closes it.
        uncancelled(|| unsafe { libc::close(descriptor) });
    }
}
