//! Files that something else than minidb has changed: the database is refused,
//! or shows what it held, or what it held before, as far as the files cannot
//! prove that there was more.

use std::path::Path;
use std::sync::Arc;

use minidb::os::sim::{Fate, SimDisk};
use minidb::{DBError, Options, PersistentDB};

use crate::bugs::dress;
use crate::cuts::{Search, guarded};
use crate::history::State;
use crate::player::{LOG, PATH, Player, Verdict, find};
use crate::random::Random;
use crate::workload::{Workload, keys};

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip(usize, u8),
    CutOff(usize),
    Gone,
    /// The same file of another database.
    Foreign,
    /// The file as it was after so many operations.
    Older(usize),
}

impl Damage {
    fn random(random: &mut Random, log: bool, len: usize, operations: usize) -> Damage {
        // Anywhere, or where much is said: in the first records or in the roots.
        let at = match (random.one_in(2), log) {
            (true, _) => random.below(len.max(1)),
            (_, true) => 4096 + random.below(len.saturating_sub(4096).clamp(1, 4096)),
            (_, false) => random.below(160) + 4096 * random.below(2),
        };
        match random.below(16) {
            0..=11 => Damage::Flip(at, 1 << random.below(8)),
            12 | 13 => Damage::CutOff(at),
            14 if random.one_in(2) => Damage::Gone,
            14 => Damage::Foreign,
            _ => Damage::Older(random.below(operations)),
        }
    }
}

/// Plays a workload, and damages what it leaves, with the database closed or not.
pub fn play(seed: u64, search: &mut Search) -> Verdict {
    let workload = Workload::random(seed / 2);
    let mut player = Player::new(SimDisk::new(seed), &workload);
    player.run(&workload.ops)?;
    if seed.is_multiple_of(2) {
        player.close()?;
    }
    let mut other = Player::new(SimDisk::new(seed + 1), &workload);
    other.run(&workload.ops)?;
    let disk = player.disk.crash(player.disk.operations(), Fate::KeepAll);
    let mut random = Random::of(&[seed, 1]);
    for _ in 0..60 {
        let names = disk.names();
        let files: Vec<_> =
            [PATH, LOG].into_iter().filter(|it| names.contains(&it.into())).collect();
        let path = random.pick(&files);
        let bytes = disk.contents(Path::new(path)).expect("it is there");
        let damage =
            Damage::random(&mut random, path == LOG, bytes.len(), player.disk.operations());
        let damaged = match damage {
            Damage::Flip(at, bits) => {
                let mut bytes = bytes;
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits);
                Some(bytes)
            }
            Damage::CutOff(len) => Some(bytes[..len.min(bytes.len())].to_vec()),
            Damage::Gone => None,
            Damage::Foreign => other.disk.contents(Path::new(path)),
            Damage::Older(cut) => {
                player.disk.crash(cut, Fate::KeepAll).contents(Path::new(path)).or(Some(bytes))
            }
        };
        let machine = SimDisk::new(seed);
        for file in files {
            let there = if file == path { damaged.clone() } else { disk.contents(Path::new(file)) };
            if let Some(bytes) = there {
                machine.place(Path::new(file), &bytes);
            }
        }
        search.tally.images += 1;
        let allowed = allowed(&player, path == LOG, damage);
        let read_only = random.one_in(2);
        // If it says what the file says, it has as many commits.
        let commits = (path == PATH && !matches!(damage, Damage::Older(_) | Damage::Gone))
            .then(|| player.commits_made());
        let commits = commits.filter(|_| allowed.len() == 1);
        guarded(|| open(&machine, read_only, &allowed, commits))
            .map_err(|what| format!("{damage:?} of {path}: {what}, in {workload:?}"))?;
    }
    Ok(())
}

/// What may be shown after that, if anything.
fn allowed(player: &Player, log: bool, damage: Damage) -> Vec<Arc<State>> {
    let empty = || Arc::new(State::new());
    match damage {
        Damage::Flip(..) | Damage::Foreign if !log => player.latest(0),
        Damage::CutOff(0) if !log => [player.latest(0), vec![empty()]].concat(),
        Damage::CutOff(_) if !log => player.latest(0),
        Damage::Gone if !log => vec![empty()],
        Damage::Flip(..) if !player.without_sync() => player.latest(1),
        Damage::Foreign | Damage::Gone => player.latest(0),
        Damage::Flip(..) | Damage::CutOff(_) => player.since_root(),
        Damage::Older(_) => [player.latest(usize::MAX), vec![empty()]].concat(),
    }
}

fn open(disk: &SimDisk, read_only: bool, allowed: &[Arc<State>], commits: Option<u64>) -> Verdict {
    let options = Options::new().no_threads();
    let options = if read_only { options.read_only() } else { options };
    match PersistentDB::open_on(dress(disk), Path::new(PATH), options) {
        Ok(db) => {
            find(&db, &keys(), allowed)?;
            if let (Some(made), Ok(counted)) = (commits, db.commits())
                && made != counted
            {
                return Err(format!("{counted} commits are counted, of {made}"));
            }
            match db.check() {
                // What does no harm is not repaired then.
                Err(DBError::Corrupt(_)) if read_only => Ok(()),
                checked => checked.map_err(|error| format!("check: {error}")),
            }
        }
        Err(DBError::Corrupt(_) | DBError::Format(_)) => Ok(()),
        Err(DBError::NotFound(_)) if read_only => Ok(()),
        Err(error) => Err(format!("refused for another reason: {error}")),
    }
}
