//! Another static library in Rust, which panics and allocates.

use std::panic::catch_unwind;

/// The digits of the numbers below `n`, or 0 if those are too many.
#[unsafe(no_mangle)]
pub extern "C" fn other_digits(n: u32) -> u32 {
    let digits = catch_unwind(|| {
        assert!(n <= 1000, "too many");
        (0..n).map(|number| number.to_string().len() as u32).sum()
    });
    digits.unwrap_or(0)
}
