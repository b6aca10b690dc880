//! The commands for entries and files, by what they print and how they exit.

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use support::{Ended, Folder, TOOL, ended};

/// A folder with the database `a.db`.
fn fruit(test: &str) -> Folder {
    let folder = Folder::new(test);
    for (key, value) in [("apple", "green"), ("banana", "yellow"), ("cherry", "red"), ("date", "")]
    {
        assert_eq!(folder.ok(&["put", "a.db", key, value]), "");
    }
    folder
}

#[test]
fn a_value_is_put_read_and_removed() {
    let folder = fruit("one-entry");
    assert_eq!(folder.ok(&["get", "a.db", "apple"]), "green\n");
    assert_eq!(folder.ok(&["get", "a.db", "date"]), "\n");
    assert_eq!(folder.ok(&["put", "a.db", "apple", "red", "--previous"]), "green\n");
    assert_eq!(folder.ok(&["put", "a.db", "--previous", "fig", "blue"]), "");
    assert_eq!(folder.ok(&["put", "a.db", "zero", "-1"]), "");
    assert_eq!(folder.ok(&["get", "a.db", "zero"]), "-1\n");
    assert_eq!(folder.ok(&["put", "a.db", "--", "--x", "-y"]), "");
    assert_eq!(folder.ok(&["get", "a.db", "--", "--x"]), "-y\n");
    assert_eq!(folder.ok(&["del", "a.db", "apple"]), "");
    assert_eq!(folder.fails(&["get", "a.db", "apple"], 1), "minidb: no such key: apple\n");
    assert_eq!(folder.fails(&["del", "a.db", "apple"], 1), "minidb: no such key: apple\n");
    assert_eq!(
        folder.ran(&["get", "-q", "a.db", "apple"]),
        Ended { out: vec![], err: String::new(), code: 1 }
    );
    assert_eq!(folder.names(), ["a.db"]);
}

#[test]
fn compare_and_swap() {
    let folder = fruit("cas");
    assert_eq!(folder.ok(&["cas", "a.db", "apple", "green", "red"]), "");
    let says_no = folder.fails(&["cas", "a.db", "apple", "green", "blue"], 1);
    assert_eq!(says_no, "minidb: the value is not the expected one: apple\n");
    folder.fails(&["cas", "a.db", "apple", "--absent", "blue"], 1);
    folder.fails(&["cas", "a.db", "apple", "--remove", "blue"], 1);
    folder.fails(&["cas", "a.db", "fig", "", "blue"], 1);
    assert_eq!(folder.ok(&["get", "a.db", "apple"]), "red\n");
    assert_eq!(folder.ok(&["cas", "a.db", "apple", "--remove", "red"]), "");
    folder.fails(&["get", "a.db", "apple"], 1);
    assert_eq!(folder.ok(&["cas", "a.db", "apple", "--absent", "new"]), "");
    assert_eq!(folder.ok(&["get", "a.db", "apple"]), "new\n");
    assert_eq!(folder.ok(&["cas", "new.db", "lock", "--absent", "mine"]), "");
    for wrong in
        [&["x"][..], &["x", "y", "z"], &["x", "y", "--absent"], &["x", "--absent", "--remove"], &[]]
    {
        folder.fails(&[&["cas", "a.db", "apple"], wrong].concat(), 2);
    }
}

