//! The time that a thread has run, whatever else the machine did meanwhile.

use std::time::Duration;

/// Of this thread.
#[allow(unsafe_code)] // std does not have that clock
pub fn on_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a variable.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
