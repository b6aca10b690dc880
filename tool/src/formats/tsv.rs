//! Tab-separated values: key, TAB and value on each line. Since both are escaped, neither has a
//! TAB or a newline.

use std::io::{self, BufRead, Write};

use super::{Entry, Fault, Lines, Read, Settings};
use crate::bytes::Encoding;

pub struct Writer<'a> {
    to: &'a mut dyn Write,
    header: bool,
    encoding: Encoding,
    text: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub fn new(to: &'a mut dyn Write, settings: Settings) -> Writer<'a> {
        let encoding = settings.encoding.unwrap_or_default();
        Writer { to, header: settings.header, encoding, text: Vec::new() }
    }
}

impl super::Writer for Writer<'_> {
    fn begin(&mut self) -> io::Result<()> {
        if self.header { self.to.write_all(b"key\tvalue\n") } else { Ok(()) }
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.text.clear();
        self.encoding.encode(key, &mut self.text);
        self.text.push(b'\t');
        self.encoding.encode(value, &mut self.text);
        self.text.push(b'\n');
        self.to.write_all(&self.text)
    }
}

pub struct Reader<'a> {
    lines: Lines<'a>,
    header: bool,
    encoding: Encoding,
}

impl Reader<'_> {
    pub fn new<'a>(from: Box<dyn BufRead + 'a>, settings: Settings) -> Reader<'a> {
        let encoding = settings.encoding.unwrap_or_default();
        Reader { lines: Lines::new(from), header: settings.header, encoding }
    }
}

impl super::Reader for Reader<'_> {
    fn next(&mut self, entry: &mut Entry) -> Read {
        if std::mem::take(&mut self.header) {
            self.lines.next()?;
        }
        let Some(line) = self.lines.next()? else { return Ok(false) };
        let mut read = |line: &[u8]| {
            let mut parts = line.split(|byte| *byte == b'\t');
            let (Some(key), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
                return Err("a line is a key, one TAB, and a value".to_owned());
            };
            entry.key = self.encoding.decode(key)?;
            entry.value = self.encoding.decode(value)?;
            Ok(true)
        };
        let done = read(line);
        done.map_err(|why| Fault::Bad(self.lines.number, why))
    }

    fn line(&self) -> u64 {
        self.lines.number
    }
}
