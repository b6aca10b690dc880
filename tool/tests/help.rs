//! Help, the manual page and completions: all commands are there, and the examples work.

mod support;

use support::{Folder, TOOL, ended, have};

const COMMANDS: [&str; 16] = [
    "get",
    "put",
    "del",
    "cas",
    "scan",
    "count",
    "stat",
    "check",
    "dump",
    "load",
    "backup",
    "compact",
    "salvage",
    "shell",
    "completions",
    "man",
];

#[test]
fn the_example_of_each_command_works() {
    let folder = Folder::new("examples");
    folder.ok(&["put", "app.db", "user-1", "Jane"]);
    folder.ok(&["backup", "app.db", "damaged.db"]);
    folder.write("app.jsonl", b"{\"k\":\"user-2\",\"v\":\"John\"}\n");
    let path = std::path::Path::new(TOOL).parent().unwrap().display().to_string();
    for command in COMMANDS {
        let help = folder.ok(&[command, "--help"]);
        let example = help.lines().find_map(|line| line.strip_prefix("Example: ")).expect(command);
        assert!(example.starts_with(&format!("minidb {command}")), "{example}");
        let script = format!("PATH={path}:$PATH; {example}");
        let done = ended(folder.command("bash").args(["-c", &script]), b"count\n");
        assert_eq!((done.code, &done.err[..]), (0, ""), "{example}");
        // The next example finds what this one has removed.
        folder.ok(&["put", "app.db", "user-1", "Jane"]);
    }
    let help = folder.ok(&["--help"]);
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
    }
    assert_eq!(folder.ok(&["--version"]), format!("minidb {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_manual_page_has_every_command() {
    let folder = Folder::new("man");
    let page = folder.ok(&["man"]);
    assert!(page.contains(".TH MINIDB 1"), "{page}");
    for command in COMMANDS {
        assert!(page.contains(&format!("\n.SS {command}\n")), "{command}");
    }
    assert!(page.contains("Exit codes: 0 done"), "{page}");
    if have("groff") {
        folder.write("minidb.1", page.as_bytes());
        let done = ended(folder.command("groff").args(["-man", "-Tutf8", "-ww", "minidb.1"]), b"");
        assert_eq!((done.code, &done.err[..]), (0, ""));
    }
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let folder = Folder::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        let script = folder.ok(&["completions", shell]);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
        folder.write(shell, script.as_bytes());
    }
    folder.fails(&["completions", "csh"], 2);
    folder.run("bash", &["-n", "bash"], b"");
    let script = ". ./bash; COMP_WORDS=(minidb sc); COMP_CWORD=1; _minidb minidb sc minidb; \
        echo ${COMPREPLY[@]}";
    assert_eq!(folder.run("bash", &["-c", script], b""), b"scan\n");
}
