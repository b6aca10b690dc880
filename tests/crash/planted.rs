//! Each of these bugs is found.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use minidb::planted::{self, Bug};

use crate::bugs::{self, DiskBug};
use crate::cuts::{Effort, Search, guarded};
use crate::faults::{Case, Plan};
use crate::player::Verdict;
use crate::random::Random;
use crate::support::cpu::on_cpu;
use crate::workload::Workload;
use crate::{damage, faults, is_hidden_until_synced, survive};

#[derive(Clone, Copy, Debug)]
enum Planted {
    InEngine(Bug),
    OnDisk(DiskBug),
}

const BUGS: [Planted; 32] = {
    use Planted::{InEngine, OnDisk};
    [
        InEngine(Bug::AcknowledgedBeforeSync),
        InEngine(Bug::PublishedBeforeSync),
        InEngine(Bug::PublishedAfterFailure),
        InEngine(Bug::FailedSyncForgotten),
        InEngine(Bug::ClearNotLogged),
        InEngine(Bug::HalfBatch),
        InEngine(Bug::DurableClaimed),
        InEngine(Bug::DurableIgnored),
        InEngine(Bug::TailKept),
        InEngine(Bug::RecordUnchecked),
        InEngine(Bug::SectorUnchecked),
        InEngine(Bug::RootUnchecked),
        InEngine(Bug::RootNotConfirmed),
        InEngine(Bug::FreedTooEarly),
        InEngine(Bug::RetiredTooEarly),
        InEngine(Bug::LapOverLive),
        InEngine(Bug::LogCutForOneRoot),
        InEngine(Bug::LogNotRenewed),
        InEngine(Bug::LogBegunTooEarly),
        InEngine(Bug::LogNamedTooEarly),
        InEngine(Bug::LogRemovedTooEarly),
        OnDisk(DiskBug::LogNotSynced),
        OnDisk(DiskBug::DataNotSynced),
        OnDisk(DiskBug::RootNotSynced),
        OnDisk(DiskBug::CopyNotSynced),
        OnDisk(DiskBug::FolderNotSynced),
        OnDisk(DiskBug::FailedSyncSucceeds),
        OnDisk(DiskBug::ShortWriteIsWhole),
        OnDisk(DiskBug::LastWriteAfterSync),
        OnDisk(DiskBug::EndOfLogNotRead),
        OnDisk(DiskBug::RootsReadOnce),
        OnDisk(DiskBug::NothingLocked),
    ]
};

fn plant(planted: Option<Planted>) {
    let (mut engine, mut disk) = (None, None);
    match planted {
        Some(Planted::InEngine(bug)) => engine = Some(bug),
        Some(Planted::OnDisk(bug)) => disk = Some(bug),
        None => {}
    }
    planted::plant(engine);
    bugs::plant(disk);
}

/// Each is found in less, of the time that its thread runs.
const LIMIT: Duration = Duration::from_secs(60);

/// In so many rounds each is found, mostly in the first: the chances are the same every
/// time, and on every machine.
const ROUNDS: u64 = 100;

/// Tries one thing after the other until something is wrong; says in which round.
fn look([long, short]: [&[Case]; 2]) -> Option<(u64, String)> {
    let effort = Effort { subsets: 3, randoms: 3, go_on: 2, nest: 50 };
    let seed = 3;
    println!("seed {seed}");
    let random = RefCell::new(Random::of(&[seed]));
    let pick = |from: &[Case]| from[random.borrow_mut().below(from.len())];
    type Try<'a> = (&'a str, u64, &'a dyn Fn(u64, &mut Search) -> Verdict);
    let tries: [Try; 5] = [
        ("hiding", 1, &|_, _| is_hidden_until_synced()),
        ("damage", 12, &damage::play),
        ("a failing call", 40, &|_, search| faults::play(&pick(short), 0, search)),
        ("a failing call of many", 50, &|_, search| faults::play(&pick(long), 4, search)),
        ("a random workload", 1, &|number, search| {
            survive(&Workload::random(number), Some(200), true, search)
        }),
    ];
    for round in 0..ROUNDS {
        for (name, times, case) in &tries {
            for number in round * times..(round + 1) * times {
                let mut search = Search::new(number, effort);
                if let Err(what) = guarded(|| case(number, &mut search)) {
                    return Some((round, format!("{name}, {:?}: {what}", search.cuts())));
                }
            }
        }
    }
    None
}

#[test]
fn planted_bugs_are_found() {
    let next = AtomicUsize::new(0);
    let [long, short] = [Plan::Long, Plan::Short].map(faults::cases);
    let long: Vec<Case> = long.into_iter().filter(Case::is_typical).collect();
    let missed = std::sync::Mutex::new(Vec::new());
    let work = || {
        while let Some(&bug) = BUGS.get(next.fetch_add(1, Relaxed)) {
            let start = on_cpu();
            plant(Some(bug));
            let found = look([&long, &short]);
            plant(None);
            let took = on_cpu() - start;
            match found {
                Some((round, what)) if took < LIMIT => {
                    let what = &what[..what.len().min(230)];
                    println!("{bug:?}: in round {round}, after {took:.2?}, {what}");
                }
                _ => missed.lock().unwrap().push((bug, took)),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not found in {LIMIT:?}: {missed:?}");
}
