//! `Failure`: the ways in which a command ends other than well, each with its exit code.

use std::io;

use minidb::DBError;

/// The result of a command.
pub type Done<T = ()> = Result<T, Failure>;

/// A command that did not end well; the text is for the standard error output.
#[derive(Debug)]
pub enum Failure {
    /// The answer is no: there is no such key, a value is not the expected one, or a check
    /// has found damage.
    No(String),
    /// The command line or the input cannot be understood.
    Usage(String),
    /// Input or output failed.
    Io(String),
    /// Another process has the file.
    Locked(String),
    /// The file is damaged, or no database.
    Damaged(String),
    /// Commands of a shell have failed, and have said so; the greatest exit code.
    Said(u8),
    /// The reader of the output has gone, which is not an error.
    BrokenPipe,
}

impl Failure {
    /// The exit code, and the text if there is one to print.
    pub fn code(&self) -> (u8, Option<&str>) {
        match self {
            Failure::No(text) => (1, Some(text)),
            Failure::Usage(text) => (2, Some(text)),
            Failure::Io(text) => (3, Some(text)),
            Failure::Locked(text) => (4, Some(text)),
            Failure::Damaged(text) => (5, Some(text)),
            Failure::Said(code) => (*code, None),
            Failure::BrokenPipe => (141, None), // as a shell says of a death by SIGPIPE
        }
    }

    /// The failure with more text.
    pub fn with(mut self, more: &str) -> Failure {
        match &mut self {
            Failure::No(text)
            | Failure::Usage(text)
            | Failure::Io(text)
            | Failure::Locked(text)
            | Failure::Damaged(text) => text.push_str(more),
            Failure::Said(_) | Failure::BrokenPipe => {}
        }
        self
    }

    /// The failure of writing the output `name`.
    pub fn output(name: &str, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::Io(format!("cannot write {name}: {error}")),
        }
    }

    /// The failure of reading the input `name`.
    pub fn input(name: &str, error: &io::Error) -> Failure {
        Failure::Io(format!("cannot read {name}: {error}"))
    }
}

impl From<DBError> for Failure {
    fn from(error: DBError) -> Failure {
        let text = error.to_string();
        match error {
            DBError::Invalid(_) => Failure::Usage(text),
            DBError::Busy(_) => Failure::Locked(text),
            DBError::Corrupt(_) | DBError::Format(_) => Failure::Damaged(text),
            _ => Failure::Io(text),
        }
    }
}
