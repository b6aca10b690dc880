//! Numbers that look random and follow from a seed (SplitMix64).

use std::fmt::Debug;

/// A sequence of numbers without an end.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)] // there always is a next one
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    /// The next number, reduced below `end`.
    pub fn below<N: TryFrom<u64, Error: Debug> + TryInto<u64, Error: Debug>>(
        &mut self,
        end: N,
    ) -> N {
        let end: u64 = end.try_into().expect("an end is more than 0");
        (self.next() % end).try_into().expect("it is less than a number of this type")
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}
