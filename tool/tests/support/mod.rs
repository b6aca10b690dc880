//! Running the tool, and the tools of others, in a folder for one test.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The tool.
pub const TOOL: &str = env!("CARGO_BIN_EXE_minidb");

/// A folder of one test. It stays to be looked at.
pub struct Folder(pub PathBuf);

/// The end of a program: what it printed, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub out: Vec<u8>,
    pub err: String,
    /// The exit code, or the number of a signal and 128.
    pub code: i32,
}

impl Folder {
    pub fn new(test: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the target folder can be written");
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("the target folder can be written");
    }

    /// A program that is to run in the folder.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.0).env("MINIDB_HISTORY", "").env_remove("NO_COLOR");
        command
    }

    /// Runs the tool with some input.
    pub fn ran_with(&self, arguments: &[&str], input: &[u8]) -> Ended {
        ended(self.command(TOOL).args(arguments), input)
    }

    pub fn ran(&self, arguments: &[&str]) -> Ended {
        self.ran_with(arguments, b"")
    }

    /// Runs the tool, which must succeed, and returns what it printed. Success is silent
    /// elsewhere.
    pub fn ok_with(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let Ended { out, err, code } = self.ran_with(arguments, input);
        assert_eq!((code, &err[..]), (0, ""), "{arguments:?}");
        out
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.ok_with(arguments, b"")).expect("what is printed is text")
    }

    /// Runs the tool, which must fail with an exit code and print nothing but a message.
    pub fn fails(&self, arguments: &[&str], code: i32) -> String {
        self.fails_with(arguments, b"", code)
    }

    pub fn fails_with(&self, arguments: &[&str], input: &[u8], code: i32) -> String {
        let ended = self.ran_with(arguments, input);
        assert_eq!((ended.code, &ended.out[..]), (code, &b""[..]), "{arguments:?}: {ended:?}");
        assert!(!ended.err.is_empty(), "{arguments:?} says nothing");
        ended.err
    }

    /// Runs a program of others, which must succeed, with some input.
    pub fn run(&self, program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let ended = ended(self.command(program).args(arguments), input);
        assert_eq!(ended.code, 0, "{program} {arguments:?}: {ended:?}");
        ended.out
    }

    /// The names of the files in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the folder can be read");
        let mut names: Vec<_> = entries
            .map(|it| it.expect("the folder can be read").file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Runs a command to its end. The program need not read its input.
pub fn ended(command: &mut Command, input: &[u8]) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it was asked for");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        let output = child.wait_with_output().expect("a child can be waited for");
        let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal));
        let err = String::from_utf8(output.stderr).expect("messages are text");
        Ended { out: output.stdout, err, code: code.expect("it has ended") }
    })
}

/// Whether a program is there. If not, the test that asks says so and passes; in CI (with `CI`
/// set) it fails.
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        println!("SKIPPED: {program} is not installed");
        assert!(std::env::var_os("CI").is_none(), "{program} must be there in CI");
    }
    found
}
