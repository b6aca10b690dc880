//! Documents name tests and functions as `path: name, name`, or `path: Type::name`, and
//! sources by their paths, in the repository or in `src`. All of them exist, so a promise
//! does not outlive its proof unseen, nor a description what it describes.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use support::{files, have, root, run, scratch};

/// All documents, with their paths in the repository.
fn documents() -> Vec<(String, String)> {
    let mut paths = files("docs", "md");
    paths.extend(["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root()).expect("it is in the repository");
        (name.display().to_string(), fs::read_to_string(path).expect("documents are text"))
    };
    paths.iter().map(read).collect()
}

/// What stands in a document between backquotes, programs aside.
fn quoted(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let normal = |it: &str| it.split_whitespace().collect::<Vec<_>>().join(" ");
    prose.split('`').skip(1).step_by(2).map(normal).collect()
}

/// A source by its path in the repository, or in `src`.
fn source(path: &str) -> Option<PathBuf> {
    [root().join(path), root().join("src").join(path)].into_iter().find(|it| it.exists())
}

/// Whether a text has a word: as in `part`, with no letter, digit or `_` around it.
fn has_word(text: &str, word: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(in_word) && !text[at + word.len()..].starts_with(in_word)
    })
}

/// Whether a Rust source defines a name: `item`, or `Type::item` within an `impl` of the
/// type, or as a variant of it.
fn defines(text: &str, name: &str) -> bool {
    const KEYWORDS: [&str; 8] =
        ["fn", "struct", "enum", "trait", "type", "const", "static", "macro_rules!"];
    let item_in = |text: &str, name: &str| {
        KEYWORDS.iter().any(|keyword| has_word(text, &format!("{keyword} {name}")))
    };
    let Some((owner, item)) = name.rsplit_once("::") else { return item_in(text, name) };
    // Items at the left margin, each up to its closing bracket.
    text.split("\n}").any(|block| {
        let mut lines = block.lines().filter(|line| !line.trim_start().starts_with("//"));
        let is_of = |line: &str, kinds: &[&str]| {
            kinds.iter().any(|it| has_word(line, it)) && has_word(line, owner)
        };
        let body = |from: &str| block[block.find(from).unwrap_or(0)..].to_owned();
        lines.any(|line| {
            !line.starts_with(' ')
                && (is_of(line, &["impl", "trait"]) && item_in(&body(line), item)
                    || is_of(line, &["enum"]) && has_word(&body(line), item))
        })
    })
}

/// Whether a file has what a document names: of a Rust source an item, or the title of
/// a test; of a C program a test that it runs, too.
fn has(path: &str, text: &str, name: &str) -> bool {
    let there = |before: &str, after: &str| text.contains(&format!("{before}{name}{after}"));
    match path.rsplit('.').next() {
        Some("rs") => defines(text, name) || there("\"", "\""),
        Some("py") => there("def ", "("),
        _ => there("void ", "(void)") && (there("RUN(", ")") || there("RUN_ALONE(", ")")),
    }
}

#[test]
fn every_test_and_function_that_they_name_is_there() {
    let mut named = 0;
    for (document, text) in documents() {
        for quote in quoted(&text) {
            let Some((path, names)) = quote.split_once(": ") else { continue };
            let is_path = ["src/", "tests/"].iter().any(|it| path.starts_with(it))
                || path.ends_with(".rs") && !path.contains(' ');
            if !is_path {
                continue;
            }
            let file = source(path).unwrap_or_else(|| panic!("{document}: there is no {path}"));
            let code = fs::read_to_string(file).expect("sources are text");
            for name in names.split(", ") {
                assert!(has(path, &code, name), "{document}: no {name} in {path}");
                named += 1;
            }
        }
    }
    assert!(named > 100, "the test sees what is named");
}

#[test]
fn a_name_is_found_where_it_is_defined() {
    let text = "impl Database {\n    pub fn put_with<T>(&self) {}\n    fn get(&self) {}\n}\n\n\
                /// fn lost\nenum Kind {\n    Memory,\n}\n\nfn free() {\n    put(other);\n}\n";
    for name in ["Database::put_with", "get", "Kind", "Kind::Memory", "free"] {
        assert!(defines(text, name), "{name} is there");
    }
    for name in ["Database::free", "Database::put", "Other::get", "put", "Kind::put", "Database"] {
        assert!(!defines(text, name), "{name} is not there");
    }
}

/// The anchors of a document, as GitHub makes them of its titles.
fn anchors(text: &str) -> Vec<String> {
    let titles = text.lines().filter(|line| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || *c == ' ' || *c == '-';
    let anchor = |title: &str| title.to_lowercase().chars().filter(kept).collect::<String>();
    titles.map(|line| anchor(line.trim_start_matches('#').trim()).replace(' ', "-")).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for (document, text) in documents() {
        let prose: String = text.split("```").step_by(2).collect();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|it| !it.starts_with("https://")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = root().join(&document).parent().expect("it is in a folder").to_owned();
            let file = if path.is_empty() { root().join(&document) } else { folder.join(path) };
            assert!(file.exists(), "{document}: nothing is at {target}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(file).expect("documents are text");
                assert!(anchors(&text).iter().any(|it| it == anchor), "{document}: no {target}");
            }
            links += 1;
        }
    }
    assert!(links > 20, "the test sees the links");
}

#[test]
fn the_header_is_a_manual_without_a_warning() {
    if !have("doxygen") {
        return;
    }
    let pages = scratch("doxygen");
    let settings = fs::read_to_string(root().join("docs/Doxyfile")).expect("they are there");
    let file = pages.join("Doxyfile");
    fs::write(&file, format!("{settings}\nOUTPUT_DIRECTORY = \"{}\"\n", pages.display())).unwrap();
    run(Command::new("doxygen").arg(file).current_dir(root()));
    let page = fs::read_to_string(pages.join("html/minidb_8h.html")).expect("it is made");
    for name in ["minidb_salvage", "MINIDB_STR", "minidb_visit", "One handle type"] {
        assert!(page.contains(name), "{name} is not in the manual");
    }
}

#[test]
fn every_path_that_they_name_is_there() {
    let folders = ["src/", "tests/", "docs/", "examples/", "include/", "benches/"];
    for (document, text) in documents() {
        for quote in quoted(&text) {
            let path = quote.split(": ").next().unwrap_or_default();
            let is_source = path.ends_with(".rs") && path.contains('/');
            if (is_source || folders.iter().any(|it| path.starts_with(it))) && !path.contains(' ') {
                assert!(source(path).is_some(), "{document}: there is no {path}");
            }
        }
        assert!(text.is_ascii(), "{document} is not ASCII");
    }
}
