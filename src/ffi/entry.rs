//! Entries: reads and writes by key.

use std::ffi::{c_char, c_int, c_void};

use super::boundary::{Out, ValueOut, buffer, bytes, bytes_or_none, guard, guard_cancellable};
use super::code::*;
use super::handle::view;
use super::opaque::minidb_t;
use super::packed;

/// Hands out a copy of the value of `key`, never NULL if the key is there.
/// Returns MINIDB_NOTFOUND if it is not. With `value` NULL this only asks
/// whether the key is there, and how long its value is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_get(
    db: *const minidb_t,
    key: *const c_void,
    key_len: usize,
    value: *mut *mut c_char,
    value_len: *mut usize,
) -> c_int {
    // SAFETY: as the header says of arguments and out-parameters.
    guard(|| unsafe {
        let out = ValueOut::new(value, value_len);
        let key = bytes("key", key, key_len)?;
        let found = view::with(db, |view, _| {
            Ok(view.get_with(key, |found| found.map(|it| out.take(it)).transpose())?)
        })?;
        Ok(out.give(found))
    })
}

/// Copies the value of `key` into the `size` bytes at `buffer`, as much as
/// fits, and sets `value_len` to its whole length: the value is complete if
/// that is not over `size`. No NUL is added. Saves the allocation that
/// minidb_get makes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn minidb_get_into(
    db: *const minidb_t,
    key: *const c_void,
    key_len: usize,
    buffer: *mut c_void,
    size: usize,
    value_len: *mut usize,
) -> c_int {
    // SAFETY: as the header says of arguments and out-parameters; `buffer` has
    // `size` bytes, of which no more are written.
    guard(|| unsafe {
        let mut out = Out::new(value_len, 0);
        let key = bytes("key", key, key_len)?;
        let mut buffer = self::buffer(buffer, size)?;
        let found = view::with(db, |view, _| {
            Ok(view.get_with(key, |found| {
                Ok(found.map(|it| {
                    buffer.fill(it);
                    it.len()
                }))
            })?)
        })?;
        out.give(found.unwrap_or_default());
        Ok(if found.is_some() { MINIDB_OK } else { MINIDB_NOTFOUND })
    })
}

/// Sets the value of `key`. If `old` is not NULL, hands out a copy of the
/// previous value, or NULL if there was none; if `old_len` is not NULL, its
/// length. On a database this is a commit of its own, as are
/// minidb_delete, minidb_clear, minidb_cas and minidb_write.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn minidb_put(
    db: *mut minidb_t,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    old: *mut *mut c_char,
    old_len: *mut usize,
) -> c_int {
    // SAFETY: as the header says of arguments and out-parameters.
    guard_cancellable(|| unsafe {
        let out = ValueOut::new(old, old_len);
        let key = bytes("key", key, key_len)?;
        let value = bytes("value", value, value_len)?;
        let previous = view::with(db, |view, _| {
            Ok(view.put_with(key, value, out.is_wanted(), |was| {
                #[cfg(test)]
                assert!(key != tests::PANIC_KEY, "on purpose");
                was.map(|was| out.take(was)).transpose()
            })?)
        })?;
        out.give(previous);
        Ok(MINIDB_OK)
    })
}

/// Removes `key`, handing out its value through `old` as minidb_put does.
/// Returns MINIDB_NOTFOUND if it was not there. In a transaction that answer
/// is what its view says, does not count as reading unless `old` or `old_len`
/// is wanted, and the key is removed at commit in either case.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn minidb_delete(
    db: *mut minidb_t,
    key: *const c_void,
    key_len: usize,
    old: *mut *mut c_char,
    old_len: *mut usize,
) -> c_int {
    // SAFETY: as the header says of arguments and out-parameters.
    guard_cancellable(|| unsafe {
        let out = ValueOut::new(old, old_len);
        let key = bytes("key", key, key_len)?;
        let removed = view::with(db, |view, _| {
            Ok(view.delete_with(key, out.is_wanted(), |was| out.take(was))?)
        })?;
        Ok(out.give(removed))
    })
}

