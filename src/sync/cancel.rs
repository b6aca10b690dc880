//! Cancellation of a thread: held back around the calls that it could end.
//!
//! `pthread_cancel` ends a thread at its next cancellation point, by an unwinding that Rust
//! code takes no part in: the process aborts. The library reaches these cancellation points
//! of glibc and musl: open, close, read, pread, pwrite, fsync, fdatasync, fcntl, getrandom,
//! nanosleep and pthread_join, and in `minidb_each` those of the host's function. A mutex, a
//! futex and the allocator have none. So a read in memory pays nothing.
//!
//! A function that may wait for a disk is a cancellation point itself, before it begins.
//!
//! Not here: asynchronous cancellation, which no library that holds a lock can bear.

#![allow(unsafe_code)] // std does not know cancellation

use std::time::Duration;

/// Runs a body, after which a cancellation of this thread may take effect.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn uncancelled<T>(body: impl FnOnce() -> T) -> T {
    use std::ffi::c_int;

    unsafe extern "C" {
        fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    }

    fn set(state: c_int) -> c_int {
        let mut old = ENABLED;
        // SAFETY: the call changes nothing but a number of this thread, and sets `old`.
        unsafe { pthread_setcancelstate(state, &mut old) };
        old
    }

    /// The state before, which comes back when this is dropped, by a panic too.
    struct Before(c_int);

    impl Drop for Before {
        fn drop(&mut self) {
            set(self.0);
        }
    }

    const ENABLED: c_int = 0;
    const DISABLED: c_int = 1;
    let _before = Before(set(DISABLED));
    body()
}

/// Ends this thread if it was cancelled. The frames up to the host's are unwound: they are of
/// functions with the ABI `C-unwind`, and hold nothing that must be dropped.
#[inline]
pub(crate) fn cancellation_point() {
    #[cfg(target_os = "linux")]
    {
        unsafe extern "C-unwind" {
            safe fn pthread_testcancel();
        }
        pthread_testcancel();
    }
}

/// Runs a body. Cancellation is not known on other systems.
#[cfg(not(target_os = "linux"))]
#[inline]
pub(crate) fn uncancelled<T>(body: impl FnOnce() -> T) -> T {
    body()
}

/// Sleeps; a cancellation of this thread takes effect later.
pub(crate) fn sleep(time: Duration) {
    #[cfg(not(minidb_shuttle))]
    uncancelled(|| std::thread::sleep(time));
    #[cfg(minidb_shuttle)]
    shuttle::thread::sleep(time);
}
