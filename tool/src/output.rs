//! `Output`: the standard output of a command, and how entries stand in it.

use std::io::{self, BufWriter, Stdout, Write};

use crate::bytes::Encoding;
use crate::failure::{Done, Failure};
use crate::formats::jsonl;

/// How keys and values are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As text, a TAB between a key and its value.
    Text(Encoding),
    /// As they are, a TAB between a key and its value.
    Raw,
    /// As a JSON object.
    Json,
}

/// The standard output, buffered.
pub struct Output {
    to: BufWriter<Stdout>,
    text: Vec<u8>,
}

impl Output {
    pub fn new() -> Output {
        Output { to: BufWriter::with_capacity(1 << 16, io::stdout()), text: Vec::new() }
    }

    /// Prints the parts of an entry that are given, and ends it.
    pub fn entry(
        &mut self,
        style: Style,
        end: &[u8],
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Done {
        self.text.clear();
        match style {
            Style::Json => jsonl::object(key, value, &mut self.text),
            Style::Raw | Style::Text(_) => {
                for (part, separator) in [(key, ""), (value, if key.is_some() { "\t" } else { "" })]
                {
                    let Some(part) = part else { continue };
                    self.text.extend_from_slice(separator.as_bytes());
                    match style {
                        Style::Text(encoding) => encoding.encode(part, &mut self.text),
                        _ => self.text.extend_from_slice(part),
                    }
                }
            }
        }
        self.text.extend_from_slice(end);
        let text = std::mem::take(&mut self.text);
        let done = self.write(&text);
        self.text = text;
        done
    }

    /// Prints bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> Done {
        self.to.write_all(bytes).map_err(|error| failed(&error))
    }

    /// Prints a line of text.
    pub fn line(&mut self, text: &str) -> Done {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    /// Prints what `make` writes.
    pub fn made(&mut self, make: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Done {
        make(&mut self.to).map_err(|error| failed(&error))
    }

    /// Prints help, in colours if the output is a terminal that is to have them.
    pub fn help(&mut self, help: &clap::Error) -> Done {
        help.print().map_err(|error| failed(&error))
    }

    /// Hands all that was printed to the system.
    pub fn flush(&mut self) -> Done {
        self.to.flush().map_err(|error| failed(&error))
    }
}

/// The output, to be written by a format.
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn failed(error: &io::Error) -> Failure {
    Failure::output("the output", error)
}
