//! Calls of the disk that fail, each in turn, and space that runs out.

use minidb::os::sim::{Call, Fault, SimDisk};

use crate::cuts::Search;
use crate::player::{Player, Verdict};
use crate::workload::{Op, Workload};

const ERRORS: [i32; 5] = [libc::EIO, libc::ENOSPC, libc::EINTR, libc::EMFILE, libc::EROFS];

/// What is played with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Everything that the engine does to files; then some cuts are looked at.
    Long,
    /// Little; then all cuts after the fault are looked at.
    Short,
}

/// A fault, and what the disk does besides.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub number: u64,
    plan: Plan,
    no_sync: bool,
    fault: Fault,
    /// Whether failed syncs lose what they should have made durable.
    loses: bool,
}

fn workload(plan: Plan, no_sync: bool) -> Workload {
    let reopen = Op::Reopen(no_sync);
    let short = [Op::Put(1, 40), Op::Checkpoint, Op::Put(2, 1100), Op::Put(1, 10), reopen];
    let long = vec![
        Op::Put(0, 30),
        Op::WriteAll(vec![(1, 5000), (2, 1100), (7, 40)]),
        Op::Sync,
        Op::Checkpoint,
        Op::Delete(2),
        Op::Snapshot,
        Op::Put(8, 70_000),
        Op::Backup,
        Op::Cas(1, true, Some(20)),
        Op::Checkpoint,
        Op::Put(3, 60_000),
        Op::Clear(8, 11),
        Op::Reopen(!no_sync),
        Op::Transact(vec![Op::Put(4, 300), Op::Clear(0, 3), Op::Delete(7), Op::Put(2, 1400)]),
        Op::WriteAll(vec![(1, 2000), (5, 700)]),
        Op::Sync,
        Op::Put(3, 10),
        Op::Reopen(no_sync),
        Op::Put(6, 1),
    ];
    let ops = if plan == Plan::Long { long } else { short.to_vec() };
    Workload { seed: 0, no_sync, checkpoint_bytes: 1 << 14, ops }
}

/// How many calls the workload makes of the disk.
fn calls(plan: Plan, no_sync: bool) -> u64 {
    let workload = workload(plan, no_sync);
    let disk = SimDisk::new(1);
    let mut player = Player::new(disk.clone(), &workload);
    player.run(&workload.ops).expect("nothing fails");
    disk.calls()
}

/// Every call of a workload, with and without sync, failing in every way; for the
/// short one, in the ways that differ most.
pub fn cases(plan: Plan) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |no_sync, fault, loses| {
        cases.push(Case { number: cases.len() as u64, plan, no_sync, fault, loses });
    };
    for no_sync in [false, true] {
        for at in 0..calls(plan, no_sync) {
            for forever in [false, true] {
                let fault = Fault { at, errno: 0, forever, kinds: Call::ALL, short: false };
                let few = if plan == Plan::Long { ERRORS.len() } else { 2 };
                for errno in ERRORS.into_iter().take(few) {
                    // Nothing is interrupted for ever.
                    if errno != libc::EINTR || !forever {
                        add(no_sync, Fault { errno, ..fault }, false);
                        add(no_sync, Fault { errno, ..fault }, true);
                    }
                }
                let kinds = &[Call::ReadSome, Call::WriteSome];
                add(no_sync, Fault { kinds, short: true, ..fault }, false);
                add(no_sync, Fault { kinds, short: true, errno: libc::ENOSPC, ..fault }, false);
            }
        }
    }
    cases
}

impl Case {
    /// Whether it says how bugs show, as good as its like.
    pub fn is_typical(&self) -> bool {
        matches!(self.fault.errno, 0 | libc::EIO | libc::ENOSPC)
    }
}

/// Plays the workload with a fault, and on when all is well again; then the
/// power is lost: at `cuts` moments, half of them after that, some of the others
/// after the failure.
pub fn play(case: &Case, cuts: usize, search: &mut Search) -> Verdict {
    let workload = workload(case.plan, case.no_sync);
    let disk = SimDisk::new(case.number);
    disk.lose_after_failed_sync(case.loses);
    disk.fail(case.fault);
    let mut player = Player::new(disk, &workload);
    player.faulty = case.fault.errno != 0;
    player.run(&workload.ops).map_err(|what| format!("{case:?}: {what}"))?;
    let healed = player.disk.operations();
    player.heal().map_err(|what| format!("{case:?}: {what}"))?;
    player.play(&Op::Put(4, 800))?;
    player.close()?;
    let hurt = player.hurt.unwrap_or(0);
    if case.plan == Plan::Short {
        return search.all(&player, hurt).map_err(|what| format!("{case:?}: {what}"));
    }
    [(0, cuts / 4), (hurt, cuts / 4), (healed, cuts / 2)]
        .iter()
        .try_for_each(|&(first, count)| search.some(&player, first, count))
        .map_err(|what| format!("{case:?}: {what}"))
}

/// How much space the workload wants.
pub fn space() -> u64 {
    let workload = workload(Plan::Long, false);
    let mut player = Player::new(SimDisk::new(1), &workload);
    player.run(&workload.ops).expect("nothing fails");
    let names = player.disk.names();
    names.iter().filter_map(|name| player.disk.contents(name)).map(|it| it.len() as u64).sum()
}

/// Plays the workload on a disk with so much space, and on with more.
pub fn fill(space: u64, no_sync: bool, cuts: usize, search: &mut Search) -> Verdict {
    let workload = workload(Plan::Long, no_sync);
    let disk = SimDisk::new(space);
    disk.set_space(space);
    let mut player = Player::new(disk.clone(), &workload);
    player.faulty = true;
    player.only_full = true;
    player.run(&workload.ops)?;
    disk.set_space(u64::MAX);
    player.faulty = false;
    // Not opened again first, if it was open.
    player.play(&Op::Put(4, 800))?;
    player.play(&Op::Put(4, 9000))?;
    player.play(&Op::Checkpoint)?;
    player.close()?;
    player.open()?;
    search.some(&player, 0, cuts)
}
