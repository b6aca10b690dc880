//! What the tool does where something fails, and what it leaves alone.

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Folder, TOOL, ended};

/// A folder with a database of some kilobytes, `a.db`.
fn with_database(test: &str) -> Folder {
    let folder = Folder::new(test);
    let lines: String = (0..1000).map(|n| format!("key-{n:04}\tvalue {n}\n")).collect();
    folder.ok_with(&["load", "a.db", "--format", "tsv"], lines.as_bytes());
    folder
}

/// The commands that only read, on `a.db`.
const READING: [&[&str]; 7] = [
    &["get", "a.db", "key-0007"],
    &["scan", "a.db"],
    &["count", "a.db"],
    &["stat", "a.db"],
    &["check", "a.db"],
    &["dump", "a.db"],
    &["salvage", "a.db", "new.db"],
];

#[test]
fn reading_writes_nothing() {
    let folder = with_database("reading");
    let path = folder.path("a.db");
    let state = || {
        let now = fs::metadata(&path).unwrap();
        (now.mtime(), now.mtime_nsec(), now.ctime(), now.ctime_nsec(), now.ino(), now.len())
    };
    let (before, bytes) = (state(), folder.read("a.db"));
    for command in READING.into_iter().chain([&["backup", "a.db", "copy.db"][..]]) {
        folder.ok(command);
    }
    assert_eq!(state(), before);
    assert_eq!(folder.read("a.db"), bytes);
    assert_eq!(folder.names(), ["a.db", "copy.db", "new.db"]);
}

#[test]
fn a_missing_file_is_no_database() {
    let folder = Folder::new("missing");
    for command in READING.into_iter().chain([&["del", "a.db", "k"][..], &["compact", "a.db"]]) {
        assert!(folder.fails(command, 3).contains("a.db"), "{command:?}");
    }
    folder.fails(&["cas", "a.db", "k", "a", "b"], 3);
    folder.fails(&["put", "no/such/folder.db", "k", "v"], 3);
    assert!(folder.names().is_empty());
    fs::create_dir(folder.path("folder")).unwrap();
    assert!(folder.fails(&["count", "folder"], 3).contains("folder"));
}

#[test]
fn damage_is_found() {
    let folder = with_database("damage");
    let good = folder.read("a.db");
    let mut flipped = good.clone();
    let at = good.len() / 2;
    flipped[at] ^= 1;
    folder.write("a.db", &flipped);
    for command in &READING[..6] {
        let code = if command[0] == "check" { 1 } else { 5 };
        assert!(folder.fails(command, code).starts_with("minidb: damaged"), "{command:?}");
    }
    let no = folder.ran(&["check", "a.db", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&no.out).unwrap();
    assert_eq!((no.code, &json["ok"]), (1, &false.into()));
    let report = folder.ok(&["salvage", "a.db", "new.db"]);
    let lines: Vec<&str> = report.lines().collect();
    let entries: u64 = lines[0].strip_prefix("entries ").unwrap().parse().unwrap();
    assert!(entries < 1000 && !lines.contains(&"lost 0"), "{report}");
    assert_eq!(folder.ok(&["count", "new.db"]), format!("{entries}\n"));
    for cut in [1, 7, 8, 100, 4096, 8192, good.len() / 2, good.len() - 1] {
        folder.write("a.db", &good[..cut]);
        folder.fails(&["count", "a.db"], 5);
        folder.fails(&["put", "a.db", "k", "v"], 5);
        folder.fails(&["check", "a.db"], 1);
    }
    folder.write("a.db", b"a text, and no database");
    assert!(folder.fails(&["count", "a.db"], 5).contains("not a minidb file"));
    assert!(folder.fails(&["salvage", "a.db", "newer.db"], 5).contains("nothing of it"));
    assert_eq!(folder.read("a.db"), b"a text, and no database");
}

#[test]
fn a_lock_names_its_owner_and_can_be_waited_for() {
    let folder = with_database("locked");
    let mut shell = folder.command(TOOL);
    shell.args(["shell", "a.db"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    // It prints something once it has the database.
    let mut stdin = shell.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"count\n").unwrap();
    shell.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    let reading = READING.into_iter().chain([&["put", "a.db", "k", "v"][..]]);
    for command in reading {
        let message = folder.fails(command, 4);
        assert!(message.contains("in use") && message.contains("a.db"), "{message}");
        if fs::exists("/proc/locks").unwrap() {
            let owner = format!("by process {} (minidb)", shell.id());
            assert!(message.contains(&owner), "{message}");
        }
    }
    let begun = Instant::now();
    folder.fails(&["count", "a.db", "--wait", "0.3"], 4);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| folder.ok(&["count", "--wait", "600", "a.db"]));
        std::thread::sleep(Duration::from_millis(50));
        drop(stdin);
        assert!(shell.wait().unwrap().success());
        assert_eq!(waiting.join().unwrap(), "1000\n");
    });
}

#[test]
fn readers_share_a_file() {
    let folder = with_database("shared");
    let mut reader = folder.command(TOOL);
    reader.args(["shell", "--read-only", "a.db"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = reader.spawn().unwrap();
    let mut stdin = reader.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"count\n").unwrap();
    reader.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    READING.into_iter().for_each(|command| drop(folder.ok(command)));
    folder.fails(&["put", "a.db", "k", "v"], 4);
    drop(stdin);
    assert!(reader.wait().unwrap().success());
}

#[test]
fn a_full_output_is_an_error() {
    let folder = with_database("full-output");
    let commands = READING.into_iter().take(6).chain([
        &["--help"][..],
        &["--version"],
        &["man"],
        &["completions", "bash"],
        &["get", "--help"],
    ]);
    for arguments in commands.chain([&["put", "a.db", "key-0001", "v", "--previous"][..]]) {
        let mut command = folder.command(TOOL);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let child = command.args(arguments).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {err}");
        assert!(err.contains("No space left on device"), "{arguments:?}: {err}");
    }
}

#[test]
fn a_reader_that_goes_ends_the_tool_quietly() {
    let folder = with_database("pipe");
    let lines: String = (0..100_000).map(|n| format!("{n}\t{n}\n")).collect();
    folder.ok_with(&["load", "a.db", "--format", "tsv"], lines.as_bytes());
    for command in ["scan a.db", "dump a.db", "dump a.db --format csv", "dump a.db --format gdbm"] {
        let script = format!("{TOOL} {command} | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}");
        let done = ended(folder.command("bash").args(["-c", &script]), b"");
        assert_eq!((&done.out[..], &done.err[..]), (&b"141\n"[..], ""), "{command}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error() {
    let folder = with_database("limit");
    let script = format!("ulimit -f 1; head -c 100000 /dev/zero | {TOOL} put b.db k -");
    let done = ended(folder.command("bash").args(["-c", &script]), b"");
    assert_eq!(done.code, 3, "{done:?}");
}
