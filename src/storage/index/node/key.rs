//! Comparing keys.
//!
//! Keys are ordered as unsigned bytes, and a prefix of a key comes before the key.
//! Nodes hold at most the first [`INLINE`] bytes of a key; the rest, its tail, is a
//! blob. A node stores the prefix that all of its keys share once. The head of a key,
//! the first bytes after the prefix, stands in the slot as a number, so that most
//! comparisons are of numbers.

use std::cmp::Ordering;

/// The most bytes of a key that a node holds.
pub(crate) const INLINE: usize = 512;

/// A key, cut in two where nodes cut it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) inline: &'a [u8],
    pub(crate) tail: &'a [u8],
}

impl<'a> Key<'a> {
    #[inline]
    pub(crate) fn new(key: &'a [u8]) -> Key<'a> {
        let (inline, tail) = key.split_at(key.len().min(INLINE));
        Key { inline, tail }
    }

    /// The inline part after a prefix. If the key does not begin with the prefix, the
    /// error is how it compares with all keys that do.
    #[inline]
    pub(crate) fn after(self, prefix: &[u8]) -> Result<&'a [u8], Ordering> {
        match self.inline.split_at_checked(prefix.len()) {
            Some((start, rest)) if start == prefix => Ok(rest),
            _ => Err(self.inline.cmp(prefix)),
        }
    }
}

/// The first four bytes as a number with the same order.
#[inline]
pub(crate) fn head4(bytes: &[u8]) -> u32 {
    match bytes.first_chunk() {
        Some(first) => u32::from_be_bytes(*first),
        None => {
            let mut first = [0; 4];
            first[..bytes.len()].copy_from_slice(bytes);
            u32::from_be_bytes(first)
        }
    }
}

/// The first eight bytes as a number with the same order.
#[inline]
pub(crate) fn head8(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0; 8];
            first[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(first)
        }
    }
}

/// Length of the longest prefix that both share.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 16;
    let whole = a.as_chunks::<STEP>().0.iter().zip(b.as_chunks::<STEP>().0);
    let same = whole.take_while(|(a, b)| a == b).count() * STEP;
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_compare_as_the_bytes_do() {
        let keys: [&[u8]; 7] =
            [b"", b"\0", b"\0\0\0\0\0", b"a", b"ab", b"ab\xff", b"\xff\xff\xff\xff"];
        for pair in keys.windows(2) {
            assert!(head4(pair[0]) <= head4(pair[1]));
            assert!(head8(pair[0]) <= head8(pair[1]));
        }
        assert_eq!(head4(b"abcdef"), 0x61626364);
        assert_eq!(head8(b"abc"), 0x6162630000000000);
    }

    #[test]
    fn common_prefixes_of_all_lengths() {
        let long = [7u8; 100];
        for n in 0..100 {
            let mut other = long;
            other[n] = 8;
            assert_eq!(common_prefix(&long, &other), n);
            assert_eq!(common_prefix(&long[..n], &long), n);
        }
    }

    #[test]
    fn a_key_without_the_prefix_knows_its_side() {
        let key = Key::new(b"abc");
        assert_eq!(key.after(b"ab"), Ok(&b"c"[..]));
        assert_eq!(key.after(b"abc"), Ok(&b""[..]));
        assert_eq!(key.after(b"abcd"), Err(Ordering::Less));
        assert_eq!(key.after(b"b"), Err(Ordering::Less));
        assert_eq!(key.after(b"aa"), Err(Ordering::Greater));
    }
}
