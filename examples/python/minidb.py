"""minidb for Python: an ordered mapping of bytes to bytes.

One file without dependencies: ctypes finds the shared library by the
environment variable MINIDB_LIBRARY, else beside this file, else in the target
directory of a checkout, else where the system keeps its libraries.

>>> db = Database()  # in memory
>>> db[b"apple"] = b"green"
>>> db.write({b"banana": b"yellow", b"cherry": b"red"})
>>> db[b"apple"], len(db), b"plum" in db
(b'green', 3, False)
>>> list(db.range(b"b"))
[(b'banana', b'yellow'), (b'cherry', b'red')]
>>> with db.snapshot() as before:
...     del db[b"apple"]
...     list(db), list(before)
([b'banana', b'cherry'], [b'apple', b'banana', b'cherry'])
>>> db.close()

Keys and values are bytes, or whatever has their buffer, such as bytearray and
memoryview. A str is refused with a TypeError, not encoded by some rule: the
order of the keys is that of their bytes. What is read is always bytes.

A key that is not there is a KeyError, as in a dict; what fails is an Error.
Close views in any order, or leave it to the garbage collector: iterators and
snapshots go on without their database, and keep its file open. An interrupt
(Control-C) loses none of them. Views cannot be copied or pickled. Any thread
may use any view; a transaction, one at a time.
"""

from __future__ import annotations

import atexit
import ctypes
import ctypes.util
import gc
import os
import struct
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import (
    Any, Callable, Dict, ItemsView, Iterable, Iterator, KeysView, List, Mapping, MutableMapping,
    NoReturn, Optional, Tuple, Type, TypeVar, Union, ValuesView, overload,
)

__version__ = "0.1.0"

Bytes = Union[bytes, bytearray, memoryview]
Entry = Tuple[bytes, bytes]
Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
T = TypeVar("T")
V = TypeVar("V", bound="View")
H = TypeVar("H", bound=c_void_p)


class Error(Exception):
    """A call failed. `code` is what it returned, a MINIDB_* of minidb.h."""

    code = 0


class NotFoundError(Error, FileNotFoundError):
    """There is no such file."""


class ConflictError(Error, FileExistsError):
    """There is such a file already."""


class OvertakenError(Error):
    """What a transaction read was changed by another before it committed."""

    code = 2


class InvalidError(Error, ValueError):
    """The call is not valid; what was closed is used, for example."""


class ReadOnlyError(Error):
    """The database was opened with readonly."""


class BusyError(Error):
    """The file is in use by another process or another Database."""


class StorageError(Error, OSError):
    """The operating system refused to read or write."""


class FullError(StorageError):
    """No space is left on the device."""


class CorruptError(Error):
    """The file is damaged."""


class FormatError(Error):
    """The file is not one of minidb, or of a newer version."""


class NoMemoryError(Error, MemoryError):
    """Out of memory."""


class InternalError(Error):
    """A bug in minidb, caught. Close what it came from."""


_ERRORS: Dict[int, Type[Error]] = {
    1: NotFoundError, 2: ConflictError, -1: InvalidError, -2: ReadOnlyError, -3: BusyError,
    -4: StorageError, -5: FullError, -6: CorruptError, -7: FormatError, -8: NoMemoryError,
    -9: InternalError,
}
for _code, _kind in _ERRORS.items():
    _kind.code = _code

_MISSING = object()
_READONLY, _EXISTING, _NEW, _NOSYNC = 1, 2, 4, 8
_STATS = ("count", "data_bytes", "memory_bytes", "file_bytes", "commits", "handles")

# What comes before an entry in a packed buffer: the lengths of key and value.
_LENGTHS = struct.Struct("=II")
_SMALLEST_BLOCK, _LARGEST_BLOCK = 4 << 10, 1 << 20

_BYTES = (c_char_p, c_size_t)
_OUT = (POINTER(c_void_p), POINTER(c_size_t))  # not c_char_p, which would end at a NUL
_HANDLE_OUT = POINTER(c_void_p)

