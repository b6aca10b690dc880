//! Losing the power, and calls that fail, on a simulated disk.
//!
//! Workloads run once; then the power is lost after each operation of the disk,
//! and what had not been synced by then is there or not, in many ways. Of every
//! image the database must come up, with all that was acknowledged and nothing
//! that was not begun, and go on from there. See [`history`] for what is right,
//! [`cuts`] for what is tried, [`faults`] for calls that fail, [`planted`] for
//! what shows that all this would find bugs.
//!
//! MINIDB_CRASH_IMAGES is how many images of random workloads are looked at, with
//! MINIDB_FULL set
//! 1,200,000; MINIDB_CRASH_SEED the first seed. A failure names
//! what replays it.

mod bugs;
mod cuts;
mod damage;
mod faults;
mod history;
mod planted;
mod player;
mod random;
mod runner;
#[path = "../support/mod.rs"]
mod support;
mod workload;

use std::sync::Arc;

use minidb::os::sim::SimDisk;
use minidb::{DB, PersistentDB};

use bugs::DiskBug;
use cuts::Effort;
use faults::Plan;
use player::{Player, Verdict};
use runner::{Runner, setting};
use workload::{Op, Workload, rows};

/// Plays a workload, and looks at all its cuts, or at so many; if `opening`, at
/// those while it is opened first, too.
fn survive(
    workload: &Workload,
    some: Option<usize>,
    opening: bool,
    search: &mut cuts::Search,
) -> Verdict {
    let mut player = Player::new(SimDisk::new(workload.seed), workload);
    player.open()?;
    let first = if opening { 0 } else { player.disk.operations() };
    player.run(&workload.ops).map_err(|what| format!("{what}, in {workload:?}"))?;
    player.close()?;
    let looked = match some {
        None => search.all(&player, first),
        Some(count) => search.some(&player, first, count),
    };
    looked.map_err(|what| format!("{what}, in {workload:?}"))
}

fn random_workload(seed: u64, search: &mut cuts::Search) -> Verdict {
    survive(&Workload::random(seed), None, true, search)
}

#[test]
fn random_workloads_survive_the_loss_of_power() {
    let images = setting("MINIDB_CRASH_IMAGES", if runner::in_full() { 1_200_000 } else { 5_000 });
    let first = setting("MINIDB_CRASH_SEED", 1);
    let effort = Effort { subsets: 8, randoms: 8, go_on: 4, nest: 100 };
    Runner::new("random_workloads", effort).until(images, first, random_workload);
}

/// All rows of up to so many operations.
fn short_workloads(longest: usize) -> Vec<Workload> {
    let ops = [
        Op::Put(1, 40),
        Op::Delete(1),
        Op::WriteAll(vec![(1, 2000), (2, 10)]),
        Op::Sync,
        Op::Checkpoint,
        Op::Reopen(false),
    ];
    let rows = (0..=longest).flat_map(|len| rows(&ops, len));
    let both = rows.flat_map(|row| [(row.clone(), false), (row, true)]);
    let workload = |(seed, (mut ops, no_sync)): (u64, (Vec<Op>, bool))| {
        for op in &mut ops {
            *op = if matches!(op, Op::Reopen(_)) { Op::Reopen(no_sync) } else { op.clone() };
        }
        Workload { seed, no_sync, checkpoint_bytes: 1 << 20, ops }
    };
    (0..).zip(both).map(workload).collect()
}

#[test]
fn all_short_workloads_survive_every_loss_of_power() {
    let workloads = short_workloads(if runner::in_full() { 3 } else { 1 });
    let effort =
        Effort { subsets: if runner::in_full() { 10 } else { 5 }, randoms: 3, go_on: 8, nest: 100 };
    Runner::new("all_short_workloads", effort).all(workloads.len() as u64, |number, search| {
        let workload = &workloads[number as usize];
        survive(workload, None, workload.ops.is_empty(), search)
    });
}

#[test]
fn a_call_that_fails_does_no_harm() {
    let effort = Effort { subsets: 0, randoms: 0, go_on: 4, nest: 100 };
    fail("a_call_that_fails", Plan::Long, if runner::in_full() { 1 } else { 41 }, effort);
}

#[test]
fn after_a_call_that_failed_the_power_may_fail_at_any_time() {
    let effort = Effort { subsets: 3, randoms: 2, go_on: 8, nest: 200 };
    fail("after_a_call_that_failed", Plan::Short, if runner::in_full() { 1 } else { 41 }, effort);
}

/// Tries one in `step` of the ways to fail a call.
fn fail(name: &'static str, plan: Plan, step: u64, effort: Effort) {
    let cases = faults::cases(plan);
    println!("{name}: of {} ways to fail a call, one in {step} is tried", cases.len());
    Runner::new(name, effort).all(cases.len() as u64 / step, |number, search| {
        faults::play(&cases[(number * step) as usize], 12, search)
    });
}

#[test]
fn a_disk_that_is_full_is_refused_and_used_again() {
    let step = if runner::in_full() { 512 } else { 16_384 };
    let effort = Effort { subsets: 0, randoms: 0, go_on: 4, nest: 100 };
    let cases = 2 * (2 * faults::space() / step);
    Runner::new("a_disk_that_is_full", effort)
        .all(cases, |number, search| faults::fill(number / 2 * step, number % 2 == 1, 12, search));
}

#[test]
fn damage_is_found() {
    let cases = if runner::in_full() { 1_000 } else { 30 };
    let effort = Effort { subsets: 0, randoms: 0, go_on: 1, nest: 1 };
    Runner::new("damage", effort).all(cases, damage::play);
}

fn is_hidden_until_synced() -> Verdict {
    let disk = SimDisk::new(1);
    let workload = Workload { seed: 0, no_sync: false, checkpoint_bytes: 1 << 20, ops: vec![] };
    let other = bugs::plant(Some(DiskBug::Watched));
    let mut player = Player::new(disk, &workload);
    player.open()?;
    let db: PersistentDB = player.database().clone();
    let seen: Arc<std::sync::Mutex<Vec<_>>> = Arc::default();
    let sees = seen.clone();
    let look = move || {
        let value = db.get(b"a").unwrap();
        sees.lock().unwrap().push((value.map(|it| it.len()), db.count().unwrap()));
    };
    bugs::watch(Some(Box::new(look)));
    let done = player.play(&Op::Put(1, 10)).and_then(|()| player.play(&Op::Put(1, 20)));
    let done = done.and_then(|()| player.play(&Op::Delete(1)));
    bugs::watch(None);
    bugs::plant(other);
    done?;
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let expected = [(None, 0), (Some(10), 1), (Some(20), 1)];
    if seen == expected { Ok(()) } else { Err(format!("while syncing there is {seen:?}")) }
}

#[test]
fn nothing_is_shown_before_it_is_on_disk() {
    is_hidden_until_synced().unwrap();
}
