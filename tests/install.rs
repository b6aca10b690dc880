//! The library as `make install` leaves it: its files, and programs that are built against
//! them as a user would.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::folder::Folder;
use support::{STATIC_NEEDS, have, root, run, scratch};

/// What `make install` makes below PREFIX of the library.
const LIBRARY: [&str; 11] = [
    "include/minidb.h",
    "include/minidb.hpp",
    "include/minidb_ffi.h",
    "lib/cmake/minidb/minidb-config-version.cmake",
    "lib/cmake/minidb/minidb-config.cmake",
    "lib/libminidb.a",
    "lib/libminidb.so",
    "lib/libminidb.so.0",
    concat!("lib/libminidb.so.", env!("CARGO_PKG_VERSION")),
    "lib/pkgconfig/minidb.pc",
    "share/man/man3/minidb.3",
];

/// And of the tool, which a package of the library alone does not have.
const TOOL: [&str; 5] = [
    "bin/minidb",
    "share/bash-completion/completions/minidb",
    "share/fish/vendor_completions.d/minidb.fish",
    "share/man/man1/minidb.1",
    "share/zsh/site-functions/_minidb",
];

fn expected_files() -> BTreeSet<String> {
    let tool = if root().join("tool").exists() { &TOOL[..] } else { &[] };
    LIBRARY.iter().chain(tool).map(|path| path.to_string()).collect()
}

/// The Makefile of the repository. What it builds is built once for all tests.
fn make(arguments: &[&str]) -> String {
    let mut make = Command::new("make");
    make.arg("-C").arg(root()).args(arguments).arg(format!("CARGO={}", env!("CARGO")));
    make.env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR"));
    for name in ["MAKEFLAGS", "MAKELEVEL", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        make.env_remove(name);
    }
    run(&mut make)
}

/// The library, installed in a folder for all tests to use.
fn installed() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = scratch("installed");
        // As if by a packager, and then put where it is to be: nothing names the folder.
        let path = prefix.display();
        make(&["install-strip", "PREFIX=/elsewhere", &format!("DESTDIR={path}")]);
        prefix.join("elsewhere")
    })
}

fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found
}

/// What pkg-config says of the library in a prefix.
fn pkg_config(prefix: &Path, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(arguments).arg("minidb").env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    run(&mut command).split_whitespace().map(str::to_owned).collect()
}

/// Builds a program with a compiler, and returns what it prints.
fn built(prefix: &Path, compiler: &str, source: &str, arguments: &[String]) -> String {
    let program = scratch(&format!("install-{}-{compiler}", arguments.len())).join("program");
    let mut build = Command::new(compiler);
    build.arg(root().join("examples").join(source)).arg("-o").arg(&program);
    run(build.args(arguments));
    run_with(prefix, &mut Command::new(program))
}

/// Runs a program that finds the library as one does after ldconfig.
fn run_with(prefix: &Path, command: &mut Command) -> String {
    let path = std::env::join_paths([prefix.join("lib")]).unwrap();
    run(Command::new("env")
        .arg(format!("LD_LIBRARY_PATH={}", path.display()))
        .arg(command.get_program())
        .args(command.get_args()))
}

fn expected(path: &str) -> String {
    fs::read_to_string(root().join("examples").join(path)).expect("the expected output is there")
}

#[test]
fn what_is_installed_is_what_uninstall_removes() {
    let destination = scratch("install-staged");
    let variables = [
        format!("DESTDIR={}", destination.display()),
        "PREFIX=/opt/minidb".into(),
        "LIBDIR=/opt/minidb/lib/some-system".into(),
    ];
    let variables = variables.each_ref().map(String::as_str);
    make(&[&["install"], &variables[..]].concat());
    let prefix = destination.join("opt/minidb");
    let in_lib = |path: &String| match path.strip_prefix("lib/") {
        Some(name) => format!("lib/some-system/{name}"),
        None => path.clone(),
    };
    assert_eq!(files_below(&prefix), expected_files().iter().map(in_lib).collect());
    let elsewhere = prefix.join("lib/some-system/keep.so");
    fs::write(&elsewhere, "").unwrap();
    make(&[&["uninstall"], &variables[..]].concat());
    assert_eq!(files_below(&destination).len(), 1, "something is left, or too much is gone");
    assert!(elsewhere.exists() && !prefix.join("lib/some-system/cmake/minidb").exists());
}

#[test]
fn the_shared_library_has_a_name_and_needs_no_path() {
    let lib = installed().join("lib");
    assert_eq!(files_below(installed()), expected_files());
    let dynamic = run(Command::new("readelf").arg("-d").arg(lib.join("libminidb.so")));
    assert!(dynamic.contains("soname: [libminidb.so.0]"), "{dynamic}");
    let needed: Vec<_> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert!(needed.iter().all(|line| !line.contains('/')), "{needed:?}");
    let size = fs::metadata(lib.join("libminidb.so")).unwrap().len();
    assert!(size < 1_000_000, "the library has {size} bytes");
}

/// The functions that a text has prototypes of.
fn functions(text: &str) -> BTreeSet<&str> {
    let before_brackets = text.split_inclusive('(').filter_map(|part| part.strip_suffix('('));
    let words = before_brackets.filter_map(|part| part.split([' ', '*', '\n']).next_back());
    words.filter(|word| word.starts_with("minidb_") && !word.ends_with(')')).collect()
}

