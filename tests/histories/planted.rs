//! The checker is checked: histories that cannot be, next to ones that can, and
//! stores that are not honest.

use minidb::planted::Bug;

use super::checker::check;
use super::history::{Op, parse};
use super::play::{Ends, play};
use super::store::{Store, Transactions};
use super::support::databases;
use super::{history, setting_of};

/// Histories as their files have them, but for `;` where a line ends and `|` between
/// threads; what is in flight has died at 1000.
const POSSIBLE: [(&str, &str); 11] = [
    ("nothing", ""),
    ("reads beside a write may see either", "done 1 9 0:1; | done 2 3 0=0; done 4 5 0=1;"),
    ("one cas of two", "done 1 9 0=0 0:1; | done 2 8 0!0;"),
    ("a value that was deleted", "done 1 2 0:1; done 3 4 0=1 0:0; done 5 6 0=0;"),
    ("two transactions in a row", "done 1 9 0=0 1:1; | done 2 8 1=1 0:2;"),
    ("a snapshot is older than what is there", "done 1 9 0=0 1=0; | done 2 3 0:1;"),
    ("what was in flight has happened", "begun 1 2 0:1; | done 2000 2001 0=1;"),
    ("what was in flight has not happened", "begun 1 2 0:1; | done 2000 2001 0=0;"),
    ("a count beside a write may be either", "done 1 9 0:1; | done 2 3 #0; done 4 5 #1;"),
    ("a count is of one moment", "done 1 2 0:1; | done 3 9 0:0 1:1; | done 4 8 #1;"),
    ("a line that was cut off", "done 1 2 0:1; done 3 4 0"),
];

const IMPOSSIBLE: [(&str, &str); 21] = [
    ("a read of what nobody has written", "done 1 2 0=7;"),
    ("a stale read", "done 1 2 0:1; | done 3 4 0=0;"),
    ("a read that goes back", "done 1 9 0:1; | done 2 3 0=1; done 4 5 0=0;"),
    ("a key that is not counted yet", "done 1 9 0:1; | done 2 3 0=1; done 4 5 #0;"),
    ("a count that goes back", "done 1 9 0:1; | done 2 3 #1; done 4 5 0=0;"),
    ("a count of half a transaction", "done 1 9 0:1 1:1; | done 2 8 #1;"),
    ("two orders of two writes", "done 1 2 0:1; | done 1 2 0:2; | done 3 4 0=1; done 5 6 0=2;"),
    ("two cas have won", "done 1 9 0=0 0:1; | done 2 8 0=0 0:2;"),
    ("a cas has failed without reason", "done 1 2 0:1; | done 3 4 0!1;"),
    ("a dirty read", "done 2 3 0=1; | done 1 9 0=0;"),
    ("a lost update", "done 1 2 0:1; | done 3 9 0=1 0:2; | done 4 8 0=1 0:3;"),
    ("a read that is not repeatable", "done 1 9 0=0 0=1; | done 2 3 0:1;"),
    ("read skew", "done 1 9 0=0 1=2; | done 2 3 0:1 1:2;"),
    ("write skew", "done 1 9 0=0 1=0 0:1; | done 2 8 0=0 1=0 1:2;"),
    ("a count that others have changed", "done 1 9 #0 0:1; | done 2 8 #0 1:1;"),
    ("a phantom", "done 1 9 0=0 1=0 2=0 3:1; | done 2 8 1=0 2=0 3=0 1:2;"),
    ("a transaction of which half is there", "done 1 2 0:1 1:2; | done 3 4 0=1 1=0;"),
    (
        "the anomaly of a reader",
        "done 1 20 0=0 1=0 0:1; | done 2 3 1=0 1:2; | done 4 5 0=0 1=2; | done 21 22 0=1;",
    ),
    ("a write that a crash has lost", "done 1 2 0:1; | done 2000 2001 0=0;"),
    (
        "what was in flight is seen, then gone",
        "begun 1 2 0:1; | done 5 6 0=1; | done 2000 2001 0=0;",
    ),
    ("what was in flight comes later", "begun 1 2 0:1; | done 2000 2001 0=0; done 2002 2003 0=1;"),
];

fn read(text: &str) -> Vec<Op> {
    text.split('|').flat_map(|thread| parse(&thread.trim().replace(';', "\n"), 1000)).collect()
}

pub fn by_hand() {
    for (what, text) in POSSIBLE {
        check(&read(text)).unwrap_or_else(|why| panic!("{what}: {why}"));
    }
    for (what, text) in IMPOSSIBLE {
        assert!(check(&read(text)).is_err(), "it is not found: {what}");
    }
}

/// Histories until the checker finds something, and how many those were.
fn until_found(transactions: Transactions, seed: u64) -> (u64, String) {
    for n in 0..3_000 {
        let store = Store { db: databases::memory(), transactions };
        let setting = setting_of(seed + n);
        let ops = history(|tape| play(&store, setting, &Ends::default(), tape));
        if let Err(why) = check(&ops) {
            return (n + 1, why);
        }
    }
    panic!("{transactions:?}: nothing is found in 3000 histories, the first with seed {seed}")
}

pub fn weak_transactions() {
    let bugs = [Bug::CountNotValidated, Bug::CountedNotRead].map(Transactions::Planted);
    let weak = [Transactions::NothingIsValidated, Transactions::RangesAreNotValidated];
    for weak in weak.into_iter().chain(bugs) {
        let (histories, why) = until_found(weak, super::seed());
        let why = why.lines().next().unwrap_or_default();
        println!("{weak:?} is found after {histories} histories: {why}");
    }
}
