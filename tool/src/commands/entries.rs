//! `get`, `put`, `del` and `cas`: commands for one entry.

use std::io::{self, Read};

use minidb::DB;

use super::Run;
use crate::bytes::printable;
use crate::cli::{Cas, Del, Get, Put};
use crate::failure::{Done, Failure};
use crate::open::{Access, Target};
use crate::output::{Output, Style};

fn no_such_key(key: &[u8]) -> Failure {
    Failure::No(format!("no such key: {}", printable(key)))
}

impl Run for Get {
    fn run(&self, target: &Target, out: &mut Output) -> Done {
        let key = self.printed.written.decode(&self.key)?;
        let print = |value: Option<&[u8]>| {
            let value = value.ok_or_else(|| no_such_key(&key))?;
            match self.printed.style() {
                Style::Raw => out.write(value),
                style => {
                    let key = (style == Style::Json).then_some(&key[..]);
                    out.entry(style, self.printed.end(), key, Some(value))
                }
            }
        };
        target.open(Access::Read)?.get_with(&key, print)?
    }
}

impl Run for Put {
    fn run(&self, target: &Target, out: &mut Output) -> Done {
        let key = self.printed.written.decode(&self.key)?;
        let value = if self.value == "-" {
            if target.is_shell() {
                let why = "in the shell, lines come from the standard input; one dash is \\x2d";
                return Err(Failure::Usage(why.into()));
            }
            let mut value = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut value);
            read.map_err(|error| Failure::input("the standard input", &error))?;
            value
        } else {
            self.printed.written.decode(&self.value)?
        };
        let db = target.open(Access::Create)?;
        if !self.previous {
            return Ok(db.put_with(&key, &value, |_| Ok(()))?);
        }
        let (style, end) = (self.printed.style(), self.printed.end());
        match db.put(&key, &value)? {
            Some(previous) if style == Style::Raw => out.write(&previous),
            Some(previous) => {
                let key = (style == Style::Json).then_some(&key[..]);
                out.entry(style, end, key, Some(&previous))
            }
            None => Ok(()),
        }
    }
}

impl Run for Del {
    fn run(&self, target: &Target, _: &mut Output) -> Done {
        let key = self.written.decode(&self.key)?;
        let deleted = target.open(Access::Write)?.delete_with(&key, |_| Ok(()))?;
        deleted.ok_or_else(|| no_such_key(&key))
    }
}

impl Run for Cas {
    fn run(&self, target: &Target, _: &mut Output) -> Done {
        let key = self.written.decode(&self.key)?;
        let first = self.written.decode(&self.expected)?;
        let second = self.desired.as_ref().map(|it| self.written.decode(it)).transpose()?;
        let (expected, desired) = match (&second, self.absent, self.remove) {
            (Some(desired), false, false) => (Some(&first[..]), Some(&desired[..])),
            (None, true, false) => (None, Some(&first[..])),
            (None, false, true) => (Some(&first[..]), None),
            _ => {
                let wanted =
                    "cas takes EXPECTED and DESIRED, or --absent DESIRED, or --remove EXPECTED";
                return Err(Failure::Usage(wanted.into()));
            }
        };
        let access = if self.absent { Access::Create } else { Access::Write };
        if target.open(access)?.cas(&key, expected, desired)? {
            return Ok(());
        }
        Err(Failure::No(format!("the value is not the expected one: {}", printable(&key))))
    }
}
