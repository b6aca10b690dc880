//! The store behind a view: its numbers, its files, and the way out of damage.

use std::ffi::{c_char, c_int};
use std::ptr;

use super::boundary::{Out, ValueOut, file_path, guard};
use super::code::*;
use super::handle::view;
use super::opaque::minidb_t;
use crate::{Salvaged, salvage};

/// Hands out one number about a view: `what` is a MINIDB_STAT_* value.
/// Returns MINIDB_INVALID for one this library does not know.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_stat(db: *const minidb_t, what: c_int, value: *mut u64) -> c_int {
    // SAFETY: as the header says of out-parameters.
    guard(|| unsafe {
        let mut out = Out::new(value, 0);
        let number = view::with(db, |view, store| match what {
            MINIDB_STAT_HANDLES => Ok(store.count()),
            MINIDB_STAT_FILE_BYTES => Ok(store.database().file_bytes()),
            _ => view.stat(what),
        })?;
        out.give(number);
        Ok(MINIDB_OK)
    })
}

/// Waits until every commit so far is on disk; needed only with
/// MINIDB_OPEN_NOSYNC. `db` is a database, as for minidb_checkpoint
/// (MINIDB_INVALID if not); in memory both have nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_sync(db: *mut minidb_t) -> c_int {
    guard(|| view::with(db, |view, _| Ok(view.database()?.sync().map(|()| MINIDB_OK)?)))
}

/// Folds the log into the file, so that the next open need not replay it.
/// This also happens by itself, as the log grows and at the last close; on a
/// disk that is too slow for that, writes wait for it. If it
/// fails, the file and the log are as they were, and writing goes on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_checkpoint(db: *mut minidb_t) -> c_int {
    guard(|| view::with(db, |view, _| Ok(view.database()?.checkpoint().map(|()| MINIDB_OK)?)))
}

/// Reads all that a view holds, in memory and on disk, and verifies every
/// checksum and the order of the keys. Returns MINIDB_CORRUPT if something is
/// wrong; minidb_strerror then says what and where.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_check(db: *const minidb_t) -> c_int {
    guard(|| view::with(db, |view, store| Ok(view.check(store).map(|()| MINIDB_OK)?)))
}

/// Writes all that a view holds to a new database file at `path`, which
/// appears there complete or not at all; until then it is named like it with
/// "-unfinished" added. Returns MINIDB_CONFLICT if there is a file already, or
/// one of that name that is no unfinished backup. Readers and writers go on
/// meanwhile. This is a backup of a database, and the way to save one that is
/// in memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_backup(db: *const minidb_t, path: *const c_char) -> c_int {
    guard(|| {
        // The call on the view ends here, so that closing it waits for no backup.
        let (snapshot, _store) =
            view::with(db, |view, store| Ok((view.contents()?, store.clone())))?;
        // SAFETY: as the header says of arguments.
        snapshot.backup(unsafe { file_path("path", path)? })?;
        Ok(MINIDB_OK)
    })
}

/// Writes all that can still be read of the damaged database file at
/// `damaged`, and of its log, to a new database file at `path`, which appears
/// there complete or not at all; the damaged ones are not changed. Hands out
/// through `report` what was found and what was lost: text, a line "name
/// number" each, the first of them "entries". Returns MINIDB_OK if anything
/// could be read, MINIDB_CORRUPT if nothing, MINIDB_NOTFOUND if there is no
/// file at `damaged`, MINIDB_CONFLICT if there is one at `path`, MINIDB_BUSY if
/// the damaged one is open to be written, MINIDB_FORMAT if it is of a newer
/// version.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_salvage(
    damaged: *const c_char,
    path: *const c_char,
    report: *mut *mut c_char,
) -> c_int {
    // SAFETY: as the header says of arguments and out-parameters.
    guard(|| unsafe {
        let out = ValueOut::new(report, ptr::null_mut());
        let (damaged, path) = (file_path("damaged", damaged)?, file_path("path", path)?);
        // Before there is a file: a call that fails leaves none behind.
        let mut text = out.reserve(REPORT_MAX)?;
        text.fill(&text_of(&salvage(damaged, path)?));
        Ok(out.give(Some(text)))
    })
}

/// No report is longer: 8 lines of a name with up to 15 letters and a number with up to 20
/// digits.
const REPORT_MAX: usize = 8 * 38;

/// The report of a salvage: a line "name number" for each number.
fn text_of(found: &Salvaged) -> String {
    format!(
        "entries {}\nlost {}\noutdated {}\ndamaged_roots {}\ndamaged_sectors {}\n\
         commits {}\ngaps {}\nlog_missing {}\n",
        found.entries,
        found.lost,
        found.outdated,
        found.damaged_roots,
        found.damaged_sectors,
        found.commits,
        found.gaps,
        u8::from(found.log_missing),
    )
}
