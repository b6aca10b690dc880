//! `check`, `backup`, `compact` and `salvage`: commands for whole files.

use std::fs;

use minidb::{DBError, Salvaged};
use serde_json::json;

use super::Run;
use crate::cli::{Backup, Check, Compact, Salvage};
use crate::failure::{Done, Failure};
use crate::open::{Access, Target, when_free};
use crate::output::Output;

impl Run for Check {
    fn run(&self, target: &Target, out: &mut Output) -> Done {
        let checked = target.open(Access::Read).and_then(|db| Ok(db.check()?));
        match checked {
            Ok(()) => out.line(if self.json { r#"{"ok":true}"# } else { "ok" }),
            Err(Failure::Damaged(what)) => {
                if self.json {
                    out.line(&json!({ "ok": false, "damage": what }).to_string())?;
                }
                Err(Failure::No(what))
            }
            Err(failure) => Err(failure),
        }
    }
}

impl Run for Backup {
    fn run(&self, target: &Target, _: &mut Output) -> Done {
        Ok(target.open(Access::Read)?.backup(&self.new)?)
    }
}

impl Run for Compact {
    fn run(&self, target: &Target, _: &mut Output) -> Done {
        let db = target.open(Access::Write)?;
        db.checkpoint()?;
        drop(db);
        // Closing the database makes the file smaller, and tells nobody if it fails.
        if !target.is_shell()
            && target.log_path().is_some_and(|log| fs::exists(log).unwrap_or(true))
        {
            let path = target.path.display();
            return Err(Failure::Io(format!("{path} is not compacted: its log is still there")));
        }
        Ok(())
    }
}

impl Salvage {
    pub fn run(&self, wait: std::time::Duration, out: &mut Output) -> Done {
        let salvage = || match minidb::salvage(&self.damaged, &self.new) {
            Err(DBError::Format(what)) if !self.damaged.is_file() => Err(DBError::Io(what)),
            done => done,
        };
        let found = when_free(&self.damaged, wait, salvage)?;
        let Salvaged {
            entries, lost, outdated, damaged_roots, damaged_sectors, commits, gaps, ..
        } = found;
        let numbers = [
            ("entries", entries),
            ("lost", lost),
            ("outdated", outdated),
            ("damaged_roots", damaged_roots),
            ("damaged_sectors", damaged_sectors),
            ("commits", commits),
            ("gaps", gaps),
            ("log_missing", u64::from(found.log_missing)),
        ];
        if self.json {
            let object = numbers.map(|(name, number)| (name.to_owned(), number.into()));
            return out.line(&serde_json::Value::Object(object.into_iter().collect()).to_string());
        }
        numbers.iter().try_for_each(|(name, number)| out.line(&format!("{name} {number}")))
    }
}
