//! Many cases on all processors, until one fails.

use std::env;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use crate::cuts::{Effort, Search, Tally, parse_cuts};
use crate::player::Verdict;

/// A number from the environment.
pub fn setting<T: FromStr<Err: Debug>>(name: &str, default: T) -> T {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{name}={text}"));
    env::var(name).map_or(default, parse)
}

pub fn in_full() -> bool {
    env::var_os("MINIDB_FULL").is_some()
}

pub struct Runner {
    name: &'static str,
    effort: Effort,
}

impl Runner {
    pub fn new(name: &'static str, effort: Effort) -> Runner {
        Runner { name, effort }
    }

    /// Cases from `first` on, until there were so many images.
    pub fn until(
        &self,
        images: u64,
        first: u64,
        case: impl Fn(u64, &mut Search) -> Verdict + Sync,
    ) {
        self.run(first, |tally, _| tally.images < images, case);
    }

    /// Cases 0 to `count`.
    pub fn all(&self, count: u64, case: impl Fn(u64, &mut Search) -> Verdict + Sync) {
        self.run(0, |_, number| number < count, case);
    }

    fn run(
        &self,
        first: u64,
        more: impl Fn(Tally, u64) -> bool + Sync,
        case: impl Fn(u64, &mut Search) -> Verdict + Sync,
    ) {
        if let Ok(number) = env::var("MINIDB_CRASH_CASE") {
            return self.replay(number.parse().expect("a case is a number"), case);
        }
        let (start, next) = (Instant::now(), AtomicU64::new(first));
        let (tally, failure) = (Mutex::new(Tally::default()), Mutex::new(None));
        let work = || {
            loop {
                let number = next.fetch_add(1, Relaxed);
                if !more(*tally.lock().unwrap(), number) || failure.lock().unwrap().is_some() {
                    break;
                }
                let mut search = Search::new(number, self.effort);
                let verdict = case(number, &mut search);
                tally.lock().unwrap().add(search.tally);
                if let Err(what) = verdict {
                    failure.lock().unwrap().get_or_insert((number, search.cuts(), what));
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
        });
        let (tally, seconds) = (tally.into_inner().unwrap(), start.elapsed().as_secs_f64());
        println!(
            "{}, from {first} on: {} images of a crash, {} of them nested, {:.0} a second",
            self.name,
            tally.images,
            tally.nested,
            tally.images as f64 / seconds
        );
        if let Some((number, cuts, what)) = failure.into_inner().unwrap() {
            let name = self.name;
            panic!(
                "{what}\nMINIDB_CRASH_CASE={number} MINIDB_CRASH_CUTS='{cuts}' \
                 cargo test --test crash {name}"
            );
        }
    }

    fn replay(&self, number: u64, case: impl Fn(u64, &mut Search) -> Verdict) {
        let mut search = Search::new(number, self.effort);
        if let Ok(cuts) = env::var("MINIDB_CRASH_CUTS") {
            search.only = Some(parse_cuts(&cuts).expect("cuts are as a failure names them"));
        }
        let verdict = case(number, &mut search);
        println!("{} case {number}, {:?}: {verdict:?}", self.name, search.tally);
        verdict.expect("it fails no more");
    }
}