#[test]
fn a_scan_prints_what_is_asked_for() {
    let folder = fruit("scan");
    let scan = |arguments: &[&str]| folder.ok(&[&["scan", "a.db"], arguments].concat());
    let all = "apple\tgreen\nbanana\tyellow\ncherry\tred\ndate\t\n";
    assert_eq!(scan(&[]), all);
    assert_eq!(scan(&["--prefix", "ban"]), "banana\tyellow\n");
    assert_eq!(scan(&["--prefix", ""]), all);
    assert_eq!(scan(&["--from", "b", "--to", "cherry"]), "banana\tyellow\n");
    assert_eq!(scan(&["--from", "cherry"]), "cherry\tred\ndate\t\n");
    assert_eq!(scan(&["--from", "c", "--to", "b"]), "");
    assert_eq!(scan(&["--prefix", "b", "--from", "c"]), "");
    assert_eq!(scan(&["--prefix", "a", "--to", "apple"]), "");
    assert_eq!(scan(&["--prefix", "b", "--from", "a", "--to", "d"]), "banana\tyellow\n");
    assert_eq!(scan(&["--reverse", "--limit", "2"]), "date\t\ncherry\tred\n");
    assert_eq!(scan(&["--reverse", "--to", "cherry", "--keys-only"]), "banana\napple\n");
    assert_eq!(scan(&["--limit", "0"]), "");
    assert_eq!(scan(&["--values-only", "--limit", "3"]), "green\nyellow\nred\n");
    assert_eq!(scan(&["-0", "--limit", "2"]), "apple\tgreen\0banana\tyellow\0");
    assert_eq!(scan(&["--keys-only", "-0", "--limit", "2"]), "apple\0banana\0");
    assert_eq!(scan(&["--count"]), "4\n");
    assert_eq!(scan(&["--count", "--from", "b", "--limit", "2"]), "2\n");
    assert_eq!(scan(&["--count", "--json"]), "{\"count\":4}\n");
    let json = "{\"k\":\"apple\",\"v\":\"green\"}\n{\"k\":\"banana\",\"v\":\"yellow\"}\n";
    assert_eq!(scan(&["--json", "--limit", "2"]), json);
    assert_eq!(scan(&["--json", "--keys-only", "--limit", "1"]), "{\"k\":\"apple\"}\n");
    assert_eq!(scan(&["--json", "--values-only", "--limit", "1"]), "{\"v\":\"green\"}\n");
    assert_eq!(folder.ok(&["count", "a.db"]), "4\n");
    assert_eq!(folder.ok(&["count", "a.db", "--json"]), "{\"count\":4}\n");
    for wrong in [&["--keys-only", "--values-only"][..], &["--limit", "-1"], &["--from"], &["x"]] {
        folder.fails(&[&["scan", "a.db"], wrong].concat(), 2);
    }
}

#[test]
fn a_prefix_may_end_with_the_greatest_byte() {
    let folder = Folder::new("prefix");
    for key in ["a", "a\\xff", "a\\xff\\xff", "b", "\\xff", "\\xff\\xff"] {
        folder.ok(&["put", "a.db", key, ""]);
    }
    let scan = |prefix: &str| folder.ok(&["scan", "a.db", "--prefix", prefix, "--keys-only"]);
    assert_eq!(scan("a\\xff"), "a\\xff\na\\xff\\xff\n");
    assert_eq!(scan("\\xff"), "\\xff\n\\xff\\xff\n");
    assert_eq!(scan("a"), "a\na\\xff\na\\xff\\xff\n");
}

