//! Losing the power after every operation of the disk, in many ways, again and
//! again while the database recovers, and looking at what is found then.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use minidb::os::sim::{Fate, SimDisk};

use crate::history::Possible;
use crate::player::{Player, Verdict};
use crate::random::Random;
use crate::workload::{KEYS, Op};

/// Where the power was lost, and what became of what was pending.
pub type Cut = (usize, Fate);

/// How much is tried at each cut.
#[derive(Clone, Copy)]
pub struct Effort {
    /// So many pending operations have all their subsets tried.
    pub subsets: usize,
    /// More than that, so many random fates.
    pub randoms: usize,
    /// Of so many images one is written to, closed and opened again,
    pub go_on: usize,
    /// and one has its own cuts looked at.
    pub nest: usize,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub images: u64,
    /// Those among them for which the power was lost more than once.
    pub nested: u64,
}

/// Goes through the images of what players have done.
pub struct Search {
    pub seed: u64,
    pub effort: Effort,
    pub tally: Tally,
    /// To be looked at instead of all others.
    pub only: Option<Vec<Cut>>,
    /// The cuts that led to the image that is looked at.
    path: Vec<Cut>,
}

/// What distinguishes a fate from others.
fn code(fate: Fate) -> [u64; 2] {
    match fate {
        Fate::DropAll => [0, 0],
        Fate::KeepAll => [1, 0],
        Fate::Random(seed) => [2, seed],
        Fate::OnlyDropped(this) => [3, this as u64],
        Fate::OnlyKept(this) => [4, this as u64],
        Fate::Subset(bits) => [5, bits],
        Fate::TornLast(seed) => [6, seed],
    }
}

/// A fate as `{:?}` shows it.
fn parse_fate(text: &str) -> Option<Fate> {
    let (name, number) = text.trim_end_matches(')').split_once('(').unwrap_or((text, "0"));
    let number: u64 = number.parse().ok()?;
    Some(match name {
        "DropAll" => Fate::DropAll,
        "KeepAll" => Fate::KeepAll,
        "Random" => Fate::Random(number),
        "OnlyDropped" => Fate::OnlyDropped(number as usize),
        "OnlyKept" => Fate::OnlyKept(number as usize),
        "Subset" => Fate::Subset(number),
        "TornLast" => Fate::TornLast(number),
        _ => return None,
    })
}

/// Cuts as a failure names them: `17:DropAll,4:Subset(6)`.
pub fn parse_cuts(text: &str) -> Option<Vec<Cut>> {
    let cut = |text: &str| {
        let (cut, fate) = text.split_once(':')?;
        Some((cut.parse().ok()?, parse_fate(fate)?))
    };
    text.split(',').filter(|text| !text.is_empty()).map(cut).collect()
}

impl Tally {
    pub fn add(&mut self, more: Tally) {
        self.images += more.images;
        self.nested += more.nested;
    }
}

impl Search {
    pub fn new(seed: u64, effort: Effort) -> Search {
        Search { seed, effort, tally: Tally::default(), only: None, path: Vec::new() }
    }

    /// What replays the image that is looked at.
    pub fn cuts(&self) -> String {
        let mut text = String::new();
        for (cut, fate) in &self.path {
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{cut}:{fate:?}");
        }
        text
    }

    fn random(&self) -> Random {
        let path = self.path.iter().flat_map(|&(cut, fate)| {
            let [kind, number] = code(fate);
            [cut as u64, kind, number]
        });
        Random::of(&[self.seed].into_iter().chain(path).collect::<Vec<_>>())
    }

    /// The fates to be tried where `pending` operations are.
    fn fates(&self, pending: usize, random: &mut Random) -> Vec<Fate> {
        let Effort { subsets, randoms, .. } = self.effort;
        let mut fates = match pending {
            0 => return vec![Fate::KeepAll],
            few if few <= subsets => (0..1 << few).map(Fate::Subset).collect(),
            _ => {
                let each = (0..pending).flat_map(|at| [Fate::OnlyDropped(at), Fate::OnlyKept(at)]);
                [Fate::DropAll, Fate::KeepAll].into_iter().chain(each).collect::<Vec<_>>()
            }
        };
        fates.extend((0..randoms.div_ceil(4)).map(|_| Fate::TornLast(random.next())));
        fates.extend((0..randoms).map(|_| Fate::Random(random.next())));
        fates
    }

