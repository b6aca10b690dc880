//! `include/minidb.h`: fresh, complete, and fit for every compiler.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::{have, root, run, scratch, shared_library, static_library};

fn header() -> String {
    fs::read_to_string(root().join("include/minidb.h")).expect("the header is there")
}

/// The names of the functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = header();
    let code = header.split("*/").filter_map(|part| part.split("/*").next());
    let words = code.flat_map(|code| code.split_inclusive('('));
    words
        .filter_map(|word| word.strip_suffix('(')?.split([' ', '*', '\n']).next_back())
        .filter(|name| name.starts_with("minidb_") && !name.ends_with(')'))
        .map(str::to_owned)
        .collect()
}

/// The names that begin with minidb_ among those that `nm` lists.
fn exported(arguments: &[&str], library: &Path) -> BTreeSet<String> {
    let names = run(Command::new("nm").args(arguments).arg("--defined-only").arg(library));
    names
        .lines()
        .filter_map(|line| line.split(' ').nth(2))
        .filter(|name| arguments.contains(&"-D") || name.starts_with("minidb_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn it_is_what_the_sources_say() {
    let made = include_str!(concat!(env!("OUT_DIR"), "/minidb.h"));
    assert!(header() == made, "include/minidb.h is stale: build in a checkout and commit it");
}

#[test]
fn it_declares_what_the_libraries_export() {
    let declared = declared();
    assert_eq!(declared.len(), 33, "{declared:?}");
    assert_eq!(declared, exported(&["-D"], &shared_library()));
    assert_eq!(declared, exported(&["-g"], &static_library()));
}

#[test]
fn the_abi_only_grows() {
    let made = include_str!(concat!(env!("OUT_DIR"), "/minidb_ffi.h"));
    let flat = fs::read_to_string(root().join("include/minidb_ffi.h")).expect("it is there");
    assert!(flat == made, "include/minidb_ffi.h is stale: build in a checkout and commit it");
    let parts = |text: &str| -> BTreeSet<String> {
        text.lines().map(|line| line.trim_end_matches(',').to_owned()).collect()
    };
    let promised = fs::read_to_string(root().join("docs/abi-0.txt")).expect("it is there");
    let (flat, promised) = (parts(&flat), parts(&promised));
    let gone: Vec<_> = promised.difference(&flat).collect();
    assert!(gone.is_empty(), "programs rely on {gone:#?}");
    let new = flat.difference(&promised).filter(|line| !line.contains("MINIDB_VERSION_"));
    let new: Vec<_> = new.collect();
    assert!(new.is_empty(), "to be added to docs/abi-0.txt: {new:#?}");
}

#[test]
fn its_version_is_that_of_the_package() {
    let header = header();
    let number = |name: &str| {
        let line = header.lines().find(|line| line.starts_with(&format!("#define {name} ")));
        line.and_then(|line| line.split(' ').nth(2)).expect("the macro is there").to_owned()
    };
    assert_eq!(number("MINIDB_VERSION"), format!("\"{}\"", env!("CARGO_PKG_VERSION")));
    let parts = ["MAJOR", "MINOR", "PATCH"].map(|part| number(&format!("MINIDB_VERSION_{part}")));
    assert_eq!(parts.join("."), env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_declaration_has_a_comment() {
    let header = header();
    let mut before = "";
    for line in header.lines() {
        let starts = ["MINIDB_API", "typedef ", "#define MINIDB_O", "#define MINIDB_S"];
        if starts.iter().any(|start| line.starts_with(start)) {
            assert!(before.ends_with("*/"), "no comment before: {line}");
        }
        before = line.trim_end();
    }
}

#[test]
fn every_compiler_takes_it_twice_without_a_warning() {
    let dir = scratch("header");
    let [c, cpp] = ["c", "cpp"].map(|extension| {
        let source = dir.join(format!("twice.{extension}"));
        let text = "#include <minidb.h>\n#include <minidb.h>\n\
                    const char *f(void) { return minidb_strerror(MINIDB_IO); }\n";
        fs::write(&source, text).expect("the folder can be written");
        source
    });
    let flags = ["-Wall", "-Wextra", "-Wpedantic", "-Wstrict-prototypes", "-Werror"];
    for (compilers, source, standards) in [
        (["gcc", "clang"], c, &["c89", "c99", "c11", "c17"][..]),
        (["g++", "clang++"], cpp, &["c++11", "c++17", "c++20"][..]),
    ] {
        let flags = flags.iter().filter(|it| source.ends_with("twice.c") || !it.contains("strict"));
        for compiler in compilers.into_iter().filter(|it| have(it)) {
            for standard in standards {
                let mut cc = Command::new(compiler);
                cc.arg(format!("-std={standard}")).args(flags.clone()).arg("-I");
                run(cc.arg(root().join("include")).args(["-fsyntax-only"]).arg(&source));
            }
        }
    }
}