_FUNCTIONS: Dict[str, List[Any]] = {  # the result, then the arguments
    "minidb_" + name: types for names, *types in (
        ("open", c_int, c_char_p, c_uint32, _HANDLE_OUT),
        ("snapshot begin", c_int, c_void_p, _HANDLE_OUT),
        ("commit sync checkpoint check cursor_next cursor_prev", c_int, c_void_p),
        ("get delete", c_int, c_void_p, *_BYTES, *_OUT),
        ("put", c_int, c_void_p, *_BYTES, *_BYTES, *_OUT),
        ("clear", c_int, c_void_p, *_BYTES, *_BYTES),
        ("cas", c_int, c_void_p, *_BYTES, *_BYTES, *_BYTES),
        ("write", c_int, c_void_p, *_BYTES),
        ("scan", c_int, c_void_p, *_BYTES, *_BYTES, _HANDLE_OUT),
        ("scan_prefix", c_int, c_void_p, *_BYTES, _HANDLE_OUT),
        ("cursor_key cursor_value", c_void_p, c_void_p, POINTER(c_size_t)),
        ("cursor_read", c_int, c_void_p, c_void_p, c_size_t, POINTER(c_size_t)),
        ("stat", c_int, c_void_p, c_int, POINTER(c_uint64)),
        ("backup", c_int, c_void_p, c_char_p),
        ("salvage", c_int, c_char_p, c_char_p, _HANDLE_OUT),
        ("close cursor_close free", None, c_void_p),
        ("strerror", c_char_p, c_int), ("version", c_char_p),
    ) for name in names.split()
}


def _error(code: int) -> Error:
    text: bytes = _lib.minidb_strerror(code)
    error = _ERRORS.get(code, Error)(text.decode("utf-8", "replace"))
    error.code = code
    return error


def _check(code: int, function: Any, _arguments: object) -> bool:
    """What a function returning int gives in Python: whether it is done."""
    if code < 0 or code > 0 and function.__name__ not in _ANSWERING:
        raise _error(code)
    return code == 0


# Functions that may answer "no".
_ANSWERING = {"minidb_" + name for name in
              ("get", "delete", "cas", "cursor_next", "cursor_prev", "cursor_read", "commit")}
_FILE = {"win32": "minidb.dll", "darwin": "libminidb.dylib"}.get(sys.platform, "libminidb.so")


def _find() -> str:
    here = os.path.dirname(os.path.abspath(__file__))
    target = os.path.join(here, os.pardir, os.pardir, "target")
    places = here, os.path.join(target, "release"), os.path.join(target, "debug")
    files = filter(os.path.exists, (os.path.join(place, _FILE) for place in places))
    found = os.environ.get("MINIDB_LIBRARY") or next(files, None)
    found = found or ctypes.util.find_library("minidb")
    if found is None:
        raise ImportError("the minidb library is not found; set MINIDB_LIBRARY to its path")
    return found


def _load(path: str) -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL(path)
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
            if result is c_int:
                function.errcheck = _check
    except (OSError, AttributeError) as error:
        raise ImportError(f"{path} is not the minidb library: {error}") from error
    version: str = lib.minidb_version().decode()
    if version.split(".")[:2] != __version__.split(".")[:2]:
        raise ImportError(f"{path} is minidb {version}, this module is for {__version__}")
    return lib


_lib = _load(_find())


def _bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    try:
        return bytes(memoryview(value))
    except TypeError:
        raise TypeError(f"bytes are needed, not {type(value).__name__}") from None


def _sized(value: Any) -> Tuple[bytes, int]:
    """A pair of arguments: a pointer and a length."""
    value = _bytes(value)
    return value, len(value)


def _optional(value: Optional[Bytes]) -> Tuple[Optional[bytes], int]:
    """A pair of arguments that is NULL for None, and only for None."""
    return (None, 0) if value is None else _sized(value)


def _path(path: Path) -> bytes:
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("a path has no NUL")
    return name


# Functions of Python's own API: string_at takes its size as an int, and a method in Python
# may be interrupted before it has done anything.
_bytes_at = ctypes.pythonapi["PyBytes_FromStringAndSize"]
_bytes_at.restype, _bytes_at.argtypes = ctypes.py_object, (c_void_p, ctypes.c_ssize_t)
_as_method = ctypes.pythonapi["PyInstanceMethod_New"]
_as_method.restype, _as_method.argtypes = ctypes.py_object, (ctypes.py_object,)


