//! Threads that the library makes.

#[cfg(minidb_shuttle)]
use crate::sync::JoinHandle;

/// A thread that gets none of the host's signals, and that takes no memory of the heap to
/// make: where the system refuses something, there is no thread.
#[cfg(not(minidb_shuttle))]
#[derive(Debug)]
pub(crate) struct Thread(libc::pthread_t);

// SAFETY: the name of a thread is the same for all of them.
#[cfg(not(minidb_shuttle))]
unsafe impl Send for Thread {}

#[cfg(not(minidb_shuttle))]
impl Thread {
    /// Bytes of the thread's stack, and of what the host has in each thread.
    const STACK: usize = 1 << 20;

    /// Runs `body`, which does not panic, on a new thread.
    pub(crate) fn spawn(body: fn()) -> Option<Thread> {
        extern "C" fn run(body: *mut libc::c_void) -> *mut libc::c_void {
            // SAFETY: `body` is the function that `spawn` was given; the name is a string.
            let body: fn() = unsafe {
                #[cfg(target_os = "linux")]
                libc::pthread_setname_np(libc::pthread_self(), c"minidb".as_ptr());
                std::mem::transmute(body)
            };
            body();
            std::ptr::null_mut()
        }
        // SAFETY: the sets and the attributes are plain values that these calls fill; a new
        // thread begins with the mask of the one that makes it, which gets its own back.
        unsafe {
            let (mut all, mut before, mut attributes, mut thread) = std::mem::zeroed();
            if libc::pthread_attr_init(&mut attributes) != 0 {
                return None;
            }
            libc::pthread_attr_setstacksize(&mut attributes, Thread::STACK);
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            let made = libc::pthread_create(&mut thread, &attributes, run, body as *mut _) == 0;
            libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
            libc::pthread_attr_destroy(&mut attributes);
            made.then_some(Thread(thread))
        }
    }

    /// Waits until the thread has ended.
    pub(crate) fn join(self) {
        // SAFETY: it was made joinable, and is joined once.
        unsafe { libc::pthread_join(self.0, std::ptr::null_mut()) };
    }
}

/// A thread of shuttle's.
#[cfg(minidb_shuttle)]
#[derive(Debug)]
pub(crate) struct Thread(JoinHandle<()>);

#[cfg(minidb_shuttle)]
impl Thread {
    pub(crate) fn spawn(body: fn()) -> Option<Thread> {
        crate::sync::Builder::new().spawn(body).ok().map(Thread)
    }

    pub(crate) fn join(self) {
        let _ = self.0.join();
    }
}
