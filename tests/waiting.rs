//! Waiting for a disk: readers never do, and writers do for what they acknowledge as durable,
//! or while the log is as long as it may be. Syncs are held, and what is done meanwhile must
//! come to its end.

mod support;

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use minidb::planted::{self, Bug};
use minidb::{DB, DBError, DBResult, Options, PersistentDB};

use support::disk::{Watch, Watched};
use support::folder::Folder;

/// What takes so long waits for what does not come.
const LONG: Duration = Duration::from_secs(60);

/// Holds one sync of a file: the first from now on, or a later one.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The end of the file's name, and how many syncs of it go through before.
    wanted: Option<(&'static str, u32)>,
    held: bool,
    /// Whether the held sync panics once it is released.
    panics: bool,
}

impl Gate {
    fn hold(&self, file: &'static str, after: u32) {
        self.state.lock().unwrap().wanted = Some((file, after));
    }

    fn wait(&self) {
        let state = self.state.lock().unwrap();
        let waited = self.changed.wait_timeout_while(state, LONG, |it| !it.held).unwrap();
        assert!(!waited.1.timed_out(), "nothing is synced");
    }

    fn is_held(&self) -> bool {
        self.state.lock().unwrap().held
    }

    fn release(&self) {
        *self.state.lock().unwrap() = State::default();
        self.changed.notify_all();
    }

    /// Lets the held sync panic rather than go on.
    fn release_to_panic(&self) {
        *self.state.lock().unwrap() = State { panics: true, ..State::default() };
        self.changed.notify_all();
    }
}

impl Watch for Gate {
    fn syncs(&self, file: &Path) {
        let mut state = self.state.lock().unwrap();
        match &mut state.wanted {
            Some((name, after)) if file.to_string_lossy().ends_with(*name) => match after {
                0 => state.wanted = None,
                _ => {
                    *after -= 1;
                    return;
                }
            },
            _ => return,
        }
        state.held = true;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |it| it.held).unwrap();
        let panics = std::mem::take(&mut state.panics);
        drop(state);
        assert!(!panics, "on purpose");
    }
}

const ENTRIES: u32 = 5_000;

/// A database with entries of one byte.
fn filled(folder: &Folder, options: Options) -> (PersistentDB, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let disk = Arc::new(Watched(gate.clone()));
    let db = PersistentDB::open_on(disk, folder.file("db"), options).unwrap();
    let keys: Vec<_> = (0..ENTRIES).map(u32::to_be_bytes).collect();
    db.write_all(keys.iter().map(|key| (&key[..], &b"1"[..]))).unwrap();
    db.checkpoint().unwrap();
    (db, gate)
}

/// Has `call` made, which a held sync keeps from its end, while `meanwhile` is
/// made: that must come to its end before.
fn beside(gate: &Arc<Gate>, call: impl FnOnce() + Send, meanwhile: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let caller = scope.spawn(call);
        gate.wait();
        let (done, is_done) = channel();
        let other = scope.spawn(move || {
            meanwhile();
            done.send(()).unwrap();
        });
        let in_time = is_done.recv_timeout(LONG);
        let stood = gate.is_held() && !caller.is_finished();
        gate.release();
        other.join().unwrap();
        caller.join().unwrap();
        assert!(in_time.is_ok() && stood, "it waited for the sync");
    });
}

/// Reads in all ways, all entries several times; nothing has changed.
fn read(db: &PersistentDB) {
    let all = |mut cursor: minidb::Cursor| {
        let mut count = 0;
        while cursor.next().unwrap() {
            assert_eq!(cursor.value(), Some(&b"1"[..]));
            count += 1;
        }
        count
    };
    let mut txn = db.begin().unwrap();
    let snapshot = db.snapshot().unwrap();
    for n in 0..ENTRIES {
        let (key, one) = (n.to_be_bytes(), Some(b"1".to_vec()));
        assert_eq!(db.get(&key).unwrap(), one);
        assert_eq!(txn.get(&key).unwrap(), one);
        assert_eq!(snapshot.get(&key).unwrap(), one);
    }
    assert_eq!(all(db.scan(None, None).unwrap()), ENTRIES);
    assert_eq!(all(txn.scan(None, None).unwrap()), ENTRIES);
    assert_eq!(all(snapshot.scan(None, None).unwrap()), ENTRIES);
    assert_eq!(db.count().unwrap(), u64::from(ENTRIES));
    assert!(txn.commit().unwrap(), "it has only read");
}

