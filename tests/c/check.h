/*
 * What the C tests share: checks that say what failed, and views and entries
 * to try them on.
 *
 * A test is a function whose name is a sentence. main runs each with RUN and
 * ends with `return passed("theme");`. The first check that fails ends the
 * program, since what comes after it would mislead.
 */
#ifndef CHECK_H
#define CHECK_H

#include <minidb.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(cond) check_that((cond) ? 1 : 0, __FILE__, __LINE__, #cond)

/* The call returns that code. */
#define GIVES(code, call) \
    check_that((check_code = (call)) == (code), __FILE__, __LINE__, \
               #call " gives " #code)

#define OK(call) GIVES(MINIDB_OK, call)

/*
 * The call returns that code, and has no results: each field of `out` that
 * appears in it as &out.field was set to NULL or 0.
 */
#define NO_RESULT(code, call) \
    (out = check_garbage, GIVES(code, call), \
     check_cleared(__FILE__, __LINE__, #call))

/* The view holds just these entries, written as by `listing`. */
#define HOLDS(db, text) CHECK(check_equal(listing(db), text))

#define RUN(test) (check_test = #test, test(), check_passed++)

/* As a length: one that no argument may have. */
#define TOO_LONG ((size_t)MINIDB_MAX_LEN + 1)

/* Out-parameters of every type. */
struct out {
    char *bytes;
    size_t len;
    uint64_t number;
    minidb_t *view;
    minidb_cursor_t *cursor;
};

static char check_unset[1];
static const struct out check_garbage = {
    check_unset, 12345, 12345, (minidb_t *)check_unset,
    (minidb_cursor_t *)check_unset
};
static __thread struct out out;
static __thread int check_code; /* what the latest GIVES saw */
static const char *check_test = "";
static int check_passed;

static inline void check_that(int holds, const char *file, int line,
                              const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s:%d: %s: not so: %s\n    latest code %d: %s\n", file,
            line, check_test, what, check_code, minidb_strerror(check_code));
    exit(1);
}

static inline int check_equal(const char *is, const char *expected)
{
    if (strcmp(is, expected) != 0)
        fprintf(stderr, "is       %s\nexpected %s\n", is, expected);
    return strcmp(is, expected) == 0;
}

static inline void check_cleared(const char *file, int line, const char *call)
{
#define CLEARED(field, none) \
    check_that(out.field == (strstr(call, "&out." #field) ? (none) \
                                                     : check_garbage.field), \
               file, line, call)
    CLEARED(bytes, NULL);
    CLEARED(len, 0);
    CLEARED(number, 0);
    CLEARED(view, NULL);
    CLEARED(cursor, NULL);
#undef CLEARED
}

static inline int passed(const char *theme)
{
    printf("%s: %d tests passed\n", theme, check_passed);
    return 0;
}

/* Views and cursors; whoever makes one closes it. */

/* With MINIDB_TEST_FOLDER set, databases are files in that folder. */
static inline int in_memory(void)
{
    return getenv("MINIDB_TEST_FOLDER") == NULL;
}

/* A new empty database. */
static inline minidb_t *database(void)
{
    static unsigned made;
    char path[512];
    minidb_t *db;

    if (in_memory()) {
        OK(minidb_open(NULL, 0, &db));
    } else {
        snprintf(path, sizeof path, "%s/%ld-%u.minidb",
                 getenv("MINIDB_TEST_FOLDER"), (long)getpid(),
                 __sync_add_and_fetch(&made, 1));
        OK(minidb_open(path, MINIDB_OPEN_NEW | MINIDB_OPEN_NOSYNC, &db));
    }
    return db;
}

static inline minidb_t *snapshot_of(const minidb_t *db)
{
    minidb_t *snapshot;

    OK(minidb_snapshot(db, &snapshot));
    return snapshot;
}

static inline minidb_cursor_t *cursor_on(const minidb_t *db)
{
    minidb_cursor_t *cursor;

    OK(minidb_scan(db, NULL, 0, NULL, 0, &cursor));
    return cursor;
}

static inline uint64_t number(const minidb_t *db, int what)
{
    uint64_t value;

    OK(minidb_stat(db, what, &value));
    return value;
}

/* Puts entries written as in "a=1 b= c=3". */
static inline void fill(minidb_t *db, const char *entries)
{
    while (*entries != '\0') {
        size_t key_len = strcspn(entries, "=");
        size_t len = strcspn(entries, " ");

        OK(minidb_put(db, entries, key_len, entries + key_len + 1,
                      len - key_len - 1, NULL, NULL));
        entries += len;
        entries += strspn(entries, " ");
    }
}

/* The entries after the cursor's as text; bytes that do not print as \xNN. */
static inline const char *rest_of(minidb_cursor_t *cursor)
{
    static __thread char text[8192];
    size_t used = 0, key_len, len, i;

    while (minidb_cursor_next(cursor) == MINIDB_OK) {
        const char *key = minidb_cursor_key(cursor, &key_len);
        const char *value = minidb_cursor_value(cursor, &len);

        CHECK(used + 4 * (key_len + len) + 3 < sizeof text);
        if (used > 0)
            text[used++] = ' ';
        for (i = 0; i <= key_len + len; i++) {
            unsigned char byte = (unsigned char)(i < key_len ? key[i]
                : i == key_len ? '=' : value[i - key_len - 1]);

            used += (size_t)sprintf(text + used,
                byte > ' ' && byte < 127 ? "%c" : "\\x%02x", byte);
        }
    }
    text[used] = '\0';
    return text;
}

static inline const char *listing(const minidb_t *db)
{
    minidb_cursor_t *cursor = cursor_on(db);
    const char *text = rest_of(cursor);

    minidb_cursor_close(cursor);
    return text;
}

/* Handles that must be refused, by every function that takes one. */

static inline int never_visit(void *ctx, const char *key, size_t key_len,
                              const char *value, size_t value_len)
{
    const int visited = 1;

    (void)ctx, (void)key, (void)key_len, (void)value, (void)value_len;
    CHECK(!visited);
    return 1;
}

static inline void refused_as_view(minidb_t *db)
{
    static const char entry[8]; /* packed: the empty key and value */
    char buffer[8];

    NO_RESULT(MINIDB_INVALID, minidb_snapshot(db, &out.view));
    NO_RESULT(MINIDB_INVALID, minidb_begin(db, &out.view));
    NO_RESULT(MINIDB_INVALID, minidb_commit(db));
    NO_RESULT(MINIDB_INVALID, minidb_get(db, "k", 1, &out.bytes, &out.len));
    NO_RESULT(MINIDB_INVALID, minidb_get_into(db, "k", 1, buffer, 8, &out.len));
    NO_RESULT(MINIDB_INVALID,
              minidb_put(db, "k", 1, "v", 1, &out.bytes, &out.len));
    NO_RESULT(MINIDB_INVALID, minidb_delete(db, "k", 1, &out.bytes, &out.len));
    NO_RESULT(MINIDB_INVALID, minidb_clear(db, NULL, 0, NULL, 0));
    NO_RESULT(MINIDB_INVALID, minidb_cas(db, "k", 1, NULL, 0, "v", 1));
    NO_RESULT(MINIDB_INVALID, minidb_write(db, entry, sizeof entry));
    NO_RESULT(MINIDB_INVALID, minidb_scan(db, NULL, 0, NULL, 0, &out.cursor));
    NO_RESULT(MINIDB_INVALID, minidb_scan_prefix(db, NULL, 0, &out.cursor));
    NO_RESULT(MINIDB_INVALID, minidb_each(db, NULL, 0, never_visit, NULL));
    NO_RESULT(MINIDB_INVALID, minidb_stat(db, MINIDB_STAT_COUNT, &out.number));
    NO_RESULT(MINIDB_INVALID, minidb_sync(db));
    NO_RESULT(MINIDB_INVALID, minidb_checkpoint(db));
    NO_RESULT(MINIDB_INVALID, minidb_check(db));
    NO_RESULT(MINIDB_INVALID, minidb_backup(db, "refused.minidb"));
}

static inline void lends_nothing(const minidb_cursor_t *cursor)
{
    size_t key_len = 12345, len = 12345;

    CHECK(minidb_cursor_key(cursor, &key_len) == NULL && key_len == 0);
    CHECK(minidb_cursor_value(cursor, &len) == NULL && len == 0);
    CHECK(minidb_cursor_key(cursor, NULL) == NULL);
    CHECK(minidb_cursor_value(cursor, NULL) == NULL);
}

static inline void refused_as_cursor(minidb_cursor_t *cursor)
{
    char buffer[8];

    NO_RESULT(MINIDB_INVALID, minidb_cursor_first(cursor));
    NO_RESULT(MINIDB_INVALID, minidb_cursor_last(cursor));
    NO_RESULT(MINIDB_INVALID, minidb_cursor_next(cursor));
    NO_RESULT(MINIDB_INVALID, minidb_cursor_prev(cursor));
    NO_RESULT(MINIDB_INVALID, minidb_cursor_seek(cursor, "k", 1));
    NO_RESULT(MINIDB_INVALID, minidb_cursor_read(cursor, buffer, 8, &out.len));
    lends_nothing(cursor);
}

/*
 * Numbers at random. The seed goes to stderr; MINIDB_SEED in the environment
 * repeats a run.
 */
static inline uint32_t any_number(void)
{
    static uint64_t state;

    if (state == 0) {
        const char *seed = getenv("MINIDB_SEED");

        state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
        fprintf(stderr, "MINIDB_SEED=%" PRIu64 "\n", state);
        state = state * 2 + 1;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static inline size_t below(size_t limit)
{
    return any_number() % limit;
}

/* A growing set of entries in key order: what a view should hold. */

struct entry {
    char *key, *value;
    size_t key_len, value_len;
};

struct entries {
    struct entry *list;
    size_t count, room;
};

static inline char *copy_of(const void *bytes, size_t len)
{
    char *copy = malloc(len + 1);

    CHECK(copy != NULL);
    if (len > 0)
        memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}

static inline int order(const void *a, size_t a_len, const void *b,
                        size_t b_len)
{
    int by_bytes = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return by_bytes ? by_bytes : (a_len > b_len) - (a_len < b_len);
}

/* The first entry whose key is `key` or greater. */
static inline size_t place_of(const struct entries *set, const void *key,
                              size_t key_len)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct entry *entry = &set->list[middle];

        if (order(entry->key, entry->key_len, key, key_len) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static inline struct entry *find(const struct entries *set, const void *key,
                                 size_t key_len)
{
    size_t place = place_of(set, key, key_len);
    struct entry *entry;

    if (place == set->count)
        return NULL;
    entry = &set->list[place];
    return order(entry->key, entry->key_len, key, key_len) ? NULL : entry;
}

static inline void add(struct entries *set, const void *key, size_t key_len,
                       const void *value, size_t value_len)
{
    struct entry *entry = find(set, key, key_len);
    size_t place = place_of(set, key, key_len);

    if (entry == NULL) {
        if (set->count == set->room) {
            set->room = 2 * set->room + 8;
            set->list = realloc(set->list, set->room * sizeof *set->list);
            CHECK(set->list != NULL);
        }
        entry = &set->list[place];
        memmove(entry + 1, entry, (set->count - place) * sizeof *entry);
        set->count++;
        entry->key = copy_of(key, key_len);
        entry->key_len = key_len;
    } else {
        free(entry->value);
    }
    entry->value = copy_of(value, value_len);
    entry->value_len = value_len;
}

/* Removes the entries from place `from` up to, but not including, `to`. */
static inline void cut(struct entries *set, size_t from, size_t to)
{
    size_t i;

    for (i = from; i < to; i++) {
        free(set->list[i].key);
        free(set->list[i].value);
    }
    if (from < to) {
        memmove(set->list + from, set->list + to,
                (set->count - to) * sizeof *set->list);
        set->count -= to - from;
    }
}

static inline void discard(struct entries *set)
{
    cut(set, 0, set->count);
    free(set->list);
    memset(set, 0, sizeof *set);
}

/* The cursor is at the entry, and its bytes are followed by a NUL. */
static inline void at_entry(const minidb_cursor_t *cursor,
                            const struct entry *entry)
{
    size_t key_len, len;
    const char *key = minidb_cursor_key(cursor, &key_len);
    const char *value = minidb_cursor_value(cursor, &len);

    CHECK(key != NULL && key_len == entry->key_len);
    CHECK(value != NULL && len == entry->value_len);
    CHECK(memcmp(key, entry->key, key_len + 1) == 0);
    CHECK(memcmp(value, entry->value, len + 1) == 0);
}

/* The view holds just the entries of the set, and is in order. */
static inline void holds_all(const minidb_t *db, const struct entries *set)
{
    minidb_cursor_t *cursor = cursor_on(db);
    uint64_t bytes = 0;
    size_t i;

    for (i = 0; i < set->count; i++) {
        OK(minidb_cursor_next(cursor));
        at_entry(cursor, &set->list[i]);
        bytes += set->list[i].key_len + set->list[i].value_len;
    }
    GIVES(MINIDB_NOTFOUND, minidb_cursor_next(cursor));
    while (i-- > 0) {
        OK(minidb_cursor_prev(cursor));
        at_entry(cursor, &set->list[i]);
    }
    GIVES(MINIDB_NOTFOUND, minidb_cursor_prev(cursor));
    minidb_cursor_close(cursor);
    CHECK(number(db, MINIDB_STAT_COUNT) == set->count);
    CHECK(number(db, MINIDB_STAT_DATA_BYTES) == bytes);
    OK(minidb_check(db));
}

#endif /* CHECK_H */
