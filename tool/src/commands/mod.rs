//! The commands, each on a database that is open.

mod entries;
mod files;
mod scan;
mod stat;
mod transfer;

use crate::failure::Done;
use crate::open::Target;
use crate::output::Output;

/// A command that works on a database.
pub trait Run {
    /// Runs the command. The database is opened once the arguments are known to be good.
    fn run(&self, target: &Target, out: &mut Output) -> Done;
}
