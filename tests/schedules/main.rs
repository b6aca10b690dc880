//! What threads do with each other, under a scheduler that decides at every lock,
//! atomic and call of the disk which of them goes on: at random, or by PCT
//! (Burckhardt et al., 2010), which changes its mind seldom, at random moments.
//!
//! Only with `--cfg minidb_shuttle`, under which `src/sync` is shuttle's. All
//! orders are as if `SeqCst`: what weaker ones allow is for ThreadSanitizer. A
//! schedule that fails is printed; `MINIDB_SCHEDULE`, set to it, replays it.

#[cfg(minidb_shuttle)]
mod closing;
#[cfg(minidb_shuttle)]
mod commits;
#[cfg(minidb_shuttle)]
mod handles;
#[cfg(minidb_shuttle)]
mod locks;
#[cfg(minidb_shuttle)]
mod runner;
#[cfg(minidb_shuttle)]
mod views;

fn main() {
    #[cfg(minidb_shuttle)]
    runner::run();
}
