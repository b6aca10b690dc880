//! What a database may hold after a loss of power, by the oracle.
//!
//! The states that a database went through stand in a row, one for each commit
//! and one for each opening. For each it is known from when on, in operations of
//! the disk, it can be found (its commit was begun), must be found if the process
//! alone ends (its commit was acknowledged) and must be found whatever is lost
//! (that was on disk). Of the states between the last that must and the last that
//! can, any may be found, but for those whose commit was reported not applied.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub type State = BTreeMap<Arc<[u8]>, Arc<[u8]>>;

const NEVER: usize = usize::MAX;

#[derive(Clone)]
struct Step {
    state: Arc<State>,
    begun: usize,
    acknowledged: usize,
    durable: usize,
    /// From when on it is known not to be applied.
    refused: usize,
}

/// A backup, which is there whole or not at all.
#[derive(Clone)]
pub struct Copy {
    pub path: PathBuf,
    pub state: Arc<State>,
    begun: usize,
    done: usize,
}

#[derive(Clone)]
pub struct History {
    steps: Vec<Step>,
    copies: Vec<Copy>,
}

/// What can be found at some moment, the oldest first.
#[derive(Clone)]
pub struct Possible {
    pub states: Vec<Arc<State>>,
    /// With each whether it must be there.
    pub copies: Vec<(Copy, bool)>,
}

impl Possible {
    /// A disk without files.
    pub fn nothing() -> Possible {
        Possible { states: vec![Arc::default()], copies: Vec::new() }
    }
}

impl History {
    /// What happens after any of these was found.
    pub fn after(possible: &Possible) -> History {
        let step = |state: &Arc<State>| Step {
            state: state.clone(),
            begun: 0,
            acknowledged: NEVER,
            durable: NEVER,
            refused: NEVER,
        };
        let mut steps: Vec<Step> = possible.states.iter().map(step).collect();
        (steps[0].acknowledged, steps[0].durable) = (0, 0);
        let copy = |(copy, must): &(Copy, bool)| Copy {
            begun: 0,
            done: if *must { 0 } else { NEVER },
            ..copy.clone()
        };
        History { steps, copies: possible.copies.iter().map(copy).collect() }
    }

    pub fn state(&self, step: usize) -> &Arc<State> {
        &self.steps[step].state
    }

    /// A commit begins that leads to this state.
    pub fn begin(&mut self, state: Arc<State>, now: usize) -> usize {
        // Of the operations before now none is the commit's.
        let begun = now + 1;
        let (acknowledged, durable, refused) = (NEVER, NEVER, NEVER);
        self.steps.push(Step { state, begun, acknowledged, durable, refused });
        self.steps.len() - 1
    }

    pub fn acknowledge(&mut self, step: usize, now: usize) {
        let at = &mut self.steps[step].acknowledged;
        *at = now.min(*at);
    }

    /// All up to this step is on disk.
    pub fn secure(&mut self, step: usize, now: usize) {
        self.acknowledge(step, now);
        let at = &mut self.steps[step].durable;
        *at = now.min(*at);
    }

    pub fn refuse(&mut self, step: usize, now: usize) {
        self.steps[step].refused = now;
    }

    /// An opening has shown this state: what else was possible is so no more.
    pub fn expose(&mut self, state: Arc<State>, now: usize) -> usize {
        let refused = NEVER;
        self.steps.push(Step { state, begun: now, acknowledged: now, durable: now, refused });
        self.steps.len() - 1
    }

    pub fn begin_copy(&mut self, path: PathBuf, state: Arc<State>, now: usize) {
        self.copies.push(Copy { path, state, begun: now + 1, done: NEVER });
    }

    /// The newest copy is there.
    pub fn end_copy(&mut self, now: usize) {
        self.copies.last_mut().expect("a copy was begun").done = now;
    }

    pub fn copies(&self) -> impl Iterator<Item = &Copy> {
        self.copies.iter()
    }

    /// The states from the step `from` on, but for those that were refused.
    pub fn from(&self, from: usize) -> Vec<Arc<State>> {
        let rest = self.steps[from..].iter();
        rest.filter(|step| step.refused == NEVER).map(|step| step.state.clone()).collect()
    }

    /// What can be found after the first `cut` operations; `all_kept` if all of
    /// them reached the disk.
    pub fn possible(&self, cut: usize, all_kept: bool) -> Possible {
        let is_floor = |step: &Step| step.durable <= cut || all_kept && step.acknowledged <= cut;
        let floor = self.steps.iter().rposition(is_floor).unwrap_or(0);
        let rest = self.steps[floor..].iter();
        let can = rest.filter(|step| step.begun <= cut && step.refused > cut);
        let copies = self.copies.iter().filter(|copy| copy.begun <= cut);
        Possible {
            states: can.map(|step| step.state.clone()).collect(),
            copies: copies.map(|copy| (copy.clone(), copy.done <= cut)).collect(),
        }
    }
}
