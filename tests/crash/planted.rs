//! Each of these bugs is found.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use minidb::planted::{self, Bug};

use crate::bugs::{self, DiskBug};
use crate::cuts::{Effort, Search, guarded};
use crate::player::Verdict;
use crate::workload::Workload;
use crate::{damage, faults, is_hidden_until_synced, survive};

#[derive(Clone, Copy, Debug)]
enum Planted {
    InEngine(Bug),
    OnDisk(DiskBug),
}

const BUGS: [Planted; 30] = {
    use Planted::{InEngine, OnDisk};
    [
        InEngine(Bug::AcknowledgedBeforeSync),
        InEngine(Bug::ShownBeforeSync),
        InEngine(Bug::ShownAfterFailure),
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
        InEngine(Bug::LapOverLiving),
        InEngine(Bug::LogNotRenewed),
        InEngine(Bug::LogBegunTooEarly),
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

/// Tries one thing after the other until something is wrong.
fn look(cases: &[faults::Case], until: Instant) -> Option<String> {
    let effort = Effort { subsets: 4, randoms: 4, go_on: 2, nest: 50 };
    let cases: Vec<_> = cases.iter().filter(|case| case.is_typical()).collect();
    let mut failing = 0;
    let mut next_failing = |search: &mut Search| {
        failing += 7919;
        faults::play(cases[failing % cases.len()], 4, search)
    };
    let mut round = 0;
    while Instant::now() < until {
        let mut tried: [(&str, usize, &mut dyn FnMut(&mut Search) -> Verdict); 4] = [
            ("hiding", usize::from(round == 0), &mut |_| is_hidden_until_synced()),
            ("damage", 1, &mut |search| damage::play(round, search)),
            ("a failing call", 50, &mut next_failing),
            ("a random workload", 1, &mut |search| {
                survive(&Workload::random(round), Some(300), true, search)
            }),
        ];
        for (name, times, case) in &mut tried {
            for _ in 0..*times {
                let mut search = Search::new(round, effort);
                if let Err(what) = guarded(|| case(&mut search)) {
                    return Some(format!("{name}, {:?}: {what}", search.cuts()));
                }
            }
        }
        round += 1;
    }
    None
}

#[test]
fn planted_bugs_are_found() {
    let (next, cases) = (AtomicUsize::new(0), faults::cases());
    let missed = std::sync::Mutex::new(Vec::new());
    let work = || {
        while let Some(&bug) = BUGS.get(next.fetch_add(1, Relaxed)) {
            let start = Instant::now();
            plant(Some(bug));
            let found = look(&cases, start + Duration::from_secs(60));
            plant(None);
            let what = found.as_ref().map_or("nothing", |what| &what[..what.len().min(230)]);
            println!("{bug:?}: after {:.2?}, {what}", start.elapsed());
            if found.is_none() {
                missed.lock().unwrap().push(bug);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