class _Handle(c_void_p):
    """Closes its view when the last reference goes.

    It is made before the library fills it in, and no Python code runs when it goes: no
    exception or interrupt can come between.
    """

    __del__ = _as_method(_lib.minidb_close)


class _Cursor(c_void_p):
    __del__ = _as_method(_lib.minidb_cursor_close)


class _Memory(c_void_p):
    __del__ = _as_method(_lib.minidb_free)


@atexit.register
def _close_all() -> None:
    for held in gc.get_objects():
        if type(held) in (_Handle, _Cursor):
            held.__del__()  # nothing is closed twice


def _made(kind: Type[H], make: Any, *arguments: object) -> H:
    """What a function makes that fills in a handle."""
    handle = kind()
    make(*arguments, byref(handle))
    return handle


def _fetch(function: Any, *arguments: object) -> Optional[bytes]:
    """Calls a function that hands out a value, or none."""
    value, length = _Memory(), c_size_t()
    function(*arguments, byref(value), byref(length))
    return _bytes_at(value, length.value) if value else None


def salvage(damaged: Path, path: Path) -> Dict[str, int]:
    """Writes what can still be read of a damaged file to a new one; returns the report."""
    text = _made(_Memory, _lib.minidb_salvage, _path(damaged), _path(path))
    report = ctypes.string_at(text).decode()
    return {name: int(number) for name, number in map(str.split, report.splitlines())}


def _forward(cursor: _Cursor) -> Iterator[Entry]:
    """Reads blocks of entries, since a call costs more than a copy."""
    size, used = _SMALLEST_BLOCK, c_size_t()
    block = ctypes.create_string_buffer(size)
    while _lib.minidb_cursor_read(cursor, block, size, byref(used)):
        if used.value > size and _lib.minidb_cursor_next(cursor):
            yield _entry(cursor)  # it does not fit
        else:
            packed, at = _bytes_at(ctypes.addressof(block), used.value), 0
            while at < len(packed):
                key_length, value_length = _LENGTHS.unpack_from(packed, at)
                key = at + _LENGTHS.size
                value = key + key_length
                at = value + value_length
                yield packed[key:value], packed[value:at]
        if size < _LARGEST_BLOCK:
            size *= 2
            block = ctypes.create_string_buffer(size)


def _backward(cursor: _Cursor) -> Iterator[Entry]:
    while _lib.minidb_cursor_prev(cursor):
        yield _entry(cursor)


def _entry(cursor: _Cursor) -> Entry:
    length = c_size_t()
    key = _lib.minidb_cursor_key(cursor, byref(length))
    key = _bytes_at(key, length.value)
    value = _lib.minidb_cursor_value(cursor, byref(length))
    return key, _bytes_at(value, length.value)


class _Part:
    """The keys, values or items of a view; whether there are some asks for no count."""

    _mapping: View

    def __bool__(self) -> bool:
        return bool(self._mapping)


class _Keys(_Part, KeysView[bytes]):
    pass


class _Items(_Part, ItemsView[bytes, bytes]):
    def __iter__(self) -> Iterator[Entry]:
        return self._mapping.range()


class _Values(_Part, ValuesView[bytes]):
    def __iter__(self) -> Iterator[bytes]:
        return (value for _, value in self._mapping.range())

    def __contains__(self, value: object) -> bool:
        return any(value == other for other in self)


