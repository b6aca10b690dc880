//! What threads may see of each other where locks rest on the order of memory: all
//! that C++20's model allows, as far as loom knows it, of the sources that are
//! shipped.
//!
//! Only with `--cfg minidb_loom`. Loom takes `SeqCst` for `AcqRel` but at fences;
//! where the order of a write and a read after it matters, one is put in between
//! (`write_before_read`). What else threads do with each other is in
//! `tests/schedules`.

#[cfg(minidb_loom)]
mod memory;
#[cfg(minidb_loom)]
mod models;
#[cfg(minidb_loom)]
mod sync;

#[cfg(minidb_loom)]
mod error {
    pub use minidb::DBError;
}

fn main() {
    #[cfg(minidb_loom)]
    models::run();
}
