enum {
    MINIDB_VERSION_MAJOR = 0,
    MINIDB_VERSION_MINOR = 1,
    MINIDB_VERSION_PATCH = 0,
    MINIDB_MAX_LEN = 2147483647,
    MINIDB_OK = 0,
    MINIDB_NOTFOUND = 1,
    MINIDB_CONFLICT = 2,
    MINIDB_INVALID = -1,
    MINIDB_READONLY = -2,
    MINIDB_BUSY = -3,
    MINIDB_IO = -4,
    MINIDB_FULL = -5,
    MINIDB_CORRUPT = -6,
    MINIDB_FORMAT = -7,
    MINIDB_NOMEM = -8,
    MINIDB_INTERNAL = -9,
    MINIDB_OPEN_READONLY = 1,
    MINIDB_OPEN_EXISTING = 2,
    MINIDB_OPEN_NEW = 4,
    MINIDB_OPEN_NOSYNC = 8,
    MINIDB_STAT_COUNT = 0,
    MINIDB_STAT_DATA_BYTES = 1,
    MINIDB_STAT_MEMORY_BYTES = 2,
    MINIDB_STAT_FILE_BYTES = 3,
    MINIDB_STAT_COMMITS = 4,
    MINIDB_STAT_HANDLES = 5
};
typedef struct minidb_cursor_t minidb_cursor_t;
typedef struct minidb_t minidb_t;
typedef int (*minidb_visit)(void *ctx, const void *key, size_t key_len, const void *value, size_t value_len);
int minidb_open(const char *path, uint32_t flags, minidb_t **db);
int minidb_snapshot(const minidb_t *db, minidb_t **snapshot);
int minidb_begin(const minidb_t *db, minidb_t **txn);
int minidb_commit(minidb_t *txn);
void minidb_close(minidb_t *db);
int minidb_get(const minidb_t *db, const void *key, size_t key_len, char **value, size_t *value_len);
int minidb_get_into(const minidb_t *db, const void *key, size_t key_len, void *buffer, size_t size, size_t *value_len);
int minidb_put(minidb_t *db, const void *key, size_t key_len, const void *value, size_t value_len, char **old, size_t *old_len);
int minidb_delete(minidb_t *db, const void *key, size_t key_len, char **old, size_t *old_len);
int minidb_clear(minidb_t *db, const void *from, size_t from_len, const void *to, size_t to_len);
int minidb_cas(minidb_t *db, const void *key, size_t key_len, const void *expected, size_t expected_len, const void *desired, size_t desired_len);
int minidb_write(minidb_t *db, const void *entries, size_t size);
int minidb_scan(const minidb_t *db, const void *from, size_t from_len, const void *to, size_t to_len, minidb_cursor_t **cursor);
int minidb_scan_prefix(const minidb_t *db, const void *prefix, size_t prefix_len, minidb_cursor_t **cursor);
int minidb_cursor_first(minidb_cursor_t *cursor);
int minidb_cursor_last(minidb_cursor_t *cursor);
int minidb_cursor_next(minidb_cursor_t *cursor);
int minidb_cursor_prev(minidb_cursor_t *cursor);
int minidb_cursor_seek(minidb_cursor_t *cursor, const void *key, size_t key_len);
const void *minidb_cursor_key(const minidb_cursor_t *cursor, size_t *key_len);
const void *minidb_cursor_value(const minidb_cursor_t *cursor, size_t *value_len);
int minidb_cursor_read(minidb_cursor_t *cursor, void *buffer, size_t size, size_t *used);
void minidb_cursor_close(minidb_cursor_t *cursor);
int minidb_each(const minidb_t *db, const void *prefix, size_t prefix_len, minidb_visit visit, void *ctx);
int minidb_stat(const minidb_t *db, int what, uint64_t *value);
int minidb_sync(minidb_t *db);
int minidb_checkpoint(minidb_t *db);
int minidb_check(const minidb_t *db);
int minidb_backup(const minidb_t *db, const char *path);
int minidb_salvage(const char *damaged, const char *path, char **report);
const char *minidb_strerror(int code);
void minidb_free(void *bytes);
const char *minidb_version(void);
