//! The formats of dumps, each with a reader and a writer over streams of bytes.
//!
//! Every format but CSV consists of lines, which [`Lines`] counts. A reader that meets what is
//! not of its format says in which line.

pub mod csv;
pub mod dbdump;
pub mod gdbm;
pub mod jsonl;
pub mod tsv;

use std::io::{self, BufRead, Write};

use clap::ValueEnum;

use crate::bytes::Encoding;

/// A format of dumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A JSON object on each line, {"k":"..","v":".."}, with "k64" and "v64" in base64 where
    /// bytes are no UTF-8
    Jsonl,
    /// Comma-separated values: key and value, as they are, in quotes where that must be
    Csv,
    /// Key, TAB and value on each line, with escapes, as scan prints them
    Tsv,
    /// What db_dump, mdb_dump and mdbx_dump write, and db_load, mdb_load and mdbx_load read
    Dbdump,
    /// What gdbm_dump writes and gdbm_load reads
    Gdbm,
}

/// How a dump is written and read, beside its format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// How keys and values stand in CSV and TSV; none is the usual way of the format.
    pub encoding: Option<Encoding>,
    /// The first line has names for the columns.
    pub header: bool,
    /// The size of the map that `mdb_load` is to make.
    pub mapsize: Option<u64>,
}

/// An entry that was read.
#[derive(Debug, Default)]
pub struct Entry {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// A dump that cannot be read on.
#[derive(Debug)]
pub enum Fault {
    Io(io::Error),
    /// The line, counted from 1, and why it cannot be read.
    Bad(u64, String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

/// The result of reading from a dump.
pub type Read<T = bool> = Result<T, Fault>;

/// A dump that is being read.
pub trait Reader {
    /// Reads the next entry; false at the end of the dump.
    fn next(&mut self, entry: &mut Entry) -> Read;

    /// The line that was read last, counted from 1.
    fn line(&self) -> u64;
}

/// A dump that is being written.
pub trait Writer {
    /// Writes what comes before the first entry.
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Writes an entry.
    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()>;

    /// Writes what comes after the last entry.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Format {
    /// Reads a dump.
    pub fn reader<'a>(
        self,
        from: Box<dyn BufRead + 'a>,
        settings: Settings,
    ) -> Box<dyn Reader + 'a> {
        match self {
            Format::Jsonl => Box::new(jsonl::Reader::new(from)),
            Format::Csv => Box::new(csv::Reader::new(from, settings)),
            Format::Tsv => Box::new(tsv::Reader::new(from, settings)),
            Format::Dbdump => Box::new(dbdump::Reader::new(from)),
            Format::Gdbm => Box::new(gdbm::Reader::new(from)),
        }
    }

    /// Writes a dump.
    pub fn writer<'a>(self, to: &'a mut dyn Write, settings: Settings) -> Box<dyn Writer + 'a> {
        match self {
            Format::Jsonl => Box::new(jsonl::Writer::new(to, settings)),
            Format::Csv => Box::new(csv::Writer::new(to, settings)),
            Format::Tsv => Box::new(tsv::Writer::new(to, settings)),
            Format::Dbdump => Box::new(dbdump::Writer::new(to, settings)),
            Format::Gdbm => Box::new(gdbm::Writer::new(to)),
        }
    }
}

/// The lines of a dump.
pub struct Lines<'a> {
    from: Box<dyn BufRead + 'a>,
    line: Vec<u8>,
    number: u64,
}

