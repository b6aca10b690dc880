//! Results, flags, and numbers to ask for: the constants of the header.

use std::ffi::c_int;

/// Done.
pub const MINIDB_OK: c_int = 0;

/// Not there: no such key, no further entry, no such file.
pub const MINIDB_NOTFOUND: c_int = 1;

/// Overtaken: the value is not the expected one, what a transaction read has
/// changed since, or a file is already there.
pub const MINIDB_CONFLICT: c_int = 2;

/// The call is not valid: a bad argument, a closed handle or a wrong kind of
/// one, or a length over MINIDB_MAX_LEN.
pub const MINIDB_INVALID: c_int = -1;

/// The view cannot be written: a snapshot, or opened read-only.
pub const MINIDB_READONLY: c_int = -2;

/// The file is in use by another process or another minidb_open.
pub const MINIDB_BUSY: c_int = -3;

/// The operating system refused to read or write, or has done so before: once
/// a write to the log or its sync has failed, the database reads on, and
/// refuses writes with this until it is opened again.
pub const MINIDB_IO: c_int = -4;

/// No space is left on the device.
pub const MINIDB_FULL: c_int = -5;

/// The file is damaged.
pub const MINIDB_CORRUPT: c_int = -6;

/// The file is not a minidb file, or is of a newer version.
pub const MINIDB_FORMAT: c_int = -7;

/// Out of memory.
pub const MINIDB_NOMEM: c_int = -8;

/// A bug in minidb, caught. Close the handle.
pub const MINIDB_INTERNAL: c_int = -9;

/// Never write to the file, nor create it.
pub const MINIDB_OPEN_READONLY: u32 = 1;

/// Return MINIDB_NOTFOUND rather than create the file.
pub const MINIDB_OPEN_EXISTING: u32 = 2;

/// Return MINIDB_CONFLICT if the file is already there.
pub const MINIDB_OPEN_NEW: u32 = 4;

/// Do not wait for the disk at each commit. A crash of the process still
/// loses nothing; one of the machine may lose the latest commits, each whole
/// and none before an older one, but does not damage the file.
pub const MINIDB_OPEN_NOSYNC: u32 = 8;

/// Number of keys in the view.
pub const MINIDB_STAT_COUNT: c_int = 0;

/// Bytes of all keys and values in the view.
pub const MINIDB_STAT_DATA_BYTES: c_int = 1;

/// Bytes of memory that the store holds now, snapshots of it included.
pub const MINIDB_STAT_MEMORY_BYTES: c_int = 2;

/// Bytes of the files on disk, 0 in memory.
pub const MINIDB_STAT_FILE_BYTES: c_int = 3;

/// Number of commits the view has seen; changes whenever the data does, and
/// also when a key is given the value it had. In a transaction its own writes
/// are counted from bit 32 up.
pub const MINIDB_STAT_COMMITS: c_int = 4;

/// Handles open on the store, this one and cursors included.
pub const MINIDB_STAT_HANDLES: c_int = 5;