/// Writes in all ways, and takes all of it back.
fn write(db: &PersistentDB) {
    for n in ENTRIES..ENTRIES + 100 {
        let key = n.to_be_bytes();
        db.put(&key, b"2").unwrap();
        assert!(db.cas(&key, Some(b"2"), Some(b"3")).unwrap());
        db.write_all([(&key[..], &b"4"[..])]).unwrap();
        let mut txn = db.begin().unwrap();
        assert_eq!(txn.get(&key).unwrap(), Some(b"4".to_vec()));
        txn.put(&key, b"5").unwrap();
        assert!(txn.commit().unwrap());
        assert_eq!(db.delete(&key).unwrap(), Some(b"5".to_vec()));
    }
    db.clear(Some(&ENTRIES.to_be_bytes()), None).unwrap();
}

#[test]
fn readers_do_not_wait_for_a_commit() {
    let folder = Folder::new("commit");
    let (db, gate) = filled(&folder, Options::new());
    let commits: [&(dyn Fn() + Sync); 4] = [
        &|| drop(db.put(b"new", b"1").unwrap()),
        &|| drop(db.delete(b"new").unwrap()),
        &|| db.clear(Some(b"new"), None).unwrap(),
        &|| {
            let mut txn = db.begin().unwrap();
            txn.put(b"new", b"").unwrap();
            txn.delete(b"new").unwrap();
            assert!(txn.commit().unwrap());
        },
    ];
    for commit in commits {
        let before = db.get(b"new").unwrap();
        gate.hold("db-log", 0);
        beside(&gate, commit, || {
            assert_eq!(db.get(b"new").unwrap(), before, "it is not on disk yet");
            db.scan(None, None).unwrap();
            if before.is_none() {
                read(&db);
            }
        });
    }
    db.check().unwrap();
}

#[test]
fn nobody_waits_for_a_checkpoint() {
    for options in [Options::new(), Options::new().no_sync()] {
        let folder = Folder::new("checkpoint");
        let (db, gate) = filled(&folder, options);
        // What was written is synced first, and then the new root.
        for sync in 0..2 {
            db.put(b"folded", b"").unwrap();
            db.delete(b"folded").unwrap();
            gate.hold("db", sync);
            let work = || {
                read(&db);
                write(&db);
                read(&db);
            };
            beside(&gate, || db.checkpoint().unwrap(), work);
            db.check().unwrap();
        }
    }
}

#[test]
fn nobody_waits_for_a_backup() {
    let folder = Folder::new("backup");
    let (db, gate) = filled(&folder, Options::new());
    let disk = Watched(gate.clone());
    gate.hold("copy-unfinished", 0);
    let backup = || db.snapshot().unwrap().backup_on(&disk, folder.file("copy")).unwrap();
    beside(&gate, backup, || {
        write(&db);
        db.checkpoint().unwrap();
        read(&db);
    });
}

#[test]
fn without_sync_nobody_waits_for_another_who_asks_for_one() {
    let folder = Folder::new("asked");
    let (db, gate) = filled(&folder, Options::new().no_sync());
    db.put(b"new", b"").unwrap();
    db.delete(b"new").unwrap();
    gate.hold("db-log", 0);
    beside(
        &gate,
        || db.sync().unwrap(),
        || {
            write(&db);
            read(&db);
        },
    );
}

/// Starts a put on a thread that nobody needs to join; tells when it is applied.
fn start_put(
    db: &PersistentDB,
    key: &'static [u8],
) -> (Receiver<()>, Receiver<DBResult<()>>, JoinHandle<()>) {
    let (db, (applied, is_applied), (ended, result)) = (db.clone(), channel(), channel());
    let put = move || {
        let done = db.put_with(key, b"", |_| {
            let _ = applied.send(());
            Ok(())
        });
        drop(db);
        let _ = ended.send(done);
    };
    (is_applied, result, thread::spawn(put))
}

/// A put waits for another one, whose sync is held and which then ends as `unwind` has it.
fn a_follower_ends(name: &str, unwind: impl FnOnce(&PersistentDB, &Gate)) {
    let folder = Folder::new(name);
    let (db, gate) = filled(&folder, Options::new());
    gate.hold("db-log", 0);
    let (_, _, leader) = start_put(&db, b"leader");
    gate.wait();
    let (is_applied, result, follower) = start_put(&db, b"follower");
    is_applied.recv_timeout(LONG).expect("it is applied beside the sync");
    unwind(&db, &gate);
    let told = result.recv_timeout(LONG).expect("the follower waits for ever");
    assert!(told.is_err(), "nothing says that it is on disk");
    let _ = leader.join(); // it may have panicked
    follower.join().unwrap();
    let (_, result, later) = start_put(&db, b"later");
    let told = result.recv_timeout(LONG).expect("a later commit waits for ever");
    assert!(told.is_err(), "the database refuses writes");
    later.join().unwrap();
    drop(db);
    let db = PersistentDB::open(folder.file("db"), Options::new().existing()).unwrap();
    db.check().unwrap();
    assert!(db.count().unwrap() >= u64::from(ENTRIES));
}

