//! Runs the scenarios, each under many schedules, and counts these.

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::Instant;

use minidb::os::sim::{Fate, SimDisk};
use minidb::{DB, Options, PersistentDB};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

/// How many schedules there are of all scenarios together.
fn total() -> usize {
    if std::env::var_os("MINIDB_FULL").is_some() { 200_000 } else { 2_000 }
}

/// What happens, its share of the schedules in percent, and the code.
type Scenario = (&'static str, usize, fn());

const SCENARIOS: [Scenario; 15] = [
    ("commits share syncs, and readers see durable ones only", 10, crate::commits::group_commit),
    ("a sync fails for all who wait for it", 8, crate::commits::failed_sync),
    ("a write without space fails for its commits only", 8, crate::commits::full),
    ("checkpoints and commits in a log that laps", 4, crate::commits::checkpoints),
    ("commits without sync, syncs and checkpoints", 6, crate::commits::without_sync),
    ("writers wait for the checkpoints that are behind", 4, crate::commits::slowed),
    ("the last handle closes the file", 6, crate::closing::last_handle),
    ("snapshots go while others write and fold", 6, crate::views::snapshots),
    ("values change in place beside readers", 8, crate::views::in_place),
    ("a put is counted when it can be read", 6, crate::views::counts),
    ("transactions lose no increment", 8, crate::views::transactions),
    ("a long write is beside readers", 6, crate::views::long_writes),
    ("readers, turns and who is alone", 6, crate::locks::shared),
    ("handles are closed under those who use them", 8, crate::handles::closing),
    ("a handle is closed under a crowd", 6, crate::handles::crowded),
];

pub fn run() {
    assert_eq!(SCENARIOS.iter().map(|it| it.1).sum::<usize>(), 100);
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let chosen = SCENARIOS.iter().filter(|it| it.0.contains(&wanted));
    let queue = Mutex::new(chosen);
    let done = Mutex::new(0);
    let work = || {
        while let Some(scenario) = { queue.lock().unwrap().next() } {
            // The tables of handles are the process's: one scenario at a time uses them.
            static TABLES: Mutex<()> = Mutex::new(());
            let _tables = scenario.0.contains("handle").then(|| TABLES.lock().unwrap());
            // One that fails has printed its schedule.
            match std::panic::catch_unwind(|| check(scenario)) {
                Ok(count) => *done.lock().unwrap() += count,
                Err(_) => fail(scenario.0),
            }
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    println!("schedules: {} in all, 0 failed", done.into_inner().unwrap());
}

fn fail(name: &str) -> ! {
    eprintln!("FAILED: {name}");
    std::process::exit(1);
}

/// Runs a scenario; returns how often.
fn check((name, percent, body): &Scenario) -> usize {
    if let Ok(schedule) = std::env::var("MINIDB_SCHEDULE") {
        return under(ReplayScheduler::new_from_encoded(&schedule), *body);
    }
    let (begun, seed) = (Instant::now(), RandomState::new().hash_one(name));
    println!("{name}: SHUTTLE_RANDOM_SEED={seed}");
    let count = (total() * percent).div_ceil(100);
    let third = count.div_ceil(3);
    let mut done = under(RandomScheduler::new_from_seed(seed, third), *body);
    done += under(PctScheduler::new_from_seed(seed, 2, third), *body);
    done += under(PctScheduler::new_from_seed(seed, 4, third), *body);
    println!("{name}: {done} schedules in {:.1?}", begun.elapsed());
    done
}

fn under(scheduler: impl Scheduler + 'static, body: fn()) -> usize {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.silence_warnings = true; // of orders that are not SeqCst
    Runner::new(scheduler, config).run(body)
}

/// Runs each of the bodies in a thread of its own until all are done.
pub fn together(bodies: &[&(dyn Fn() + Sync)]) {
    shuttle::thread::scope(|scope| {
        for body in bodies {
            scope.spawn(*body);
        }
    });
}

pub fn options() -> Options {
    Options::new().no_threads()
}

pub fn open(disk: &SimDisk, options: Options) -> PersistentDB {
    PersistentDB::open_on(std::sync::Arc::new(disk.clone()), "db", options).unwrap()
}

/// What a thread knows to be durable, and when it learned that.
#[derive(Default)]
pub struct Known(Mutex<Vec<(usize, Vec<u8>)>>);

impl Known {
    /// Notes that now a key must be on disk.
    pub fn add(&self, disk: &SimDisk, key: &[u8]) {
        let now = disk.operations();
        self.0.lock().unwrap().push((now, key.to_vec()));
    }

    /// Verifies that, had the power gone at any of those moments, and with it all
    /// that was not synced, the keys known by then would be there.
    pub fn verify(self, disk: &SimDisk) {
        let known = self.0.into_inner().unwrap();
        let mut moments: Vec<_> = known.iter().map(|it| it.0).collect();
        moments.sort();
        moments.dedup();
        for moment in moments {
            let image = open(&disk.crash(moment, Fate::DropAll), options().read_only());
            for (_, key) in known.iter().filter(|it| it.0 <= moment) {
                let found = image.get(key).unwrap();
                assert!(found.is_some(), "{} would be lost", key.escape_ascii());
            }
        }
    }
}

/// All keys of a database, in order.
pub fn keys(db: &PersistentDB) -> Vec<Vec<u8>> {
    db.iter().unwrap().map(|entry| entry.unwrap().0).collect()
}