class View(Mapping[bytes, bytes]):
    """What can be read: a Database, a Snapshot or a Transaction. An ordered Mapping.

    Iterating shows the entries as they were when it began, whatever is written
    meanwhile. A view is true if it has an entry.
    """

    def __init__(self, make: Any, *arguments: object) -> None:
        self._handle = _made(_Handle, make, *arguments)

    def close(self) -> None:
        """Does nothing the second time. What was closed raises InvalidError."""
        _lib.minidb_close(self._handle)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")

    def __enter__(self: V) -> V:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, key: Bytes) -> bytes:
        value = self._get(key)
        if value is None:
            raise KeyError(key)
        return value

    def _get(self, key: Bytes) -> Optional[bytes]:
        return _fetch(_lib.minidb_get, self._handle, *_sized(key))

    def __contains__(self, key: object) -> bool:
        return bool(_lib.minidb_get(self._handle, *_sized(key), None, None))

    def __len__(self) -> int:
        return self._stat(0)

    def __bool__(self) -> bool:
        cursor = _made(_Cursor, _lib.minidb_scan, self._handle, None, 0, None, 0)
        return bool(_lib.minidb_cursor_read(cursor, None, 0, byref(c_size_t())))

    def __iter__(self) -> Iterator[bytes]:
        return (key for key, _ in self.range())

    def __reversed__(self) -> Iterator[bytes]:
        return (key for key, _ in self.range(reverse=True))

    def keys(self) -> KeysView[bytes]:
        return _Keys(self)

    def items(self) -> ItemsView[bytes, bytes]:
        return _Items(self)

    def values(self) -> ValuesView[bytes]:
        return _Values(self)

    def range(
        self, start: Optional[Bytes] = None, stop: Optional[Bytes] = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """The entries from start up to, but not including, stop; None is no bound.

        >>> db = Database()
        >>> db.write({b"a": b"1", b"b": b"2", b"c": b"3"})
        >>> list(db.range(b"a", b"c", reverse=True))
        [(b'b', b'2'), (b'a', b'1')]
        """
        bounds = *_optional(start), *_optional(stop)
        cursor = _made(_Cursor, _lib.minidb_scan, self._handle, *bounds)
        return _backward(cursor) if reverse else _forward(cursor)

    def prefix(self, prefix: Bytes, reverse: bool = False) -> Iterator[Entry]:
        """The entries whose keys begin with prefix."""
        cursor = _made(_Cursor, _lib.minidb_scan_prefix, self._handle, *_sized(prefix))
        return _backward(cursor) if reverse else _forward(cursor)

    def snapshot(self) -> Snapshot:
        """Freezes what the view holds now, in constant time."""
        return Snapshot(_lib.minidb_snapshot, self._handle)

    def stat(self) -> Dict[str, int]:
        """Numbers about the view, named like MINIDB_STAT_*: count, data_bytes, and so on."""
        return {name: self._stat(what) for what, name in enumerate(_STATS)}

    def _stat(self, what: int) -> int:
        value = c_uint64()
        _lib.minidb_stat(self._handle, what, byref(value))
        return value.value

    def check(self) -> None:
        """Verifies all that the view holds, in memory and on disk; raises CorruptError
        if something is wrong, which says what and where."""
        _lib.minidb_check(self._handle)

    def backup(self, path: Path) -> None:
        """Writes all of the view to a new database file, which appears complete or not
        at all; ConflictError if there is a file."""
        _lib.minidb_backup(self._handle, _path(path))


class Snapshot(View):
    """A View that reads the same for ever; made by View.snapshot."""


class Writable(View, MutableMapping[bytes, bytes]):
    """What can be written: a Database or a Transaction. A MutableMapping."""

    def __setitem__(self, key: Bytes, value: Bytes) -> None:
        _lib.minidb_put(self._handle, *_sized(key), *_sized(value), None, None)

    def __delitem__(self, key: Bytes) -> None:
        if not _lib.minidb_delete(self._handle, *_sized(key), None, None):
            raise KeyError(key)

    def put(self, key: Bytes, value: Bytes) -> Optional[bytes]:
        """Sets a value and returns the previous one."""
        return _fetch(_lib.minidb_put, self._handle, *_sized(key), *_sized(value))

    @overload
    def pop(self, key: Bytes) -> bytes: ...
    @overload
    def pop(self, key: Bytes, default: T) -> Union[bytes, T]: ...
    def pop(self, key: Bytes, default: Any = _MISSING) -> Any:
        """Removes a key and returns its value, in one atomic step."""
        old = _fetch(_lib.minidb_delete, self._handle, *_sized(key))
        if old is None and default is _MISSING:
            raise KeyError(key)
        return default if old is None else old

    def setdefault(self, key: Bytes, default: Bytes) -> bytes:
        """Returns the value of key, which is default from now on if there was none."""
        while True:
            value = self._get(key)
            if value is not None:
                return value
            if self.cas(key, None, default):
                return _bytes(default)

    def clear(self, start: Optional[Bytes] = None, stop: Optional[Bytes] = None) -> None:
        """Removes what range(start, stop) shows, in one atomic step."""
        _lib.minidb_clear(self._handle, *_optional(start), *_optional(stop))

    def cas(self, key: Bytes, expected: Optional[Bytes], desired: Optional[Bytes]) -> bool:
        """Compares and swaps: sets the value if it is the expected one. None is no value."""
        values = *_optional(expected), *_optional(desired)
        return bool(_lib.minidb_cas(self._handle, *_sized(key), *values))

    def write(self, entries: Union[Mapping[bytes, Bytes], Iterable[Tuple[Bytes, Bytes]]]) -> None:
        """Puts all entries of a mapping, or all pairs, in one atomic step."""
        parts: List[bytes] = []
        for key, value in entries.items() if isinstance(entries, Mapping) else entries:
            key, value = _bytes(key), _bytes(value)
            parts += (_LENGTHS.pack(len(key), len(value)), key, value)
        _lib.minidb_write(self._handle, *_sized(b"".join(parts)))


class Transaction(Writable):
    """A private view of a database, made by Database.transaction.

    It sees its own writes, which nobody else sees until they are committed, as
    one atomic step. There is no snapshot of it. An iterator reads ahead, and that
    counts as read. What `del` does not find, for which it raises KeyError, is
    removed all the same if others have put it there by the time of the commit.
    """

    def commit(self) -> bool:
        """Applies all writes; False, applying none, if what was read has changed.

        In either case it has begun anew, on what the database now holds.
        """
        return bool(_lib.minidb_commit(self._handle))

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and not self.commit():
                raise OvertakenError("what the transaction has read was changed by another")
        finally:
            self.close()


class Database(Writable):
    """A database in memory, or the one in the file at path: a MutableMapping.

    Each write is a commit of its own, and on disk when it returns. The file is
    locked, by one writer or by any number of readers, until the Database, its
    snapshots and its iterators are closed; BusyError if that cannot be had.

    The flags are those of MINIDB_OPEN_*. readonly: never write to the file, nor
    create it. existing: raise NotFoundError rather than create it. new: raise
    ConflictError if it is there. nosync: do not wait for the disk at each commit.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "app.minidb")
    >>> with Database(path) as db:
    ...     db[b"k"] = b"v"
    >>> with Database(path, readonly=True) as db:
    ...     db[b"k"], os.listdir(folder.name)
    (b'v', ['app.minidb'])
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: Optional[Path] = None,
        *,
        readonly: bool = False,
        existing: bool = False,
        new: bool = False,
        nosync: bool = False,
    ) -> None:
        flags = readonly * _READONLY | existing * _EXISTING | new * _NEW | nosync * _NOSYNC
        super().__init__(_lib.minidb_open, None if path is None else _path(path), flags)

    def transaction(self) -> Transaction:
        """Begins a transaction; it commits at the end of a `with` block.

        An exception in the block drops its writes. If what it has read was changed
        by another meanwhile, it raises OvertakenError, and nothing is written: the
        block cannot be run again from here. `transact` does that with a function.

        >>> db = Database()
        >>> with db.transaction() as txn:
        ...     txn[b"a"] = b"1"
        ...     len(txn), len(db)
        (1, 0)
        """
        return Transaction(_lib.minidb_begin, self._handle)

    def transact(self, body: Callable[[Transaction], T]) -> T:
        """Runs body with a transaction and commits it; again, while others are faster.

        So all that body does must bear being done again. Returns what body does.
        If it raises an exception, nothing is written.

        >>> db = Database()
        >>> db.transact(lambda txn: txn.setdefault(b"n", b"1"))
        b'1'
        """
        txn = self.transaction()
        try:
            while True:
                result = body(txn)
                if txn.commit():
                    return result
        finally:
            txn.close()

    def sync(self) -> None:
        """Waits until every commit so far is on disk; needed only with nosync."""
        _lib.minidb_sync(self._handle)

    def checkpoint(self) -> None:
        """Folds the log into the file, so that the next open is faster."""
        _lib.minidb_checkpoint(self._handle)
