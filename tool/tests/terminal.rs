//! The tool at a terminal, which is a pseudo-terminal: the shell's editor, its history and
//! completion, the bars of long work, and colours; and the shell without one.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

use support::{Ended, Folder, TOOL, ended};

/// How long a test waits for what must appear at a terminal.
const PATIENCE: Duration = Duration::from_secs(100);

/// A terminal, and all that was printed at it.
struct Terminal {
    keyboard: File,
    end: OwnedFd,
    printed: Arc<Mutex<Vec<u8>>>,
    /// How much of it the test has seen.
    seen: usize,
}

impl Terminal {
    fn new() -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("there is a pseudo-terminal");
        let keyboard = File::from(pair.master);
        let mut screen = keyboard.try_clone().expect("a descriptor can be had");
        let printed = Arc::new(Mutex::new(Vec::new()));
        let all = printed.clone();
        thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(len @ 1..) = screen.read(&mut some) {
                all.lock().unwrap().extend_from_slice(&some[..len]);
            }
        });
        Terminal { keyboard, end: pair.slave, printed, seen: 0 }
    }

    fn stdio(&self) -> Stdio {
        self.end.try_clone().expect("a descriptor can be had").into()
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits until a text has been printed after all that was waited for before.
    fn expect(&mut self, text: &str) {
        let begun = Instant::now();
        loop {
            let printed = self.printed.lock().unwrap();
            let new = String::from_utf8_lossy(&printed[self.seen..]).into_owned();
            if let Some(at) = new.find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{text:?} does not come, but {new:?}");
            drop(printed);
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn all(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned()
    }
}

/// Starts a shell on `a.db` at a terminal.
fn shell(folder: &Folder) -> (Terminal, Child) {
    let terminal = Terminal::new();
    let mut command = folder.command(TOOL);
    command.args(["shell", "a.db"]).env("TERM", "xterm");
    command.env("MINIDB_HISTORY", folder.path("history"));
    command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
    let child = command.spawn().expect("the tool is there");
    (terminal, child)
}

#[test]
fn lines_are_edited_completed_and_remembered() {
    let folder = Folder::new("terminal");
    let (mut terminal, mut child) = shell(&folder);
    terminal.expect("minidb> ");
    terminal.types("pu\tkey 'one value'\r");
    terminal.expect("minidb> ");
    terminal.types("get kex\x7fy\r"); // a backspace
    terminal.expect("one value\r\n");
    terminal.expect("minidb> ");
    terminal.types("put half a line\x03"); // Ctrl-C
    terminal.expect("minidb> ");
    terminal.types("\x1b[A\r"); // the line before
    terminal.expect("one value\r\n");
    terminal.types("sc\t--ke\t\r");
    terminal.expect("scan --keys-only ");
    terminal.expect("\nkey\r\n");
    terminal.types("nonsense\r");
    terminal.expect("unrecognized subcommand");
    terminal.expect("minidb> ");
    terminal.types("\x04"); // Ctrl-D
    assert!(child.wait().unwrap().success());
    assert_eq!(folder.ok(&["scan", "a.db"]), "key\tone value\n");
    assert_eq!(folder.names(), ["a.db", "history"]);
    let mode = std::fs::metadata(folder.path("history")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "others can read the history");

    let (mut terminal, mut child) = shell(&folder);
    terminal.expect("minidb> ");
    terminal.types("\x1b[A\x1b[A\r");
    terminal.expect("scan --keys-only ");
    terminal.expect("\nkey\r\n");
    terminal.types("exit\r");
    assert!(child.wait().unwrap().success());
}

#[test]
fn lines_that_are_piped_are_commands() {
    let folder = Folder::new("piped");
    let lines = b"# a comment\n\nput a 1\r\nput 'b c' \"\\x22\\n\"\nscan\ncount\nget 61 --hex";
    assert_eq!(folder.ok_with(&["shell", "a.db"], lines), b"a\t1\nb c\t\"\\n\n2\n31\n");
    let Ended { out, err, code } = folder.ran(&["shell", "a.db"]);
    assert_eq!((out.len(), &err[..], code), (0, "", 0));
    let lines = b"get a\nget x\nget '\nput k -\nload\ncount\nexit\nget a\n";
    let Ended { out, err, code } = folder.ran_with(&["shell", "a.db"], lines);
    assert_eq!((&out[..], code), (&b"1\n2\n"[..], 2), "{err}");
    let errors: Vec<&str> = err.lines().collect();
    assert_eq!(errors[0], "minidb: no such key: x");
    assert!(errors[1].contains("a quote is not closed") && errors.len() == 4, "{err}");
    let all =
        b"cas a 1 2\ndel 'b c'\nstat --json\ncheck\nbackup copy.db\ndump\ncompact\nhelp get\n";
    let out = String::from_utf8(folder.ok_with(&["shell", "a.db"], all)).unwrap();
    assert!(out.contains("\nok\n{\"k\":\"a\",\"v\":\"2\"}\n"), "{out}");
    assert!(out.contains("Usage: get [OPTIONS] <KEY>"), "{out}");
    assert_eq!(folder.ok(&["scan", "copy.db"]), "a\t2\n");
    folder.fails_with(&["shell", "--read-only", "a.db"], b"put a 1\n", 3);
    folder.fails(&["shell", "--read-only", "new.db"], 3);
    assert_eq!(folder.names(), ["a.db", "copy.db"]);
}

/// Loads lines that come slowly, so that it takes more than a second.
fn load_slowly(mut command: Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the tool is there");
    let mut stdin = child.stdin.take().expect("it was asked for");
    for _ in 0..3 {
        stdin.write_all("a\tb\n".repeat(20_000).as_bytes()).expect("the tool reads");
        thread::sleep(Duration::from_millis(1100));
    }
    child
}

#[test]
fn long_work_has_a_bar_at_a_terminal_and_lines_elsewhere() {
    let folder = Folder::new("bars");
    let load = |more: &[&str]| {
        let mut command = folder.command(TOOL);
        command.args(["load", "a.db", "--format", "tsv"]).args(more).env("TERM", "xterm");
        command
    };
    let mut terminal = Terminal::new();
    let mut command = load(&[]);
    command.stderr(terminal.stdio());
    assert!(load_slowly(command).wait().unwrap().success());
    terminal.expect("load");
    terminal.expect("entries");
    assert!(!terminal.all().contains("\x1b[3"), "{:?}", terminal.all()); // a colour
    for (more, lines) in [(&["--progress"][..], true), (&[], false)] {
        let mut command = load(more);
        command.stderr(Stdio::piped());
        let output = load_slowly(command).wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success());
        let is_line = |line: &str| line.starts_with("load: ") && line.ends_with(" entries");
        assert!(err.lines().all(is_line) && err.is_empty() != lines, "{err}");
    }
}

#[test]
fn help_has_colours_at_a_terminal_unless_they_are_not_wanted() {
    let folder = Folder::new("colours");
    for no_color in [false, true] {
        let mut terminal = Terminal::new();
        let mut command = folder.command(TOOL);
        command.arg("--help").env("TERM", "xterm").stdout(terminal.stdio());
        if no_color {
            command.env("NO_COLOR", "1");
        }
        assert!(command.status().unwrap().success());
        terminal.expect("Exit codes:");
        assert_eq!(terminal.all().contains('\x1b'), !no_color, "{:?}", terminal.all());
    }
    let piped = ended(folder.command(TOOL).arg("--help"), b"");
    assert!(!piped.out.contains(&0x1b));
}
