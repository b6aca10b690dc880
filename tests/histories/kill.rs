//! Histories across kill -9: a child of this program plays on a database in a
//! file until it is killed, and another one goes on with what is found then.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use minidb::Options;
use minidb::os::sim::Random;

use super::history::Step::Is;
use super::history::{KEYS, Op, Tape, ended, now, parse};
use super::play::{Calls, Ends, Setting, play};
use super::store::{Store, Transactions};
use super::support::databases;

/// Tells this program that it is the child, and what it is to do.
pub const CHILD: &str = "MINIDB_HISTORIES_CHILD";

/// What a child plays, unless it is killed: mostly several times what is noted by
/// then, never less, and no more than a thread has values for.
const ROUNDS: u64 = 80;

/// For so long a child may note nothing.
const LONG: Duration = Duration::from_secs(60);

/// What a child is told.
struct Orders {
    folder: PathBuf,
    seed: u64,
    /// Its first thread, and how many.
    threads: (u64, u64),
    no_sync: bool,
}

impl Orders {
    fn write(&self) -> String {
        let (first, threads) = self.threads;
        format!("{} {first} {threads} {} {}", self.seed, self.no_sync, self.folder.display())
    }

    fn read(text: &str) -> Option<Orders> {
        let mut words = text.splitn(5, ' ');
        Some(Orders {
            seed: words.next()?.parse().ok()?,
            threads: (words.next()?.parse().ok()?, words.next()?.parse().ok()?),
            no_sync: words.next()?.parse().ok()?,
            folder: PathBuf::from(words.next()?),
        })
    }

    fn tape(&self, thread: u64) -> PathBuf {
        self.folder.join(format!("thread-{thread}"))
    }

    /// How much the threads have noted.
    fn noted(&self) -> u64 {
        let (first, threads) = self.threads;
        let len = |thread| std::fs::metadata(self.tape(thread)).map_or(0, |it| it.len());
        (first..first + threads).map(len).sum()
    }

    fn store(&self) -> Store {
        let options = Options::new().checkpoint_bytes(4_000);
        let options = if self.no_sync { options.no_sync() } else { options };
        let db = databases::file(&self.folder.join("killed.minidb"), options);
        Store { db, transactions: Transactions::Honest }
    }
}

/// Notes all that is there.
fn look_at_all(store: &Store, tape: &mut Tape) {
    let invoked = now();
    let state = store.scan(0, KEYS, false);
    tape.read((invoked, ended()), (0..KEYS).map(|n| Is(n, state[n])).collect());
}

/// Plays until it is killed.
pub fn child(orders: &str) {
    let orders = Orders::read(orders).expect("the parent says what to do");
    let store = orders.store();
    let first = orders.threads.0;
    look_at_all(&store, &mut Tape::in_file(&orders.tape(first)));
    println!("open");
    std::io::stdout().flush().expect("the parent listens");
    let tape = |thread| Tape::in_file(&orders.tape(thread));
    let Orders { seed, threads, .. } = orders;
    let setting = Setting { seed, threads, rounds: ROUNDS, calls: Calls::All };
    play(&store, setting, &Ends::default(), tape);
    // The parent has been slow: it kills now, or is gone.
    let _ = std::io::stdin().read(&mut [0]);
}

/// A history of several lives of one database.
pub fn history(folder: &Path, seed: u64, no_sync: bool) -> Vec<Op> {
    let mut rng = Random::new(seed);
    let mut ops = Vec::new();
    let (lives, threads) = (1 + rng.below(3), 1 + rng.below(8));
    let orders = |life: u64| Orders {
        folder: folder.to_owned(),
        seed: seed.wrapping_mul(31).wrapping_add(life),
        threads: (life * threads, threads),
        no_sync,
    };
    for life in 0..lives {
        let orders = orders(life);
        let died = live(&orders, &mut rng);
        for thread in orders.threads.0..orders.threads.0 + threads {
            let noted = std::fs::read_to_string(orders.tape(thread)).unwrap_or_default();
            ops.extend(parse(&noted, died));
        }
    }
    let store = orders(lives).store();
    store.db.check().unwrap();
    let mut tape = Tape::in_memory();
    look_at_all(&store, &mut tape);
    ops.extend(tape.ops);
    ops
}

/// One life of a child: returns when it was dead.
fn live(orders: &Orders, rng: &mut Random) -> u64 {
    let program = env::current_exe().expect("this program has a path");
    let mut child = Command::new(program)
        .env(CHILD, orders.write())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child can be started");
    // Mostly while it plays, now and then while it opens.
    if rng.below(6) > 0 {
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it says that it is open");
        assert_eq!(line, "open\n", "the child has failed");
        until_noted(orders, rng.below(orders.threads.1 * 2_000), &mut child);
        sleep(Duration::from_micros(rng.below(300)));
    } else {
        sleep(Duration::from_micros(rng.below(if orders.no_sync { 3_000 } else { 30_000 })));
    }
    child.kill().expect("it can be killed");
    let status = child.wait().expect("it is there");
    assert_eq!(status.signal(), Some(libc::SIGKILL), "the child has failed: {status}");
    ended()
}

/// Waits until a child has noted so much: that tells better than time, whatever the
/// speed of the machine and of its disk, that it is playing.
fn until_noted(orders: &Orders, wanted: u64, child: &mut Child) {
    let (mut noted, mut since) = (0, Instant::now());
    while noted < wanted {
        sleep(Duration::from_micros(20));
        let now = orders.noted();
        if now > noted {
            (noted, since) = (now, Instant::now());
        }
        assert_eq!(child.try_wait().unwrap(), None, "the child has failed");
        assert!(since.elapsed() < LONG, "the child stands still: {noted} of {wanted} bytes");
    }
}
