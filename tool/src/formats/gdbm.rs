//! The dumps of GDBM. Written is the text: `#:len=N` and lines of base64 for each key and each
//! value, and their number at the end. Read is the older binary dump, too.

use std::io::{self, BufRead, Read as _, Write};

use data_encoding::BASE64;

use super::{Entry, Fault, Lines, Read};
use crate::bytes::Encoding;

/// Digits of base64 on a line.
const WIDTH: usize = 76;

pub struct Writer<'a> {
    to: &'a mut dyn Write,
    count: u64,
    text: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub fn new(to: &'a mut dyn Write) -> Writer<'a> {
        Writer { to, count: 0, text: Vec::new() }
    }
}

impl super::Writer for Writer<'_> {
    fn begin(&mut self) -> io::Result<()> {
        self.to.write_all(b"# GDBM dump file created by minidb\n#:version=1.1\n")?;
        self.to.write_all(b"#:format=standard\n# End of header\n")
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.count += 1;
        for bytes in [key, value] {
            writeln!(self.to, "#:len={}", bytes.len())?;
            self.text.clear();
            Encoding::Base64.encode(bytes, &mut self.text);
            for line in self.text.chunks(WIDTH) {
                self.to.write_all(line)?;
                self.to.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        writeln!(self.to, "#:count={}\n# End of data", self.count)
    }
}

/// What comes next in a dump of text.
enum Part {
    /// The bytes of a key or a value.
    Bytes(Vec<u8>),
    Count(u64),
}

pub struct Reader<'a> {
    lines: Lines<'a>,
    /// Whether the dump is binary, once its header is read.
    is_binary: Option<bool>,
    count: u64,
    is_at_end: bool,
}

impl Reader<'_> {
    pub fn new<'a>(from: Box<dyn BufRead + 'a>) -> Reader<'a> {
        Reader { lines: Lines::new(from), is_binary: None, count: 0, is_at_end: false }
    }

    /// Reads the header; returns whether the data are binary.
    fn read_header(&mut self) -> Read {
        let is_binary = self.lines.must()? == b"!";
        loop {
            match (is_binary, self.lines.must()?) {
                (true, b"!") | (false, b"# End of header") => return Ok(is_binary),
                (true, line) if line.starts_with(b"!") => {}
                (false, line) if line.starts_with(b"#") => {}
                _ => return Err(self.lines.bad("this is no header of a dump")),
            }
        }
    }

    fn read_part(&mut self) -> Read<Part> {
        let line = String::from_utf8_lossy(self.lines.must()?).into_owned();
        let number = |text: &str| text.parse::<u64>().ok();
        if let Some(count) = line.strip_prefix("#:count=").and_then(number) {
            return Ok(Part::Count(count));
        }
        let Some(len) = line.strip_prefix("#:len=").and_then(number) else {
            return Err(self.lines.bad("a key or a value begins with its length, #:len=N"));
        };
        let digits = len.div_ceil(3).saturating_mul(4);
        let mut text = Vec::new();
        while (text.len() as u64) < digits {
            text.extend_from_slice(self.lines.must()?);
            if self.lines.line.starts_with(b"#") {
                return Err(self.lines.bad("a key or a value is shorter than its length"));
            }
        }
        match BASE64.decode(&text) {
            Ok(bytes) if bytes.len() as u64 == len => Ok(Part::Bytes(bytes)),
            Ok(_) => Err(self.lines.bad("a key or a value has not its length")),
            Err(_) => Err(self.lines.bad("this is not base64")),
        }
    }

    fn read_text(&mut self, entry: &mut Entry) -> Read {
        match self.read_part()? {
            Part::Bytes(key) => entry.key = key,
            Part::Count(count) if count != self.count => {
                return Err(self.lines.bad(format!("{} entries were there", self.count)));
            }
            Part::Count(_) if self.lines.must()? == b"# End of data" => return Ok(false),
            Part::Count(_) => return Err(self.lines.bad("the data should end here")),
        }
        match self.read_part()? {
            Part::Bytes(value) => entry.value = value,
            Part::Count(_) => return Err(self.lines.bad("a key has no value")),
        }
        Ok(true)
    }

    /// Reads a length and as many bytes; none at the end of the dump.
    fn read_binary(&mut self) -> Read<Option<Vec<u8>>> {
        if self.lines.from.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let len = self.take(4)?;
        let len = len.iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
        self.take(len).map(Some)
    }

    fn take(&mut self, len: u64) -> Read<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut self.lines.from).take(len).read_to_end(&mut bytes)?;
        if read as u64 == len { Ok(bytes) } else { Err(self.cut_off()) }
    }

    fn cut_off(&self) -> Fault {
        self.lines.bad(format!("the binary data are cut off after {} entries", self.count))
    }
}

impl super::Reader for Reader<'_> {
    fn next(&mut self, entry: &mut Entry) -> Read {
        if self.is_at_end {
            return Ok(false);
        }
        let is_binary = match self.is_binary {
            Some(is_binary) => is_binary,
            None => {
                let is_binary = self.read_header()?;
                *self.is_binary.insert(is_binary)
            }
        };
        let found = if !is_binary {
            self.read_text(entry)?
        } else if let Some(key) = self.read_binary()? {
            entry.key = key;
            entry.value = self.read_binary()?.ok_or_else(|| self.cut_off())?;
            true
        } else {
            false
        };
        self.is_at_end = !found;
        self.count += u64::from(found);
        Ok(found)
    }

    fn line(&self) -> u64 {
        self.lines.number
    }
}
