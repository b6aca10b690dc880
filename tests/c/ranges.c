/* Ranges: clear, the bounds of scan, prefixes; and compare-and-swap. */
#include "check.h"

/* Bytes of a table; NULL is NULL. */
struct bytes {
    const char *start;
    size_t len;
};

#define BYTES(text) {text, sizeof text - 1}

static const struct bytes keys[] = {
    BYTES(""), BYTES("\0"), BYTES("\0\0"), BYTES("a"), BYTES("a\0"),
    BYTES("ab"), BYTES("abc"), BYTES("a\xff"), BYTES("a\xff\xff"),
    BYTES("a\xff\xff\xff"), BYTES("b"), BYTES("\x7f"), BYTES("\x80"),
    BYTES("\xfe\xff"), BYTES("\xff"), BYTES("\xff\0"), BYTES("\xff\xfe"),
    BYTES("\xff\xff"), BYTES("\xff\xff\xff")
};
static const size_t key_count = sizeof keys / sizeof *keys;

/* Bounds at every key, between, before, after, and none. */
static const struct bytes bounds[] = {
    {NULL, 0}, BYTES(""), BYTES("\0"), BYTES("\0\1"), BYTES("a"), BYTES("aa"),
    BYTES("ab"), BYTES("abd"), BYTES("a\xff"), BYTES("a\xff\xff\xff\xff"),
    BYTES("b"), BYTES("bb"), BYTES("\x80"), BYTES("\xff"), BYTES("\xff\xff"),
    BYTES("\xff\xff\xff"), BYTES("\xff\xff\xff\xff")
};
static const size_t bound_count = sizeof bounds / sizeof *bounds;

static int within(const struct bytes *key, const struct bytes *from,
                  const struct bytes *to)
{
    return (from->start == NULL || order(key->start, key->len, from->start,
                                         from->len) >= 0)
        && (to->start == NULL || order(key->start, key->len, to->start,
                                       to->len) < 0);
}

static int begins_with(const struct bytes *key, const struct bytes *prefix)
{
    return key->len >= prefix->len &&
        (prefix->len == 0 ||
         memcmp(key->start, prefix->start, prefix->len) == 0);
}

static void put_keys(minidb_t *db)
{
    size_t i;

    for (i = 0; i < key_count; i++)
        OK(minidb_put(db, keys[i].start, keys[i].len, "v", 1, NULL, NULL));
}

/* The cursor walks, both ways, just those of the keys that are chosen. */
static void walks(minidb_cursor_t *cursor, const char *chosen)
{
    size_t i;

    for (i = 0; i < key_count; i++)
        if (chosen[i]) {
            struct entry entry = {(char *)keys[i].start, "v", keys[i].len, 1};

            OK(minidb_cursor_next(cursor));
            at_entry(cursor, &entry);
        }
    GIVES(MINIDB_NOTFOUND, minidb_cursor_next(cursor));
    while (i-- > 0)
        if (chosen[i]) {
            struct entry entry = {(char *)keys[i].start, "v", keys[i].len, 1};

            OK(minidb_cursor_prev(cursor));
            at_entry(cursor, &entry);
        }
    GIVES(MINIDB_NOTFOUND, minidb_cursor_prev(cursor));
    minidb_cursor_close(cursor);
}

static void a_range_holds_its_beginning_and_not_its_end(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;

    fill(db, "a=1 b=2 c=3 d=4 e=5");
    OK(minidb_scan(db, "b", 1, "d", 1, &cursor));
    CHECK(strcmp(rest_of(cursor), "b=2 c=3") == 0);
    minidb_cursor_close(cursor);
    OK(minidb_clear(db, "b", 1, "d", 1));
    HOLDS(db, "a=1 d=4 e=5");
    OK(minidb_clear(db, NULL, 0, "d", MINIDB_STR));
    HOLDS(db, "d=4 e=5");
    OK(minidb_clear(db, "dd", MINIDB_STR, NULL, 0));
    HOLDS(db, "d=4");
    OK(minidb_clear(db, NULL, 0, NULL, 0));
    HOLDS(db, "");
    OK(minidb_clear(db, NULL, 0, NULL, 0));
    minidb_close(db);
}