#[test]
fn all_bytes_pass_through_unchanged() {
    let folder = Folder::new("bytes");
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(folder.ok_with(&["put", "a.db", "all", "-"], &all), b"");
    assert_eq!(folder.ok_with(&["get", "a.db", "all", "--raw"], b""), all);
    assert_eq!(folder.ok_with(&["put", "a.db", "empty", "-"], b""), b"");
    assert_eq!(folder.ok_with(&["get", "a.db", "empty", "--raw"], b""), b"");
    for encoding in [&[][..], &["--hex"], &["--base64"]] {
        // What is printed is a good argument, for a key and for a value.
        let key = match encoding {
            ["--hex"] => "616c6c",
            ["--base64"] => "YWxs",
            _ => "all",
        };
        let printed = folder.ok(&[&["get", "a.db", key], encoding].concat());
        let line = printed.strip_suffix('\n').unwrap();
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
        folder.ok(&[&["put", "b.db", line, line], encoding].concat());
        let scanned = folder.ok(&[&["scan", "b.db"], encoding].concat());
        assert_eq!(scanned, format!("{line}\t{line}\n"));
        folder.ok(&[&["del", "b.db", line], encoding].concat());
    }
    // Arguments may be any bytes but NUL.
    let not_text = OsStr::from_bytes(b"\xff\xe4\\x00");
    let put = ended(folder.command(TOOL).args(["put", "c.db"]).args([not_text, not_text]), b"");
    assert_eq!(put, Ended { out: vec![], err: String::new(), code: 0 });
    assert_eq!(folder.ok(&["scan", "c.db", "--hex"]), "ffe400\tffe400\n");
    assert_eq!(folder.ok(&["scan", "c.db"]), "\\xff\\xe4\\0\t\\xff\\xe4\\0\n");
    assert_eq!(folder.ok(&["scan", "c.db", "--json"]), "{\"k64\":\"/+QA\",\"v64\":\"/+QA\"}\n");
    assert_eq!(
        folder.ok(&["get", "c.db", "ffe400", "--hex", "--json"]),
        "{\"k64\":\"/+QA\",\"v64\":\"/+QA\"}\n"
    );
}

#[test]
fn what_a_terminal_would_obey_is_escaped() {
    let folder = Folder::new("escapes");
    let value = "a\x1b[31m\u{9b}\u{202e}\u{2028}\u{e4}\\\r\n\t";
    folder.ok_with(&["put", "a.db", "k", "-"], value.as_bytes());
    let printed = "a\\x1b[31m\\xc2\\x9b\\xe2\\x80\\xae\\xe2\\x80\\xa8\u{e4}\\\\\\r\\n\\t\n";
    assert_eq!(folder.ok(&["get", "a.db", "k"]), printed);
    // Messages are escaped, too.
    assert_eq!(folder.fails(&["get", "a.db", "\x1b[2J"], 1), "minidb: no such key: \\x1b[2J\n");
}

#[test]
fn a_bad_argument_changes_nothing() {
    let folder = Folder::new("bad-arguments");
    let bad = [
        &["put", "a.db", "\\q", "v"][..],
        &["put", "a.db", "k", "\\x4"],
        &["put", "a.db", "k", "\\"],
        &["put", "a.db", "k", "xyz", "--hex"],
        &["put", "a.db", "6b", "6", "--hex"],
        &["put", "a.db", "aw", "aw==", "--base64"],
        &["put", "a.db", "6b", "6b", "--hex", "--base64"],
        &["put", "a.db", "k"],
        &["put", "a.db", "k", "v", "w"],
        &["put", "a.db", "k", "--previous"],
        &["put", "a.db", "k", "--v"],
        &["load", "a.db", "--format", "xml"],
        &["load", "a.db", "--hex"],
        &["dump", "a.db", "--format", "gdbm", "--header"],
        &["put", "a.db", "k", "v", "--wait", "-1"],
        &["put", "a.db", "k", "v", "--wait", "x"],
        &["sync", "a.db"],
        &[],
    ];
    for arguments in bad {
        let message = folder.fails(arguments, 2);
        assert!(message.len() > 10, "{message}");
    }
    assert!(folder.names().is_empty());
}

#[test]
fn backup_compact_check_and_salvage() {
    let folder = fruit("files");
    assert_eq!(folder.ok(&["check", "a.db"]), "ok\n");
    assert_eq!(folder.ok(&["check", "a.db", "--json"]), "{\"ok\":true}\n");
    assert_eq!(folder.ok(&["backup", "a.db", "copy.db"]), "");
    assert_eq!(folder.ok(&["scan", "copy.db"]), folder.ok(&["scan", "a.db"]));
    assert!(folder.fails(&["backup", "a.db", "copy.db"], 3).contains("copy.db"));
    assert_eq!(folder.ok(&["compact", "a.db"]), "");
    let report = folder.ok(&["salvage", "a.db", "new.db"]);
    assert_eq!(report.lines().next(), Some("entries 4"));
    assert!(report.lines().skip(1).all(|line| line.ends_with(" 0")), "{report}");
    assert_eq!(folder.ok(&["scan", "new.db"]), folder.ok(&["scan", "a.db"]));
    let report = folder.ok(&["salvage", "a.db", "newer.db", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["entries"], &report["lost"]), (&4.into(), &0.into()));
    folder.fails(&["salvage", "a.db", "new.db"], 3);
    folder.fails(&["salvage", "missing.db", "newest.db"], 3);
    assert_eq!(folder.names(), ["a.db", "copy.db", "new.db", "newer.db"]);
}

