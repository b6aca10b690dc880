//! The shell: lines with commands, which run on one open database.
//!
//! Lines from a terminal are edited, completed and remembered. All others are read as they are,
//! up to the end of the file.

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};

use crate::cli::{Common, Line, LineCommand};
use crate::commands::Run;
use crate::complain;
use crate::failure::{Done, Failure};
use crate::open::{Access, Target};
use crate::output::Output;

const PROMPT: &str = "minidb> ";

/// Runs the shell to its end.
pub fn run(file: &Path, read_only: bool, common: Common, out: &mut Output) -> Done {
    let Common { wait, progress: lines, .. } = common;
    let mut target = Target { path: file.to_owned(), wait, lines, shell: None };
    let access = if read_only { Access::Read } else { Access::Create };
    target.shell = Some(target.open(access)?);
    let mut shell = Shell { target, quiet: common.quiet, greatest: 0 };
    if io::stdin().is_terminal() {
        return shell.edit(out);
    }
    let mut lines = io::stdin().lock().split(b'\n');
    while let Some(line) = lines.next().transpose().map_err(failed_input)? {
        if !shell.line(&line, out)? {
            break;
        }
    }
    if shell.greatest == 0 { Ok(()) } else { Err(Failure::Said(shell.greatest)) }
}

fn failed_input(error: io::Error) -> Failure {
    Failure::input("the standard input", &error)
}

struct Shell {
    target: Target,
    quiet: bool,
    /// The greatest exit code so far.
    greatest: u8,
}

impl Shell {
    /// Reads lines from a terminal.
    fn edit(&mut self, out: &mut Output) -> Done {
        let failed = |error: ReadlineError| Failure::Io(format!("cannot read a line: {error}"));
        let mut editor = Editor::<Commands, DefaultHistory>::new().map_err(failed)?;
        editor.set_helper(Some(Commands));
        let history = history();
        if let Some(path) = &history {
            let _ = editor.load_history(path); // there may be none yet
        }
        let done = loop {
            match editor.readline(PROMPT) {
                Ok(line) => {
                    if !line.trim().is_empty() {
                        let _ = editor.add_history_entry(&line);
                    }
                    match self.line(line.as_bytes(), out) {
                        Ok(true) => {}
                        Ok(false) => break Ok(()),
                        Err(failure) => break Err(failure),
                    }
                }
                Err(ReadlineError::Interrupted) => {} // the line is given up
                Err(ReadlineError::Eof) => break Ok(()),
                Err(error) => break Err(failed(error)),
            }
        };
        if let Some(path) = &history {
            editor.append_history(path).unwrap_or_else(|error| {
                complain(&format!("cannot write {}: {error}", path.display()));
            });
        }
        done
    }

    /// Runs a line; false if it ends the shell. An error is one of the output, after which
    /// there is no sense in going on.
    fn line(&mut self, line: &[u8], out: &mut Output) -> Done<bool> {
        let done = self.run_line(line, out);
        out.flush()?;
        let Err(failure) = done else { return done };
        let (code, text) = failure.code();
        self.greatest = self.greatest.max(code);
        if let Some(text) = text.filter(|_| !(self.quiet && code == 1)) {
            complain(text);
        }
        Ok(true)
    }

    fn run_line(&self, line: &[u8], out: &mut Output) -> Done<bool> {
        let words = words(line).map_err(Failure::Usage)?;
        if words.is_empty() || words[0].as_encoded_bytes().starts_with(b"#") {
            return Ok(true);
        }
        let command = match Line::try_parse_from(words) {
            Ok(line) => line.command,
            Err(error) if error.use_stderr() => {
                let _ = error.print();
                return Err(Failure::Said(2));
            }
            Err(help) => return out.help(&help).map(|()| true),
        };
        let command: &dyn Run = match &command {
            LineCommand::Get(it) => it,
            LineCommand::Put(it) => it,
            LineCommand::Del(it) => it,
            LineCommand::Cas(it) => it,
            LineCommand::Scan(it) => it,
            LineCommand::Count(it) => it,
            LineCommand::Stat(it) => it,
            LineCommand::Check(it) => it,
            LineCommand::Dump(it) => it,
            LineCommand::Load(it) => it,
            LineCommand::Backup(it) => it,
            LineCommand::Compact(it) => it,
            LineCommand::Exit => return Ok(false),
        };
        command.run(&self.target, out).map(|()| true)
    }
}

/// The file that lines from a terminal are kept in, if they are.
fn history() -> Option<PathBuf> {
    match std::env::var_os("MINIDB_HISTORY") {
        Some(path) => (!path.is_empty()).then(|| path.into()),
        None => std::env::home_dir().map(|home| home.join(".minidb_history")),
    }
}

/// The words of a line. Spaces part them, unless they stand in quotes of either kind.
fn words(line: &[u8]) -> Result<Vec<OsString>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<Vec<u8>>, None);
    for &byte in line {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, b' ' | b'\t' | b'\r') => words.extend(word.take().map(OsString::from_vec)),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed; a quote alone is \\x22 or \\x27".into());
    }
    words.extend(word.map(OsString::from_vec));
    Ok(words)
}

/// Completes the names of commands and of their options.
struct Commands;

impl Completer for Commands {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..at];
        let start = before.rfind(' ').map_or(0, |space| space + 1);
        let shell = Line::command();
        let names: Vec<String> = match before[..start].split_whitespace().next() {
            None => {
                let names = shell.get_subcommands().map(|command| command.get_name().to_owned());
                names.chain(["help".to_owned()]).collect()
            }
            Some(command) => {
                let command = shell.find_subcommand(command);
                let options = command.into_iter().flat_map(clap::Command::get_arguments);
                options.filter_map(|it| Some(format!("--{}", it.get_long()?))).collect()
            }
        };
        let word = &before[start..];
        let begun = |name: &String| name.starts_with(word) && (start == 0 || word.starts_with('-'));
        let found = names.into_iter().filter(begun).map(|name| name + " ").collect();
        Ok((start, found))
    }
}

impl Helper for Commands {}
impl Hinter for Commands {
    type Hint = String;
}
impl Highlighter for Commands {}
impl Validator for Commands {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_words() {
        let all = |line: &str| {
            let words = words(line.as_bytes()).unwrap();
            words.iter().map(|it| it.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            all(" put  a\t'b c' \"d'e\" '' f\"g h\"i \\n\r"),
            ["put", "a", "b c", "d'e", "", "fg hi", "\\n"]
        );
        assert!(all("").is_empty());
        assert!(words(b"put 'a").is_err());
    }

    #[test]
    fn the_shell_has_the_commands_that_work_on_a_file() {
        let command_line = crate::cli::Cli::command();
        let others = ["salvage", "shell", "completions", "man"];
        let names = command_line.get_subcommands().map(clap::Command::get_name);
        let expected: Vec<_> =
            names.filter(|name| !others.contains(name)).chain(["exit"]).collect();
        let shell = Line::command();
        let names: Vec<_> = shell.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(names, expected);
    }
}
