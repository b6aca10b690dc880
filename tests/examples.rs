//! The examples build by their Makefile and print what they should; so do the
//! faces for C++ and Python, whose own tests pass, too.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::{have, library_dir, root, run, scratch, shared_library};

fn example(path: &str) -> PathBuf {
    root().join("examples").join(path)
}

fn expected(path: &str) -> String {
    fs::read_to_string(example(path)).expect("the expected output is there")
}

/// Builds examples by their Makefile, with the libraries of this test.
fn make(name: &str, targets: &[&str]) -> PathBuf {
    let dir = scratch(name);
    let mut make = Command::new("make");
    make.arg("-C").arg(root().join("examples")).args(targets).arg("CARGO=true");
    make.arg(format!("RELEASE={}", library_dir().display()));
    make.arg(format!("BUILD={}", dir.display()));
    // Not what the make that started this test may have told it.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    run(&mut make);
    dir
}

#[test]
fn in_cpp() {
    if have("c++") {
        let dir = make("examples-cpp", &["inventory"]);
        let inventory = || Command::new(dir.join("inventory"));
        let (expected, file) = (expected("cpp/inventory.out"), dir.join("stock"));
        let (in_memory, saved) = expected.split_at(expected.find("In the file").expect("a title"));
        assert_eq!(run(&mut inventory()), in_memory);
        assert_eq!(run(inventory().arg(&file)), format!("{in_memory}{saved}"));
        let again = run(inventory().arg(&file));
        assert_eq!(again, format!("{in_memory}There is a file already\n"));
    }
}

#[test]
fn in_c() {
    let dir = make("examples-c", &["hello", "wordcount", "bank", "static"]);
    let program = |name: &str| Command::new(dir.join(name));
    assert_eq!(run(&mut program("hello")), expected("c/hello.out"));
    let database = dir.join("bank.minidb");
    for path in [None, Some(&database)] {
        assert_eq!(run(program("bank").args(path)), expected("c/bank.out"));
    }
    let text = example("data/speeches.txt");
    for name in ["wordcount", "wordcount-static"] {
        assert_eq!(run(program(name).arg(&text).arg("con")), expected("c/wordcount.out"));
        let stdin = fs::File::open(&text).expect("the text is there");
        let from_stdin = run(program(name).args(["-", "con"]).stdin(Stdio::from(stdin)));
        assert_eq!(from_stdin, expected("c/wordcount.out"));
    }
    let missing = program("wordcount").arg("no such file").output().expect("it runs");
    assert!(!missing.status.success() && !missing.stderr.is_empty());
}

/// Plays a session: lines after "$ " are commands, the others what they print.
#[test]
fn in_c_with_a_file() {
    let dir = make("examples-journal", &["journal"]);
    let journal = |arguments: &str| {
        let mut command = Command::new(dir.join("journal"));
        let mut quoted = arguments.split('"');
        command.args(quoted.next().unwrap_or_default().split_whitespace()).args(quoted.next());
        command.current_dir(&dir);
        command
    };
    let mut printed = String::new();
    for line in expected("c/journal.out").lines().filter(|line| line.starts_with("$ ")) {
        let arguments = line.strip_prefix("$ journal ").expect("a call of the program");
        printed += &format!("{line}\n{}", run(&mut journal(arguments)));
    }
    assert_eq!(printed, expected("c/journal.out"));
    for (arguments, why) in [
        ("no.journal", "no such file: "),
        ("a.journal copy b.journal", "already there: "),
        ("journal", "not a minidb file"),
        ("no/a.journal add x", "No such file or directory"),
        ("a.journal remove", "usage: "),
    ] {
        let Output { status, stderr, .. } = journal(arguments).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(!status.success() && stderr.contains(why), "{arguments}: {stderr}");
    }
    let names = fs::read_dir(&dir).expect("the folder is there").count();
    assert_eq!(names, 3, "the program, the journal and its copy");
}

#[test]
fn in_rust() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--example", "hello"]).current_dir(root());
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    assert_eq!(run(&mut cargo), expected("rust/hello.out"));
}

#[test]
fn the_cpp_face_compiles_without_a_warning() {
    let source = example("cpp/inventory.cpp");
    for compiler in ["g++", "clang++"].into_iter().filter(|it| have(it)) {
        for standard in ["-std=c++17", "-std=c++20"] {
            let mut cc = Command::new(compiler);
            cc.args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]);
            run(cc.arg("-I").arg(root().join("include")).arg(&source));
        }
    }
}

#[test]
fn the_tests_of_the_cpp_face() {
    for compiler in ["g++", "clang++"].into_iter().filter(|it| have(it)) {
        let program = scratch(&format!("cpp-{compiler}")).join("transactions");
        let mut cc = Command::new(compiler);
        cc.args(["-std=c++17", "-g", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
        cc.arg("-I").arg(root().join("include")).arg(root().join("tests/cpp/transactions.cpp"));
        cc.arg("-o").arg(&program).arg("-L").arg(library_dir());
        cc.arg(format!("-Wl,-rpath,{}", library_dir().display())).args(["-lminidb", "-lpthread"]);
        run(&mut cc);
        print!("{}", run(&mut Command::new(program)));
    }
}

fn python(dir: &Path) -> Command {
    let mut python = Command::new("python3");
    python.env("MINIDB_LIBRARY", shared_library()).env("PYTHONDONTWRITEBYTECODE", "1");
    python.args(["-W", "error"]).current_dir(dir);
    python
}

#[test]
fn in_python() {
    if have("python3") {
        let dir = example("python");
        assert_eq!(run(python(&dir).arg("notes.py")), expected("python/notes.out"));
        let mut tests = python(&root().join("tests/python"));
        run(tests.args(["-m", "unittest", "discover", "-p", "test_*.py"]));
    }
}
