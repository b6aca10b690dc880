//! The text that `db_dump` of Berkeley DB, `mdb_dump` of LMDB and `mdbx_dump` of libmdbx write:
//! lines `name=value` up to `HEADER=END`, then a line for each key and each value, which begin
//! with a space, up to `DATA=END`. Bytes are hexadecimal (`format=bytevalue`) or, where they are
//! printable, themselves (`format=print`).
//!
//! Written is the first, since LMDB's tools do not read backslashes as they write them. A dump
//! with more than one database, one without keys, and a key with two values are refused: they
//! are no map.

use std::io::{self, BufRead, Write};

use data_encoding::HEXLOWER_PERMISSIVE;

use super::{Entry, Lines, Read, Settings};
use crate::bytes::Encoding;

pub struct Writer<'a> {
    to: &'a mut dyn Write,
    mapsize: Option<u64>,
    text: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub fn new(to: &'a mut dyn Write, settings: Settings) -> Writer<'a> {
        Writer { to, mapsize: settings.mapsize, text: Vec::new() }
    }
}

impl super::Writer for Writer<'_> {
    fn begin(&mut self) -> io::Result<()> {
        self.to.write_all(b"VERSION=3\nformat=bytevalue\ntype=btree\n")?;
        if let Some(bytes) = self.mapsize {
            writeln!(self.to, "mapsize={bytes}")?;
        }
        self.to.write_all(b"HEADER=END\n")
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.text.clear();
        for bytes in [key, value] {
            self.text.push(b' ');
            Encoding::Hex.encode(bytes, &mut self.text);
            self.text.push(b'\n');
        }
        self.to.write_all(&self.text)
    }

    fn end(&mut self) -> io::Result<()> {
        self.to.write_all(b"DATA=END\n")
    }
}

pub struct Reader<'a> {
    lines: Lines<'a>,
    header: Option<Header>,
    /// The key before, if a key may be there twice.
    previous: Option<Vec<u8>>,
    is_at_end: bool,
}

/// What of a header says how the data are to be read.
#[derive(Clone, Copy, Default)]
struct Header {
    is_print: bool,
    has_duplicates: bool,
}

impl Reader<'_> {
    pub fn new<'a>(from: Box<dyn BufRead + 'a>) -> Reader<'a> {
        Reader { lines: Lines::new(from), header: None, previous: None, is_at_end: false }
    }

    fn read_header(&mut self) -> Read<Header> {
        let mut header = Header::default();
        loop {
            let is_first = self.lines.number == 0;
            let line = String::from_utf8_lossy(self.lines.must()?).into_owned();
            match line.split_once('=') {
                Some(("VERSION", version)) if is_first => {
                    if version != "3" && version != "2" {
                        return Err(self.lines.bad(format!("version {version} is not known")));
                    }
                }
                Some(("HEADER", "END")) => return Ok(header),
                Some(("format", "bytevalue")) => header.is_print = false,
                Some(("format", "print")) => header.is_print = true,
                Some(("format", other)) => {
                    return Err(self.lines.bad(format!("format {other} is not known")));
                }
                Some(("type", "recno" | "queue")) => {
                    return Err(self.lines.bad("a database of this type has no keys"));
                }
                Some(("duplicates" | "dupsort", "1")) => header.has_duplicates = true,
                Some(_) if !is_first => {} // it concerns the other store
                _ => return Err(self.lines.bad("this is no header of a dump")),
            }
        }
    }

    /// The bytes of the next line of data; none at the end of the data.
    fn read_data(&mut self, header: Header) -> Read<Option<Vec<u8>>> {
        let line = self.lines.must()?;
        if line == b"DATA=END" {
            return Ok(None);
        }
        let Some(text) = line.strip_prefix(b" ") else {
            return Err(self.lines.bad("a line of data begins with a space"));
        };
        let bytes = if header.is_print {
            printed(text).ok_or("a backslash comes before another one, or two hexadecimal digits")
        } else {
            HEXLOWER_PERMISSIVE.decode(text).map_err(|_| "this is not hexadecimal")
        };
        bytes.map(Some).map_err(|why| self.lines.bad(why))
    }
}

/// The bytes that a line of `format=print` stands for.
fn printed(text: &[u8]) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        bytes.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(b"\\") {
            bytes.push(b'\\');
            rest = after;
        } else {
            bytes.extend_from_slice(&HEXLOWER_PERMISSIVE.decode(rest.get(..2)?).ok()?);
            rest = &rest[2..];
        }
    }
    bytes.extend_from_slice(rest);
    Some(bytes)
}

impl super::Reader for Reader<'_> {
    fn next(&mut self, entry: &mut Entry) -> Read {
        if self.is_at_end {
            return Ok(false);
        }
        let header = match self.header {
            Some(header) => header,
            None => {
                let header = self.read_header()?;
                *self.header.insert(header)
            }
        };
        let Some(key) = self.read_data(header)? else {
            while let Some(line) = self.lines.next()? {
                if !line.is_empty() {
                    return Err(self.lines.bad("a second database begins; a load takes one"));
                }
            }
            self.is_at_end = true;
            return Ok(false);
        };
        if header.has_duplicates && self.previous.replace(key.clone()).as_ref() == Some(&key) {
            return Err(self.lines.bad("a key has a second value"));
        }
        entry.key = key;
        let value = self.read_data(header)?;
        entry.value = value.ok_or_else(|| self.lines.bad("a key has no value"))?;
        Ok(true)
    }

    fn line(&self) -> u64 {
        self.lines.number
    }
}
