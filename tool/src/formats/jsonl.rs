//! JSON lines: an entry is an object on a line of its own, `{"k":"key","v":"value"}`. A key or
//! value that is not UTF-8 is `"k64"` or `"v64"`, in base64. Read are `key` and `value`, too.

use std::io::{self, BufRead, Write};

use data_encoding::BASE64;
use serde::Deserialize;

use super::{Entry, Lines, Read, Settings};
use crate::bytes::Encoding;

/// Appends the JSON object of an entry, or of a part of one, to `text`.
pub fn object(key: Option<&[u8]>, value: Option<&[u8]>, text: &mut Vec<u8>) {
    part(b"{\"k", key, text);
    part(if key.is_some() { b",\"v" } else { b"{\"v" }, value, text);
    text.push(b'}');
}

/// Appends a key or a value, if it is given, after its name.
fn part(name: &[u8], bytes: Option<&[u8]>, text: &mut Vec<u8>) {
    let Some(bytes) = bytes else { return };
    text.extend_from_slice(name);
    match std::str::from_utf8(bytes) {
        Ok(string) => {
            text.extend_from_slice(b"\":");
            serde_json::to_writer(text, string).expect("memory takes all of it");
        }
        Err(_) => base64(bytes, text),
    }
}

/// Appends a value in base64, and what of its name comes before it.
fn base64(bytes: &[u8], text: &mut Vec<u8>) {
    text.extend_from_slice(b"64\":\"");
    Encoding::Base64.encode(bytes, text);
    text.push(b'"');
}

pub struct Writer<'a> {
    to: &'a mut dyn Write,
    settings: Settings,
    text: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub fn new(to: &'a mut dyn Write, settings: Settings) -> Writer<'a> {
        Writer { to, settings, text: Vec::new() }
    }
}

impl super::Writer for Writer<'_> {
    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.text.clear();
        if self.settings.encoding == Some(Encoding::Base64) {
            for (name, bytes) in [(b"{\"k", key), (b",\"v", value)] {
                self.text.extend_from_slice(name);
                base64(bytes, &mut self.text);
            }
            self.text.push(b'}');
        } else {
            object(Some(key), Some(value), &mut self.text);
        }
        self.text.push(b'\n');
        self.to.write_all(&self.text)
    }
}

/// A line of a dump.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(alias = "key")]
    k: Option<String>,
    #[serde(alias = "key64")]
    k64: Option<String>,
    #[serde(alias = "value")]
    v: Option<String>,
    #[serde(alias = "value64")]
    v64: Option<String>,
}

pub struct Reader<'a>(Lines<'a>);

impl Reader<'_> {
    pub fn new<'a>(from: Box<dyn BufRead + 'a>) -> Reader<'a> {
        Reader(Lines::new(from))
    }
}

/// The bytes of a key or a value.
fn bytes(name: &str, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(text)) => {
            BASE64.decode(text.as_bytes()).map_err(|_| format!("\"{name}64\" is not base64"))
        }
        (Some(_), Some(_)) => Err(format!("both \"{name}\" and \"{name}64\" are there")),
        (None, None) => Err(format!("\"{name}\", a string, is missing")),
    }
}

impl super::Reader for Reader<'_> {
    fn next(&mut self, entry: &mut Entry) -> Read {
        loop {
            let Some(line) = self.0.next()? else { return Ok(false) };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let read = |line: Line| {
                entry.key = bytes("k", line.k, line.k64)?;
                entry.value = bytes("v", line.v, line.v64)?;
                Ok(true)
            };
            let line = serde_json::from_slice(line).map_err(|error| {
                let (text, column) = (error.to_string(), error.column());
                // To the parser this is line 1.
                let end = format!(" at line 1 column {column}");
                format!("{} at column {column}", text.trim_end_matches(&end))
            });
            return line.and_then(read).map_err(|why| self.0.bad(why));
        }
    }

    fn line(&self) -> u64 {
        self.0.number
    }
}
