//! Dumps that go to the tools of other stores and come back: Berkeley DB, LMDB, GDBM, SQLite;
//! and `file`, which names a database.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use support::{Folder, have};

/// The formats of dumps.
const FORMATS: [&str; 5] = ["jsonl", "csv", "tsv", "dbdump", "gdbm"];

/// Entries that are hard on a tool. Those of others have no empty keys, and none of over 511
/// bytes (LMDB); GDBM cannot load empty values that it has dumped.
fn hard_entries() -> BTreeMap<Vec<u8>, Vec<u8>> {
    let all: Vec<u8> = (0..=255).collect();
    let mut entries: BTreeMap<_, _> =
        all.iter().map(|byte| (vec![*byte], vec![*byte, b'\\', *byte])).collect();
    entries.insert(all.clone(), all.repeat(300));
    entries.insert(b"\\n,\"\t\r\nkey".to_vec(), b" DATA=END\n\x00".to_vec());
    entries.insert("\u{e4}\u{1f600}".into(), "\u{2028}\u{202e}".into());
    entries.insert(vec![b'k'; 511], vec![0; 5000]);
    entries
}

/// Makes a database of entries.
fn make(folder: &Folder, name: &str, entries: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let line = |(key, value): (&Vec<u8>, &Vec<u8>)| format!("{}\t{}\n", hex(key), hex(value));
    let lines: String = entries.iter().map(line).collect();
    folder.ok_with(&["load", name, "--format", "tsv", "--hex"], lines.as_bytes());
}

/// The entries of a database, by a format that no code of the tool reads: its scan in hex.
fn entries(folder: &Folder, name: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes = |hex: &str| hex.as_bytes().chunks(2).map(byte).collect::<Vec<u8>>();
    let scanned = folder.ok(&["scan", name, "--hex"]);
    let lines = scanned.lines().map(|line| line.split_once('\t').expect("there is one TAB"));
    lines.map(|(key, value)| (bytes(key), bytes(value))).collect()
}

#[test]
fn a_dump_that_is_loaded_is_equal() {
    let folder = Folder::new("round-trips");
    let mut all = hard_entries();
    all.insert(vec![], vec![]);
    all.insert(vec![b'K'; 5000], vec![1; 3_000_000]);
    make(&folder, "a.db", &all);
    assert_eq!(entries(&folder, "a.db"), all);
    for (number, format) in FORMATS.into_iter().enumerate() {
        for (option, more) in [&[][..], &["--hex"], &["--base64"], &["--header"]].iter().enumerate()
        {
            let takes_more = ["csv", "tsv"].contains(&format);
            let is_base64 = format == "jsonl" && more[..] == ["--base64"];
            let arguments = [&["--format", format], *more].concat();
            if !more.is_empty() && !takes_more && !is_base64 {
                folder.fails(&[&["dump", "a.db"], &arguments[..]].concat(), 2);
                continue;
            }
            let dump = folder.ok_with(&[&["dump", "a.db"], &arguments[..]].concat(), b"");
            let name = format!("{number}-{option}.db");
            folder.ok_with(&[&["load", &name], &arguments[..]].concat(), &dump);
            assert!(entries(&folder, &name) == all, "{format} {more:?}");
            // By way of files.
            let dumped = format!("{name}.dump");
            folder.ok(&[&["dump", "a.db", "-o", &dumped], &arguments[..]].concat());
            assert_eq!(folder.read(&dumped), dump);
            folder.ok(&[&["load", &name, "-i", &dumped], &arguments[..]].concat());
        }
    }
    folder.fails(&["dump", "a.db", "-o", "a.db"], 3);
}

#[test]
fn a_bad_line_ends_a_load_after_those_before_it() {
    let folder = Folder::new("bad-lines");
    let good = "{\"k\":\"a\",\"v\":\"1\"}\n{\"k\":\"b\",\"v\":\"2\"}\n";
    let input = format!("{good}{{\"k\":\"c\"}}\n{{\"k\":\"d\",\"v\":\"4\"}}\n");
    let message = folder.fails_with(&["load", "a.db"], input.as_bytes(), 2);
    assert_eq!(message, "minidb: line 3: \"v\", a string, is missing; entries stored before: 2\n");
    assert_eq!(folder.ok(&["scan", "a.db"]), "a\t1\nb\t2\n");
    let message = folder.fails_with(&["load", "a.db"], b"\n{\"k\": 1}", 2);
    assert!(message.starts_with("minidb: line 2: invalid type: integer `1`"), "{message}");
    // A later line counts, and what was there is replaced.
    folder.ok_with(&["load", "a.db", "--format", "tsv"], b"a\t9\nc\t3\na\t8\n");
    assert_eq!(folder.ok(&["scan", "a.db"]), "a\t8\nb\t2\nc\t3\n");
    folder.fails_with(&["load", "new.db", "--format", "csv"], b"a,\"b\n", 2);
    folder.fails(&["load", "new.db", "--input", "missing"], 3);
    assert_eq!(folder.names(), ["a.db"]);
}