#[test]
fn the_manual_page_and_the_list_of_debian_have_every_function() {
    let text = |path| fs::read_to_string(installed().join(path)).expect("it is installed");
    let (page, header) = (text("share/man/man3/minidb.3"), text("include/minidb_ffi.h"));
    assert!(functions(&header).len() > 30);
    assert_eq!(functions(&page), functions(&header));
    let list = root().join("packaging/debian/libminidb0.symbols");
    let list = fs::read_to_string(list).expect("the list is there");
    let names = list.lines().filter_map(|line| line.strip_prefix(' ')?.split('@').next());
    assert_eq!(names.collect::<BTreeSet<_>>(), functions(&header));
}

#[test]
fn programs_are_built_with_pkg_config() {
    if !have("pkg-config") {
        return;
    }
    let here = installed();
    assert_eq!(pkg_config(here, &["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let flags = pkg_config(here, &["--cflags", "--libs"]);
    for compiler in ["gcc", "clang", "tcc"].into_iter().filter(|it| have(it)) {
        assert_eq!(built(here, compiler, "c/hello.c", &flags), expected("c/hello.out"));
    }
    if have("g++") {
        let flags = [&["-std=c++17".into()], &flags[..]].concat();
        let all = expected("cpp/inventory.out");
        assert!(all.starts_with(&built(here, "g++", "cpp/inventory.cpp", &flags)));
    }
    // Fully static, and elsewhere than where it was installed.
    let moved = scratch("install-moved").join("prefix");
    let copied = Command::new("cp").arg("-a").arg(here).arg(&moved).status().unwrap();
    assert!(copied.success());
    let flags = [&["-static".into()], &pkg_config(&moved, &["--static", "--cflags", "--libs"])[..]];
    for compiler in ["gcc", "clang"].into_iter().filter(|it| have(it)) {
        assert_eq!(built(&moved, compiler, "c/hello.c", &flags.concat()), expected("c/hello.out"));
    }
    let flags = flags[1].join(" ");
    assert!(flags.contains("install-moved") && !flags.contains("elsewhere"), "{flags}");
}

#[test]
fn programs_are_built_with_cmake() {
    if !have("cmake") {
        return;
    }
    let build = scratch("install-cmake");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(root().join("tests/install")).arg("-B").arg(&build);
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", installed().display()));
    run(configure.arg(format!("-DHELLO={}", root().join("examples/c/hello.c").display())));
    run(Command::new("cmake").arg("--build").arg(&build));
    let tested = run(Command::new("ctest").current_dir(&build));
    assert!(tested.contains("100% tests passed, 0 tests failed out of 2"), "{tested}");
}

/// Compiles a program of `tests/install` against the library that is installed.
fn compiled(source: &str, arguments: &[&str]) -> PathBuf {
    let program = scratch(&format!("install-{source}")).join("program");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]);
    cc.arg(installed().join("include")).arg(root().join("tests/install").join(source));
    run(cc.arg("-o").arg(&program).args(arguments));
    program
}

#[test]
fn a_plugin_exports_nothing_foreign_and_is_unloaded() {
    let library = installed().join("lib/libminidb.a").display().to_string();
    let options = ["-shared", "-fPIC", &library, "-Wl,--exclude-libs,ALL", "-lpthread", "-lm"];
    let plugin = compiled("plugin.c", &options);
    let names = run(Command::new("nm").args(["-D", "--defined-only"]).arg(&plugin));
    let exported: Vec<_> = names.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(exported, ["plugin_use"]);
    let folder = Folder::in_memory("plugin");
    let mut host = Command::new(compiled("host.c", &["-ldl"]));
    assert_eq!(run(host.arg(&plugin).arg(folder.file("a.minidb"))), "loaded 1000 times\n");
}

#[test]
fn another_static_library_in_rust_is_linked_beside_it() {
    let other = scratch("install-other").join("libother.a");
    let mut rustc = Command::new(env!("CARGO").strip_suffix("cargo").unwrap().to_owned() + "rustc");
    rustc.args(["--edition=2024", "--crate-type=staticlib", "-O", "-o"]).arg(&other);
    run(rustc.arg(root().join("tests/install/other.rs")));
    let other = other.display().to_string();
    let library = installed().join("lib/libminidb.a").display().to_string();
    for libraries in [[&*library, &*other], [&*other, &*library]] {
        let program = compiled("two.c", &[&libraries[..], &STATIC_NEEDS].concat());
        assert_eq!(run(&mut Command::new(program)), "0 14 0\n");
    }
}

#[test]
fn the_flat_header_is_read_as_it_is() {
    let parsers: [(&str, &[&str], &str); 3] = [
        ("python3", &[], "flat.py"),
        ("luajit", &[], "flat.lua"),
        ("php", &["-d", "ffi.enable=1", "-d", "zend.assertions=1"], "flat.php"),
    ];
    let header = installed().join("include/minidb_ffi.h");
    let text = fs::read_to_string(&header).unwrap();
    assert!(!text.lines().any(|line| line.trim_start().starts_with('#')));
    for (parser, options, script) in parsers {
        // LuaJIT says its version with -v.
        let is_there = Command::new(parser).arg("-v").output().is_ok() || have(parser);
        let has_cffi =
            || Command::new(parser).args(["-c", "import cffi"]).status().unwrap().success();
        if !is_there || parser == "python3" && !has_cffi() && !have("cffi for Python") {
            continue;
        }
        let mut command = Command::new(parser);
        command.args(options).arg(root().join("tests/install").join(script));
        command.arg(&header).arg(installed().join("lib/libminidb.so"));
        assert_eq!(run(&mut command), "a.b\n", "{script}");
    }
}
