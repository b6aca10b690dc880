//! One database on a simulated disk, operations on it, and what they must do.
//!
//! Every answer is compared with the model's, and the history of what may be
//! found later goes along. A wrong answer is an `Err` that says what is wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use minidb::os::disk::unfinished;
use minidb::os::sim::SimDisk;
use minidb::{Cursor, DB, DBError, DBResult, Options, PersistentDB, Snapshot};

use crate::bugs::dress;
use crate::history::{History, Possible, State};
use crate::workload::{Op, Workload, keys, value};

pub const PATH: &str = "/db/data";
pub const LOG: &str = "/db/data-log";

pub type Verdict = Result<(), String>;

pub struct Player {
    pub disk: SimDisk,
    pub history: History,
    /// Whether calls of the disk may fail.
    pub faulty: bool,
    /// Whether, if so, there can be no reason but a lack of space.
    pub only_full: bool,
    /// When a call failed first.
    pub hurt: Option<usize>,
    db: Option<PersistentDB>,
    keys: Vec<Arc<[u8]>>,
    /// The step whose state readers see.
    shown: usize,
    /// The step that a root has for sure.
    rooted: usize,
    no_sync: bool,
    checkpoint_bytes: u64,
    /// Numbers the commits, refused ones too.
    commits: u64,
    /// What the database counted when it was closed.
    made: u64,
    /// How many there were when it was opened.
    opened_with: u64,
    snapshots: Vec<(Snapshot, Arc<State>)>,
    /// Whether a commit has failed so that none may be acknowledged any more.
    failed: bool,
}

impl Player {
    /// A machine without files.
    pub fn new(disk: SimDisk, workload: &Workload) -> Player {
        Player {
            disk,
            history: History::after(&Possible::nothing()),
            faulty: false,
            only_full: false,
            hurt: None,
            db: None,
            keys: keys(),
            shown: 0,
            rooted: 0,
            no_sync: workload.no_sync,
            checkpoint_bytes: workload.checkpoint_bytes,
            commits: 0,
            made: 0,
            opened_with: 0,
            snapshots: Vec::new(),
            failed: false,
        }
    }

    /// Another machine, on which the power was lost before this one went on.
    pub fn resume(&self, disk: SimDisk, possible: &Possible, no_sync: bool) -> Player {
        Player {
            disk,
            history: History::after(possible),
            faulty: false,
            only_full: false,
            hurt: None,
            db: None,
            keys: self.keys.clone(),
            shown: 0,
            rooted: 0,
            no_sync,
            checkpoint_bytes: self.checkpoint_bytes,
            commits: self.commits,
            made: 0,
            opened_with: 0,
            snapshots: Vec::new(),
            failed: false,
        }
    }

    /// Does all of these, after opening the database if need be.
    pub fn run(&mut self, ops: &[Op]) -> Verdict {
        if self.db.is_none() {
            self.open()?;
        }
        for (number, op) in ops.iter().enumerate() {
            self.play(op).map_err(|what| format!("operation {number}, {op:?}: {what}"))?;
        }
        Ok(())
    }

    /// The database, which is open.
    pub fn database(&self) -> &PersistentDB {
        self.db.as_ref().expect("it is open")
    }

    pub fn without_sync(&self) -> bool {
        self.no_sync
    }

    /// What readers see, and the states before, so many of them at most.
    pub fn latest(&self, before: usize) -> Vec<Arc<State>> {
        self.history.from(self.shown.saturating_sub(before))
    }

    /// What there was since a root was written for sure.
    pub fn since_root(&self) -> Vec<Arc<State>> {
        self.history.from(self.rooted)
    }

    /// How many commits there were when it was open, as the database counts.
    pub fn commits_made(&self) -> u64 {
        self.db.as_ref().map_or(self.made, |db| db.commits().unwrap_or(0))
    }

    fn now(&self) -> usize {
        self.disk.operations()
    }