/// Removes every key from `from` up to, but not including, `to`: none, if
/// `to` is not after `from`. NULL means no bound: with both NULL, everything
/// goes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn minidb_clear(
    db: *mut minidb_t,
    from: *const c_void,
    from_len: usize,
    to: *const c_void,
    to_len: usize,
) -> c_int {
    // SAFETY: as the header says of arguments.
    guard_cancellable(|| unsafe {
        let from = bytes_or_none("from", from, from_len)?;
        let to = bytes_or_none("to", to, to_len)?;
        view::with(db, |view, _| Ok(view.clear(from, to)?))?;
        Ok(MINIDB_OK)
    })
}

/// Compares and swaps: if the value of `key` equals `expected`, sets it to
/// `desired`, else returns MINIDB_CONFLICT. NULL means no value: as
/// `expected`, the key must not be there; as `desired`, it is removed. (The
/// empty value is any other pointer with length 0.)
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn minidb_cas(
    db: *mut minidb_t,
    key: *const c_void,
    key_len: usize,
    expected: *const c_void,
    expected_len: usize,
    desired: *const c_void,
    desired_len: usize,
) -> c_int {
    // SAFETY: as the header says of arguments.
    guard_cancellable(|| unsafe {
        let key = bytes("key", key, key_len)?;
        let expected = bytes_or_none("expected", expected, expected_len)?;
        let desired = bytes_or_none("desired", desired, desired_len)?;
        let swapped = view::with(db, |view, _| Ok(view.cas(key, expected, desired)?))?;
        Ok(if swapped { MINIDB_OK } else { MINIDB_CONFLICT })
    })
}

/// Puts every entry of a packed buffer, as minidb_cursor_read fills one, in
/// one atomic step. A buffer that is not `size` bytes of whole entries is
/// refused with MINIDB_INVALID, and nothing of it is applied.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn minidb_write(
    db: *mut minidb_t,
    entries: *const c_void,
    size: usize,
) -> c_int {
    // SAFETY: as the header says of arguments.
    guard_cancellable(|| unsafe {
        let entries = packed::entries(entries, size)?;
        view::with(db, |view, _| Ok(view.write_all(entries)?))?;
        Ok(MINIDB_OK)
    })
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;
    use crate::ffi::{minidb_close, minidb_open};

    /// A key that makes [`minidb_put`] panic in the middle of a write.
    pub(super) const PANIC_KEY: &[u8] = b"panic";

    fn put(db: *mut minidb_t, key: &[u8]) -> c_int {
        // SAFETY: pointer and length are those of `key`.
        unsafe {
            let key = (key.as_ptr().cast(), key.len());
            minidb_put(db, key.0, key.1, key.0, key.1, ptr::null_mut(), ptr::null_mut())
        }
    }

    #[test]
    fn a_panic_does_not_cross_into_c() {
        let [mut db, mut other] = [ptr::null_mut(); 2];
        // SAFETY: `db` and `other` are variables for handles.
        unsafe {
            assert_eq!(minidb_open(ptr::null(), 0, &mut db), MINIDB_OK);
            assert_eq!(minidb_open(ptr::null(), 0, &mut other), MINIDB_OK);
        }
        assert_eq!(put(db, b"fine"), MINIDB_OK);
        assert_eq!(put(db, PANIC_KEY), MINIDB_INTERNAL);
        assert_eq!(put(db, b"refused"), MINIDB_INTERNAL, "the data may be in doubt");
        assert_eq!(put(other, b"fine"), MINIDB_OK, "another database goes on");
        // SAFETY: both are handles.
        unsafe {
            minidb_close(db);
            assert_eq!(put(db, b"closed"), MINIDB_INVALID);
            minidb_close(other);
        }
    }
}