#[test]
fn lmdb_and_berkeley_db_read_and_write_the_same_dumps() {
    let folder = Folder::new("dbdump");
    let hard = hard_entries();
    make(&folder, "a.db", &hard);
    let dump =
        folder.ok_with(&["dump", "a.db", "--format", "dbdump", "--mapsize", "67108864"], b"");
    let data = |dump: &[u8]| {
        let text = String::from_utf8(dump.to_vec()).expect("a dump is text");
        text.split_once("HEADER=END\n").expect("a dump has a header").1.to_owned()
    };
    if have("mdb_dump") {
        folder.run("mdb_load", &["-n", "a.mdb"], &dump);
        let theirs = folder.run("mdb_dump", &["-n", "a.mdb"], b"");
        folder.ok_with(&["load", "b.db", "--format", "dbdump"], &theirs);
        assert_eq!(entries(&folder, "b.db"), hard);
        assert_eq!(data(&theirs), data(&dump));
        // And once more the same way.
        let ours = ["dump", "b.db", "--format", "dbdump", "--mapsize", "67108864"];
        folder.run("mdb_load", &["-n", "b.mdb"], &folder.ok_with(&ours, b""));
        assert_eq!(folder.run("mdb_dump", &["-n", "b.mdb"], b""), theirs);
    }
    let dump = folder.ok_with(&["dump", "a.db", "--format", "dbdump"], b"");
    for (kind, options) in
        [("btree", &[][..]), ("btree", &["-p"]), ("hash", &[]), ("hash", &["-p"])]
    {
        if !have("db5.3_dump") {
            break;
        }
        let name = format!("{kind}{}", options.len());
        folder.run("db5.3_load", &["-t", kind, &name], &dump);
        let theirs = folder.run("db5.3_dump", &[options, &[&name]].concat(), b"");
        folder.ok_with(&["load", &format!("{name}.db"), "--format", "dbdump"], &theirs);
        assert_eq!(entries(&folder, &format!("{name}.db")), hard, "{kind} {options:?}");
    }
}

#[test]
fn gdbm_reads_and_writes_the_same_dumps() {
    if !have("gdbm_dump") {
        return;
    }
    let folder = Folder::new("gdbm");
    let hard = hard_entries();
    make(&folder, "a.db", &hard);
    let dump = folder.ok_with(&["dump", "a.db", "--format", "gdbm"], b"");
    folder.write("dump", &dump);
    folder.run("gdbm_load", &["-n", "dump", "a.gdbm"], b"");
    let theirs = folder.run("gdbm_dump", &["a.gdbm", "-"], b"");
    folder.ok_with(&["load", "b.db", "--format", "gdbm"], &theirs);
    assert_eq!(entries(&folder, "b.db"), hard);
    let binary = folder.run("gdbm_dump", &["-H", "binary", "a.gdbm", "-"], b"");
    let message = folder.fails_with(&["load", "c.db", "--format", "gdbm"], &binary, 2);
    assert!(message.contains("gdbm_dump -H ascii"), "{message}");
}

#[test]
fn sqlite_reads_and_writes_the_same_csv() {
    if !have("sqlite3") {
        return;
    }
    let folder = Folder::new("sqlite");
    // SQLite's shell ends a text at a NUL.
    let no_nul = |bytes: &Vec<u8>| !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok();
    let text: BTreeMap<_, _> = hard_entries()
        .into_iter()
        .filter(|(key, value)| no_nul(key) && no_nul(value))
        .chain([(b"a,b".to_vec(), b"\"c\"\r\n\n".to_vec()), (b"x".to_vec(), b"".to_vec())])
        .collect();
    make(&folder, "a.db", &text);
    folder.ok(&["dump", "a.db", "--format", "csv", "-o", "a.csv"]);
    let script =
        b"create table t(k, v);\n.mode csv\n.import a.csv t\nselect * from t order by k;\n";
    let theirs = folder.run("sqlite3", &["-batch", ":memory:"], script);
    folder.ok_with(&["load", "b.db", "--format", "csv"], &theirs);
    assert_eq!(entries(&folder, "b.db"), text);
}

#[test]
fn file_names_a_database() {
    if !have("file") {
        return;
    }
    let folder = Folder::new("magic");
    let magic = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/minidb.magic");
    let file = |name: &str, options: &[&str]| {
        let magic = magic.to_str().expect("the path is text");
        let said = folder.run("file", &[&["-b", "-m", magic], options, &[name]].concat(), b"");
        String::from_utf8(said).expect("what file says is text").trim_end().to_owned()
    };
    // The first root lies in the second slot; the next one in the first.
    for number in 0..3 {
        folder.ok(&["put", "a.db", &number.to_string(), ""]);
        assert_eq!(file("a.db", &[]), "minidb database, format version 1");
    }
    assert_eq!(file("a.db", &["--mime-type"]), "application/x-minidb");
    folder.ok(&["backup", "a.db", "copy.db"]);
    assert_eq!(file("copy.db", &[]), "minidb database, format version 1");
    // A log stays beside a database that nobody closes.
    let mut shell = folder.command(support::TOOL);
    shell.args(["shell", "a.db"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().expect("the tool is there");
    shell.stdin.as_mut().unwrap().write_all(b"put x y\ncount\n").unwrap();
    let mut said = [0; 2];
    shell.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"4\n");
    let log = file("a.db-log", &[]);
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert_eq!(log, "minidb log, format version 1");
    folder.write("text", b"minidb is a store\r\n");
    assert!(!file("text", &[]).contains("minidb"));
}
