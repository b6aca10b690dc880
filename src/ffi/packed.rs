//! Packed entries, as `minidb_cursor_read` fills them and `minidb_write` reads them.
//!
//! An entry is its key's length and its value's length, each a `u32` in the
//! machine's byte order, then the key, then the value, with nothing between
//! and nothing after.

use std::ffi::c_void;

use super::boundary::{Buffer, input};
use super::text::{Failure, invalid};
use crate::{MAX_LEN, Sink};

const HEADER: usize = 8;

/// The entries of a packed buffer, after a check that all are whole.
///
/// # Safety
///
/// `start` is NULL or points to `size` bytes that do not change during the call.
pub(super) unsafe fn entries<'a>(
    start: *const c_void,
    size: usize,
) -> Result<Entries<'a>, Failure> {
    // SAFETY: passed on.
    let rest = unsafe { input("the packed buffer", start, size, isize::MAX as usize, |_| false) }?;
    let entries = Entries { rest: rest.unwrap_or_default() };
    let mut check = Entries { rest: entries.rest };
    while !check.rest.is_empty() {
        if check.next().is_none() {
            let at = size - check.rest.len();
            return Err(invalid(format!("the packed buffer has no whole entry at byte {at}")));
        }
    }
    Ok(entries)
}

/// Iterates over packed entries, up to the first that is not whole.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key_len, rest) = self.rest.split_first_chunk()?;
        let (value_len, rest) = rest.split_first_chunk()?;
        let [key_len, value_len] =
            [key_len, value_len].map(|len| u32::from_ne_bytes(*len) as usize);
        if key_len.max(value_len) > MAX_LEN {
            return None;
        }
        let (key, rest) = rest.split_at_checked(key_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        self.rest = rest;
        Some((key, value))
    }
}

/// Fills a buffer with packed entries.
#[derive(Debug)]
pub(super) struct Packer {
    buffer: Buffer,
    used: usize,
}

impl Packer {
    pub(super) fn new(buffer: Buffer) -> Packer {
        Packer { buffer, used: 0 }
    }

    /// Bytes filled, or needed for the first entry.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

impl Sink for Packer {
    /// If the first entry does not fit, `used` becomes the size that it needs.
    fn fits(&mut self, key_len: usize, value_len: usize) -> bool {
        let need = HEADER + key_len + value_len;
        let fits = need <= self.buffer.len();
        if !fits && self.used == 0 {
            self.used = need;
        }
        fits
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        // Keys and values are no longer than MAX_LEN.
        let lens = [key.len(), value.len()].map(|len| (len as u32).to_ne_bytes());
        for part in [&lens[0], &lens[1], key, value] {
            self.buffer.fill(part);
            self.used += part.len();
        }
    }
}