    /// Looks at all cuts of what a player has done, from the first of these on.
    pub fn all(&mut self, player: &Player, first: usize) -> Verdict {
        if let Some(cuts) = self.only.clone() {
            return self.replay(player, &cuts);
        }
        let mut random = self.random();
        for cut in first..=player.disk.operations() {
            let pending = player.disk.pending(cut);
            for fate in self.fates(pending, &mut random) {
                self.one(player, (cut, fate))?;
            }
        }
        Ok(())
    }

    /// Looks at so many cuts from the first of these on.
    pub fn some(&mut self, player: &Player, first: usize, count: usize) -> Verdict {
        if let Some(cuts) = self.only.clone() {
            return self.replay(player, &cuts);
        }
        let mut random = self.random();
        let range = player.disk.operations() - first + 1;
        let mut cuts: Vec<usize> = (0..count).map(|_| first + random.below(range)).collect();
        cuts.sort_unstable();
        for cut in cuts {
            let pending = player.disk.pending(cut).max(1);
            let (seed, this) = (random.next(), random.below(pending));
            let bits = if random.one_in(2) { seed } else { !(1 << (seed % 8)) };
            let fate = random.pick(&[
                Fate::DropAll,
                Fate::KeepAll,
                Fate::Random(seed),
                Fate::OnlyDropped(this),
                Fate::OnlyKept(this),
                Fate::Subset(bits),
                Fate::TornLast(seed),
            ]);
            self.one(player, (cut, fate))?;
        }
        Ok(())
    }

    /// Looks at one image. After a failure the path is left as it was then.
    fn one(&mut self, player: &Player, (cut, fate): Cut) -> Verdict {
        self.path.push((cut, fate));
        self.tally.images += 1;
        self.tally.nested += u64::from(self.path.len() > 1);
        let (next, mut random) = self.survive(player, (cut, fate))?;
        if self.path.len() < 3 && random.one_in(self.effort.nest) {
            self.some(&next, 0, 40)?;
        }
        self.path.pop();
        Ok(())
    }

    /// The machine comes up again, and what it does then, is as it must be.
    fn survive(&self, player: &Player, (cut, fate): Cut) -> Result<(Player, Random), String> {
        let whole = (1u64 << player.disk.pending(cut).min(63)) - 1;
        let all_kept = match fate {
            Fate::KeepAll => true,
            Fate::Subset(bits) => bits & whole == whole,
            _ => false,
        };
        let possible = player.history.possible(cut, all_kept);
        let image = player.disk.crash(cut, fate);
        let mut random = self.random();
        let go_on = random.one_in(self.effort.go_on);
        let looked = || recover(player, image, &possible, go_on, &mut random);
        Ok((guarded(looked)?, random))
    }

    /// Looks at the image that a failure has named.
    fn replay(&mut self, player: &Player, cuts: &[Cut]) -> Verdict {
        let Some((&cut, rest)) = cuts.split_first() else {
            return Ok(());
        };
        self.path.push(cut);
        self.tally.images += 1;
        let (next, _) = self.survive(player, cut)?;
        self.replay(&next, rest)
    }
}

/// The same, but for a panic there is an error.
pub fn guarded<T>(what: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("?")))
    })
}

fn recover(
    player: &Player,
    image: SimDisk,
    possible: &Possible,
    go_on: bool,
    random: &mut Random,
) -> Result<Player, String> {
    let mut next = player.resume(image, possible, random.one_in(2));
    if random.one_in(8) {
        next.look()?;
    }
    next.check_copies(possible)?;
    next.open()?;
    if go_on {
        for _ in 0..1 + random.below(3) {
            let op = Op::random(random, KEYS, &[0, 30, 300, 2000]);
            next.play(&op).map_err(|what| format!("afterwards, {op:?}: {what}"))?;
        }
        let no_sync = random.one_in(2);
        next.play(&Op::Reopen(no_sync)).map_err(|what| format!("opened again: {what}"))?;
    }
    Ok(next)
}
