//! Choices that look random and follow from seeds.

use minidb::os::sim;

#[derive(Clone, Debug)]
pub struct Random(sim::Random);

impl Random {
    /// Those that follow from all of these.
    pub fn of(seeds: &[u64]) -> Random {
        let mix = |so_far, seed| sim::Random::new(so_far ^ seed).next();
        Random(sim::Random::new(seeds.iter().fold(0, mix)))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next()
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0.below(end)
    }

    pub fn one_in(&mut self, some: usize) -> bool {
        self.below(some) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