    fn options(&self) -> Options {
        let options = Options::new().no_threads().checkpoint_bytes(self.checkpoint_bytes);
        if self.no_sync { options.no_sync() } else { options }
    }

    /// An error that the disk is to blame for.
    fn excuse(&mut self, what: &str, error: &DBError) -> Verdict {
        let now = self.now();
        self.hurt.get_or_insert(now);
        match error {
            DBError::Full(_) if self.faulty => Ok(()),
            DBError::Io(_) if self.faulty && !self.only_full => Ok(()),
            _ => Err(format!("{what}: {error}")),
        }
    }

    pub fn open(&mut self) -> Verdict {
        let db = match PersistentDB::open_on(dress(&self.disk), Path::new(PATH), self.options()) {
            Ok(db) => db,
            Err(error) => return self.excuse("cannot be opened", &error),
        };
        let mut possible = self.history.possible(self.now(), true).states;
        let found = find(&db, &self.keys, &possible)?;
        self.shown = self.history.expose(possible.swap_remove(found), self.now());
        (self.rooted, self.failed) = (self.shown, false);
        if !self.faulty {
            db.check().map_err(|error| format!("check after opening: {error}"))?;
            self.check_names(None)?;
            match PersistentDB::open_on(dress(&self.disk), Path::new(PATH), self.options()) {
                Err(DBError::Busy(_)) => {}
                other => return Err(format!("opened twice: {other:?}")),
            }
        }
        self.opened_with = db.commits().unwrap_or(0);
        self.db = Some(db);
        Ok(())
    }

    /// Opens what is there to be read only, which must change nothing.
    pub fn look(&self) -> Verdict {
        let before = self.now();
        if !self.disk.names().contains(&PATH.into()) {
            return Ok(());
        }
        let options = Options::new().read_only();
        let db = PersistentDB::open_on(dress(&self.disk), Path::new(PATH), options)
            .map_err(|error| format!("cannot be opened to be read only: {error}"))?;
        find(&db, &self.keys, &self.history.possible(before, true).states)?;
        drop(db);
        if self.now() != before {
            return Err("reading only has written".into());
        }
        Ok(())
    }

    pub fn close(&mut self) -> Verdict {
        let Some(db) = self.db.take() else {
            return Ok(());
        };
        self.made = db.commits().unwrap_or(0);
        if !self.faulty && !self.failed && self.made > self.opened_with {
            self.check_names(Some(true))?;
        }
        drop(db);
        for (snapshot, state) in self.snapshots.drain(..) {
            let cursor = snapshot.scan(None, None);
            if read(cursor, Cursor::next)? != *state {
                return Err("a snapshot has changed".into());
            }
        }
        if !self.faulty && !self.failed {
            self.history.secure(self.shown, self.now());
            self.check_names(Some(false))?;
        }
        Ok(())
    }

    /// Verifies that no file is there but those that must be, and backups. A log may be there
    /// where `log` says nothing: the first commit makes that of a file that was closed.
    fn check_names(&self, log: Option<bool>) -> Verdict {
        let copies: Vec<PathBuf> = self.history.copies().map(|copy| copy.path.clone()).collect();
        let is_copy =
            |name: &PathBuf| copies.iter().any(|it| name == it || *name == unfinished(it));
        let mut names = self.disk.names();
        names.retain(|name| !is_copy(name));
        let has_log = names.contains(&LOG.into());
        let expected: &[&str] = if has_log { &[PATH, LOG] } else { &[PATH] };
        let is_expected = names.iter().map(|it| it.to_str()).eq(expected.iter().copied().map(Some));
        if !is_expected || log.is_some_and(|log| log != has_log) {
            return Err(format!("log: {log:?}, there are the files {names:?}"));
        }
        Ok(())
    }

