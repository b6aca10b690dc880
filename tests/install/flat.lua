-- Reads minidb_ffi.h with LuaJIT as it is, and calls the library: flat.lua HEADER LIBRARY.

local ffi = require("ffi")
ffi.cdef(assert(io.open(arg[1])):read("*a"))
local lib = ffi.load(arg[2])

local db, cursor = ffi.new("minidb_t *[1]"), ffi.new("minidb_cursor_t *[1]")
local length = ffi.new("size_t[1]")
assert(lib.minidb_open(nil, 0, db) == lib.MINIDB_OK)
assert(lib.minidb_put(db[0], "a\0b", 3, "c\0d", 3, nil, nil) == lib.MINIDB_OK)
assert(lib.minidb_scan(db[0], nil, 0, nil, 0, cursor) == lib.MINIDB_OK)
assert(lib.minidb_cursor_next(cursor[0]) == lib.MINIDB_OK)
local key = lib.minidb_cursor_key(cursor[0], length)
print((ffi.string(key, length[0]):gsub("%z", ".")))
lib.minidb_cursor_close(cursor[0])
lib.minidb_close(db[0])
