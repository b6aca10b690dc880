//! Parts that several tests share, and first those of tests that run other programs.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod cpu;
pub mod databases;
pub mod disk;
pub mod folder;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the libraries are: built with this test, or, for the C programs of another system,
/// in the folder that MINIDB_LIBRARIES names. `CC` then compiles for it, and MINIDB_RUNNER
/// runs what that makes.
pub fn library_dir() -> PathBuf {
    if let Some(folder) = env::var_os("MINIDB_LIBRARIES") {
        return folder.into();
    }
    let test = env::current_exe().expect("this program has a path");
    test.parent().expect("it lies in a folder").to_path_buf()
}

/// The shared library.
pub fn shared_library() -> PathBuf {
    library_dir().join("libminidb.so")
}

/// The static library.
pub fn static_library() -> PathBuf {
    library_dir().join("libminidb.a")
}

/// The compiler for C programs.
pub fn c_compiler() -> Command {
    Command::new(env::var_os("CC").unwrap_or("cc".into()))
}

/// A command that runs a C program.
pub fn program(path: &Path) -> Command {
    let runner = env::var("MINIDB_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(first) = words.next() else { return Command::new(path) };
    let mut command = Command::new(first);
    command.args(words).arg(path);
    command
}

/// What a program needs that is linked with the static library.
pub const STATIC_NEEDS: [&str; 3] = ["-lpthread", "-ldl", "-lm"];

/// An empty folder for programs that one test builds; they stay there to be looked at.
pub fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("the target folder can be written");
    dir
}

/// Whether a tool is there. If not, the test that asks says so and passes;
/// in CI (with `CI` set) it fails.
pub fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED: {tool} is not installed");
        assert!(env::var_os("CI").is_none(), "{tool} must be there in CI");
    }
    found
}

/// Runs a command that must succeed; returns what it printed.
pub fn run(command: &mut Command) -> String {
    // Cargo's search path would come before a program's own, and may lead to a
    // library that was built at another time.
    command.env_remove("LD_LIBRARY_PATH");
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] = [stdout, stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout
}

/// The files with an extension in a folder of the repository, sorted.
pub fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder can be read").path())
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .collect();
    files.sort();
    files
}
