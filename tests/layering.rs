//! The shape of the sources: which part may use which, how long a file may be,
//! where `unsafe` may stand, and that nothing is left unfinished.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    &["DB", "DBError", "DBResult", "MAX_LEN", "error", "fallible", "planted", "segments", "sync"],
];

/// The files that may say `unsafe`, each with `allow(unsafe_code)` and a reason.
const UNSAFE: [&str; 5] =
    ["src/ffi/", "src/os/", "src/storage/index/memory/", "src/sync/br_lock.rs", "tests/"];

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
