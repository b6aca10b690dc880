/*
 * What the tests of refused memory share: allocations that are refused, and a
 * store whose contents take much.
 *
 * The linker puts the functions below in the place of the real ones (--wrap),
 * for the library inside this program, too. Small allocations are not refused,
 * unless a test makes `smallest` less: they are the library's own, and it says that
 * they abort.
 */
#ifndef STORE_H
#define STORE_H

#include "file.h"

#define SMALL 32768

enum { LONG_KEY = 40000, BIG_VALUE = 2000000, ENTRIES = 5000 };

static size_t smallest = SMALL; /* the smallest allocation that may be refused */
static int countdown; /* refuses when it comes to 0, if it was over 0 */
static int for_ever;  /* ... and from then on */
static int refused;

static int refuse(size_t size)
{
    if (size < smallest || countdown == 0)
        return 0;
    if (countdown > 1) {
        countdown--;
        return 0;
    }
    if (!for_ever)
        countdown = 0;
    refused++;
    return 1;
}

static void refuse_from(int k, int repeated)
{
    refused = 0, for_ever = repeated, countdown = k;
}

static void refuse_all(int on)
{
    for_ever = on, countdown = on;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
int __real_posix_memalign(void **out, size_t align, size_t size);
void *__real_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t size)
{
    return refuse(size) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return refuse(n * size) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return refuse(size) ? NULL : __real_realloc(old, size);
}

int __wrap_posix_memalign(void **out, size_t align, size_t size)
{
    return refuse(size) ? 12 /* ENOMEM */ : __real_posix_memalign(out, align, size);
}

void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    return refuse(size) ? (void *)-1 : __real_mmap(at, size, prot, flags, fd, offset);
}

/* What a store holds, as far as it can be told without much memory. */
typedef struct {
    uint64_t count, bytes, commits, handles;
} state_t;

static state_t state(minidb_t *db)
{
    state_t s;

    CHECK(minidb_stat(db, MINIDB_STAT_COUNT, &s.count) == MINIDB_OK);
    CHECK(minidb_stat(db, MINIDB_STAT_DATA_BYTES, &s.bytes) == MINIDB_OK);
    CHECK(minidb_stat(db, MINIDB_STAT_COMMITS, &s.commits) == MINIDB_OK);
    CHECK(minidb_stat(db, MINIDB_STAT_HANDLES, &s.handles) == MINIDB_OK);
    return s;
}

static int same(state_t a, state_t b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static char key[LONG_KEY], value[BIG_VALUE];
static uint32_t open_flags;

/* The file that the store is in; NULL if it is in memory. */
static const char *store_path(void)
{
    return in_memory() ? NULL : "store.minidb";
}

static minidb_t *empty(void)
{
    minidb_t *db;

    if (!in_memory())
        remove(store_path());
    CHECK(minidb_open(store_path(), open_flags, &db) == MINIDB_OK);
    return db;
}

/* A store with an entry under a long key, and many others. */
static minidb_t *filled(void)
{
    static char entries[ENTRIES][8 + 8 + 100];
    const uint32_t lens[2] = {8, 100};
    minidb_t *db = empty();
    int i;

    for (i = 0; i < ENTRIES; i++) {
        memcpy(entries[i], lens, 8);
        sprintf(entries[i] + 8, "%08d", i);
        memcpy(entries[i] + 16, value, 100);
    }
    OK(minidb_write(db, entries[0], sizeof entries));
    OK(minidb_put(db, key, LONG_KEY, value, BIG_VALUE, NULL, NULL));
    return db;
}

/* The file holds this, and one handle is open then. */
static void file_has(const char *path, state_t expected)
{
    minidb_t *db = opened(path, MINIDB_OPEN_READONLY);

    expected.handles = 1;
    CHECK(same(state(db), expected));
    OK(minidb_check(db));
    minidb_close(db);
}

/* What would be found if the process ended now. */
static void survives_a_crash(state_t expected)
{
    if (in_memory())
        return;
    copy_file("store.minidb", "crashed");
    copy_file("store.minidb-log", "crashed-log");
    file_has("crashed", expected);
    CHECK(remove("crashed") == 0 && remove("crashed-log") == 0);
}

/* Closes the store; if it was in a file, that holds what the store did. */
static void close_store(minidb_t *db)
{
    state_t last = state(db);

    survives_a_crash(last);
    minidb_close(db);
    if (in_memory())
        return;
    FILES("store.minidb");
    file_has("store.minidb", last);
}

static void prepare(void)
{
    memset(key, 'z', sizeof key);
    memset(value, 'v', sizeof value);
    if (!in_memory())
        CHECK(chdir(getenv("MINIDB_TEST_FOLDER")) == 0);
}

#endif /* STORE_H */
