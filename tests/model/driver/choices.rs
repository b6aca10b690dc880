//! Where the driver's choices come from: a seed, or the bytes of a fuzzer.

use minidb::os::sim::Random;

/// A source of choices.
pub trait Choices {
    /// A number below `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize;

    /// Any byte.
    fn byte(&mut self) -> u8;

    /// Whether there are no more; until the driver asks, they are 0.
    fn ended(&self) -> bool;

    /// True once in `n` times.
    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Endless choices made from a seed.
pub struct Seeded(Random);

impl Seeded {
    pub fn new(seed: u64) -> Seeded {
        Seeded(Random::new(seed))
    }
}

impl Choices for Seeded {
    fn below(&mut self, n: usize) -> usize {
        self.0.below(n)
    }

    fn byte(&mut self) -> u8 {
        self.0.next() as u8
    }

    fn ended(&self) -> bool {
        false
    }
}

/// Choices read from bytes: one for a number up to 256, else two.
pub struct Input<'a> {
    rest: &'a [u8],
    ended: bool,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { rest: bytes, ended: false }
    }
}

impl Choices for Input<'_> {
    fn below(&mut self, n: usize) -> usize {
        match n {
            1 => 0,
            2..=256 => usize::from(self.byte()) % n,
            _ => (usize::from(self.byte()) << 8 | usize::from(self.byte())) % n,
        }
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            self.ended = true;
            return 0;
        };
        self.rest = rest;
        *first
    }

    fn ended(&self) -> bool {
        self.ended
    }
}