static void scan_walks_what_clear_removes_for_all_bounds(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;
    size_t i, j, k;

    for (i = 0; i < bound_count; i++)
        for (j = 0; j < bound_count; j++) {
            const struct bytes *from = &bounds[i], *to = &bounds[j];
            char chosen[sizeof keys / sizeof *keys];

            for (k = 0; k < key_count; k++)
                chosen[k] = (char)within(&keys[k], from, to);
            put_keys(db);
            OK(minidb_scan(db, from->start, from->len, to->start, to->len,
                           &cursor));
            walks(cursor, chosen);
            OK(minidb_clear(db, from->start, from->len, to->start, to->len));
            for (k = 0; k < key_count; k++)
                chosen[k] = (char)!chosen[k];
            walks(cursor_on(db), chosen);
        }
    minidb_close(db);
}

static void there_is_nothing_from_a_key_to_one_not_after_it(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;

    fill(db, "a=1 b=2 c=3");
    OK(minidb_scan(db, "c", 1, "a", 1, &cursor));
    GIVES(MINIDB_NOTFOUND, minidb_cursor_first(cursor));
    GIVES(MINIDB_NOTFOUND, minidb_cursor_last(cursor));
    GIVES(MINIDB_NOTFOUND, minidb_cursor_next(cursor));
    GIVES(MINIDB_NOTFOUND, minidb_cursor_prev(cursor));
    GIVES(MINIDB_NOTFOUND, minidb_cursor_seek(cursor, "b", 1));
    CHECK(minidb_cursor_key(cursor, NULL) == NULL);
    minidb_cursor_close(cursor);
    OK(minidb_clear(db, "c", 1, "a", 1));
    OK(minidb_clear(db, "b", 1, "b", 1));
    OK(minidb_clear(db, "", 0, "", 0));
    OK(minidb_clear(db, NULL, 0, "", 0));
    HOLDS(db, "a=1 b=2 c=3");
    minidb_close(db);
}

static void a_prefix_chooses_the_keys_that_begin_with_it(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;
    size_t i, k;

    put_keys(db);
    for (i = 0; i < bound_count + key_count; i++) {
        const struct bytes *prefix =
            i < bound_count ? &bounds[i] : &keys[i - bound_count];
        char chosen[sizeof keys / sizeof *keys];

        for (k = 0; k < key_count; k++)
            chosen[k] = (char)begins_with(&keys[k], prefix);
        OK(minidb_scan_prefix(db, prefix->start, prefix->len, &cursor));
        walks(cursor, chosen);
    }
    OK(minidb_scan_prefix(db, "ab", MINIDB_STR, &cursor));
    CHECK(strcmp(rest_of(cursor), "ab=v abc=v") == 0);
    minidb_cursor_close(cursor);
    minidb_close(db);
}

static void bounds_are_copied(void)
{
    minidb_t *db = database();
    minidb_cursor_t *range, *prefix;
    char from[] = "b", to[] = "d", begin[] = "c";

    fill(db, "a=1 b=2 c=3 cc=4 d=5");
    OK(minidb_scan(db, from, 1, to, 1, &range));
    OK(minidb_scan_prefix(db, begin, 1, &prefix));
    from[0] = to[0] = begin[0] = 'a';
    CHECK(strcmp(rest_of(range), "b=2 c=3 cc=4") == 0);
    CHECK(strcmp(rest_of(prefix), "c=3 cc=4") == 0);
    minidb_cursor_close(range);
    minidb_cursor_close(prefix);
    minidb_close(db);
}

/* A key of the set, or one near to it, so that clears are of any size. */
static size_t any_key(char *key)
{
    return (size_t)sprintf(key, "%05u%s", (unsigned)below(20000),
                           below(2) ? "" : "x");
}