    /// Verifies the backups that a crash has left.
    pub fn check_copies(&self, possible: &Possible) -> Verdict {
        for (copy, must) in &possible.copies {
            if self.disk.names().contains(&copy.path) {
                let options = Options::new().read_only();
                let db = PersistentDB::open_on(dress(&self.disk), &copy.path, options)
                    .map_err(|error| format!("a backup cannot be opened: {error}"))?;
                find(&db, &self.keys, std::slice::from_ref(&copy.state))?;
            } else if *must {
                return Err("a backup is gone".into());
            }
        }
        Ok(())
    }

    /// Does one operation, if the database is open; opens it if not.
    pub fn play(&mut self, op: &Op) -> Verdict {
        if let Op::Reopen(no_sync) = op {
            self.close()?;
            self.no_sync = *no_sync;
            return self.open();
        }
        let Some(db) = self.db.clone() else {
            return self.open();
        };
        match op {
            Op::Sync => match db.sync() {
                Ok(()) if self.failed => return Err("synced after a failure".into()),
                Ok(()) => self.history.secure(self.shown, self.now()),
                Err(error) => {
                    self.excuse("cannot be synced", &error)?;
                    self.failed = true;
                }
            },
            Op::Checkpoint => match db.checkpoint() {
                Ok(()) => {
                    self.history.secure(self.shown, self.now());
                    self.rooted = self.shown;
                }
                Err(error) => self.excuse("no checkpoint", &error)?,
            },
            Op::Snapshot => {
                let snapshot = db.snapshot().map_err(|error| format!("no snapshot: {error}"))?;
                self.snapshots.push((snapshot, self.history.state(self.shown).clone()));
            }
            Op::Backup => self.back_up(&db)?,
            _ => self.commit(&db, op)?,
        }
        Ok(())
    }

    fn back_up(&mut self, db: &PersistentDB) -> Verdict {
        self.commits += 1;
        let path = PathBuf::from(format!("/db/copy-{}", self.commits));
        let state = self.history.state(self.shown).clone();
        self.history.begin_copy(path.clone(), state, self.now());
        let snapshot = db.snapshot().map_err(|error| format!("no snapshot: {error}"))?;
        match snapshot.backup_on(&*dress(&self.disk), &path) {
            Ok(()) => self.history.end_copy(self.now()),
            Err(error) => self.excuse("no backup", &error)?,
        }
        Ok(())
    }

    fn commit(&mut self, db: &PersistentDB, op: &Op) -> Verdict {
        self.commits += 1;
        let before = self.history.state(self.shown).clone();
        let after = op.apply(&self.keys, &before, self.commits);
        let step = after.map(|state| self.history.begin(Arc::new(state), self.now()));
        let now = |player: &Player| player.now();
        match self.call(db, op, &before) {
            Ok(true) => {
                let Some(step) = step else {
                    return Ok(());
                };
                if self.failed {
                    return Err("acknowledged after a failure".into());
                }
                match self.no_sync {
                    true => self.history.acknowledge(step, now(self)),
                    false => self.history.secure(step, now(self)),
                }
                self.shown = step;
                return Ok(());
            }
            Ok(false) => return Err("a wrong answer".into()),
            Err(error) => {
                self.excuse("refused", &error)?;
                match (step, error) {
                    (Some(step), DBError::Full(_)) => self.history.refuse(step, now(self)),
                    _ => self.failed = true,
                }
            }
        }
        let shown = find(db, &self.keys, &[before]);
        shown.map(drop).map_err(|what| format!("after a failure: {what}"))
    }

