<?php
// Reads minidb_ffi.h with PHP as it is, and calls the library: flat.php HEADER LIBRARY.

$lib = FFI::cdef(file_get_contents($argv[1]), $argv[2]);
[$db, $cursor] = [$lib->new("minidb_t *"), $lib->new("minidb_cursor_t *")];
$length = $lib->new("size_t");
assert($lib->minidb_open(null, 0, FFI::addr($db)) === $lib->MINIDB_OK);
// Bytes for a `const void *` are memory of FFI, not a string of PHP.
$bytes = $lib->new("char[3]");
FFI::memcpy($bytes, "a\0b", 3);
assert($lib->minidb_put($db, $bytes, 3, $bytes, 3, null, null) === $lib->MINIDB_OK);
assert($lib->minidb_scan($db, null, 0, null, 0, FFI::addr($cursor)) === $lib->MINIDB_OK);
assert($lib->minidb_cursor_next($cursor) === $lib->MINIDB_OK);
$key = $lib->minidb_cursor_key($cursor, FFI::addr($length));
echo str_replace("\0", ".", FFI::string($key, $length->cdata)), "\n";
$lib->minidb_cursor_close($cursor);
$lib->minidb_close($db);