static void any_range_can_be_cleared_from_many_keys(void)
{
    minidb_t *db = database();
    struct entries set = {0};
    char from[32], to[32];
    size_t from_len, to_len, i;
    int round;

    for (round = 0; round < 60; round++) {
        for (i = set.count; i < 2000; i++) {
            from_len = any_key(from);
            add(&set, from, from_len, "value", below(6));
            OK(minidb_put(db, from, from_len, "value",
                          find(&set, from, from_len)->value_len, NULL, NULL));
        }
        from_len = any_key(from);
        to_len = any_key(to);
        OK(minidb_clear(db, from, from_len, to, to_len));
        cut(&set, place_of(&set, from, from_len), place_of(&set, to, to_len));
        if (round % 6 == 0)
            holds_all(db, &set);
    }
    OK(minidb_clear(db, to, to_len, NULL, 0));
    cut(&set, place_of(&set, to, to_len), set.count);
    holds_all(db, &set);
    OK(minidb_clear(db, NULL, 0, NULL, 0));
    HOLDS(db, "");
    discard(&set);
    minidb_close(db);
}

/* Values for cas, where NULL is none. */
static const struct bytes values[] = {
    {NULL, 0}, BYTES(""), BYTES("x"), BYTES("y"), BYTES("xx"), BYTES("x\0")
};
static const size_t value_count = sizeof values / sizeof *values;

static int equal(const struct bytes *a, const struct bytes *b)
{
    return (a->start == NULL) == (b->start == NULL) && a->len == b->len &&
        (a->len == 0 || memcmp(a->start, b->start, a->len) == 0);
}

static void set_to(minidb_t *db, const struct bytes *value)
{
    if (value->start != NULL)
        OK(minidb_put(db, "k", 1, value->start, value->len, NULL, NULL));
    else
        minidb_delete(db, "k", 1, NULL, NULL);
}

static void is_now(const minidb_t *db, const struct bytes *value)
{
    struct bytes now;
    char *copy;
    int code = minidb_get(db, "k", 1, &copy, &now.len);

    CHECK(code == (value->start ? MINIDB_OK : MINIDB_NOTFOUND));
    now.start = copy;
    CHECK(equal(&now, value));
    minidb_free(copy);
}

static void cas_swaps_just_if_the_value_is_the_expected_one(void)
{
    minidb_t *db = database();
    size_t i, j, k;

    fill(db, "j=x l=y");
    for (i = 0; i < value_count; i++)
        for (j = 0; j < value_count; j++)
            for (k = 0; k < value_count; k++) {
                const struct bytes *expected = &values[j];
                const struct bytes *desired = &values[k];
                int swaps = equal(&values[i], expected);

                set_to(db, &values[i]);
                GIVES(swaps ? MINIDB_OK : MINIDB_CONFLICT,
                      minidb_cas(db, "k", 1, expected->start, expected->len,
                                 desired->start, desired->len));
                is_now(db, swaps ? desired : &values[i]);
            }
    OK(minidb_clear(db, "k", 1, "l", 1));
    HOLDS(db, "j=x l=y");
    minidb_close(db);
}

static void cas_works_on_the_empty_key_and_long_values(void)
{
    static char one[10000], other[10000];
    minidb_t *db = database();

    other[9999] = 1;
    OK(minidb_cas(db, NULL, 0, NULL, 0, one, sizeof one));
    GIVES(MINIDB_CONFLICT, minidb_cas(db, "", 0, NULL, 0, "x", 1));
    GIVES(MINIDB_CONFLICT,
          minidb_cas(db, "", 0, other, sizeof other, "x", 1));
    GIVES(MINIDB_CONFLICT,
          minidb_cas(db, "", 0, one, sizeof one - 1, "x", 1));
    OK(minidb_cas(db, "", 0, one, sizeof one, other, sizeof other));
    OK(minidb_cas(db, "", 0, other, sizeof other, NULL, 0));
    HOLDS(db, "");
    minidb_close(db);
}

int main(void)
{
    RUN(a_range_holds_its_beginning_and_not_its_end);
    RUN(scan_walks_what_clear_removes_for_all_bounds);
    RUN(there_is_nothing_from_a_key_to_one_not_after_it);
    RUN(a_prefix_chooses_the_keys_that_begin_with_it);
    RUN(bounds_are_copied);
    RUN(any_range_can_be_cleared_from_many_keys);
    RUN(cas_swaps_just_if_the_value_is_the_expected_one);
    RUN(cas_works_on_the_empty_key_and_long_values);
    return passed("ranges");
}
