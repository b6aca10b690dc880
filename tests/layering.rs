//! The shape of the sources: which part may use which, how long a file may be,
//! where `unsafe` may stand, how docs begin, and that nothing is left unfinished.

#[path = "layering/imports.rs"]
mod imports;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imports::Modules;
use support::{root, run, shared_library};

/// The floors from top to bottom. What stands in a file on one of them may
/// name, by `crate::`, its own floor and those below. `DB` and `MAX_LEN` stand
/// in the crate's root, but belong to the lowest floor: they use nothing.
const FLOORS: [&[&str]; 5] = [
    &["ffi", "schedules"],
    &[
        "Cursor",
        "Database",
        "DBIterator",
        "InMemoryDB",
        "Options",
        "PersistentDB",
        "Sink",
        "Snapshot",
        "Transaction",
        "Salvaged",
        "salvage",
        "salvage_on",
    ],
    &["storage"],
    &["os"],
    &[
        "DB", "DBError", "DBResult", "MAX_LEN", "error", "fallible", "planted", "segments", "sort",
        "sync",
    ],
];

/// The files that may say `unsafe`, each with `allow(unsafe_code)` and a reason.
const UNSAFE: [&str; 7] = [
    "src/ffi/",
    "src/os/",
    "src/storage/index/memory/",
    "src/storage/index/tree/views.rs",
    "src/sync/br_lock.rs",
    "src/sync/cancel.rs",
    "tests/",
];

/// All files that git tracks or would, with their paths in the repository.
fn sources(extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = ["src", "include", "examples", "tests", "fuzz"].map(PathBuf::from).to_vec();
    found.push(PathBuf::from("build.rs"));
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root().join(&folder)) else {
            continue; // a package has no fuzz
        };
        for entry in entries {
            let entry = entry.expect("a folder can be read");
            let path = folder.join(entry.file_name());
            let made = ["build", "target", "corpus", "artifacts", "__pycache__"];
            if made.iter().any(|it| path.ends_with(it)) {
                continue;
            }
            let list = if entry.path().is_dir() { &mut folders } else { &mut found };
            list.push(path);
        }
    }
    let wanted = |path: &Path| extensions.iter().any(|it| path.extension() == Some(it.as_ref()));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(root().join(&path)).expect("sources are text");
        (path.display().to_string(), text)
    };
    found.into_iter().filter(|path| wanted(path)).map(read).collect()
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|names| names.contains(&name))
}

/// The names that a file uses from the crate's root: `crate::name` and
/// `crate::{name, ...}`, its unit tests aside.
fn used(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = lines.collect::<Vec<_>>().join(" ");
    let mut names = Vec::new();
    for part in code.split("crate::").skip(1) {
        let list = match part.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => {
                part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
            }
        };
        let first = |item: &str| item.trim().split("::").next().unwrap_or_default().to_owned();
        names.extend(list.split(',').map(first).filter(|name| !name.is_empty()));
    }
    names
}

#[test]
fn arrows_point_down() {
    let mut arrows = 0;
    for (path, text) in sources(&["rs"]) {
        let Some(module) = path.strip_prefix("src/").filter(|it| *it != "lib.rs") else {
            continue;
        };
        let here = module.split(['/', '.']).next().and_then(floor);
        let here = here.unwrap_or_else(|| panic!("{path} is on no floor"));
        for name in used(&text) {
            let there = floor(&name).unwrap_or_else(|| panic!("{path}: {name} is on no floor"));
            assert!(here <= there, "{path} uses {name}, which is above it");
            arrows += 1;
        }
    }
    assert!(arrows > 20, "the test sees what is used");
}

#[test]
fn a_file_is_short_and_plain() {
    for (path, text) in sources(&["rs", "c", "h", "hpp", "cpp", "py"]) {
        let lines = text.lines().count();
        // The generated header is the manual of all functions.
        assert!(lines <= 600 || path == "include/minidb.h", "{path} has {lines} lines");
        assert!(text.is_ascii(), "{path} is not ASCII");
        if !path.starts_with("tests/layering") {
            for left in ["todo!", "unimplemented!", "dbg!(", "FIXME", "XXX", "#[ignore"] {
                assert!(!text.contains(left), "{path} says {left}");
            }
        }
    }
}

/// The path and text of each file of the crate itself.
fn crate_sources() -> Vec<(String, String)> {
    let sources = sources(&["rs"]).into_iter();
    sources.filter(|(path, _)| path.starts_with("src/")).collect()
}

/// Fails with all that was found wrong.
fn expect_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} found:\n{}", wrong.len(), wrong.join("\n"));
}

/// The lines at which a doc begins with a word that tells nothing, with that word.
fn odd_docs(text: &str) -> Vec<(usize, &'static str)> {
    const REFUSED: [&str; 6] = ["The same", "As above", "Who", "What", "Says that", "Whatever"];
    let (mut odd, mut within) = (Vec::new(), false);
    for (n, line) in text.lines().enumerate() {
        let doc = ["///", "//!"].iter().find_map(|it| line.trim_start().strip_prefix(it));
        let begins = |word: &&&str| {
            let rest = doc.and_then(|it| it.trim_start().strip_prefix(**word));
            rest.is_some_and(|it| !it.starts_with(char::is_alphanumeric))
        };
        odd.extend(REFUSED.iter().find(begins).filter(|_| !within).map(|word| (n + 1, *word)));
        within = doc.is_some_and(|it| !it.trim().is_empty());
    }
    odd
}

