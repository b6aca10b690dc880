//! Histories of real threads, recorded and checked: each must be one that single
//! calls and transactions could have had one after the other, in an order that
//! agrees with the clock.
//!
//! MINIDB_HISTORIES is their number (2,000 with MINIDB_FULL set, else 100), and
//! MINIDB_HISTORIES_SEED what they begin with; what threads do at the same time
//! is not repeated by it.

mod checker;
mod history;
mod kill;
mod planted;
mod play;
mod store;
#[path = "../support/mod.rs"]
mod support;

use std::env;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use checker::check;
use history::{Op, Tape};
use minidb::Options;
use minidb::os::sim::Random;
use play::{Calls, Ends, Setting, play};
use store::{Store, Transactions};
use support::databases;
use support::folder::Folder;

/// This is its own `main`, since it is also the child that is killed.
fn main() {
    if let Ok(orders) = env::var(kill::CHILD) {
        return kill::child(&orders);
    }
    let tests: [(&str, fn()); 6] = [
        ("the checker tells what can be from what cannot", planted::by_hand),
        ("transactions that are not validated are found", planted::weak_transactions),
        ("in memory", in_memory),
        ("seen entries are counted", counted_in_memory),
        ("in files", in_files),
        ("across kill -9", across_kills),
    ];
    let wanted = env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(&wanted)) {
        let begun = Instant::now();
        test();
        println!("{name}: ok ({:.1} s)", begun.elapsed().as_secs_f64());
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// The seed of this run; printed when it is first asked for.
fn seed() -> u64 {
    static SEED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *SEED.get_or_init(|| {
        let time = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |it| it.as_secs());
        let seed = setting("MINIDB_HISTORIES_SEED").unwrap_or_else(time);
        println!("MINIDB_HISTORIES_SEED={seed}");
        seed
    })
}

/// So many of a hundred histories.
fn part(percent: u64) -> u64 {
    let all = if env::var_os("MINIDB_FULL").is_some() { 2_000 } else { 100 };
    (setting("MINIDB_HISTORIES").unwrap_or(all) * percent).div_ceil(100)
}

/// How a history with all calls is played.
fn setting_of(seed: u64) -> Setting {
    let mut rng = Random::new(seed);
    let threads = (0, 2 + rng.below(7));
    Setting { seed, threads, rounds: 5 + rng.below(21), calls: Calls::All }
}

/// What the threads of a play have noted.
fn history(play: impl FnOnce(fn(u64) -> Tape) -> Vec<Tape>) -> Vec<Op> {
    play(|_| Tape::in_memory()).into_iter().flat_map(|tape| tape.ops).collect()
}

fn expect_possible(ops: &[Op], seed: u64) {
    check(ops).unwrap_or_else(|why| panic!("the history with seed {seed} cannot be: {why}"));
}

fn checked(store: &Store, setting: Setting, ends: &Ends) -> usize {
    let ops = history(|tape| play(store, setting, ends, tape));
    expect_possible(&ops, setting.seed);
    ops.len()
}

/// Plays so many histories, and more until `what` has happened in one: how soon,
/// depends on the machine.
fn until(count: u64, what: &str, mut has_happened: impl FnMut(u64) -> bool) -> u64 {
    let mut ever = false;
    for n in 0..count + 2_000 {
        ever |= has_happened(n);
        if ever && n + 1 >= count {
            return n + 1;
        }
    }
    panic!("{what} never")
}

fn in_memory() {
    let (mut ops, ends) = (0, Ends::default());
    let count = until(part(65), "transactions meet", |n| {
        let store = Store { db: databases::memory(), transactions: Transactions::Honest };
        ops += checked(&store, setting_of(seed() + n), &ends);
        ends.conflicts.load(Ordering::Relaxed) > 0
    });
    println!("{count} histories, {ops} operations; transactions: {ends:?}");
}

/// A thread that puts, and one that counts: until many keys were counted as soon as they
/// came, or there were many more histories, since one processor alone seldom gets there.
fn counted_in_memory() {
    let (mut ops, ends) = (0, Ends::default());
    let (least, most, wanted) = (part(20), part(400), part(5_000));
    let enough = |count| count >= least && ends.met.load(Ordering::Relaxed) >= wanted;
    let mut count = 0;
    while count < most && !enough(count) {
        let store = Store { db: databases::memory(), transactions: Transactions::Honest };
        let (seed, calls) = (seed() + count, Calls::Single);
        let setting = Setting { seed, threads: (0, 2), rounds: 900, calls };
        ops += checked(&store, setting, &ends);
        count += 1;
    }
    let met = ends.met.into_inner();
    println!("{count} histories, {ops} operations, {met} keys counted as they came");
}

fn in_files() {
    let (count, ends) = (part(25), Ends::default());
    let mut ops = 0;
    for n in 0..count {
        let folder = Folder::new("histories");
        let options = Options::new().checkpoint_bytes(10_000);
        let options = if n % 3 > 0 { options.no_sync() } else { options };
        let db = databases::file(&folder.file("a.minidb"), options);
        let store = Store { db, transactions: Transactions::Honest };
        ops += checked(&store, setting_of(seed() + n), &ends);
    }
    println!("{count} histories, {ops} operations; transactions: {ends:?}");
}

fn across_kills() {
    let (mut ops, mut in_flight) = (0, 0);
    let count = until(part(10), "calls are killed", |n| {
        let folder = Folder::new("histories-killed");
        let history = kill::history(folder.path(), seed() + n, n % 3 > 0);
        expect_possible(&history, seed() + n);
        ops += history.len();
        in_flight += history.iter().filter(|op| op.in_flight).count();
        in_flight > 0
    });
    println!("{count} histories, {ops} operations, {in_flight} of them in flight at a kill");
}
