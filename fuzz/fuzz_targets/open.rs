//! Opens a file that the input is, and its log; mostly with checksums made right.
//!
//! The last four bytes say what there is, so that a file is an input as it is:
//! what is left as it stands (1: the file's checksums, 2: the log's), and how many
//! bytes before belong to the log, u24.

#![no_main]

mod files;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (rest, last) = bytes.split_last_chunk().unwrap_or((bytes, &[0; 4]));
    let [left, len @ ..] = *last;
    let len = u32::from_le_bytes([len[0], len[1], len[2], 0]) as usize;
    // Without a log all bytes are the file's.
    let (file, log) = match len {
        0 => (bytes, None),
        _ => rest
            .split_at_checked(rest.len().saturating_sub(len))
            .map_or((rest, None), |it| (it.0, Some(it.1))),
    };
    let (mut file, mut log) = (file.to_vec(), log.map(<[u8]>::to_vec));
    if left & 1 == 0 {
        files::seal_file(&mut file);
    }
    if let (Some(log), 0) = (&mut log, left & 2) {
        files::seal_log(&file, log);
    }
    files::try_open(&file, log.as_deref());
});
