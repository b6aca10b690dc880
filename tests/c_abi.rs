//! The C programs in `tests/c` pass: with the shared library and with the
//! static one, under valgrind, and under AddressSanitizer.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{STATIC_NEEDS, files, have, library_dir, root, run, scratch, static_library};

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

fn cc(source: &Path, program: &Path) -> Command {
    let mut cc = Command::new("cc");
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

#[test]
fn with_the_shared_library() {
    for program in programs("c-shared", link_shared) {
        print!("{}", run(&mut Command::new(program)));
    }
}

#[test]
fn with_the_static_library() {
    for program in programs("c-static", link_static) {
        print!("{}", run(&mut Command::new(program)));
    }
}

#[test]
fn under_valgrind() {
    if !have("valgrind") {
        return;
    }
    for program in programs("c-valgrind", link_shared) {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["-q", "--leak-check=full", "--error-exitcode=9"]);
        // Else a busy thread keeps the others waiting for minutes.
        valgrind.arg("--fair-sched=yes");
        print!("{}", run(valgrind.arg(program)));
    }
}

#[test]
fn with_address_sanitizer() {
    let link = |cc: &mut Command| {
        cc.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
        link_static(cc);
    };
    for program in programs("c-asan", link) {
        print!("{}", run(&mut Command::new(program)));
    }
}

/// `tests/c/oom/oom.c` has the allocating functions replaced when it is linked.
#[test]
fn when_memory_is_refused() {
    let program = scratch("c-oom").join("oom");
    let mut cc = cc(&root().join("tests/c/oom/oom.c"), &program);
    cc.arg("-I").arg(root().join("tests/c"));
    link_static(&mut cc);
    for function in ["malloc", "calloc", "realloc", "posix_memalign", "mmap"] {
        cc.arg(format!("-Wl,--wrap={function}"));
    }
    run(&mut cc);
    print!("{}", run(&mut Command::new(program)));
}
