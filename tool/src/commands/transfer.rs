//! `dump` and `load`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::path::Path;

use minidb::{Database, MAX_LEN};

use super::Run;
use crate::cli::{Dump, DumpSettings, Load};
use crate::failure::{Done, Failure};
use crate::formats::{Entry, Fault, Format, Settings};
use crate::open::{Access, Target};
use crate::output::Output;
use crate::progress::{Progress, Unit};

/// Bytes of entries that one commit takes, or one entry with more.
const BATCH_BYTES: usize = 4 << 20;

/// Entries between two looks at the clock.
const STEP: u64 = 256;

impl DumpSettings {
    fn settings(&self, mapsize: Option<u64>) -> Done<Settings> {
        let encoding = self.written.hex || self.written.base64;
        let encoding = encoding.then(|| self.written.encoding());
        let refused = |what: &str, of: &str| {
            Err(Failure::Usage(format!("{what} is for {of}, not for this format")))
        };
        match self.format {
            Format::Csv | Format::Tsv => {}
            _ if self.header => return refused("--header", "csv and tsv"),
            Format::Jsonl if !self.written.hex => {}
            Format::Jsonl => return refused("--hex", "csv and tsv"),
            _ if encoding.is_some() => return refused("--hex or --base64", "csv, tsv and jsonl"),
            _ => {}
        }
        if mapsize.is_some() && self.format != Format::Dbdump {
            return refused("--mapsize", "dbdump");
        }
        Ok(Settings { encoding, header: self.header, mapsize })
    }
}

impl Run for Dump {
    fn run(&self, target: &Target, out: &mut Output) -> Done {
        let settings = self.settings.settings(self.mapsize)?;
        let db = target.open(Access::Read)?;
        match &self.output {
            None => self.write(&db, settings, target.lines, out, "the output"),
            Some(path) => {
                let name = path.display().to_string();
                let file =
                    File::create_new(path).map_err(|error| Failure::output(&name, &error))?;
                let mut file = BufWriter::with_capacity(1 << 16, file);
                self.write(&db, settings, target.lines, &mut file, &name)?;
                file.flush().map_err(|error| Failure::output(&name, &error))
            }
        }
    }
}

impl Dump {
    fn write(
        &self,
        db: &Database,
        settings: Settings,
        lines: bool,
        to: &mut dyn Write,
        name: &str,
    ) -> Done {
        let failed = |error: io::Error| Failure::output(name, &error);
        let mut progress = Progress::new("dump", Unit::Entries, Some(db.count()?), lines);
        let mut writer = self.settings.format.writer(to, settings);
        writer.begin().map_err(failed)?;
        let (mut cursor, mut count) = (db.scan(None, None)?, 0u64);
        while cursor.next()? {
            let (key, value) =
                (cursor.key().unwrap_or_default(), cursor.value().unwrap_or_default());
            writer.entry(key, value).map_err(failed)?;
            count += 1;
            if count.is_multiple_of(STEP) {
                progress.at(count);
            }
        }
        writer.end().map_err(failed)
    }
}

/// Entries that are to be stored with one commit.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where keys and values end, by turns.
    ends: Vec<(usize, usize)>,
}

impl Batch {
    fn add(&mut self, entry: &Entry) {
        self.bytes.extend_from_slice(&entry.key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(&entry.value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut at = 0;
        self.ends.iter().map(move |&(key_end, end)| {
            let entry = (&self.bytes[at..key_end], &self.bytes[key_end..end]);
            at = end;
            entry
        })
    }
}

/// The database that a load fills. It is opened when there is something to store, so that
/// input that is bad from its first line on changes nothing.
struct Loading<'a> {
    target: &'a Target,
    db: Option<Database>,
    batch: Batch,
    stored: u64,
}

impl Loading<'_> {
    /// Stores the batch; the first time, opens the database for it.
    fn store(&mut self) -> Done {
        let db = match &self.db {
            Some(db) => db,
            None => self.db.insert(self.target.open(Access::Create)?),
        };
        db.write_all(self.batch.entries())?;
        self.stored += self.batch.ends.len() as u64;
        self.batch.bytes.clear();
        self.batch.ends.clear();
        Ok(())
    }

    /// Reads and stores all entries. Those before a bad one are stored.
    fn run(&mut self, format: Format, settings: Settings, input: Input) -> Done {
        let Input { from, name, position, mut progress } = input;
        let mut reader = format.reader(from, settings);
        let mut entry = Entry::default();
        let mut count = 0u64;
        let read = loop {
            match reader.next(&mut entry) {
                Ok(false) => break Ok(()),
                Ok(true) if entry.key.len().max(entry.value.len()) > MAX_LEN => {
                    let line = reader.line();
                    break Err(bad(line, &format!("a key or value has more than {MAX_LEN} bytes")));
                }
                Ok(true) => {}
                Err(Fault::Io(error)) => break Err(Failure::input(&name, &error)),
                Err(Fault::Bad(line, why)) => break Err(bad(line, &why)),
            }
            self.batch.add(&entry);
            if self.batch.bytes.len() >= BATCH_BYTES {
                self.store()?;
            }
            count += 1;
            if count.is_multiple_of(STEP) {
                progress.at(position.as_ref().map_or(count, |it| it()));
            }
        };
        if read.is_ok() || !self.batch.ends.is_empty() {
            self.store()?;
        }
        read
    }
}

fn bad(line: u64, why: &str) -> Failure {
    Failure::Usage(format!("line {line}: {why}"))
}

/// What a load reads.
struct Input {
    from: Box<dyn BufRead>,
    name: String,
    /// How many bytes are read, if it is a file.
    position: Option<Box<dyn Fn() -> u64>>,
    progress: Progress,
}

impl Input {
    /// Opens a file, or the standard input.
    fn open(path: Option<&Path>, lines: bool) -> Done<Input> {
        let name = path.map_or("the standard input".to_owned(), |path| path.display().to_string());
        let failed = |error: io::Error| Failure::input(&name, &error);
        let file = match path {
            Some(path) => File::open(path),
            None => std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned().map(File::from),
        };
        let file = file.map_err(failed)?;
        let total = file.metadata().map_err(failed)?;
        let total = total.is_file().then_some(total.len());
        let clone = file.try_clone().map_err(failed)?;
        let position = total.map(|_| {
            let position = move || (&clone).stream_position().unwrap_or_default();
            Box::new(position) as Box<dyn Fn() -> u64>
        });
        let unit = if total.is_some() { Unit::Bytes } else { Unit::Entries };
        let progress = Progress::new("load", unit, total, lines);
        let from = Box::new(BufReader::with_capacity(1 << 16, file));
        Ok(Input { from, name, position, progress })
    }
}

impl Run for Load {
    fn run(&self, target: &Target, _: &mut Output) -> Done {
        let settings = self.settings.settings(None)?;
        if self.input.is_none() && target.is_shell() {
            return Err(Failure::Usage("in the shell, load needs --input".into()));
        }
        let input = Input::open(self.input.as_deref(), target.lines)?;
        let mut loading = Loading { target, db: None, batch: Batch::default(), stored: 0 };
        loading.run(self.settings.format, settings, input).map_err(|failure| {
            let stored = loading.stored;
            failure.with(&format!("; entries stored before: {stored}"))
        })
    }
}
