//! The code blocks of the documents, each run as it stands.
//!
//! 1. Each block has a tag that names its language, and its program ends well. No block is
//!    indented instead, which Markdown takes for code, too.
//! 2. A `text` block is the output of the block before it.
//! 3. Blocks run in the root of a checkout, in the order of the document, each after it was
//!    saved as `app` with the extension of its language; so a `sh` block may use the program
//!    before it.
//!
//! The checkout is a copy without sources, with the libraries of this test in its target
//! folder; cargo is a program that does nothing there.

mod support;

use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{files, have, library_dir, root, run, scratch};

/// The program in the place of cargo: all that it would make is there already.
const CARGO: &str = "#!/bin/sh\ncase $1 in build | rustc | test | run | bench | fmt | clippy | doc\
                     | vendor) ;; *) exit 1 ;; esac\n";

/// A code block of a document.
struct Block {
    document: String,
    line: usize,
    tag: String,
    code: String,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.document, self.line, self.tag)
    }
}

/// The code blocks of a document.
fn blocks(document: &str, text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let (mut open, mut blank) = (None, true);
    for (line, content) in text.lines().enumerate() {
        let fence = content.trim_start().strip_prefix("```");
        match (open, fence) {
            (None, Some(tag)) => {
                open = Some(content.len() - content.trim_start().len());
                let document = document.to_owned();
                found.push(Block { document, line: line + 1, tag: tag.into(), code: "".into() });
            }
            (Some(_), Some(_)) => open = None,
            (Some(indent), None) => {
                let block = found.last_mut().expect("a block is open");
                block.code += content.get(indent..).unwrap_or_default();
                block.code.push('\n');
            }
            (None, None) => {
                let indented = content.starts_with("    ") && blank;
                assert!(!indented, "{document}:{}: an indented block has no tag", line + 1);
            }
        }
        blank = content.trim().is_empty();
    }
    assert!(open.is_none(), "{document}: a block has no end");
    found
}

/// All documents, by their paths in the repository, but the one whose programs
/// `tests/migration.rs` runs.
fn documents() -> Vec<String> {
    let mut paths = files("docs", "md");
    paths.extend(files(".", "md"));
    let relative = |path: PathBuf| path.strip_prefix(root()).expect("it is below").to_owned();
    let named = paths.into_iter().map(|path| relative(path).display().to_string());
    named.filter(|it| it != "docs/MIGRATION.md").collect()
}

/// A copy of the repository as a document describes it.
struct Checkout(PathBuf);

impl Checkout {
    fn new(document: &str) -> Checkout {
        let dir = scratch(&format!("snippets-{}", document.replace(['/', '.'], "-")));
        let mut copy = Command::new("cp");
        copy.arg("-R").current_dir(root()).args(["Makefile", "Cargo.toml", "docs", "examples"]);
        run(copy.args(["include", "packaging"]).arg(&dir));
        for profile in ["target/release", "target/install/release"] {
            let link = dir.join(profile);
            fs::create_dir_all(link.parent().expect("it has a parent")).expect("it can be made");
            symlink(library_dir(), link).expect("a link can be made");
        }
        let cargo = dir.join("bin/cargo");
        fs::create_dir(dir.join("bin")).expect("it can be made");
        fs::write(&cargo, CARGO).expect("it can be written");
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Checkout(dir)
    }

