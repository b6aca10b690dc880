//! The programs of docs/MIGRATION.md: those on another store and those on minidb print the
//! same, and the page has their text.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{have, library_dir, root, run, scratch};

/// The pairs in the order of the page: the program on the other store, the header of that,
/// and what it is linked with.
const PAIRS: [(&str, &str, &[&str]); 6] = [
    ("lmdb.c", "lmdb.h", &["-llmdb"]),
    ("leveldb.c", "leveldb/c.h", &["-lleveldb"]),
    ("gdbm.c", "gdbm.h", &["-lgdbm"]),
    ("ndbm.c", "ndbm.h", &["-lgdbm_compat", "-lgdbm"]),
    ("sqlite.c", "sqlite3.h", &["-lsqlite3"]),
    ("hash.cpp", "unordered_map", &[]),
];

/// The program on minidb of a pair.
fn on_minidb(program: &str) -> String {
    program.replace('.', "-minidb.")
}

fn source(program: &str) -> PathBuf {
    root().join("examples/migration").join(program)
}

/// The compiler for a program, with the options of all programs.
fn compiler(program: &str) -> Command {
    let is_c = program.ends_with(".c");
    let mut compiler = Command::new(if is_c { "cc" } else { "c++" });
    compiler.arg(if is_c { "-std=c99" } else { "-std=c++17" }).arg("-pthread");
    compiler.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    compiler
}

/// Whether a compiler and the header of a store are there.
fn has_store(program: &str, header: &str) -> bool {
    let mut cc = compiler(program);
    if !have(&cc.get_program().to_string_lossy()) {
        return false;
    }
    let language = if program.ends_with(".c") { "c" } else { "c++" };
    cc.args(["-include", header, "-E", "-x", language, "-"]).stdin(Stdio::null());
    let found = cc.output().expect("it runs").status.success();
    found || have(header) // which is no tool: it says that it is not installed
}

/// Builds a program in a folder, runs it there, and returns its output.
fn output(folder: &Path, program: &str, libraries: &[&str]) -> String {
    let binary = folder.join(program.replace('.', "-"));
    let mut cc = compiler(program);
    cc.arg(source(program)).arg("-o").arg(&binary).args(libraries);
    run(&mut cc);
    run(Command::new(binary).current_dir(folder))
}

#[test]
fn both_programs_of_each_pair_print_the_same() {
    let library = library_dir().display().to_string();
    let include = format!("-I{}", root().join("include").display());
    let minidb = [&include[..], "-L", &library, &format!("-Wl,-rpath,{library}"), "-lminidb"];
    for (program, header, libraries) in PAIRS {
        if !has_store(program, header) {
            continue;
        }
        let folder = scratch(&format!("migration-{}", program.replace('.', "-")));
        let before = output(&folder, program, libraries);
        let after = output(&folder, &on_minidb(program), &minidb);
        println!("{program}:\n{before}");
        assert!(!before.is_empty());
        assert_eq!(after, before, "{program}, on minidb and before");
    }
}

#[test]
fn the_page_has_the_programs_as_they_are() {
    let page = fs::read_to_string(root().join("docs/MIGRATION.md")).expect("the page is there");
    let blocks: Vec<_> = page.split("```").skip(1).step_by(2).collect();
    let programs: Vec<_> = PAIRS.iter().flat_map(|it| [it.0.into(), on_minidb(it.0)]).collect();
    assert_eq!(blocks.len(), programs.len());
    for (block, program) in blocks.iter().zip(programs) {
        let (_, tag) = program.split_once('.').expect("a program has an extension");
        let code = fs::read_to_string(source(&program)).expect("the program is there");
        assert!(*block == format!("{tag}\n{code}"), "docs/MIGRATION.md differs from {program}");
    }
}