#[test]
fn a_waiting_commit_ends_when_another_call_panics() {
    a_follower_ends("panic", |db, gate| {
        let other = db.clone();
        let panics = thread::spawn(move || {
            let _: DBResult<()> = other.put_with(b"panic", b"", |_| panic!("on purpose"));
        });
        assert!(panics.join().is_err());
        assert_eq!(db.get(b"leader"), Err(DBError::Internal));
        gate.release();
    });
}

#[test]
fn a_waiting_commit_ends_when_its_sync_panics() {
    a_follower_ends("sync-panic", |_, gate| gate.release_to_panic());
}

/// Without the step that ends the flight of a group, the test above would find a follower
/// that waits for ever.
#[test]
fn a_forgotten_flight_is_found() {
    let folder = Folder::new("forgotten");
    let (db, gate) = filled(&folder, Options::new());
    gate.hold("db-log", 0);
    let leader = db.clone();
    let leader = thread::spawn(move || {
        planted::plant(Some(Bug::FlightForgotten));
        leader.put(b"leader", b"")
    });
    gate.wait();
    let (is_applied, result, _) = start_put(&db, b"follower");
    is_applied.recv_timeout(LONG).expect("it is applied beside the sync");
    gate.release_to_panic();
    assert!(leader.join().is_err());
    let told = result.recv_timeout(Duration::from_millis(500));
    assert_eq!(told, Err(RecvTimeoutError::Timeout), "nobody wakes the follower");
}

/// The worker of this process: tests that hold it take turns.
static WORKER: Mutex<()> = Mutex::new(());

fn worker() -> MutexGuard<'static, ()> {
    WORKER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Live bytes of log at which these tests make a checkpoint.
const SMALL: u64 = 64 << 10;

/// The greatest length of the log beside a checkpoint that is held: two and a quarter times
/// `SMALL`, the last commit, the header, and the zeros that are written ahead of commits with sync.
fn bound(commit: u64) -> u64 {
    SMALL * 9 / 4 + 2 * commit + 4096 + SMALL
}

/// Overwrites one key with commits of `len` bytes, more than any log may hold.
fn start_overwriting(
    db: &PersistentDB,
    len: usize,
    bug: Option<Bug>,
) -> (Receiver<()>, JoinHandle<()>) {
    let (db, (ended, is_ended)) = (db.clone(), channel());
    let write = move || {
        planted::plant(bug);
        for n in 0..20 * SMALL as usize / len {
            let value = vec![n as u8; len];
            match n % 3 {
                0 => drop(db.put(b"new", &value).unwrap()),
                1 => db.write_all([(&b"new"[..], &value[..])]).unwrap(),
                _ => {
                    assert!(db.cas(b"new", Some(&vec![(n - 1) as u8; len]), Some(&value)).unwrap())
                }
            }
        }
        drop(db);
        ended.send(()).unwrap();
    };
    (is_ended, thread::spawn(write))
}

fn log_bytes(folder: &Folder) -> u64 {
    std::fs::metadata(folder.file("db-log")).unwrap().len()
}

#[test]
fn a_writer_waits_for_a_slow_checkpoint_and_readers_do_not() {
    let _worker = worker();
    for (options, len) in [
        (Options::new(), 1_000),
        (Options::new().no_sync(), 1_000),
        (Options::new().no_sync(), 10),
        (Options::new().no_sync(), SMALL as usize),
    ] {
        let folder = Folder::new("slow");
        let (db, gate) = filled(&folder, options.checkpoint_bytes(SMALL));
        db.put(b"new", b"").unwrap();
        gate.hold("db", 0);
        let (is_ended, writer) = start_overwriting(&db, len, None);
        gate.wait();
        let told = is_ended.recv_timeout(Duration::from_millis(700));
        assert_eq!(told, Err(RecvTimeoutError::Timeout), "the log has no bound");
        // No lock is held that these need.
        assert!(db.snapshot().unwrap().get(&[0; 4]).unwrap().is_some());
        assert!(db.begin().unwrap().get(b"new").unwrap().is_some());
        assert_eq!(db.scan(None, None).unwrap().next(), Ok(true));
        db.sync().unwrap();
        assert_eq!(db.count().unwrap(), u64::from(ENTRIES) + 1);
        let log = log_bytes(&folder);
        gate.release();
        is_ended.recv_timeout(LONG).expect("the writer waits for ever");
        writer.join().unwrap();
        println!("commits of {len} bytes: {log} bytes of log");
        assert!(log <= bound(len as u64), "{log}");
        db.check().unwrap();
    }
}

