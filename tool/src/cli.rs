//! The command line: its commands, their arguments, and their help.
//!
//! Each command that works on a database is an argument structure without the file.
//! [`OnFile`] adds the file for the command line; the shell takes the structure as it is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bytes::Encoding;
use crate::failure::{Done, Failure};
use crate::formats::Format;
use crate::output::Style;

const BYTES_HELP: &str = "\
Keys and values are any bytes. In arguments and in what is printed, printable UTF-8 stands \
for itself; \\\\, \\n, \\r, \\t, \\0 and \\xNN are the other bytes. So what is printed can be an \
argument, and nothing that is printed moves a terminal's cursor. With --hex or --base64, \
arguments and output are hexadecimal digits or base64.

Commands that read open the file read-only, write nothing, and may run beside each other; \
a command that writes has the file alone.

Exit codes: 0 done; 1 there is no such key, or cas or check says no; 2 a bad command line or \
input; 3 input or output failed; 4 another process has the file; 5 the file is damaged, or no database.

A terminal gets colours in help and a bar for long work; NO_COLOR leaves out the colours.";

/// Looks into databases of minidb, and changes them.
#[derive(Parser)]
#[command(name = "minidb", version, after_help = BYTES_HELP)]
#[command(disable_help_subcommand = true, subcommand_value_name = "COMMAND")]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Copy)]
pub struct Common {
    /// Wait so long for a database that another process has
    #[arg(long, global = true, display_order = 100, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
    pub wait: std::time::Duration,
    /// Print no message where the answer is no (exit code 1)
    #[arg(long, short, global = true, display_order = 100)]
    pub quiet: bool,
    /// Print a line about long work each second where no terminal could show a bar
    #[arg(long, global = true, display_order = 100)]
    pub progress: bool,
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    std::time::Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// A database file, and a command for it.
#[derive(Args)]
pub struct OnFile<T: Args> {
    /// The database file
    pub file: PathBuf,
    #[command(flatten)]
    pub args: T,
}

#[derive(Subcommand)]
pub enum Command {
    /// Print the value of a key
    #[command(after_help = GET)]
    Get(OnFile<Get>),
    /// Set the value of a key; the file is made if there is none
    #[command(after_help = PUT)]
    Put(OnFile<Put>),
    /// Remove a key
    #[command(after_help = DEL)]
    Del(OnFile<Del>),
    /// Set the value of a key if it is the expected one (compare and swap)
    #[command(after_help = CAS)]
    Cas(OnFile<Cas>),
    /// Print entries in the order of their keys: key, TAB, value
    #[command(after_help = SCAN)]
    Scan(OnFile<Scan>),
    /// Print the number of keys
    #[command(after_help = COUNT)]
    Count(OnFile<Count>),
    /// Print numbers about a database, and the sizes of its keys and values as bars
    #[command(after_help = STAT)]
    Stat(OnFile<Stat>),
    /// Read all of a database and verify it
    #[command(after_help = CHECK)]
    Check(OnFile<Check>),
    /// Write all entries to the standard output
    #[command(after_help = DUMP)]
    Dump(OnFile<Dump>),
    /// Store entries from the standard input; the file is made if there is none
    #[command(after_help = LOAD)]
    Load(OnFile<Load>),
    /// Copy a database to a new file
    #[command(after_help = BACKUP)]
    Backup(OnFile<Backup>),
    /// Fold the log into the file, and make the file as small as can be
    #[command(after_help = COMPACT)]
    Compact(OnFile<Compact>),
    /// Write what can be read of a damaged file and its log to a new file
    #[command(after_help = SALVAGE)]
    Salvage(Salvage),
    /// Read commands, without FILE, and run them on one database
    #[command(after_help = SHELL)]
    Shell(OnFile<Shell>),
    /// Print completions for a shell
    #[command(after_help = COMPLETIONS)]
    Completions(Completions),
    /// Print the manual page
    #[command(after_help = MAN)]
    Man,
}

const GET: &str = "\
The value is printed with escapes and a newline, so $(minidb get ...) can be an argument. \
--raw prints the bytes alone.

Example: minidb get app.db user-1";
const PUT: &str = "\
VALUE may be - for raw bytes from the standard input, to its end; the value of one dash is \
\\x2d. What begins with a dash otherwise comes after --.

Example: minidb put app.db user-1 Jane";
const DEL: &str = "Example: minidb del app.db user-1";
const CAS: &str = "\
Exit code 1 if the value of KEY is not EXPECTED. With --absent there must be no value, and \
only DESIRED is given; with --remove the key is removed, and only EXPECTED is given.

Example: minidb cas app.db user-1 Jane Janet";
const SCAN: &str = "Example: minidb scan app.db --prefix user- --limit 10";
const COUNT: &str = "Example: minidb count app.db";
const STAT: &str = "Example: minidb stat app.db";
const CHECK: &str = "\
Prints ok, or exits with code 1 and says what is damaged.

Example: minidb check app.db";
const DUMP: &str = "\
Every format keeps every byte.

Example: minidb dump app.db > app.jsonl";
const LOAD: &str = "\
Entries are stored in steps, each of which is atomic; a key that is there gets its new value. \
At a line that cannot be read the load ends with exit code 2, and all entries before it are \
stored.

Example: minidb load app.db < app.jsonl";
const BACKUP: &str = "Example: minidb backup app.db copy.db";
const COMPACT: &str = "Example: minidb compact app.db";
const SALVAGE: &str = "\
The damaged file stays as it is. What is printed says how many entries the new file has, how \
many are lost, and how many come from an older state; how many of the two roots and of the \
other sectors are damaged; how many commits come from the log, at how many places commits are \
missing from it, and whether (1 or 0) it is missing itself.

Example: minidb salvage damaged.db new.db";
const SHELL: &str = "\
The database stays open, and is made if it is not there. A line is a command as on the command \
line; an argument with spaces stands in quotes, in which escapes count as elsewhere. A line \
that begins with # is a comment. TAB completes, help helps, and the end of the file ends the \
shell, as exit does. From a terminal, lines are kept in ~/.minidb_history, or in the file that \
MINIDB_HISTORY names; if that is empty, they are not. If lines do not come from a terminal, \
the exit code is the greatest of those of all commands.

Example: minidb shell app.db";
const COMPLETIONS: &str = "Example: minidb completions bash";
const MAN: &str = "Example: minidb man";

/// How keys and values are written.
#[derive(Args, Clone, Copy, Default)]
pub struct Written {
    /// Take and print hexadecimal digits
    #[arg(long, conflicts_with = "base64")]
    pub hex: bool,
    /// Take and print base64
    #[arg(long)]
    pub base64: bool,
}

impl Written {
    pub fn encoding(self) -> Encoding {
        match self {
            Written { hex: true, .. } => Encoding::Hex,
            Written { base64: true, .. } => Encoding::Base64,
            _ => Encoding::Escaped,
        }
    }

