//! Replays a log that the input is, beside a file which needs one; with
//! checksums made right unless the input ends with a 1.

#![no_main]

#[allow(dead_code)] // the file is right as it is
mod files;

const FILE: &[u8] = include_bytes!("../../tests/golden/v1/crashed.minidb");

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut log = bytes.to_vec();
    if bytes.last() != Some(&1) {
        files::seal_log(FILE, &mut log);
    }
    files::try_open(FILE, Some(&log));
});
