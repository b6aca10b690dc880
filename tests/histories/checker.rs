//! Whether a history is one that a correct store may have: whether its
//! operations can be put into one order, each at a moment of its own time, such
//! that each has seen what those before it have left. For single calls that is
//! linearizability, for transactions strict serialisability.
//!
//! The search is that of Wing and Gong (1993) with the memory of Lowe (2017):
//! it takes, in turn, each operation that may come next, and never tries the
//! same set of operations with the same state again. One that only reads and
//! fits is taken at once, since it changes nothing for the others.

use std::collections::HashSet;

use super::history::{KEYS, Op, State};

/// Which operations have been taken.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Taken(Vec<u64>);

impl Taken {
    fn has(&self, n: usize) -> bool {
        self.0[n / 64] >> (n % 64) & 1 == 1
    }

    fn with(&self, n: usize) -> Taken {
        let mut with = self.clone();
        with.0[n / 64] |= 1 << (n % 64);
        with
    }

    /// So many operations were taken, and no other one before them was left.
    fn first_words(&self) -> usize {
        64 * self.0.iter().take_while(|word| **word == u64::MAX).count()
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

struct Search<'a> {
    ops: &'a [Op],
    tried: HashSet<(Taken, State)>,
    /// The most that could be taken, and the state then.
    furthest: (Taken, State),
}

/// Tells why a history cannot be, if it cannot.
pub fn check(ops: &[Op]) -> Result<(), String> {
    let mut ops: Vec<_> = ops.iter().filter(|op| !op.steps.is_empty()).cloned().collect();
    ops.sort_by_key(|op| (op.invoked, op.returned));
    let none = Taken(vec![0; ops.len().div_ceil(64)]);
    let start = [0; KEYS];
    let mut search = Search { ops: &ops, tried: HashSet::new(), furthest: (none.clone(), start) };
    match search.explain(none, start) {
        true => Ok(()),
        false => Err(search.report()),
    }
}

impl Search<'_> {
    /// Operations that may come next: no other one that is left has ended before
    /// they began.
    fn next(&self, taken: &Taken) -> Vec<usize> {
        let mut ends = u64::MAX;
        let mut next = Vec::new();
        let left = self.ops.iter().enumerate().skip(taken.first_words());
        for (n, op) in left.filter(|(n, _)| !taken.has(*n)) {
            if op.invoked > ends {
                break; // nor may any after it
            }
            ends = ends.min(op.returned);
            next.push(n);
        }
        next.retain(|n| self.ops[*n].invoked <= ends);
        next
    }

    fn explain(&mut self, mut taken: Taken, state: State) -> bool {
        let mut next = self.next(&taken);
        let fits = |n: &usize| self.ops[*n].is_read() && self.ops[*n].apply(state).is_some();
        while let Some(read) = next.iter().copied().find(fits) {
            taken = taken.with(read);
            next = self.next(&taken);
        }
        if taken.count() >= self.furthest.0.count() {
            self.furthest = (taken.clone(), state);
        }
        if next.is_empty() {
            return true; // nothing is left
        }
        if !self.tried.insert((taken.clone(), state)) {
            return false;
        }
        for n in next {
            let op = &self.ops[n];
            let after = op.apply(state).filter(|_| !op.is_read());
            if after.is_some_and(|after| self.explain(taken.with(n), after)) {
                return true;
            }
            if self.ops[n].in_flight && self.explain(taken.with(n), state) {
                return true; // it never happened
            }
        }
        false
    }

    fn report(&self) -> String {
        let (taken, state) = &self.furthest;
        let mut text = format!(
            "of {} operations at most {} can be put into an order; then the state is {state:?}, \
             and none of these can come next:\n",
            self.ops.len(),
            taken.count()
        );
        self.next(taken).iter().for_each(|n| text += &format!("    {}\n", self.ops[*n]));
        text += "all of them:\n";
        self.ops.iter().for_each(|op| text += &format!("{op}\n"));
        text
    }
}