/// Without the pause of writers the test above would find a log without a bound.
#[test]
fn a_writer_that_is_not_slowed_is_found() {
    let _worker = worker();
    let folder = Folder::new("not-slowed");
    let (db, gate) = filled(&folder, Options::new().no_sync().checkpoint_bytes(SMALL));
    db.put(b"new", b"").unwrap();
    gate.hold("db", 0);
    let (is_ended, writer) = start_overwriting(&db, 1_000, Some(Bug::WriterNotSlowed));
    is_ended.recv_timeout(LONG).expect("nothing slows the writer");
    let log = log_bytes(&folder);
    gate.release();
    writer.join().unwrap();
    assert!(log > bound(1_000), "{log}");
}

/// A writer waits for a checkpoint, which `unwind` ends or makes useless.
fn a_waiting_writer_ends(name: &str, unwind: impl FnOnce(&PersistentDB, &Gate)) {
    let _worker = worker();
    let folder = Folder::new(name);
    let (db, gate) = filled(&folder, Options::new().no_sync().checkpoint_bytes(SMALL));
    gate.hold("db", 0);
    let (writing, ended) = (db.clone(), channel());
    let write = move || {
        let value = [0; 1_000];
        let last = (0..20 * SMALL / 1_000).try_for_each(|_| writing.put(b"new", &value).map(drop));
        drop(writing);
        ended.0.send(last).unwrap();
    };
    let writer = thread::spawn(write);
    gate.wait();
    let told = ended.1.recv_timeout(Duration::from_millis(700));
    assert_eq!(told, Err(RecvTimeoutError::Timeout), "the log has no bound");
    unwind(&db, &gate);
    let last = ended.1.recv_timeout(LONG).expect("the writer waits for ever");
    println!("the writer ends with {last:?}");
    gate.release();
    writer.join().unwrap();
    drop(db);
    let db = PersistentDB::open(folder.file("db"), Options::new().existing()).unwrap();
    db.check().unwrap();
    assert_eq!(db.get(b"new").unwrap(), Some(vec![0; 1_000]));
}

#[test]
fn a_waiting_writer_ends_when_the_checkpoint_fails() {
    a_waiting_writer_ends("failed", |_, gate| gate.release_to_panic());
}

#[test]
fn a_waiting_writer_ends_when_another_call_panics() {
    a_waiting_writer_ends("other", |db, _| {
        let other = db.clone();
        let panics = thread::spawn(move || {
            let _: DBResult<()> = other.put_with(b"panic", b"", |_| panic!("on purpose"));
        });
        assert!(panics.join().is_err());
    });
}

/// The threads of the library.
fn workers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
    names.filter(|name| name.as_ref().is_ok_and(|name| name.trim() == "minidb")).count()
}

#[test]
fn one_worker_serves_all_databases() {
    let _worker = worker();
    let folders: Vec<_> = (0..10).map(|n| Folder::new(&format!("worker-{n}"))).collect();
    let options = || Options::new().no_sync().checkpoint_bytes(SMALL);
    let open = |folder| filled(folder, options());
    let mut all: Vec<_> = folders.iter().map(open).collect();
    let (slow, gate) = all.pop().unwrap();
    gate.hold("db", 0);
    let fill = |db: &PersistentDB, bytes| {
        (0..bytes / 1_000).for_each(|_| drop(db.put(b"new", &[0; 1_000]).unwrap()));
    };
    fill(&slow, SMALL * 3 / 2);
    gate.wait();
    // These wait for the worker, which waits for a slow disk, and then for it no more.
    all.iter().for_each(|(db, _)| fill(db, SMALL * 3 / 2));
    assert_eq!(workers(), 1);
    drop(all.pop());
    all.iter().for_each(|(db, _)| fill(db, SMALL * 4));
    assert!(gate.is_held());
    gate.release();
    drop((slow, all));
    let begun = (0..600).find(|_| {
        thread::sleep(Duration::from_millis(100));
        workers() == 0
    });
    assert!(begun.is_some(), "a thread stays without work");
}
