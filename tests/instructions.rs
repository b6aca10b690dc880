//! Instructions that a call through the C ABI takes, counted by callgrind, are those of
//! `tests/instructions.txt`: a slowdown shows on a machine that does much else, too.
//!
//! The library is built as it is shipped, in a target folder of its own. The counts
//! include libc and the loop of `tests/instructions/count.c`. libc's functions are
//! those for any x86-64 processor, whichever the machine has.

mod support;

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{have, root, run, scratch};

/// The counted functions of the program, without `count_`, in the order of their calls.
const COUNTED: [&str; 5] = ["get", "overwrite", "insert", "delete", "next"];

/// Calls in each counted function.
const CALLS: u64 = 20_000;

/// Percent by which a count may differ from the recorded one.
const ALLOWED: f64 = 3.0;

/// Tells libc to use no function that some processors lack.
const ANY_PROCESSOR: &str = "glibc.cpu.hwcaps=-AVX512VL,-AVX512BW,-AVX512F,-AVX2,-AVX,-ERMS,\
                             -FSRM,-RTM,-BMI2,-SSSE3,-SSE4_1,-SSE4_2,-Fast_Unaligned_Copy";

const RECORD: &str = "MINIDB_RECORD=1 cargo test --test instructions";

/// A cargo that builds nothing but what the manifest says.
fn cargo(target: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).env("CARGO_TARGET_DIR", target);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.ends_with("RUSTFLAGS") || name.starts_with("CARGO_PROFILE_") {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// Builds the shared library without features; returns its folder.
fn build_library() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions-target");
    run(cargo(&target).args(["rustc", "--quiet", "--release", "--lib", "--crate-type", "cdylib"]));
    target.join("release")
}

fn build_program(library: &Path, folder: &Path) -> PathBuf {
    let program = folder.join("count");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    cc.arg("-I").arg(root().join("include")).arg(root().join("tests/instructions/count.c"));
    cc.arg("-o").arg(&program).arg("-L").arg(library).arg("-lminidb");
    run(cc.arg(format!("-Wl,-rpath,{}", library.display())));
    program
}

/// Instructions for a call of each kind.
fn count() -> [u64; COUNTED.len()] {
    let folder = scratch("instructions");
    let program = build_program(&build_library(), &folder);
    let out = folder.join("callgrind");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--toggle-collect=count_*"]);
    // Leaving a counted function dumps what was counted since the last dump.
    valgrind.args(COUNTED.map(|name| format!("--dump-after=count_{name}")));
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    run(valgrind.arg(program).env("GLIBC_TUNABLES", ANY_PROCESSOR));
    let mut part = 0;
    COUNTED.map(|name| {
        part += 1;
        let dump = format!("{}.{part}", out.display());
        let text = fs::read_to_string(&dump).unwrap_or_else(|error| panic!("{dump}: {error}"));
        assert!(text.contains(&format!("count_{name}")), "{dump} is of another function");
        let total = text.lines().find_map(|line| line.strip_prefix("summary: "));
        let total: u64 = total.and_then(|it| it.trim().parse().ok()).expect("it has a sum");
        total / CALLS
    })
}

/// The counts as the file has them.
fn table(counts: &[u64]) -> String {
    let version = run(Command::new("rustc").arg("--version"));
    let mut text = format!("# {RECORD}\n# {version}");
    for (name, count) in COUNTED.iter().zip(counts) {
        writeln!(text, "{name} {count}").expect("a string takes it");
    }
    text
}

fn recorded(text: &str) -> Vec<u64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let number = |(line, name): (&str, &&str)| {
        let number = line.strip_prefix(*name).and_then(|it| it.trim().parse().ok());
        number.unwrap_or_else(|| panic!("{line} is not a count for {name}"))
    };
    lines.zip(&COUNTED).map(number).collect()
}

#[test]
fn calls_take_the_instructions_that_were_recorded() {
    if !cfg!(target_arch = "x86_64") {
        println!("SKIPPED: the counts are those of x86-64");
        return;
    }
    if !have("valgrind") {
        return;
    }
    let path = root().join("tests/instructions.txt");
    let counts = count();
    if env::var_os("MINIDB_RECORD").is_some() {
        fs::write(&path, table(&counts)).expect("the repository can be written");
    }
    let text = fs::read_to_string(&path).expect("the counts are recorded");
    let before = recorded(&text);
    assert_eq!(before.len(), counts.len(), "{text}");
    let mut report = String::from("call       recorded    now\n");
    let mut differs = false;
    for ((name, before), now) in COUNTED.iter().zip(before).zip(counts) {
        let percent = (now as f64 / before as f64 - 1.0) * 100.0;
        differs |= percent.abs() > ALLOWED;
        writeln!(report, "{name:10} {before:8} {now:6} {percent:+6.1} %").expect("it takes it");
    }
    println!("{report}");
    assert!(
        !differs,
        "a count differs by more than {ALLOWED} %:\n{report}\nthe recorded ones:\n{text}\nnow:\n{}\n\
         If that is meant to be, or another rustc or libc is the reason, record the new ones:\n    {RECORD}\n",
        table(&counts)
    );
}
