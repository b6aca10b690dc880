"""Reads minidb_ffi.h with cffi as it is, and calls the library: flat.py HEADER LIBRARY."""

import sys

import cffi

ffi = cffi.FFI()
ffi.cdef(open(sys.argv[1]).read())
lib = ffi.dlopen(sys.argv[2])

db, cursor, length = ffi.new("minidb_t **"), ffi.new("minidb_cursor_t **"), ffi.new("size_t *")
assert lib.minidb_open(ffi.NULL, 0, db) == lib.MINIDB_OK
assert lib.minidb_put(db[0], b"a\0b", 3, b"c\0d", 3, ffi.NULL, ffi.NULL) == lib.MINIDB_OK
assert lib.minidb_scan(db[0], ffi.NULL, 0, ffi.NULL, 0, cursor) == lib.MINIDB_OK
assert lib.minidb_cursor_next(cursor[0]) == lib.MINIDB_OK
key = lib.minidb_cursor_key(cursor[0], length)
print(ffi.unpack(ffi.cast("char *", key), length[0]).decode().replace("\0", "."))
lib.minidb_cursor_close(cursor[0])
lib.minidb_close(db[0])
