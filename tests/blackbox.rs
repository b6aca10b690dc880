//! The shared library from outside: what a database is after its process was
//! killed, after file calls have failed and on a full disk, who may open it and
//! by which paths. The programs are in `tests/blackbox`; they know the header
//! and the operating system, and nothing of what is inside.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{have, library_dir, root, run, scratch, shared_library};

const FAULTY: [&str; 3] = ["faulty.c", "faults.c", "heap.c"];

/// What the library imports that does nothing to files: or, as `close` and
/// `getcwd`, nothing that could go wrong.
const OTHER_CALLS: [&str; 30] = [
    "__errno_location",
    "__gmon_start__",
    "__register_atfork",
    "__tls_get_addr",
    "__xpg_strerror_r",
    "abort",
    "bcmp",
    "calloc",
    "clock_gettime",
    "clock_nanosleep",
    "close",
    "dl_iterate_phdr",
    "dlsym",
    "free",
    "getauxval",
    "getcwd",
    "getenv",
    "getpid",
    "getrandom",
    "gettid",
    "madvise",
    "malloc",
    "mprotect",
    "munmap",
    "pause",
    "posix_memalign",
    "realloc",
    "sched_yield",
    "sync",
    "sysconf",
];
const OTHER_PREFIXES: [&str; 7] = ["_ITM_", "_Unwind_", "__cxa_", "mem", "pthread_", "sig", "str"];

/// Builds a program from sources in `tests/blackbox`.
fn program(sources: &[&str], folder: &Path) -> PathBuf {
    let program = folder.join(sources[0]).with_extension("");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-g", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    cc.arg("-I").arg(root().join("include")).arg("-I").arg(root().join("tests/c"));
    cc.args(sources.iter().map(|it| root().join("tests/blackbox").join(it)));
    cc.arg("-o").arg(&program);
    let dir = library_dir();
    cc.arg("-L").arg(&dir).arg(format!("-Wl,-rpath,{}", dir.display()));
    run(cc.args(["-lminidb", "-lpthread", "-ldl"]));
    program
}

/// Runs a program, under another if one is given, in a folder of its own.
fn run_program(sources: &[&str], name: &str, under: Option<&mut Command>) {
    let folder = scratch(name);
    let program = program(sources, &folder);
    let files = folder.join("files");
    std::fs::create_dir(&files).expect("the folder can be written");
    let mut own = Command::new(&program);
    let command = match under {
        Some(under) => under.arg(&program),
        None => &mut own,
    };
    print!("{}", run(command.arg(files).arg(shared_library())));
}

fn valgrind(leaks: bool) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["-q", "--error-exitcode=9", "--fair-sched=yes"]);
    if leaks {
        valgrind.arg("--leak-check=full");
    }
    valgrind.env("MINIDB_VALGRIND", "1");
    valgrind
}

#[test]
fn nothing_is_lost_when_processes_are_killed() {
    run_program(&["kill9.c"], "blackbox-kill9", None);
}

#[test]
fn file_calls_may_fail() {
    run_program(&FAULTY, "blackbox-faulty", None);
}

#[test]
fn a_sync_fails_for_all_who_wait_for_it() {
    run_program(&["group.c", "faults.c", "heap.c"], "blackbox-group", None);
}

#[test]
fn any_number_of_calls_may_be_inside() {
    run_program(&["crowd.c", "faults.c", "heap.c"], "blackbox-crowd", None);
}

#[test]
fn a_thread_that_waits_sleeps() {
    run_program(&["realtime.c"], "blackbox-realtime", None);
}

/// Else `file_calls_may_fail` would leave some out.
#[test]
fn all_file_calls_are_known() {
    let program = program(&FAULTY, &scratch("blackbox-calls"));
    let names = |nm: &mut Command| -> Vec<String> {
        let name = |line: &str| {
            line.rsplit(' ').next().and_then(|it| it.split('@').next()).map(str::to_owned)
        };
        run(nm).lines().filter_map(name).collect()
    };
    let imports = names(Command::new("nm").args(["-D", "--undefined-only"]).arg(shared_library()));
    let known = names(Command::new("nm").arg("--defined-only").arg(program));
    assert!(imports.iter().any(|it| it == "pwrite64"), "{imports:?}");
    let is_other = |name: &str| {
        OTHER_CALLS.contains(&name) || OTHER_PREFIXES.iter().any(|it| name.starts_with(it))
    };
    let unknown = imports.iter().filter(|it| !known.contains(it) && !is_other(it));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn a_disk_may_be_full() {
    run_program(&["full.c"], "blackbox-full", None);
}

#[test]
fn the_address_space_may_be_limited() {
    run_program(&["limit.c"], "blackbox-limit", None);
}

#[test]
fn checkpoints_need_no_thread() {
    run_program(&["threads.c"], "blackbox-threads", None);
}

#[test]
fn a_file_is_locked() {
    run_program(&["locks.c"], "blackbox-locks", None);
}

#[test]
fn a_file_is_locked_under_valgrind() {
    if have("valgrind") {
        // A child misses what threads of its parent would have released.
        run_program(&["locks.c"], "blackbox-locks-valgrind", Some(&mut valgrind(false)));
    }
}

#[test]
fn odd_paths_are_refused_and_files_may_vanish() {
    run_program(&["paths.c"], "blackbox-paths", None);
}

#[test]
fn odd_paths_under_valgrind() {
    if have("valgrind") {
        run_program(&["paths.c"], "blackbox-paths-valgrind", Some(&mut valgrind(true)));
    }
}
