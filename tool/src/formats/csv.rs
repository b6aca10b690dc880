//! Comma-separated values, as RFC 4180 has them: key and value are columns, as they are, in
//! quotes where they have a comma, a quote or an end of line.

use std::io::{self, BufRead, Write};
use std::mem;

use csv::{ByteRecord, ErrorKind, QuoteStyle, ReaderBuilder, WriterBuilder};

use super::{Entry, Fault, Read, Settings};
use crate::bytes::Encoding;

/// The mark at the beginning of a text that says that it is UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A record that is read after the end of the dump. If it is read as part of another one, that
/// lacks a closing quote.
const SENTINEL: &[u8] = b"\nthe end of the dump,\n";

const UNCLOSED: &str = "a quote is not closed";

pub struct Writer<'a> {
    /// Until the first record is written.
    to: Option<&'a mut dyn Write>,
    csv: Option<csv::Writer<&'a mut dyn Write>>,
    settings: Settings,
}

impl<'a> Writer<'a> {
    pub fn new(to: &'a mut dyn Write, settings: Settings) -> Writer<'a> {
        Writer { to: Some(to), csv: None, settings }
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if let Some(to) = self.to.take() {
            // Readers would take the mark for one of the whole text.
            let is_marked = key.starts_with(BYTE_ORDER_MARK);
            let style = if is_marked { QuoteStyle::Always } else { QuoteStyle::Necessary };
            self.csv = Some(WriterBuilder::new().quote_style(style).from_writer(to));
        }
        let csv = self.csv.as_mut().expect("it was made with the first record");
        csv.write_record([key, value]).map_err(into_io)
    }
}

fn into_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

impl super::Writer for Writer<'_> {
    fn begin(&mut self) -> io::Result<()> {
        if self.settings.header { self.record(b"key", b"value") } else { Ok(()) }
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let Some(encoding) = self.settings.encoding else { return self.record(key, value) };
        let [key, value] = [key, value].map(|bytes| {
            let mut text = Vec::new();
            encoding.encode(bytes, &mut text);
            text
        });
        self.record(&key, &value)
    }

    fn end(&mut self) -> io::Result<()> {
        self.csv.as_mut().map_or(Ok(()), csv::Writer::flush)
    }
}

pub struct Reader<'a> {
    csv: csv::Reader<Box<dyn io::Read + 'a>>,
    encoding: Option<Encoding>,
    record: ByteRecord,
    /// The record after that.
    next: ByteRecord,
    has_begun: bool,
}

impl Reader<'_> {
    pub fn new<'a>(from: Box<dyn BufRead + 'a>, settings: Settings) -> Reader<'a> {
        let from: Box<dyn io::Read + 'a> = Box::new(io::Read::chain(from, SENTINEL));
        Reader {
            csv: ReaderBuilder::new().has_headers(settings.header).flexible(true).from_reader(from),
            encoding: settings.encoding,
            record: ByteRecord::new(),
            next: ByteRecord::new(),
            has_begun: false,
        }
    }

    fn read(&mut self) -> io::Result<bool> {
        self.csv.read_byte_record(&mut self.next).map_err(into_io)
    }
}

impl super::Reader for Reader<'_> {
    fn next(&mut self, entry: &mut Entry) -> Read {
        if !mem::replace(&mut self.has_begun, true) && !self.read()? {
            return Err(Fault::Bad(1, UNCLOSED.into()));
        }
        mem::swap(&mut self.record, &mut self.next);
        let has_next = self.read()?;
        let bad = |why: String| Fault::Bad(self.line(), why);
        if !has_next {
            let is_end = self.record.iter().eq([&SENTINEL[1..SENTINEL.len() - 2], b""]);
            return if is_end { Ok(false) } else { Err(bad(UNCLOSED.into())) };
        }
        if self.record.len() != 2 {
            return Err(bad(format!("a record has 2 columns, not {}", self.record.len())));
        }
        for (bytes, column) in [&mut entry.key, &mut entry.value].into_iter().zip(&self.record) {
            bytes.clear();
            match self.encoding {
                None => bytes.extend_from_slice(column),
                Some(encoding) => *bytes = encoding.decode(column).map_err(bad)?,
            }
        }
        Ok(true)
    }

    fn line(&self) -> u64 {
        self.record.position().map_or(1, csv::Position::line)
    }
}
