//! The C programs in `tests/c` pass: with the shared library and with the
//! static one, under valgrind, and under AddressSanitizer; each with its databases
//! in memory and in files. With MINIDB_LIBRARIES set, the first two are tests of another
//! system: see `support::library_dir`. Its databases are opened by this one.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use minidb::{Options, PersistentDB};
use support::folder::Folder;
use support::{
    STATIC_NEEDS, c_compiler, files, have, library_dir, program, root, run, scratch, static_library,
};

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

fn cc(source: &Path, program: &Path) -> Command {
    let mut cc = c_compiler();
    cc.args(["-std=c99", "-g", "-O1"]).args(WARNINGS).arg("-I").arg(root().join("include"));
    cc.arg(source).arg("-o").arg(program);
    cc
}

fn link_shared(cc: &mut Command) {
    let dir = library_dir();
    cc.arg("-L").arg(&dir).arg(format!("-Wl,-rpath,{}", dir.display()));
    cc.args(["-lminidb", "-lpthread"]);
}

fn link_static(cc: &mut Command) {
    cc.arg(static_library()).args(STATIC_NEEDS);
}

/// Builds all programs into a folder of their own.
fn programs(name: &str, link: impl Fn(&mut Command)) -> Vec<PathBuf> {
    let dir = scratch(name);
    let sources = files("tests/c", "c");
    assert!(sources.len() >= 10, "the C programs are there");
    let build = |source: &PathBuf| {
        let program = dir.join(source.file_stem().expect("a source has a name"));
        let mut cc = cc(source, &program);
        link(&mut cc);
        run(&mut cc);
        program
    };
    sources.iter().map(build).collect()
}

/// Every database was closed, and can be opened.
fn is_sound(folder: &Folder) {
    for entry in std::fs::read_dir(folder.path()).expect("the folder is there") {
        let path = entry.expect("a folder can be read").path();
        let name = path.display();
        assert!(path.extension().is_some_and(|it| it == "minidb"), "{name} was left");
        let db = PersistentDB::open(&path, Options::new().read_only());
        db.and_then(|db| db.check()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// These say themselves where their databases are.
const ON_FILES_ANYWAY: [&str; 7] =
    ["backup", "damage", "files", "flags", "forks", "salvage", "texts"];

/// Runs all programs, and, but for some, again with their databases in files.
fn all_pass(
    name: &str,
    link: impl Fn(&mut Command),
    command: impl Fn(&Path) -> Command,
    in_memory_only: &[&str],
) {
    for program in programs(name, link) {
        let folder = Folder::in_memory(name);
        let command = || {
            let mut command = command(&program);
            command.env("TMPDIR", folder.path());
            command
        };
        print!("{}", run(&mut command()));
        is_sound(&folder);
        let once = [&ON_FILES_ANYWAY, in_memory_only].concat();
        if !once.iter().any(|it| program.ends_with(it)) {
            let on_files = run(command().env("MINIDB_TEST_FOLDER", folder.path()));
            print!("on files, {on_files}");
            is_sound(&folder);
        }
    }
}

#[test]
fn with_the_shared_library() {
    all_pass("c-shared", link_shared, program, &[]);
}

#[test]
fn with_the_static_library() {
    all_pass("c-static", link_static, program, &[]);
}

/// The files in `tests/c/older` stand in for what a newer kernel has.
#[test]
fn on_a_kernel_without_what_newer_ones_have() {
    let link = |cc: &mut Command| {
        cc.arg(root().join("tests/c/older/kernel.c"));
        link_static(cc);
        cc.args(["madvise", "renameat2"].map(|function| format!("-Wl,--wrap={function}")));
    };
    all_pass("c-older", link, program, &[]);
}

#[test]
fn under_valgrind() {
    if !have("valgrind") {
        return;
    }
    // A child of fork() has not the threads that make checkpoints, so what those
    // held is taken for lost there, by "forks" and by "process" on files.
    let command = |program: &Path| {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["-q", "--error-exitcode=9"]);
        let leaks = if program.ends_with("forks") { "no" } else { "full" };
        valgrind.arg(format!("--leak-check={leaks}"));
        // Else a busy thread keeps the others waiting for minutes.
        valgrind.arg("--fair-sched=yes").arg(program);
        valgrind
    };
    all_pass("c-valgrind", link_shared, command, &["process"]);
}

#[test]
fn with_address_sanitizer() {
    let link = |cc: &mut Command| {
        cc.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
        link_static(cc);
    };
    // A child that forks off while another thread allocates may find the lock of
    // the sanitizer's own allocator taken for ever.
    all_pass("c-asan", link, |program| Command::new(program), &["process"]);
}

/// The programs in `tests/c/oom` have the allocating functions replaced when they
/// are linked.
#[test]
fn when_memory_is_refused() {
    let build = |name: &str| {
        let program = scratch(&format!("c-oom-{name}")).join(name);
        let mut cc = cc(&root().join("tests/c/oom").join(name).with_extension("c"), &program);
        cc.arg("-I").arg(root().join("tests/c"));
        link_static(&mut cc);
        for function in ["malloc", "calloc", "realloc", "posix_memalign", "mmap"] {
            cc.arg(format!("-Wl,--wrap={function}"));
        }
        run(&mut cc);
        Command::new(program)
    };
    print!("{}", run(&mut build("oom")));
    for name in ["oom", "files"] {
        let folder = Folder::in_memory(&format!("oom-{name}"));
        print!("on files, {}", run(build(name).env("MINIDB_TEST_FOLDER", folder.path())));
        is_sound(&folder);
    }
}
