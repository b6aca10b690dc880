//! Calls of the disk that fail, each in turn, and space that runs out.

use minidb::os::sim::{Call, Fault, SimDisk};

use crate::cuts::Search;
use crate::player::{Player, Verdict};
use crate::workload::{Op, Workload};

const ERRORS: [i32; 5] = [libc::EIO, libc::ENOSPC, libc::EINTR, libc::EMFILE, libc::EROFS];

/// A fault, and what the disk does besides.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub number: u64,
    no_sync: bool,
    fault: Fault,
    /// Whether failed syncs lose what they should have made durable.
    loses: bool,
}

/// Has everything in it that the engine does to files.
fn workload(no_sync: bool) -> Workload {
    let ops = vec![
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
    Workload { seed: 0, no_sync, checkpoint_bytes: 1 << 14, ops }
}

/// How many calls the workload makes of the disk.
fn calls(no_sync: bool) -> u64 {
    let workload = workload(no_sync);
    let disk = SimDisk::new(1);
    let mut player = Player::new(disk.clone(), &workload);
    player.run(&workload.ops).expect("nothing fails");
    disk.calls()
}

/// Every call of the workload, with and without sync, failing in every way.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |no_sync, fault, loses| {
        cases.push(Case { number: cases.len() as u64, no_sync, fault, loses });
    };
    for no_sync in [false, true] {
        for at in 0..calls(no_sync) {
            for forever in [false, true] {
                let fault = Fault { at, errno: 0, forever, kinds: Call::ALL, short: false };
                for errno in ERRORS {
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
/// power is lost `cuts` times, half of them after that.
pub fn play(case: &Case, cuts: usize, search: &mut Search) -> Verdict {
    let workload = workload(case.no_sync);
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
    [0, healed]
        .iter()
        .try_for_each(|&first| search.some(&player, first, cuts / 2))
        .map_err(|what| format!("{case:?}: {what}"))
}

/// How much space the workload wants.
pub fn space() -> u64 {
    let workload = workload(false);
    let mut player = Player::new(SimDisk::new(1), &workload);
    player.run(&workload.ops).expect("nothing fails");
    let names = player.disk.names();
    names.iter().filter_map(|name| player.disk.contents(name)).map(|it| it.len() as u64).sum()
}

/// Plays the workload on a disk with so much space, and on with more.
pub fn fill(space: u64, no_sync: bool, cuts: usize, search: &mut Search) -> Verdict {
    let workload = workload(no_sync);
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
