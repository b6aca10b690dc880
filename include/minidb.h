/**
 * @file
 * minidb: an embeddable ordered key-value store.
 *
 * One handle type, three kinds of view. A `minidb_t *` is a database
 * (minidb_open), a frozen snapshot of one (minidb_snapshot) or a transaction
 * on one (minidb_begin). Every reading function works on all three, every
 * writing function on databases and transactions, and minidb_close releases
 * any of them.
 *
 * Results. A function returning int returns MINIDB_OK (zero) when done, a
 * positive code when the answer is "no" (MINIDB_NOTFOUND, MINIDB_CONFLICT)
 * and a negative code when it failed. Unless it is MINIDB_OK, the store is
 * as it was before; only after MINIDB_IO or MINIDB_INTERNAL from a write is that not certain
 * (see minidb_commit). Codes may be added: judge one you do not know by its
 * sign, and ask minidb_strerror for its text.
 *
 * Bytes. Keys and values are any bytes, passed as a pointer and a length;
 * the length MINIDB_STR means "up to the NUL". NULL with length 0 is the
 * empty string, except where NULL is said to mean something; NULL with any
 * other length is MINIDB_INVALID. Arguments are copied before the call
 * returns. Keys are ordered as unsigned bytes, a shorter key before a longer
 * one that it begins. All bytes handed out are followed by a NUL that their
 * length does not count, so text can be used as a C string at once; only
 * the buffers that the caller provides are filled without one.
 *
 * Memory. What is handed out through a `char **` is the caller's copy, to
 * be released with minidb_free; what is returned as a `const char *` is
 * borrowed. An out-parameter may be NULL if its result is not wanted, unless
 * the result is a handle (MINIDB_INVALID), and is otherwise always set: to
 * NULL or 0 when there is no result.
 *
 * Handles. Close each one exactly once, in any order: the store lives until
 * its last handle is closed. Closing NULL does nothing; any other function
 * given NULL returns MINIDB_INVALID (or NULL). So does one given a handle
 * that was closed, or one of the wrong kind: it is recognised and refused,
 * never followed.
 *
 * Threads. Any function may be called from any thread. A database or a
 * snapshot may be used by many threads at once; a transaction or a cursor by
 * one thread at a time. Nothing blocks on a transaction that is left open.
 * After fork() the handles stay the parent's: the child's calls on them are
 * refused with MINIDB_INVALID, and its closing one leaves the file alone; it
 * may open databases of its own. A thread that is cancelled (pthread_cancel,
 * deferred, on Linux) during a call finishes it first. Functions that write,
 * or wait for a disk, are cancellation points before they begin; minidb_close
 * is none, since destructors call it.
 */
#ifndef MINIDB_H
#define MINIDB_H

#include <stddef.h>
#include <stdint.h>

/** The version of this header; minidb_version returns that of the library. */
#define MINIDB_VERSION "0.1.0"
/** The first number of the version. */
#define MINIDB_VERSION_MAJOR 0
/** The second number of the version. */
#define MINIDB_VERSION_MINOR 1
/** The third number of the version. */
#define MINIDB_VERSION_PATCH 0

/* Define MINIDB_STATIC on Windows when linking the static library. */
#ifndef MINIDB_API
#if defined(_WIN32) && !defined(MINIDB_STATIC)
#define MINIDB_API __declspec(dllimport)
#else
#define MINIDB_API
#endif
#endif

/** As a length: the argument is a NUL-terminated string. */
#define MINIDB_STR ((size_t)-1)

/** The longest key or value, in bytes. */
#define MINIDB_MAX_LEN 2147483647