/// A doc stands alone, and its first word is a noun or a verb of the field.
#[test]
fn a_doc_begins_with_what_it_is_about() {
    let text = "/// The same.\n/// What\nfn a() {}\n//! Whatever, it\n\n/// Whole\n/// Who\n";
    assert_eq!(odd_docs(text), [(1, "The same"), (4, "Whatever")]);
    let mut wrong = Vec::new();
    for (path, text) in crate_sources() {
        let odd = odd_docs(&text).into_iter();
        wrong.extend(odd.map(|(line, word)| format!("{path}:{line}: a doc begins with {word:?}")));
    }
    expect_none(wrong);
}

/// The functions of a formatted file: line, name and number of lines.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let Some((before, after)) = code.split_once("fn ") else { continue };
        let words = ["pub", "const", "async", "unsafe", "extern"];
        if code.starts_with("//")
            || !before.split_whitespace().all(|word| {
                words.iter().any(|it| word.starts_with(it))
                    || word.starts_with(['"', '('])
                    || word.ends_with(')')
            })
        {
            continue;
        }
        let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next();
        // A signature of several lines ends at the left, with a bracket or a semicolon.
        let is_end = |it: &&str| {
            let rest = it.strip_prefix(indent).unwrap_or("x");
            rest == "}" || rest.starts_with(')') && rest.ends_with(';')
        };
        let one_line = line.ends_with('}') || line.ends_with(';');
        let len = if one_line { 1 } else { lines[n..].iter().position(is_end).unwrap_or(0) + 1 };
        found.push((n + 1, name.unwrap_or_default().to_owned(), len));
    }
    found
}

#[test]
fn a_function_fits_a_screen() {
    let long = "impl A {\n    pub(crate) unsafe fn f(\n        n: u8,\n    ) {\n        n\n    }\n    fn g();\n}\n";
    let found = functions(long).into_iter().map(|(_, name, len)| (name, len));
    assert_eq!(found.collect::<Vec<_>>(), [("f".to_owned(), 5), ("g".to_owned(), 1)]);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (path, text) in crate_sources() {
        for (line, name, len) in functions(&text) {
            count += 1;
            if len > 70 {
                wrong.push(format!("{path}:{line}: {name} has {len} lines"));
            }
        }
    }
    assert!(count > 500, "the test sees the functions");
    expect_none(wrong);
}

/// Imports within a folder go one way, its `mod.rs` aside.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let modules = Modules::of(&crate_sources());
    assert!(modules.count() > 150, "the test sees the imports");
    expect_none(modules.circles());
}

#[test]
fn circles_are_found() {
    let files = |files: &[(&str, &str)]| {
        let own = |(path, text): &(&str, &str)| (format!("src/{path}.rs"), text.to_string());
        Modules::of(&files.iter().map(own).collect::<Vec<_>>()).circles()
    };
    let root = ("lib", "mod a;\nmod b;\npub use a::A;\n");
    let (a, b) = (("a/mod", "mod c;\npub use c::{\n    A,\n};\n"), "struct B(crate::A);\n");
    let circle = files(&[root, a, ("a/c", "use crate::b::{self, B as _};\nstruct A;\n"), ("b", b)]);
    assert!(matches!(&circle[..], [it] if it.contains("src/b.rs imports src/a/c.rs (crate::A)")));
    let through_a_module = "use crate::b;\nstruct A(b::B);\n";
    assert_eq!(files(&[root, a, ("a/c", through_a_module), ("b", b)]).len(), 1);
    // Its own folder's module, a module that is only named, and unit tests are none.
    let up = "use super::super::DB;\nuse crate::b;\nstruct A;\n#[cfg(test)]\nmod tests {\nuse crate::b::B;\n";
    assert_eq!(files(&[root, a, ("a/c", up), ("b", b)]), Vec::<String>::new());
}

#[test]
fn unsafe_stands_where_it_is_announced() {
    for (path, text) in sources(&["rs"]) {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let says = code.clone().any(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
        let may = UNSAFE.iter().any(|it| path.starts_with(it)) || path.starts_with("fuzz/");
        assert!(!says || may, "{path} has unsafe code");
    }
}

/// Nothing that is right or wrong depends on what time it is.
#[test]
fn no_clock_is_asked() {
    for (path, text) in sources(&["rs"]) {
        let is_ours = path.starts_with("src/") && !path.ends_with("tests.rs");
        for clock in ["SystemTime", "Instant", "clock_gettime", "gettimeofday"] {
            assert!(!is_ours || !text.contains(clock), "{path} asks a clock: {clock}");
        }
    }
}

/// What the users of the library count.
#[test]
fn the_library_depends_on_little() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is there");
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).expect("it has dependencies");
    let section = dependencies.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split_once(" = ")).map(|it| it.0);
    assert_eq!(names.collect::<Vec<_>>(), ["libc", "xxhash-rust"]);
    let needs = run(Command::new("readelf").arg("-d").arg(shared_library()));
    let allowed = ["libc.so", "libgcc_s.so", "libm.so", "ld-linux"];
    for line in needs.lines().filter(|line| line.contains("(NEEDED)")) {
        assert!(allowed.iter().any(|it| line.contains(it)), "{line}");
    }
}