impl<'a> Lines<'a> {
    fn new(from: Box<dyn BufRead + 'a>) -> Lines<'a> {
        Lines { from, line: Vec::new(), number: 0 }
    }

    /// The next line, without what ends it; none at the end.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        if self.from.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// The next line, which the format wants to be there.
    fn must(&mut self) -> Read<&[u8]> {
        let number = self.number;
        match self.next()? {
            Some(line) => Ok(line),
            None => Err(Fault::Bad(number + 1, "the dump is cut off here".into())),
        }
    }

    /// The fault of the line that was read last.
    fn bad(&self, why: impl Into<String>) -> Fault {
        Fault::Bad(self.number, why.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries that are hard on a format.
    fn entries() -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut entries = vec![
            (b"".to_vec(), b"".to_vec()),
            (b"\xef\xbb\xbfkey".to_vec(), b"".to_vec()),
            ((0..=255).collect(), (0..=255).rev().collect()),
            (b"a,b\"\"c".to_vec(), b"\"\r\n,\t\\".to_vec()),
            (b"\r".to_vec(), b"\n".to_vec()),
            (b"\"".to_vec(), b"#:len=3".to_vec()),
            (b"-1".to_vec(), "\u{2028}\u{e4}\\x41".into()),
            (b"DATA=END".to_vec(), b" DATA=END\r".to_vec()),
            (vec![b'k'; 600], vec![0xff; 100_000]),
        ];
        entries.extend((0..=255u8).map(|byte| (vec![byte], vec![byte, byte])));
        entries
    }

    fn written(format: Format, settings: Settings, entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut dump = Vec::new();
        let mut writer = format.writer(&mut dump, settings);
        writer.begin().unwrap();
        entries.iter().for_each(|(key, value)| writer.entry(key, value).unwrap());
        writer.end().unwrap();
        drop(writer);
        dump
    }

    fn read(format: Format, settings: Settings, dump: &[u8]) -> Read<Vec<(Vec<u8>, Vec<u8>)>> {
        let (mut entry, mut entries) = (Entry::default(), Vec::new());
        let mut reader = format.reader(Box::new(dump), settings);
        while reader.next(&mut entry)? {
            entries.push((entry.key.clone(), entry.value.clone()));
        }
        Ok(entries)
    }

    #[test]
    fn what_a_format_writes_it_reads() {
        use Format::{Csv, Dbdump, Gdbm, Jsonl, Tsv};
        for header in [false, true] {
            let encodings = [None, Some(Encoding::Hex), Some(Encoding::Base64)];
            for encoding in encodings {
                let settings = Settings { encoding, header, mapsize: Some(1 << 20) };
                for format in [Jsonl, Csv, Tsv, Dbdump, Gdbm] {
                    let all = entries();
                    for entries in std::iter::once(&all[..]).chain(all.chunks(1)) {
                        let dump = written(format, settings, entries);
                        let found = read(format, settings, &dump).unwrap();
                        assert!(found == entries, "{format:?}, {settings:?}: {:?}", entries[0]);
                    }
                    assert!(
                        read(format, settings, &written(format, settings, &[])).unwrap().is_empty()
                    );
                }
            }
        }
    }

    /// The line in which a dump is bad.
    fn bad_line(format: Format, dump: &[u8]) -> u64 {
        match read(format, Settings::default(), dump) {
            Err(Fault::Bad(line, _)) => line,
            other => panic!("{format:?}, {}: {other:?}", dump.escape_ascii()),
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = r#"{"k":"a","v":"b"}"#;
        let bad = [
            "{",
            "[]",
            "1",
            r#"{"k":"a"}"#,
            r#"{"k":"a","v":null}"#,
            r#"{"k":"a","v":1}"#,
            r#"{"k":"a","v":"b","w":"c"}"#,
            r#"{"k":"a","k64":"YQ==","v":""}"#,
            r#"{"k":"a","k":"a","v":""}"#,
            r#"{"k64":"YQ","v":""}"#,
            r#"{"k":"\ud800","v":""}"#,
            r#"{"k":"a","v":"b"}{"k":"a","v":"b"}"#,
        ];
        for line in bad {
            assert_eq!(bad_line(Format::Jsonl, format!("{good}\n\n{line}\n{good}").as_bytes()), 3);
        }
        assert_eq!(bad_line(Format::Jsonl, b"{\"k\":\"\xff\",\"v\":\"\"}"), 1);
        for line in ["a", "a\tb\tc", "\\q\tb", ""] {
            assert_eq!(bad_line(Format::Tsv, format!("a\tb\n{line}\nc\td\n").as_bytes()), 2);
        }
        for line in ["a", "a,b,c", "\"a\nb\",c,d"] {
            assert_eq!(bad_line(Format::Csv, format!("a,\"b\nb\"\n{line}\nc,d\n").as_bytes()), 3);
        }
        assert_eq!(bad_line(Format::Csv, b"a,b\nc,\"d"), 2);
        assert_eq!(bad_line(Format::Csv, b"a,b\nc,\"d\ne,f\n"), 2);
    }

    #[test]
    fn a_dump_that_is_cut_off_is_bad() {
        for format in [Format::Dbdump, Format::Gdbm] {
            let dump = written(format, Settings::default(), &entries()[..5]);
            for cut in 0..dump.len() - 1 {
                bad_line(format, &dump[..cut]);
            }
        }
    }

    #[test]
    fn dumps_of_databases_that_differ_from_a_map_are_refused() {
        let dump = |header: &str, data: &str| {
            format!("VERSION=3\nformat=print\n{header}\nHEADER=END\n{data}")
        };
        let bad = |header, data| bad_line(Format::Dbdump, dump(header, data).as_bytes());
        assert_eq!(bad("type=recno", " a\nDATA=END\n"), 3);
        assert_eq!(bad("duplicates=1", " a\n 1\n a\n 2\nDATA=END\n"), 7);
        assert_eq!(bad("type=btree", " a\n 1\nDATA=END\nVERSION=3\n"), 8);
        assert_eq!(bad("type=btree", " a\nDATA=END\n"), 6);
        assert_eq!(bad("type=btree", "a\n b\nDATA=END\n"), 5);
        assert_eq!(bad("type=btree", " a\\\n b\nDATA=END\n"), 5);
        assert_eq!(bad_line(Format::Dbdump, b"VERSION=4\n"), 1);
        assert_eq!(bad_line(Format::Dbdump, b"key\tvalue\n"), 1);
        let print = dump("type=hash\nduplicates=1\nmapsize=1", " a\\5c\\\\\n \\00b\nDATA=END\n\n");
        let entries = read(Format::Dbdump, Settings::default(), print.as_bytes()).unwrap();
        assert_eq!(entries, [(b"a\\\\".to_vec(), b"\0b".to_vec())]);
    }
}
