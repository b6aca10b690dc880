//! `minidb`: the command-line tool.
//!
//! [`cli`] has the command line, [`commands`] what each command does, [`open`] how a database
//! is opened for it, [`shell`] the commands on lines, [`output`] and [`bytes`] how entries are printed, [`formats`] the formats
//! of dumps, [`layout`] the use of a file's sectors, [`progress`] the bars of long work, [`failure`] the exit codes.

mod bytes;
mod cli;
mod commands;
mod failure;
mod formats;
mod layout;
mod open;
mod output;
mod pages;
mod progress;
mod shell;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser};
use signal_hook::consts::{SIGPIPE, SIGXFSZ};

use cli::{Cli, Command, Common, OnFile};
use commands::Run;
use failure::{Done, Failure};
use open::Target;
use output::Output;

fn main() -> ExitCode {
    // A limit on the size of files is an error of a write, not the end of the process.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    let mut out = Output::new();
    let mut quiet = false;
    let done = parse(&mut out).and_then(|cli| {
        let Some(Cli { common, command }) = cli else { return Ok(()) };
        quiet = common.quiet;
        run(command, common, &mut out)
    });
    // What was printed before a failure is output, too.
    let done = done.and_then(|()| out.flush()).or_else(|failure| out.flush().and(Err(failure)));
    let Err(failure) = done else { return ExitCode::SUCCESS };
    let (code, text) = failure.code();
    if let Some(text) = text.filter(|_| !(quiet && code == 1)) {
        complain(text);
    }
    if matches!(failure, Failure::BrokenPipe) {
        // The end that the shell expects of a program whose reader has gone.
        let _ = signal_hook::low_level::emulate_default_handler(SIGPIPE);
    }
    ExitCode::from(code)
}

/// Prints a message. If that cannot be done, there is nobody to tell.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "minidb: {text}");
}

/// Reads the command line. Help and the version are printed; then there is no command.
fn parse(out: &mut Output) -> Done<Option<Cli>> {
    match Cli::try_parse() {
        Ok(cli) => Ok(Some(cli)),
        Err(error) if error.use_stderr() => {
            let _ = error.print();
            std::process::exit(2);
        }
        Err(error) => out.help(&error).map(|()| None),
    }
}

fn run(command: Command, common: Common, out: &mut Output) -> Done {
    match command {
        Command::Get(it) => on_file(&it, common, out),
        Command::Put(it) => on_file(&it, common, out),
        Command::Del(it) => on_file(&it, common, out),
        Command::Cas(it) => on_file(&it, common, out),
        Command::Scan(it) => on_file(&it, common, out),
        Command::Count(it) => on_file(&it, common, out),
        Command::Stat(it) => on_file(&it, common, out),
        Command::Check(it) => on_file(&it, common, out),
        Command::Dump(it) => on_file(&it, common, out),
        Command::Load(it) => on_file(&it, common, out),
        Command::Backup(it) => on_file(&it, common, out),
        Command::Compact(it) => on_file(&it, common, out),
        Command::Salvage(it) => it.run(common.wait, out),
        Command::Shell(it) => shell::run(&it.file, it.args.read_only, common, out),
        Command::Completions(it) => out.made(|to| pages::completions(it.shell, to)),
        Command::Man => out.made(|to| pages::man(to)),
    }
}

fn on_file<T: Run + Args>(it: &OnFile<T>, common: Common, out: &mut Output) -> Done {
    let Common { wait, progress: lines, .. } = common;
    it.args.run(&Target { path: it.file.clone(), wait, lines, shell: None }, out)
}
