//! What the C boundary costs: each call through C beside the same call through
//! the Rust API, with 1,000 entries, so that all of it is in the cache.
//!
//!     cargo bench
//!
//! Both are measured in turn, 301 times 10,000 calls each; the figures are
//! medians, in ns for a call. The compiler makes one piece of the Rust calls and
//! this program, which favours them; `count` does next to nothing, so it shows
//! the boundary alone.

#![allow(unsafe_code, reason = "calls the C API")]

use std::hint::black_box;
use std::ptr;
use std::time::Instant;

use minidb::ffi::*;
use minidb::{DB, InMemoryDB};

const ENTRIES: usize = 1_000;
const CALLS: usize = 10_000;
const ROUNDS: usize = 301;
const VALUE: [u8; 100] = [7; 100];

/// What both sides do: the keys, in an order that is not theirs.
fn keys() -> Vec<[u8; 16]> {
    let key = |n: usize| format!("{:016}", n * 7919 % ENTRIES).into_bytes().try_into();
    (0..ENTRIES).map(|n| key(n).expect("16 digits")).collect()
}

fn ns_per_call(keys: &[[u8; 16]], mut call: impl FnMut(&[u8; 16])) -> f64 {
    let start = Instant::now();
    for n in 0..CALLS {
        call(black_box(&keys[n % ENTRIES]));
    }
    start.elapsed().as_nanos() as f64 / CALLS as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn compare(
    what: &str,
    keys: &[[u8; 16]],
    mut rust: impl FnMut(&[u8; 16]),
    mut c: impl FnMut(&[u8; 16]),
) {
    let (mut rust_ns, mut c_ns) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rust_ns.push(ns_per_call(keys, &mut rust));
        c_ns.push(ns_per_call(keys, &mut c));
    }
    let (rust_ns, c_ns) = (median(rust_ns), median(c_ns));
    println!("{what:9} {rust_ns:6.1} in Rust {c_ns:6.1} through C {:5.1} more", c_ns - rust_ns);
}

fn main() {
    let keys = keys();
    let db = InMemoryDB::new().expect("there is memory");
    let mut handle = ptr::null_mut();
    // SAFETY: `handle` is a variable for the handle.
    assert_eq!(unsafe { minidb_open(ptr::null(), 0, &mut handle) }, MINIDB_OK);
    let c_put = |key: &[u8; 16]| {
        let (key, value) = (key.as_ptr().cast(), VALUE.as_ptr().cast());
        // SAFETY: lengths are those of the arrays.
        let code =
            unsafe { minidb_put(handle, key, 16, value, 100, ptr::null_mut(), ptr::null_mut()) };
        assert_eq!(code, MINIDB_OK);
    };
    for key in &keys {
        db.put(key, &VALUE).expect("there is memory");
        c_put(key);
    }
    let (mut rust_buffer, mut c_buffer) = ([0u8; 100], [0u8; 100]);
    let rust_get = |key: &[u8; 16]| {
        let copy = |value: Option<&[u8]>| rust_buffer.copy_from_slice(value.expect("it is there"));
        db.get_with(black_box(&key[..]), copy).expect("it works");
        black_box(&rust_buffer);
    };
    let c_get = |key: &[u8; 16]| {
        let (buffer, mut len) = (c_buffer.as_mut_ptr().cast(), 0);
        // SAFETY: lengths are those of the arrays.
        let code =
            unsafe { minidb_get_into(handle, key.as_ptr().cast(), 16, buffer, 100, &mut len) };
        assert!(code == MINIDB_OK && len == 100);
        black_box(&c_buffer);
    };
    let rust_count = |_: &[u8; 16]| assert_eq!(db.count(), Ok(ENTRIES as u64));
    let c_count = |_: &[u8; 16]| {
        let mut count = 0;
        // SAFETY: `count` is a variable for the number.
        let code = unsafe { minidb_stat(handle, MINIDB_STAT_COUNT, &mut count) };
        assert!(code == MINIDB_OK && count == ENTRIES as u64);
    };
    compare("count", &keys, rust_count, c_count);
    compare("get", &keys, rust_get, c_get);
    let rust_put = |key: &[u8; 16]| {
        // Lengths that the compiler does not know, and a look at the old value:
        // as in C.
        let (key, value) = (black_box(&key[..]), black_box(&VALUE[..]));
        let old = db.put_with(key, value, |old| Ok(old.map(<[u8]>::len))).expect("it works");
        black_box(old);
    };
    compare("overwrite", &keys, rust_put, c_put);
    // SAFETY: it is a handle, closed once.
    unsafe { minidb_close(handle) };
}