    /// Calls the database, and says whether it answered as it must.
    fn call(&self, db: &PersistentDB, op: &Op, before: &State) -> DBResult<bool> {
        let key = |key: usize| &*self.keys[key];
        let new = |key: usize, len: usize| value(self.commits, key, len);
        let old = |at: usize| before.get(&self.keys[at]).map(|it| &**it);
        Ok(match op {
            Op::Put(at, len) => db.put(key(*at), &new(*at, *len))?.as_deref() == old(*at),
            Op::Delete(at) => db.delete(key(*at))?.as_deref() == old(*at),
            Op::Cas(at, matching, len) => {
                let desired = len.map(|len| new(*at, len));
                let expected = if *matching { old(*at) } else { Some(&b"something else"[..]) };
                db.cas(key(*at), expected, desired.as_deref())? == *matching
            }
            Op::Clear(from, to) => db.clear(Some(key(*from)), Some(key(*to))).map(|()| true)?,
            Op::WriteAll(entries) => {
                let values: Vec<_> = entries.iter().map(|(at, len)| new(*at, *len)).collect();
                let keys = entries.iter().map(|(at, _)| key(*at));
                db.write_all(keys.zip(values.iter().map(|it| &**it))).map(|()| true)?
            }
            Op::Transact(ops) => {
                let mut txn = db.begin()?;
                for op in ops {
                    match op {
                        Op::Put(at, len) => txn.put(key(*at), &new(*at, *len))?,
                        Op::Delete(at) => drop(txn.delete(key(*at))?),
                        Op::Clear(from, to) => txn.clear(Some(key(*from)), Some(key(*to)))?,
                        other => unreachable!("no part of a transaction: {other:?}"),
                    }
                }
                txn.commit()?
            }
            other => unreachable!("no commit: {other:?}"),
        })
    }

    /// From now on nothing fails; and then all must be well again.
    pub fn heal(&mut self) -> Verdict {
        self.disk.heal();
        self.faulty = false;
        let no_sync = self.no_sync;
        self.play(&Op::Reopen(no_sync)).map_err(|what| format!("once all is well: {what}"))
    }
}

fn read(
    cursor: DBResult<Cursor>,
    step: impl Fn(&mut Cursor) -> DBResult<bool>,
) -> Result<State, String> {
    let (mut cursor, mut held, mut moves) = (cursor.map_err(text)?, State::new(), 0);
    let bytes = |bytes: Option<&[u8]>| Arc::from(bytes.unwrap_or_default());
    while step(&mut cursor).map_err(text)? {
        held.insert(bytes(cursor.key()), bytes(cursor.value()));
        moves += 1;
    }
    if held.len() != moves {
        return Err("a scan shows a key twice".into());
    }
    Ok(held)
}

fn text(error: DBError) -> String {
    error.to_string()
}

/// Which of these states the database shows, in each way that there is to look.
pub fn find(db: &PersistentDB, keys: &[Arc<[u8]>], states: &[Arc<State>]) -> Result<usize, String> {
    let held = read(db.scan(None, None), Cursor::next)?;
    if read(db.scan(None, None), Cursor::prev)? != held {
        return Err("forwards it shows what it does not backwards".into());
    }
    if db.count().map_err(text)? != held.len() as u64 {
        return Err("it counts wrongly".into());
    }
    for key in keys {
        if db.get(key).map_err(text)?.as_deref() != held.get(key).map(|it| &**it) {
            return Err(format!("{}: get and scan differ", key.escape_ascii()));
        }
    }
    states.iter().rposition(|state| **state == held).ok_or_else(|| {
        let states: Vec<String> = states.iter().map(|state| brief(state, keys)).collect();
        format!("it holds [{}], not any of {states:?}", brief(&held, keys))
    })
}

/// By which commit each key was written, and how long the value is.
fn brief(state: &State, keys: &[Arc<[u8]>]) -> String {
    let entry = |(key, value): (&Arc<[u8]>, &Arc<[u8]>)| {
        let key = keys.iter().position(|it| it == key);
        let key = key.map_or("unknown".into(), |key| key.to_string());
        let commit = value.first_chunk().map_or(0, |word| u64::from_be_bytes(*word) >> 32);
        format!("{key}: {} bytes of commit {commit}", value.len())
    };
    state.iter().map(entry).collect::<Vec<_>>().join(", ")
}
