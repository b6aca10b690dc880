//! `Progress`: how far long work has come, on the standard error output.
//!
//! On a terminal it is a bar, which appears when the work has taken half a second and goes with
//! its end. Elsewhere it is nothing, or a line each second if lines are asked for. There are no
//! colours.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How long work takes before a bar appears.
const PATIENCE: Duration = Duration::from_millis(500);

/// The progress of one piece of work.
pub struct Progress {
    doing: &'static str,
    unit: Unit,
    /// The end of the work, if it is known.
    total: Option<u64>,
    begun: Instant,
    bar: Option<ProgressBar>,
    shown: Shown,
    lines: u64,
}

/// What work is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Entries,
    Bytes,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Bar,
    Lines,
    Nowhere,
}

impl Progress {
    /// Begins to watch some work. `lines` asks for lines where there is no terminal.
    pub fn new(doing: &'static str, unit: Unit, total: Option<u64>, lines: bool) -> Progress {
        let shown = match (io::stderr().is_terminal(), lines) {
            (true, _) => Shown::Bar,
            (false, true) => Shown::Lines,
            (false, false) => Shown::Nowhere,
        };
        Progress { doing, unit, total, begun: Instant::now(), bar: None, shown, lines: 0 }
    }

    /// Says where the work ends.
    pub fn set_total(&mut self, total: u64) {
        self.total = Some(total);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    /// The work has come so far.
    pub fn at(&mut self, done: u64) {
        if self.shown == Shown::Nowhere {
            return;
        }
        let taken = self.begun.elapsed();
        if self.shown == Shown::Lines {
            if taken.as_secs() > self.lines {
                self.lines = taken.as_secs();
                eprintln!("{}: {done}{} {}", self.doing, self.of_total(), self.unit_name());
            }
        } else if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if taken > PATIENCE {
            self.bar = Some(self.make_bar(taken));
        }
    }

    fn make_bar(&self, taken: Duration) -> ProgressBar {
        let count = match self.unit {
            Unit::Entries => "{human_pos}",
            Unit::Bytes => "{bytes}",
        };
        let (bar, template) = match self.total {
            Some(total) => {
                let rest = "[{bar:30}] {percent}%, {eta} left";
                (ProgressBar::new(total), format!("{{msg}} {rest} ({count} {{prefix}})"))
            }
            None => (ProgressBar::new_spinner(), format!("{{msg}} {{spinner}} {count} {{prefix}}")),
        };
        let style = ProgressStyle::with_template(&template).expect("the template is right");
        bar.set_style(style.progress_chars("=> ").tick_chars("|/-\\ "));
        bar.set_prefix(if self.unit == Unit::Entries { "entries" } else { "read" });
        bar.set_message(self.doing);
        bar.with_elapsed(taken)
    }

    fn of_total(&self) -> String {
        self.total.map(|total| format!(" of {total}")).unwrap_or_default()
    }

    fn unit_name(&self) -> &'static str {
        match self.unit {
            Unit::Entries => "entries",
            Unit::Bytes => "bytes",
        }
    }
}

/// The bar goes with the end of the work.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