    /// The bytes that an argument stands for.
    pub fn decode(self, argument: &OsString) -> Done<Vec<u8>> {
        self.encoding().decode(&argument.clone().into_vec()).map_err(Failure::Usage)
    }
}

/// How entries are printed.
#[derive(Args, Clone, Copy)]
pub struct Printed {
    #[command(flatten)]
    pub written: Written,
    /// Print JSON: {"k":..,"v":..}, with "k64" and "v64" in base64 where bytes are no UTF-8
    #[arg(long)]
    pub json: bool,
    /// Print the bytes as they are
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// End what is printed with a NUL, not a newline
    #[arg(short = '0', long)]
    pub null: bool,
}

impl Printed {
    pub fn style(self) -> Style {
        match self {
            Printed { json: true, .. } => Style::Json,
            Printed { raw: true, .. } => Style::Raw,
            _ => Style::Text(self.written.encoding()),
        }
    }

    /// The end of an entry.
    pub fn end(self) -> &'static [u8] {
        if self.null { b"\0" } else { b"\n" }
    }
}

#[derive(Args)]
pub struct Get {
    /// The key
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
    #[command(flatten)]
    pub printed: Printed,
}

#[derive(Args)]
pub struct Put {
    /// The key
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
    /// The value, or - for raw bytes from the standard input
    #[arg(allow_negative_numbers = true)]
    pub value: OsString,
    /// Print the value before, if there was one
    #[arg(long)]
    pub previous: bool,
    #[command(flatten)]
    pub printed: Printed,
}

#[derive(Args)]
pub struct Del {
    /// The key
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
    #[command(flatten)]
    pub written: Written,
}

