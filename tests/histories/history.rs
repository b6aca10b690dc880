//! Histories: what was called when, and what came of it.
//!
//! An operation is what a call, or a transaction as a whole, has looked at and
//! written, as one list of steps, and the time in which that must have happened
//! at one moment. Times are of the one monotonic clock of the machine, so those
//! of several processes compare.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Keys are numbers below this.
pub const KEYS: usize = 6;

/// A value; 0 is none. Each is written once in a history.
pub type Value = u16;

/// What is stored, by key.
pub type State = [Value; KEYS];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The key was seen to have the value.
    Is(usize, Value),
    /// The key was seen not to have it.
    IsNot(usize, Value),
    /// So many keys were seen to have values.
    Count(usize),
    Set(usize, Value),
}

use Step::{Count, Is, IsNot, Set};

/// The number of keys that have values.
pub fn count(state: State) -> usize {
    state.iter().filter(|value| **value != 0).count()
}

/// An operation, which took effect at one moment between two times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    pub invoked: u64,
    pub returned: u64,
    /// Its end was not seen: perhaps it never happened.
    pub in_flight: bool,
    pub steps: Vec<Step>,
}

impl Op {
    pub fn is_read(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step, Set(..)))
    }

    /// Makes its steps, if it has seen what there is.
    pub fn apply(&self, mut state: State) -> Option<State> {
        for step in &self.steps {
            match *step {
                Is(key, value) if state[key] != value => return None,
                IsNot(key, value) if state[key] == value => return None,
                Count(seen) if count(state) != seen => return None,
                Set(key, value) => state[key] = value,
                _ => {}
            }
        }
        Some(state)
    }
}

/// As a line of a file: `done 10 20 0=7 1!8 #3 2:9`, or `begun` for what is about
/// to be called, of which the steps say what it may do.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.in_flight { "begun" } else { "done" };
        write!(f, "{what} {} {}", self.invoked, self.returned)?;
        self.steps.iter().try_for_each(|step| match step {
            Is(key, value) => write!(f, " {key}={value}"),
            IsNot(key, value) => write!(f, " {key}!{value}"),
            Count(count) => write!(f, " #{count}"),
            Set(key, value) => write!(f, " {key}:{value}"),
        })
    }
}

fn parse_step(text: &str) -> Option<Step> {
    if let Some(count) = text.strip_prefix('#') {
        return Some(Count(count.parse().ok()?));
    }
    let at = text.find(['=', '!', ':'])?;
    let (key, value) = (text[..at].parse().ok()?, text[at + 1..].parse().ok()?);
    Some(match text.as_bytes()[at] {
        b'=' => Is(key, value),
        b'!' => IsNot(key, value),
        _ => Set(key, value),
    })
}

fn parse_line(line: &str) -> Option<Op> {
    let mut words = line.split_whitespace();
    let in_flight = words.next()? == "begun";
    let (invoked, returned) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let steps = words.map(parse_step).collect::<Option<_>>()?;
    Some(Op { invoked, returned, in_flight, steps })
}

/// The operations that one thread has noted; what it had begun when it died, at
/// `died`, is in flight.
pub fn parse(text: &str, died: u64) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    // The last line may lack its end.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let op = parse_line(line).unwrap_or_else(|| panic!("not an operation: {line}"));
        if !op.in_flight && ops.last().is_some_and(|last| last.in_flight) {
            ops.pop();
        }
        ops.push(op);
    }
    for op in ops.iter_mut().filter(|op| op.in_flight) {
        op.returned = died;
    }
    ops
}

/// Half nanoseconds of the machine's monotonic clock, an even number. What ends by `now()`
/// is before what begins by `now() | 1`, if both are the same look at the clock.
#[allow(unsafe_code)] // that of std cannot be compared between processes
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a variable.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) }, 0);
    (time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64) * 2
}

/// The time at which something has ended; the clock may still show it when another thing
/// begins, on another thread, and then neither was first.
pub fn ended() -> u64 {
    now() | 1
}

/// Where one thread notes what it does: in memory, or in a file that outlives it.
pub struct Tape {
    pub ops: Vec<Op>,
    file: Option<File>,
}

impl Tape {
    pub fn in_memory() -> Tape {
        Tape { ops: Vec::new(), file: None }
    }

    pub fn in_file(path: &Path) -> Tape {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Tape { ops: Vec::new(), file: Some(file.expect("the folder can be written")) }
    }

    fn note(&mut self, op: Op) {
        match &mut self.file {
            Some(file) => file.write_all(format!("{op}\n").as_bytes()).expect("it can be written"),
            None => self.ops.push(op),
        }
    }

    /// Runs a call that may write: `intent` is what it may do, and what it says
    /// it has done is noted.
    pub fn write<T>(&mut self, intent: Vec<Step>, call: impl FnOnce() -> (T, Vec<Step>)) -> T {
        let invoked = now();
        if self.file.is_some() {
            self.note(Op { invoked, returned: u64::MAX, in_flight: true, steps: intent });
        }
        let (result, steps) = call();
        self.read((invoked, ended()), steps);
        result
    }

    /// Notes what was seen within a time, or done.
    pub fn read(&mut self, (invoked, returned): (u64, u64), steps: Vec<Step>) {
        self.note(Op { invoked, returned, in_flight: false, steps });
    }
}
