//! Plays the C calls that the bytes of an input choose against the model.

#![no_main]

#[allow(dead_code, unused_imports)] // the model test uses more of it
#[path = "../../tests/model/driver/mod.rs"]
mod driver;

use driver::{Driver, Input, Limits};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    Driver::new(Input::new(bytes), Limits::of_input()).run();
});