    /// A command in the checkout, with no variable of the make or cargo that runs this test.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let path = std::env::var("PATH").expect("programs are found by it");
        let built = library_dir().parent().expect("it has a parent").display().to_string();
        command.env("PATH", format!("{}/bin:{path}:{built}", self.0.display()));
        for name in ["MAKEFLAGS", "MAKELEVEL", "CARGO", "CARGO_TARGET_DIR", "MINIDB_LIBRARY"] {
            command.env_remove(name);
        }
        command.env("DESTDIR", self.0.join("installed")).current_dir(&self.0);
        command
    }

    /// Runs a block, and returns its output; nothing, if a tool for it is not there.
    fn run(&self, block: &Block) -> Option<String> {
        println!("{block}");
        let libraries = library_dir().display().to_string();
        let native = format!(
            "-O1 -Wall -Wextra -Wpedantic -Werror -pthread -Iinclude -L{libraries} \
             -Wl,-rpath,{libraries} -Wl,--no-as-needed -lminidb -o app"
        );
        // The loader and pkg-config find it there, as without a DESTDIR and after ldconfig.
        let found = self.0.join("installed/usr/local/lib").display().to_string();
        let (extension, program, arguments) = match &block.tag[..] {
            "c" => ("c", "cc", format!("-std=c99 {native}")),
            "cpp" => ("cpp", "c++", format!("-std=c++17 {native}")),
            "rust" => {
                let minidb = format!("minidb={libraries}/libminidb.rlib");
                let options = format!("-L dependency={libraries} --extern {minidb} -o app");
                ("rs", "rustc", format!("--edition 2024 -D warnings {options}"))
            }
            "python" => ("py", "python3", "-W error -B".into()),
            "lua" => ("lua", "luajit", String::new()),
            "php" => ("php", "php", "-d ffi.enable=1 -d zend.assertions=1".into()),
            "sh" => ("sh", "env", format!("LD_LIBRARY_PATH={found} bash -eu")),
            _ => panic!("{block}: no such language is known here"),
        };
        let source = format!("app.{extension}");
        fs::write(self.0.join(&source), &block.code).expect("the folder can be written");
        let names = |tool: &str| block.code.contains(tool);
        let lacks_cffi = names("import cffi") && !has_cffi();
        if !have(program) || names("pkg-config") && !have("pkg-config") || lacks_cffi {
            return None;
        }
        let mut command = self.command(program);
        command.args(arguments.split_whitespace()).arg(&source);
        command.env("PYTHONPATH", "examples/python");
        command.env("PKG_CONFIG_PATH", format!("{found}/pkgconfig"));
        let printed = run(&mut command);
        let is_compiled = ["c", "cpp", "rust"].contains(&&block.tag[..]);
        Some(if is_compiled { run(&mut self.command(self.0.join("app"))) } else { printed })
    }
}

/// Whether Python has cffi, which is no tool that tells its version.
fn has_cffi() -> bool {
    let found = Command::new("python3").args(["-c", "import cffi"]).status();
    found.is_ok_and(|it| it.success()) || have("cffi for Python")
}

/// Runs all blocks of a document; returns the tags of those that ran, with their output.
fn run_all(document: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(document)).expect("documents are text");
    let blocks = blocks(document, &text);
    if blocks.is_empty() {
        return Vec::new();
    }
    let checkout = Checkout::new(document);
    let (mut ran, mut last): (Vec<_>, Option<Option<String>>) = (Vec::new(), None);
    for block in blocks {
        if block.tag == "text" {
            let printed = last.take();
            let printed = printed.unwrap_or_else(|| panic!("{block}: no block is before it"));
            let is_right = printed.as_ref().is_none_or(|it| *it == block.code);
            assert!(is_right, "{block} is not what the block before it prints: {printed:?}");
        } else {
            let printed = checkout.run(&block);
            ran.extend(printed.clone().map(|it| (block.tag, it)));
            last = Some(printed);
        }
    }
    ran
}

#[test]
fn those_of_all_documents() {
    let mut ran = 0;
    for document in documents() {
        let printed = run_all(&document);
        ran += printed.len();
        if document == "docs/LANGUAGES.md" {
            let (first, others) = printed.split_first().expect("one at least is in C");
            for (tag, output) in others {
                assert_eq!(*output, first.1, "{document}: {tag} and {}", first.0);
            }
        }
    }
    println!("{ran} blocks ran");
    assert!(ran > 10, "the test sees the blocks");
}

#[test]
fn blocks_are_found_with_their_tags() {
    let found = blocks("a", "Text\n\n```c\nint x;\n\n  y\n```\n1. List\n   ```sh\n   ls\n   ```\n");
    let found: Vec<_> = found.iter().map(|it| (&it.tag[..], &it.code[..], it.line)).collect();
    assert_eq!(found, [("c", "int x;\n\n  y\n", 3), ("sh", "ls\n", 9)]);
    for wrong in ["Text\n\n    cargo test\n", "```c\nint x;\n"] {
        assert!(std::panic::catch_unwind(|| blocks("a", wrong)).is_err(), "{wrong}");
    }
}
