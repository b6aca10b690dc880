//! Views: opening databases, snapshots and transactions, and closing them.

use std::ffi::{c_char, c_int};

use super::boundary::{guard, guard_cancellable, guard_or, handle_out, path_or_memory};
use super::code::*;
use super::handle::view as handle;
use super::object::{StoreRef, View};
use super::opaque::minidb_t;
use super::text::{Failure, invalid};
use crate::{Database, InMemoryDB, Options, PersistentDB};

/// Refuses unknown flags, and flags that contradict each other.
fn check_flags(flags: u32, in_memory: bool) -> Result<(), Failure> {
    let all = MINIDB_OPEN_READONLY | MINIDB_OPEN_EXISTING | MINIDB_OPEN_NEW | MINIDB_OPEN_NOSYNC;
    if flags & !all != 0 {
        return Err(invalid(format!("there are no flags {:#x}", flags & !all)));
    }
    if flags & MINIDB_OPEN_NEW != 0 && flags & (MINIDB_OPEN_EXISTING | MINIDB_OPEN_READONLY) != 0 {
        return Err(invalid("MINIDB_OPEN_NEW goes with neither EXISTING nor READONLY"));
    }
    if in_memory && flags & !MINIDB_OPEN_NOSYNC != 0 {
        return Err(invalid("a database in memory takes no flag but MINIDB_OPEN_NOSYNC"));
    }
    Ok(())
}

fn options(flags: u32) -> Options {
    let set = |options: Options, flag: u32, with: fn(Options) -> Options| {
        if flags & flag != 0 { with(options) } else { options }
    };
    let options = set(Options::new(), MINIDB_OPEN_READONLY, Options::read_only);
    let options = set(options, MINIDB_OPEN_EXISTING, Options::existing);
    let options = set(options, MINIDB_OPEN_NEW, Options::create_new);
    set(options, MINIDB_OPEN_NOSYNC, Options::no_sync)
}

/// Opens the database file at `path`, creating it if need be, or, with `path`
/// NULL or ":memory:", a new empty database in memory, which goes with its
/// last handle. From the first change to the last close, the log of a file
/// lies beside it (beside its target, if `path` is a symbolic link), named
/// like it with "-log" added. A file that was closed is not written to before
/// that change; one that is new, or was left by a crash, is when it is opened.
/// After the last close the file alone holds everything and may be copied (if
/// the log could not be folded in, on a full disk say, it is still there, and
/// both together do). An empty file is an empty database; a file that needs
/// its log, and finds it missing, is MINIDB_CORRUPT. What has the log's name,
/// but is something else, is left alone, and in the way of who wants to write:
/// MINIDB_FORMAT, or MINIDB_CORRUPT if it is another database's commits. (A
/// log that is being made has "-log-unfinished" added.) `flags` is 0 or
/// MINIDB_OPEN_* values joined by `|`. Unknown flags are MINIDB_INVALID, and
/// so are NEW beside EXISTING or READONLY, and any but NOSYNC in memory. The
/// file is locked until its last handle is closed: by one writer, or by any
/// number of MINIDB_OPEN_READONLY; MINIDB_BUSY is returned if the lock cannot
/// be had.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn minidb_open(
    path: *const c_char,
    flags: u32,
    db: *mut *mut minidb_t,
) -> c_int {
    guard_cancellable(|| {
        // SAFETY: as the header says of arguments and out-parameters.
        let (mut out, path) = unsafe { (handle_out(db)?, path_or_memory(path)) };
        check_flags(flags, path.is_none())?;
        let db: Database = match path {
            None => InMemoryDB::new()?.into(),
            Some(path) => PersistentDB::open(path, options(flags))?.into(),
        };
        let store = StoreRef::first(db.clone());
        out.give(handle::open(View::Database(db), store)?);
        Ok(MINIDB_OK)
    })
}

/// Makes a frozen view of what `db` holds now, in constant time. It reads
/// the same for ever, whatever is written to `db`, and refuses writes with
/// MINIDB_READONLY. A snapshot of a snapshot is the same view again; of a
/// transaction there is none (MINIDB_INVALID).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_snapshot(
    db: *const minidb_t,
    snapshot: *mut *mut minidb_t,
) -> c_int {
    guard(|| {
        // SAFETY: as the header says of out-parameters.
        let mut out = unsafe { handle_out(snapshot)? };
        out.give(handle::open_on(db, |view| Ok(View::Snapshot(view.snapshot()?)))?);
        Ok(MINIDB_OK)
    })
}

/// Begins a transaction on the database `db` (another kind of view is
/// MINIDB_INVALID): a private view that starts as what `db` holds now and
/// sees its own writes, which nobody else sees until minidb_commit. Any
/// number may be open at once; beginning waits for no transaction and no disk,
/// and an open one makes nobody wait. On a database opened read-only it can only read.
///
/// These count as read: a key that minidb_get, minidb_get_into or minidb_cas
/// looked at, or whose `old` or `old_len` was wanted, whether there or not;
/// every key, there or not, from where a cursor's or minidb_each's walk began
/// to where it went; and everything, by minidb_check and minidb_backup. A key
/// that the transaction wrote before (a cursor: before it was opened) is its
/// own, and not read by looking at it. minidb_stat's COUNT and DATA_BYTES read
/// one number of the database: the commit is a conflict if it is another by
/// then, and if a key or range that the transaction wrote before asking was
/// written by another commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_begin(db: *const minidb_t, txn: *mut *mut minidb_t) -> c_int {
    guard(|| {
        // SAFETY: as the header says of out-parameters.
        let mut out = unsafe { handle_out(txn)? };
        out.give(handle::open_on(db, View::begin)?);
        Ok(MINIDB_OK)
    })
}

/// Applies all writes of a transaction to its database, as one atomic step
/// that is on disk when this returns (unless opened with NOSYNC). Returns
/// MINIDB_CONFLICT, applying nothing, if anything that the transaction read
/// was written by another commit since it began, be it with an equal value
/// (of COUNT and DATA_BYTES the number counts, see minidb_begin);
/// in rare cases, such as a transaction left open over very many commits,
/// also if not. One that wrote nothing always commits: what it read was the
/// view of one moment. One that read nothing always commits too: it is an
/// atomic batch, whose deletes and clears also remove what others have put
/// there meanwhile.
///
/// After MINIDB_OK and MINIDB_CONFLICT the transaction has begun anew on what
/// the database now holds, to be used again or closed; cursors opened before
/// go on over the view they had, and count as reading no more. After a failure
/// it still holds its writes. After MINIDB_FULL nothing was applied, and
/// committing works again once there is space. After MINIDB_IO it is not
/// certain whether this commit is in the database once that is opened again.
/// Commits work on while the store lives, also after the database handle that
/// the transaction was begun on is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn minidb_commit(txn: *mut minidb_t) -> c_int {
    guard_cancellable(|| {
        let committed = handle::with(txn, |view, _| view.commit())?;
        Ok(if committed { MINIDB_OK } else { MINIDB_CONFLICT })
    })
}

/// Releases a database, snapshot or transaction; uncommitted writes of a
/// transaction are dropped. Does nothing with NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_close(db: *mut minidb_t) {
    // No cancellation point: in C++ a destructor calls it.
    guard_or((), || handle::close(db));
}
