/*
 * Calls of which callgrind counts the instructions: each kind in a function of its
 * own, on a database in memory with 100,000 entries (keys of 16 bytes, values of 100),
 * in an order that is fixed and not that of the keys. See tests/instructions.rs.
 */

#include <minidb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES = 100000, CALLS = 20000, KEY = 16, VALUE = 100 };

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);          \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

/* callgrind knows a counted function by its name, so it must stand alone. */
#define COUNTED __attribute__((noinline)) void

COUNTED count_get(minidb_t *db);
COUNTED count_overwrite(minidb_t *db);
COUNTED count_insert(minidb_t *db);
COUNTED count_delete(minidb_t *db);
COUNTED count_next(minidb_cursor_t *cursor);

/* The keys that are there have even numbers, those that come and go odd ones. */
static char keys[ENTRIES + CALLS][KEY + 1];
static const char value[VALUE] = "value";

/* A permutation of 0 to ENTRIES - 1: the factor is prime. */
static uint32_t shuffled(uint32_t n) {
    return (uint32_t)((uint64_t)n * 2654435761u % ENTRIES);
}

static int put(minidb_t *db, const char *key) {
    return minidb_put(db, key, KEY, value, VALUE, NULL, NULL);
}

COUNTED count_get(minidb_t *db) {
    for (uint32_t n = 0; n < CALLS; n++) {
        char *found;
        size_t len;
        CHECK(minidb_get(db, keys[shuffled(n)], KEY, &found, &len) == MINIDB_OK);
        minidb_free(found);
    }
}

COUNTED count_overwrite(minidb_t *db) {
    for (uint32_t n = 0; n < CALLS; n++) CHECK(put(db, keys[shuffled(n + 7)]) == MINIDB_OK);
}

COUNTED count_insert(minidb_t *db) {
    for (uint32_t n = 0; n < CALLS; n++) CHECK(put(db, keys[ENTRIES + n]) == MINIDB_OK);
}

COUNTED count_delete(minidb_t *db) {
    for (uint32_t n = 0; n < CALLS; n++)
        CHECK(minidb_delete(db, keys[ENTRIES + n], KEY, NULL, NULL) == MINIDB_OK);
}

COUNTED count_next(minidb_cursor_t *cursor) {
    for (uint32_t n = 0; n < CALLS; n++) {
        size_t key_len, value_len;
        CHECK(minidb_cursor_next(cursor) == MINIDB_OK);
        CHECK(minidb_cursor_key(cursor, &key_len) && key_len == KEY);
        CHECK(minidb_cursor_value(cursor, &value_len) && value_len == VALUE);
    }
}

int main(void) {
    minidb_t *db;
    minidb_cursor_t *cursor;
    for (uint32_t n = 0; n < ENTRIES; n++)
        snprintf(keys[n], sizeof keys[n], "%016lu", 2ul * n);
    for (uint32_t n = 0; n < CALLS; n++)
        snprintf(keys[ENTRIES + n], sizeof keys[n], "%016lu", 2ul * shuffled(n) + 1);
    CHECK(minidb_open(NULL, 0, &db) == MINIDB_OK);
    for (uint32_t n = 0; n < ENTRIES; n++) CHECK(put(db, keys[shuffled(n)]) == MINIDB_OK);
    count_get(db);
    count_overwrite(db);
    count_insert(db);
    count_delete(db);
    CHECK(minidb_scan(db, NULL, 0, NULL, 0, &cursor) == MINIDB_OK);
    count_next(cursor);
    minidb_cursor_close(cursor);
    minidb_close(db);
    return 0;
}
