//! `Segments`: a table that grows without moving its entries, so that readers need no
//! lock. Each segment is twice as long as the one before.

use std::ops::Range;

use crate::error::OutOfMemory;
use crate::sync::OnceLock;

/// A table in segments. `FIRST` is the length of the first segment, `N` the number of segments.
#[derive(Debug)]
pub(crate) struct Segments<T, const FIRST: u32, const N: usize>([OnceLock<Box<[T]>>; N]);

impl<T, const FIRST: u32, const N: usize> Default for Segments<T, FIRST, N> {
    fn default() -> Self {
        Segments([const { OnceLock::new() }; N])
    }
}

impl<T: Default, const FIRST: u32, const N: usize> Segments<T, FIRST, N> {
    /// Entry `i`, if the table has grown as far as that.
    #[inline]
    pub(crate) fn get(&self, i: u32) -> Option<&T> {
        const { assert!(FIRST.is_power_of_two()) };
        // Counted from FIRST, each segment begins at a power of two.
        let i = i.checked_add(FIRST)?;
        let segment = i.ilog2() - FIRST.ilog2();
        self.0.get(segment as usize)?.get()?.get((i - (FIRST << segment)) as usize)
    }

    /// Adds a segment to the `segments` that there are, and returns the numbers
    /// of its entries. Only one thread at a time may call this.
    pub(crate) fn grow(&self, segments: usize) -> Result<Range<u32>, OutOfMemory> {
        let slot = self.0.get(segments).ok_or(OutOfMemory)?;
        let len = FIRST << segments;
        let first = len - FIRST;
        if slot.get().is_none() {
            let mut table = Vec::new();
            table.try_reserve_exact(len as usize)?;
            table.resize_with(len as usize, T::default);
            // No other thread grows the table, so the slot is still empty.
            let _ = slot.set(table.into_boxed_slice());
        }
        Ok(first..first + len)
    }

    /// The entries of all segments.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceLock::get).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_entries_agree() {
        let table: Segments<std::sync::atomic::AtomicU32, 4, 5> = Segments::default();
        assert!(table.get(0).is_none());
        let ranges: Vec<_> = (0..5).map(|n| table.grow(n).unwrap()).collect();
        assert_eq!(ranges, [0..4, 4..12, 12..28, 28..60, 60..124]);
        for i in 0..124 {
            let before = table.get(i).unwrap().swap(i + 1, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(before, 0, "entry {i} is another one, too");
        }
        assert!(table.get(124).is_none() && table.get(u32::MAX).is_none());
        assert_eq!(table.iter().count(), 124);
        assert!(table.grow(5).is_err());
    }
}
