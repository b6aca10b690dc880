//! The dumps of GDBM: `#:len=N` and lines of base64 for each key and each value, and their number
//! at the end. Its binary dumps, which differ from machine to machine, are refused.

use std::io::{self, BufRead, Write};

use data_encoding::BASE64;

use super::{Entry, Lines, Read};
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

/// What comes next in a dump.
enum Part {
    /// The bytes of a key or a value.
    Bytes(Vec<u8>),
    Count(u64),
}

pub struct Reader<'a> {
    lines: Lines<'a>,
    count: u64,
    is_at_end: bool,
}

impl Reader<'_> {
    pub fn new<'a>(from: Box<dyn BufRead + 'a>) -> Reader<'a> {
        Reader { lines: Lines::new(from), count: 0, is_at_end: false }
    }

    fn read_header(&mut self) -> Read<()> {
        loop {
            match self.lines.must()? {
                b"# End of header" => return Ok(()),
                b"!" => {
                    let why = "this is a binary dump; gdbm_dump -H ascii writes one to load";
                    return Err(self.lines.bad(why));
                }
                line if line.starts_with(b"#") => {}
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

    fn read_entry(&mut self, entry: &mut Entry) -> Read {
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
}

impl super::Reader for Reader<'_> {
    fn next(&mut self, entry: &mut Entry) -> Read {
        if self.is_at_end {
            return Ok(false);
        }
        if self.lines.number == 0 {
            self.read_header()?;
        }
        let found = self.read_entry(entry)?;
        self.is_at_end = !found;
        self.count += u64::from(found);
        Ok(found)
    }

    fn line(&self) -> u64 {
        self.lines.number
    }
}