#ifdef __cplusplus
extern "C" {
#endif


/**
 * Done.
 */
#define MINIDB_OK 0

/**
 * Not there: no such key, no further entry, no such file.
 */
#define MINIDB_NOTFOUND 1

/**
 * Overtaken: the value is not the expected one, what a transaction read has
 * changed since, or a file is already there.
 */
#define MINIDB_CONFLICT 2

/**
 * The call is not valid: a bad argument, a closed handle or a wrong kind of
 * one, or a length over MINIDB_MAX_LEN.
 */
#define MINIDB_INVALID -1

/**
 * The view cannot be written: a snapshot, or opened read-only.
 */
#define MINIDB_READONLY -2

/**
 * The file is in use by another process or another minidb_open.
 */
#define MINIDB_BUSY -3

/**
 * The operating system refused to read or write, or has done so before: once
 * a write to the log or its sync has failed, the database reads on, and
 * refuses writes with this until it is opened again.
 */
#define MINIDB_IO -4

/**
 * No space is left on the device.
 */
#define MINIDB_FULL -5

/**
 * The file is damaged.
 */
#define MINIDB_CORRUPT -6

/**
 * The file is not a minidb file, or is of a newer version.
 */
#define MINIDB_FORMAT -7

/**
 * Out of memory.
 */
#define MINIDB_NOMEM -8

/**
 * A bug in minidb, caught. Close the handle.
 */
#define MINIDB_INTERNAL -9

/**
 * Never write to the file, nor create it.
 */
#define MINIDB_OPEN_READONLY 1

/**
 * Return MINIDB_NOTFOUND rather than create the file.
 */
#define MINIDB_OPEN_EXISTING 2

/**
 * Return MINIDB_CONFLICT if the file is already there.
 */
#define MINIDB_OPEN_NEW 4

/**
 * Do not wait for the disk at each commit. A crash of the process still
 * loses nothing; one of the machine may lose the latest commits, each whole
 * and none before an older one, but does not damage the file.
 */
#define MINIDB_OPEN_NOSYNC 8

/**
 * Number of keys in the view.
 */
#define MINIDB_STAT_COUNT 0

/**
 * Bytes of all keys and values in the view.
 */
#define MINIDB_STAT_DATA_BYTES 1

/**
 * Bytes of memory that the store holds now, snapshots of it included.
 */
#define MINIDB_STAT_MEMORY_BYTES 2

/**
 * Bytes of the files on disk, 0 in memory.
 */
#define MINIDB_STAT_FILE_BYTES 3

/**
 * Number of commits the view has seen; changes whenever the data does, and
 * also when a key is given the value it had. In a transaction its own writes
 * are counted from bit 32 up.
 */
#define MINIDB_STAT_COMMITS 4

/**
 * Handles open on the store, this one and cursors included.
 */
#define MINIDB_STAT_HANDLES 5

/**
 * A position in the ordered entries of a view.
 */
typedef struct minidb_cursor_t minidb_cursor_t;

/**
 * A view: a database, a snapshot or a transaction.
 */
typedef struct minidb_t minidb_t;

/**
 * Called by minidb_each for one entry, whose bytes are borrowed for the
 * call. Returns 0 to go on, anything else to stop. It may call any minidb
 * function, and must return normally (no longjmp, no C++ exception).
 */
typedef int (*minidb_visit)(void *ctx,
                            const char *key,
                            size_t key_len,
                            const char *value,
                            size_t value_len);

/**
 * Opens the database file at `path`, creating it if need be, or, with `path`
 * NULL or ":memory:", a new empty database in memory, which goes with its
 * last handle. From the first change to the last close, the log of a file
 * lies beside it (beside its target, if `path` is a symbolic link), named
 * like it with "-log" added. A file that was closed is not written to before
 * that change; one that is new, or was left by a crash, is when it is opened.
 * After the last close the file alone holds everything and may be copied (if
 * the log could not be folded in, on a full disk say, it is still there, and
 * both together do). An empty file is an empty database; a file that needs
 * its log, and finds it missing, is MINIDB_CORRUPT. What has the log's name,
 * but is something else, is left alone, and in the way of who wants to write:
 * MINIDB_FORMAT, or MINIDB_CORRUPT if it is another database's commits. (A
 * log that is being made has "-log-unfinished" added.) `flags` is 0 or
 * MINIDB_OPEN_* values joined by `|`. Unknown flags are MINIDB_INVALID, and
 * so are NEW beside EXISTING or READONLY, and any but NOSYNC in memory. The
 * file is locked until its last handle is closed: by one writer, or by any
 * number of MINIDB_OPEN_READONLY; MINIDB_BUSY is returned if the lock cannot
 * be had.
 */
MINIDB_API int minidb_open(const char *path, uint32_t flags, minidb_t **db);

/**
 * Makes a frozen view of what `db` holds now, in constant time. It reads
 * the same for ever, whatever is written to `db`, and refuses writes with
 * MINIDB_READONLY. A snapshot of a snapshot is the same view again; of a
 * transaction there is none (MINIDB_INVALID).
 */
MINIDB_API int minidb_snapshot(const minidb_t *db, minidb_t **snapshot);

/**
 * Begins a transaction on the database `db` (another kind of view is
 * MINIDB_INVALID): a private view that starts as what `db` holds now and
 * sees its own writes, which nobody else sees until minidb_commit. Any
 * number may be open at once; beginning waits for no transaction and no disk,
 * and an open one makes nobody wait. On a database opened read-only it can only read.
 *
 * These count as read: a key that minidb_get, minidb_get_into or minidb_cas
 * looked at, or whose `old` or `old_len` was wanted, whether there or not;
 * every key, there or not, from where a cursor's or minidb_each's walk began
 * to where it went; and everything, by minidb_check and minidb_backup. A key
 * that the transaction wrote before (a cursor: before it was opened) is its
 * own, and not read by looking at it. minidb_stat's COUNT and DATA_BYTES read
 * one number of the database: the commit is a conflict if it is another by
 * then, and if a key or range that the transaction wrote before asking was
 * written by another commit.
 */
MINIDB_API
int minidb_begin(const minidb_t *db,
                 minidb_t **txn);

/**
 * Applies all writes of a transaction to its database, as one atomic step
 * that is on disk when this returns (unless opened with NOSYNC). Returns
 * MINIDB_CONFLICT, applying nothing, if anything that the transaction read
 * was written by another commit since it began, be it with an equal value
 * (of COUNT and DATA_BYTES the number counts, see minidb_begin);
 * in rare cases, such as a transaction left open over very many commits,
 * also if not. One that wrote nothing always commits: what it read was the
 * view of one moment. One that read nothing always commits too: it is an
 * atomic batch, whose deletes and clears also remove what others have put
 * there meanwhile.
 *
 * After MINIDB_OK and MINIDB_CONFLICT the transaction has begun anew on what
 * the database now holds, to be used again or closed; cursors opened before
 * go on over the view they had, and count as reading no more. After a failure
 * it still holds its writes. After MINIDB_FULL nothing was applied, and
 * committing works again once there is space. After MINIDB_IO it is not
 * certain whether this commit is in the database once that is opened again.
 * Commits work on while the store lives, also after the database handle that
 * the transaction was begun on is closed.
 */
MINIDB_API int minidb_commit(minidb_t *txn);

/**
 * Releases a database, snapshot or transaction; uncommitted writes of a
 * transaction are dropped. Does nothing with NULL.
 */
MINIDB_API void minidb_close(minidb_t *db);

/**
 * Hands out a copy of the value of `key`, never NULL if the key is there.
 * Returns MINIDB_NOTFOUND if it is not. With `value` NULL this only asks
 * whether the key is there, and how long its value is.
 */
MINIDB_API
int minidb_get(const minidb_t *db,
               const void *key,
               size_t key_len,
               char **value,
               size_t *value_len);

/**
 * Copies the value of `key` into the `size` bytes at `buffer`, as much as
 * fits, and sets `value_len` to its whole length: the value is complete if
 * that is not over `size`. No NUL is added. Saves the allocation that
 * minidb_get makes.
 */
MINIDB_API
int minidb_get_into(const minidb_t *db,
                    const void *key,
                    size_t key_len,
                    void *buffer,
                    size_t size,
                    size_t *value_len);

/**
 * Sets the value of `key`. If `old` is not NULL, hands out a copy of the
 * previous value, or NULL if there was none; if `old_len` is not NULL, its
 * length. On a database this is a commit of its own, as are
 * minidb_delete, minidb_clear, minidb_cas and minidb_write.
 */
MINIDB_API
int minidb_put(minidb_t *db,
               const void *key,
               size_t key_len,
               const void *value,
               size_t value_len,
               char **old,
               size_t *old_len);

/**
 * Removes `key`, handing out its value through `old` as minidb_put does.
 * Returns MINIDB_NOTFOUND if it was not there. In a transaction that answer
 * is what its view says, does not count as reading unless `old` or `old_len`
 * is wanted, and the key is removed at commit in either case.
 */
MINIDB_API
int minidb_delete(minidb_t *db,
                  const void *key,
                  size_t key_len,
                  char **old,
                  size_t *old_len);

/**
 * Removes every key from `from` up to, but not including, `to`: none, if
 * `to` is not after `from`. NULL means no bound: with both NULL, everything
 * goes.
 */
MINIDB_API
int minidb_clear(minidb_t *db,
                 const void *from,
                 size_t from_len,
                 const void *to,
                 size_t to_len);

/**
 * Compares and swaps: if the value of `key` equals `expected`, sets it to
 * `desired`, else returns MINIDB_CONFLICT. NULL means no value: as
 * `expected`, the key must not be there; as `desired`, it is removed. (The
 * empty value is any other pointer with length 0.)
 */
MINIDB_API
int minidb_cas(minidb_t *db,
               const void *key,
               size_t key_len,
               const void *expected,
               size_t expected_len,
               const void *desired,
               size_t desired_len);

/**
 * Puts every entry of a packed buffer, as minidb_cursor_read fills one, in
 * one atomic step. A buffer that is not `size` bytes of whole entries is
 * refused with MINIDB_INVALID, and nothing of it is applied.
 */
MINIDB_API int minidb_write(minidb_t *db, const void *entries, size_t size);

/**
 * Opens a cursor on the keys from `from` up to, but not including, `to`,
 * NULL meaning no bound; there are none if `to` is not after `from`. It
 * walks the entries as they are now, whatever is written meanwhile, and
 * starts between the end and the beginning: next goes to the first entry,
 * prev to the last.
 */
MINIDB_API
int minidb_scan(const minidb_t *db,
                const void *from,
                size_t from_len,
                const void *to,
                size_t to_len,
                minidb_cursor_t **cursor);

/**
 * Opens a cursor on the keys that begin with `prefix`.
 */
MINIDB_API
int minidb_scan_prefix(const minidb_t *db,
                       const void *prefix,
                       size_t prefix_len,
                       minidb_cursor_t **cursor);

/**
 * Goes to the first entry. This and the other four moves return
 * MINIDB_NOTFOUND when there is no such entry; the cursor is then past that
 * end, and moving back the other way finds the entry nearest to it.
 */
MINIDB_API int minidb_cursor_first(minidb_cursor_t *cursor);

/**
 * Goes to the last entry.
 */
MINIDB_API int minidb_cursor_last(minidb_cursor_t *cursor);

/**
 * Goes to the next entry, the first if the cursor is new.
 */
MINIDB_API int minidb_cursor_next(minidb_cursor_t *cursor);

/**
 * Goes to the previous entry, the last if the cursor is new.
 */
MINIDB_API int minidb_cursor_prev(minidb_cursor_t *cursor);

/**
 * Goes to the first entry whose key is `key` or greater.
 */
MINIDB_API
int minidb_cursor_seek(minidb_cursor_t *cursor,
                       const void *key,
                       size_t key_len);

/**
 * Returns the key at the cursor, NULL if it is at no entry. The bytes are
 * borrowed until the cursor is moved or closed.
 */
MINIDB_API
const char *minidb_cursor_key(const minidb_cursor_t *cursor,
                              size_t *key_len);

/**
 * Returns the value at the cursor, as minidb_cursor_key does.
 */
MINIDB_API
const char *minidb_cursor_value(const minidb_cursor_t *cursor,
                                size_t *value_len);

/**
 * Moves over as many entries after the cursor's as fit, packed, into the
 * `size` bytes at `buffer`, and sets `used` to the bytes filled; the cursor
 * is then at the last of them. An entry is its key's length and its value's
 * length, each a uint32_t in the machine's byte order, then the key, then
 * the value, with nothing between and nothing after. If the next entry alone
 * does not fit, returns MINIDB_OK all the same: the cursor stays, nothing is
 * filled, and `used` is the size that it needs, which is over `size`.
 * Returns MINIDB_NOTFOUND, with `used` 0, where minidb_cursor_next would;
 * the cursor is then past the end.
 * Meant for languages in which a call costs more than a copy.
 */
MINIDB_API
int minidb_cursor_read(minidb_cursor_t *cursor,
                       void *buffer,
                       size_t size,
                       size_t *used);

/**
 * Releases a cursor. Does nothing with NULL.
 */
MINIDB_API void minidb_cursor_close(minidb_cursor_t *cursor);

/**
 * Calls `visit` with `ctx` for each entry whose key begins with `prefix`
 * (every entry, if that is empty), in order, as they were when this was
 * called. Stops early when `visit` returns anything but 0, and returns
 * MINIDB_OK either way: what `visit` wants to tell goes into `ctx`.
 */
MINIDB_API
int minidb_each(const minidb_t *db,
                const void *prefix,
                size_t prefix_len,
                minidb_visit visit,
                void *ctx);

/**
 * Hands out one number about a view: `what` is a MINIDB_STAT_* value.
 * Returns MINIDB_INVALID for one this library does not know.
 */
MINIDB_API int minidb_stat(const minidb_t *db, int what, uint64_t *value);

/**
 * Waits until every commit so far is on disk; needed only with
 * MINIDB_OPEN_NOSYNC. `db` is a database, as for minidb_checkpoint
 * (MINIDB_INVALID if not); in memory both have nothing to do.
 */
MINIDB_API int minidb_sync(minidb_t *db);

/**
 * Folds the log into the file, so that the next open need not replay it.
 * This also happens by itself, as the log grows and at the last close; on a
 * disk that is too slow for that, writes wait for it. If it
 * fails, the file and the log are as they were, and writing goes on.
 */
MINIDB_API int minidb_checkpoint(minidb_t *db);

/**
 * Reads all that a view holds, in memory and on disk, and verifies every
 * checksum and the order of the keys. Returns MINIDB_CORRUPT if something is
 * wrong; minidb_strerror then says what and where.
 */
MINIDB_API int minidb_check(const minidb_t *db);

/**
 * Writes all that a view holds to a new database file at `path`, which
 * appears there complete or not at all; until then it is named like it with
 * "-unfinished" added. Returns MINIDB_CONFLICT if there is a file already, or
 * one of that name that is no unfinished backup. Readers and writers go on
 * meanwhile. This is a backup of a database, and the way to save one that is
 * in memory.
 */
MINIDB_API int minidb_backup(const minidb_t *db, const char *path);

/**
 * Writes all that can still be read of the damaged database file at
 * `damaged`, and of its log, to a new database file at `path`, which appears
 * there complete or not at all; the damaged ones are not changed. Hands out
 * through `report` what was found and what was lost: text, a line "name
 * number" each, the first of them "entries". Returns MINIDB_OK if anything
 * could be read, MINIDB_CORRUPT if nothing, MINIDB_NOTFOUND if there is no
 * file at `damaged`, MINIDB_CONFLICT if there is one at `path`, MINIDB_BUSY if
 * the damaged one is open to be written, MINIDB_FORMAT if it is of a newer
 * version.
 */
MINIDB_API
int minidb_salvage(const char *damaged,
                   const char *path,
                   char **report);

/**
 * Describes a result in English, never NULL. If `code` is what the calling
 * thread's latest failed call returned (a negative code, or any but MINIDB_OK
 * from minidb_open, minidb_backup or minidb_salvage), the text has its
 * details: the path, the system's reason, the place of damage. An answer has
 * no details: after it, its code has the general text. The text is borrowed
 * until this thread calls minidb again.
 */
MINIDB_API const char *minidb_strerror(int code);

/**
 * Releases bytes handed out by minidb. Does nothing with NULL.
 */
MINIDB_API void minidb_free(void *bytes);

/**
 * Returns the library's version, like "0.1.0"; compare MINIDB_VERSION, that
 * of the header.
 */
MINIDB_API const char *minidb_version(void);

#ifdef __cplusplus
}
#endif

#endif /* MINIDB_H */
