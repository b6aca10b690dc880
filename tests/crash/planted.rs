//! Each of these bugs is found.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use minidb::planted::{self, Bug};

use crate::bugs::{self, DiskBug};
use crate::cuts::{Effort, Search};
use crate::player::Verdict;
use crate::{faults, is_hidden_until_synced, random_workload};

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
    let effort = Effort { subsets: 6, randoms: 8, go_on: 2, nest: 20 };
    let guarded = |case: &dyn Fn(&mut Search) -> Verdict, number: u64| {
        let mut search = Search::new(number, effort);
        let looked = std::panic::AssertUnwindSafe(|| case(&mut search));
        let found = std::panic::catch_unwind(looked);
        match found {
            Ok(verdict) => verdict.err().map(|what| (what, search.cuts())),
            Err(_) => Some(("panicked".into(), search.cuts())),
        }
    };
    for round in 0.. {
        let number = round * 7919 % cases.len() as u64;
        let failing = &cases[number as usize];
        let tried: [(&str, &dyn Fn(&mut Search) -> Verdict, u64); 3] = [
            ("hiding", &|_| if round == 0 { is_hidden_until_synced() } else { Ok(()) }, 0),
            ("random workload", &|search| random_workload(round, search), round),
            ("failing call", &|search| faults::play(failing, 12, search), number),
        ];
        for (name, case, number) in tried {
            if let Some((what, cuts)) = guarded(case, number) {
                return Some(format!("{name} {number}, cuts {cuts:?}: {what}"));
            }
            if Instant::now() > until {
                return None;
            }
        }
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