#[derive(Args)]
pub struct Cas {
    /// The key
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
    /// The value that there must be
    #[arg(allow_negative_numbers = true)]
    pub expected: OsString,
    /// The value to set
    #[arg(allow_negative_numbers = true, required_unless_present_any = ["absent", "remove"])]
    pub desired: Option<OsString>,
    /// The key must not be there
    #[arg(long, conflicts_with = "remove")]
    pub absent: bool,
    /// Remove the key
    #[arg(long)]
    pub remove: bool,
    #[command(flatten)]
    pub written: Written,
}

#[derive(Args)]
pub struct Scan {
    /// Only keys that begin with this
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub prefix: Option<OsString>,
    /// Only this key and those after it
    #[arg(long, value_name = "A", allow_hyphen_values = true)]
    pub from: Option<OsString>,
    /// Only keys before this one
    #[arg(long, value_name = "B", allow_hyphen_values = true)]
    pub to: Option<OsString>,
    /// From the last key to the first
    #[arg(long)]
    pub reverse: bool,
    /// No more entries than this
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Print keys alone
    #[arg(long, conflicts_with_all = ["values_only", "count"])]
    pub keys_only: bool,
    /// Print values alone
    #[arg(long, conflicts_with = "count")]
    pub values_only: bool,
    /// Print the number of entries alone
    #[arg(long)]
    pub count: bool,
    #[command(flatten)]
    pub printed: Printed,
}

#[derive(Args)]
pub struct Count {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Stat {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Check {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The form of a dump.
#[derive(Args, Clone, Copy)]
pub struct DumpSettings {
    #[arg(long, value_enum, default_value = "jsonl")]
    pub format: Format,
    #[command(flatten)]
    pub written: Written,
    /// The first line of csv or tsv names the columns
    #[arg(long)]
    pub header: bool,
}

#[derive(Args)]
pub struct Dump {
    #[command(flatten)]
    pub settings: DumpSettings,
    /// In dbdump, the size of the map that mdb_load is to make
    #[arg(long, value_name = "BYTES")]
    pub mapsize: Option<u64>,
    /// Write to a new file, not to the standard output
    #[arg(long, short, value_name = "PATH")]
    pub output: Option<PathBuf>,
}

#[derive(Args)]
pub struct Load {
    #[command(flatten)]
    pub settings: DumpSettings,
    /// Read a file, not the standard input
    #[arg(long, short, value_name = "PATH")]
    pub input: Option<PathBuf>,
}

#[derive(Args)]
pub struct Backup {
    /// The new file
    pub new: PathBuf,
}

#[derive(Args)]
pub struct Compact {}

#[derive(Args)]
pub struct Salvage {
    /// The damaged database file
    pub damaged: PathBuf,
    /// The new file
    pub new: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Shell {
    /// Open the database only to read it
    #[arg(long)]
    pub read_only: bool,
}

/// Commands of the shell; an argument with spaces stands in quotes.
#[derive(Parser)]
#[command(name = "minidb", multicall = true, disable_help_flag = true)]
#[command(disable_help_subcommand = false, subcommand_value_name = "COMMAND")]
pub struct Line {
    #[command(subcommand)]
    pub command: LineCommand,
}

#[derive(Subcommand)]
pub enum LineCommand {
    /// Print the value of a key
    Get(Get),
    /// Set the value of a key
    Put(Put),
    /// Remove a key
    Del(Del),
    /// Set the value of a key if it is the expected one (compare and swap)
    Cas(Cas),
    /// Print entries in the order of their keys: key, TAB, value
    Scan(Scan),
    /// Print the number of keys
    Count(Count),
    /// Print numbers about the database, and the sizes of its keys and values as bars
    Stat(Stat),
    /// Read all of the database and verify it
    Check(Check),
    /// Write all entries to the output
    Dump(Dump),
    /// Store entries from a file
    Load(Load),
    /// Copy the database to a new file
    Backup(Backup),
    /// Fold the log into the file, which becomes smaller when the shell ends
    Compact(Compact),
    /// End the shell
    #[command(alias = "quit")]
    Exit,
}

#[derive(Args)]
pub struct Completions {
    pub shell: CompletionsFor,
}

/// A shell that completions are made for.
#[derive(Clone, Copy, ValueEnum)]
pub enum CompletionsFor {
    Bash,
    Zsh,
    Fish,
}
