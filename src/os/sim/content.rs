//! The bytes of a file, in chunks that its copies share until one is written.

use std::io;
use std::sync::Arc;

const CHUNK: usize = 4096;

/// The greatest length of a simulated file.
const MAX_LEN: u64 = 1 << 36;

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    len: u64,
    /// A chunk that is missing is zeros, and so are the bytes behind `len`.
    chunks: Vec<Option<Arc<[u8; CHUNK]>>>,
}

/// Divides a range of the file at the multiples of `unit`. Yields for each part where it
/// begins in the file and where it is in the range.
pub(super) fn parts(
    offset: u64,
    len: usize,
    unit: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (start, at) = (done, offset + done as u64);
        done = len.min(start + unit - (at % unit as u64) as usize);
        (start < len).then_some((at, start..done))
    })
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let len = self.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        for (at, part) in parts(offset, len, CHUNK) {
            let from = (at % CHUNK as u64) as usize;
            match self.chunks.get((at / CHUNK as u64) as usize) {
                Some(Some(chunk)) => {
                    buffer[part.clone()].copy_from_slice(&chunk[from..from + part.len()]);
                }
                _ => buffer[part].fill(0),
            }
        }
        len
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        for (at, part) in parts(offset, bytes.len(), CHUNK) {
            let (i, from) = ((at / CHUNK as u64) as usize, (at % CHUNK as u64) as usize);
            if self.chunks.len() <= i {
                self.chunks.resize(i + 1, None);
            }
            let chunk = self.chunks[i].get_or_insert_with(|| Arc::new([0; CHUNK]));
            Arc::make_mut(chunk)[from..from + part.len()].copy_from_slice(&bytes[part]);
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.chunks.truncate(len.div_ceil(CHUNK as u64) as usize);
        if len < self.len
            && let Some(Some(last)) = self.chunks.get_mut((len / CHUNK as u64) as usize)
        {
            Arc::make_mut(last)[(len % CHUNK as u64) as usize..].fill(0);
        }
        self.len = len;
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }
}

/// The end of a range, unless no file may be as long.
pub(super) fn check_end(offset: u64, len: usize) -> io::Result<u64> {
    let end = offset.checked_add(len as u64).filter(|end| *end <= MAX_LEN);
    end.ok_or_else(|| io::Error::from_raw_os_error(libc::EFBIG))
}
