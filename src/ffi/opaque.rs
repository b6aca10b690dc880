//! The opaque types: C has pointers to them only, and the handles behind these are numbers.

/// A view: a database, a snapshot or a transaction.
#[allow(missing_debug_implementations)] // never made: C has pointers to it only
pub struct minidb_t {
    _opaque: [u8; 0],
}

/// A position in the ordered entries of a view.
#[allow(missing_debug_implementations)] // never made: C has pointers to it only
pub struct minidb_cursor_t {
    _opaque: [u8; 0],
}
