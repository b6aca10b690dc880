//! The documents name tests as `path: name, name`, and sources by their paths;
//! all of them are there. So a promise cannot outlive its proof unseen.

mod support;

use std::fs;

use support::{files, root};

/// All documents, with their paths in the repository.
fn documents() -> Vec<(String, String)> {
    let mut paths = files("docs", "md");
    paths.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    let read = |path: &std::path::PathBuf| {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("documents are text"))
    };
    paths.iter().map(read).collect()
}

/// What stands in a document between backquotes, programs aside.
fn quoted(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let normal = |it: &str| it.split_whitespace().collect::<Vec<_>>().join(" ");
    prose.split('`').skip(1).step_by(2).map(normal).collect()
}

/// Whether a file has a test of that name: a function, or a title; a C program
/// must run it, too.
fn has_test(path: &str, text: &str, name: &str) -> bool {
    let there = |before: &str, after: &str| text.contains(&format!("{before}{name}{after}"));
    match path.rsplit('.').next() {
        Some("rs") => there("fn ", "(") || there("\"", "\""),
        Some("py") => there("def ", "("),
        _ => there("void ", "(void)") && (there("RUN(", ")") || there("RUN_ALONE(", ")")),
    }
}

#[test]
fn every_test_that_they_name_is_there() {
    let mut named = 0;
    for (document, text) in documents() {
        for quote in quoted(&text) {
            let Some((path, names)) = quote.split_once(": ") else { continue };
            if !["src/", "tests/"].iter().any(|it| path.starts_with(it)) {
                continue;
            }
            let source = fs::read_to_string(root().join(path))
                .unwrap_or_else(|error| panic!("{document}: {path}: {error}"));
            for name in names.split(", ") {
                assert!(has_test(path, &source, name), "{document}: no {name} in {path}");
                named += 1;
            }
        }
    }
    assert!(named > 100, "the test sees what is named");
}

#[test]
fn every_path_that_they_name_is_there() {
    let folders = ["src/", "tests/", "docs/", "examples/", "include/", "benches/"];
    for (document, text) in documents() {
        for quote in quoted(&text) {
            let path = quote.split(": ").next().unwrap_or_default();
            if folders.iter().any(|it| path.starts_with(it)) && !path.contains(' ') {
                assert!(root().join(path).exists(), "{document}: there is no {path}");
            }
        }
        assert!(text.is_ascii(), "{document} is not ASCII");
    }
}