#[test]
fn numbers_and_bars() {
    let folder = fruit("stat");
    let json: serde_json::Value =
        serde_json::from_str(&folder.ok(&["stat", "a.db", "--json"])).unwrap();
    let file_bytes = std::fs::metadata(folder.path("a.db")).unwrap().len();
    assert_eq!((&json["count"], &json["data_bytes"]), (&4.into(), &35.into()));
    assert_eq!((&json["file_bytes"], &json["log_bytes"]), (&file_bytes.into(), &0.into()));
    assert_eq!(json["keys"]["sizes"], serde_json::json!([{ "from": 4, "to": 7, "count": 4 }]));
    assert_eq!((&json["values"]["bytes"], &json["values"]["greatest"]), (&14.into(), &6.into()));
    assert_eq!(json["layout"]["leaves_by_tenths_used"].as_array().unwrap().len(), 10);
    let text = folder.ok(&["stat", "a.db"]);
    let line = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
    assert!(line("count").ends_with(" 4") && line("data_bytes").ends_with(" 35"), "{text}");
    assert!(line("4 to 7 ").ends_with(&"#".repeat(40)), "{text}");
    folder.ok_with(&["load", "empty.db"], b"");
    let json: serde_json::Value =
        serde_json::from_str(&folder.ok(&["stat", "empty.db", "--json"])).unwrap();
    assert_eq!((&json["count"], &json["data_bytes"]), (&0.into(), &0.into()));
    assert!(folder.ok(&["stat", "empty.db"]).contains("count"));
}

#[test]
fn the_layout_of_a_file_is_told() {
    let folder = Folder::new("layout");
    let layout = |name: &str| {
        let json: serde_json::Value =
            serde_json::from_str(&folder.ok(&["stat", name, "--json"])).unwrap();
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        let leaves: u64 =
            json["layout"]["leaves_by_tenths_used"].as_array().unwrap().iter().map(number).sum();
        let bytes =
            ["free_bytes", "page_bytes", "blob_bytes"].map(|it| number(&json["layout"][it]));
        (number(&json["file_bytes"]), bytes, leaves, number(&json["layout"]["pages"]))
    };
    // Small values stand in pages, long keys and values beside them.
    let small: String = (0..20_000).map(|n| format!("{n:09}\t{n:0>90}\n")).collect();
    folder.ok_with(&["load", "small.db", "--format", "tsv"], small.as_bytes());
    let (file, [free, pages, blobs], leaves, all) = layout("small.db");
    assert!(
        pages > 2_000_000 && pages * 10 > file * 9 && free < 16_384 && blobs == 0,
        "{file} {free} {pages}"
    );
    assert!(leaves > 500 && all > leaves && all < leaves * 11 / 10, "{leaves} {all}");
    let long = format!("{}\t{}\n", "k".repeat(5_000), "v".repeat(2_000_000));
    folder.ok_with(&["load", "long.db", "--format", "tsv"], long.as_bytes());
    let (file, [free, pages, blobs], leaves, all) = layout("long.db");
    assert!(
        blobs > 2_000_000 && blobs < 2_100_000 && pages <= 4096 && free < 16_384,
        "{file} {free} {blobs}"
    );
    assert_eq!((leaves, all), (1, 1));
    let text = folder.ok(&["stat", "small.db"]);
    assert!(text.contains("leaf pages by how much of them is used"), "{text}");
}
