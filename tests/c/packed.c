/* Packed entries: minidb_cursor_read fills them, minidb_write puts them. */
#include "check.h"

enum { HEADER = 8 };

/* A packed buffer, made by hand. */
struct packed {
    char bytes[4096];
    size_t size;
};

static void pack(struct packed *packed, const char *key, size_t key_len,
                 const char *value, size_t value_len)
{
    const uint32_t lens[2] = {(uint32_t)key_len, (uint32_t)value_len};
    char *end = packed->bytes + packed->size;

    packed->size += HEADER + key_len + value_len;
    CHECK(packed->size <= sizeof packed->bytes);
    memcpy(end, lens, HEADER);
    memcpy(end + HEADER, key, key_len);
    memcpy(end + HEADER + key_len, value, value_len);
}

/* Five entries of all shapes. */
static void pack_five(struct packed *packed)
{
    packed->size = 0;
    pack(packed, "", 0, "0", 1);
    pack(packed, "a", 1, "", 0);
    pack(packed, "a\0b", 3, "x\0y", 3);
    pack(packed, "b", 1, "a longer value", 14);
    pack(packed, "\xff", 1, "\xff\xff", 2);
}

#define FIVE "=0 a= a\\x00b=x\\x00y b=a\\x20longer\\x20value \\xff=\\xff\\xff"

/* The size of the entry at `at`, 0 at the end. */
static size_t entry_size(const struct packed *packed, size_t at)
{
    uint32_t lens[2];

    if (at == packed->size)
        return 0;
    memcpy(lens, packed->bytes + at, HEADER);
    return HEADER + lens[0] + lens[1];
}

static int is_boundary(const struct packed *packed, size_t at)
{
    size_t boundary = 0;

    while (boundary < at)
        boundary += entry_size(packed, boundary);
    return boundary == at;
}

static void entries_are_laid_out_as_promised(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;
    struct packed packed;
    char buffer[sizeof packed.bytes];
    size_t used;

    pack_five(&packed);
    OK(minidb_write(db, packed.bytes, packed.size));
    HOLDS(db, FIVE);
    memset(buffer, '-', sizeof buffer);
    cursor = cursor_on(db);
    OK(minidb_cursor_read(cursor, buffer, sizeof buffer, &used));
    CHECK(used == packed.size);
    CHECK(memcmp(buffer, packed.bytes, used) == 0);
    CHECK(buffer[used] == '-');
    minidb_cursor_close(cursor);
    minidb_close(db);
}

/* Reads with buffers of `size` at most, growing them when it must. */
static void read_all(minidb_cursor_t *cursor, const struct packed *packed,
                     size_t size)
{
    char *buffer = malloc(packed->size);
    size_t at = 0, used = 0, key_len;
    int code;

    CHECK(buffer != NULL);
    memset(buffer, '-', packed->size);
    while ((code = minidb_cursor_read(cursor, buffer, size, &used)) == 0) {
        size_t next = entry_size(packed, at);

        if (used > size) { /* not one fits: the cursor has stayed */
            CHECK(used == next);
            CHECK((minidb_cursor_key(cursor, NULL) == NULL) == (at == 0));
            OK(minidb_cursor_read(cursor, buffer, next, &used));
            CHECK(used == next);
        }
        CHECK(memcmp(buffer, packed->bytes + at, used) == 0);
        at += used;
        CHECK(is_boundary(packed, at));
        next = entry_size(packed, at);
        CHECK(next == 0 || used + next > size);
        CHECK(minidb_cursor_key(cursor, &key_len) != NULL);
        CHECK(minidb_cursor_value(cursor, NULL) != NULL);
        memset(buffer, '-', packed->size);
    }
    GIVES(MINIDB_NOTFOUND, code);
    CHECK(used == 0 && at == packed->size);
    CHECK(minidb_cursor_key(cursor, NULL) == NULL);
    CHECK(buffer[0] == '-');
    NO_RESULT(MINIDB_NOTFOUND,
              minidb_cursor_read(cursor, buffer, size, &out.len));
    OK(minidb_cursor_prev(cursor));
    CHECK(strcmp(minidb_cursor_key(cursor, NULL), "\xff") == 0);
    free(buffer);
}

static void as_many_entries_are_read_as_fit_whatever_the_size(void)
{
    minidb_t *db = database();
    struct packed packed;
    size_t size;

    pack_five(&packed);
    OK(minidb_write(db, packed.bytes, packed.size));
    for (size = 1; size <= packed.size; size++) {
        minidb_cursor_t *cursor = cursor_on(db);

        read_all(cursor, &packed, size);
        minidb_cursor_close(cursor);
    }
    minidb_close(db);
}

static void a_buffer_that_is_too_small_is_left_as_it_was(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;
    char buffer[16] = "---------------";
    size_t size, used;

    fill(db, "a=1 key=value");
    cursor = cursor_on(db);
    OK(minidb_cursor_next(cursor));
    for (size = 0; size < 16; size++) {
        used = 0;
        OK(minidb_cursor_read(cursor, buffer, size, &used));
        CHECK(used == HEADER + 3 + 5);
        CHECK(strcmp(buffer, "---------------") == 0);
        CHECK(strcmp(minidb_cursor_key(cursor, NULL), "a") == 0);
    }
    OK(minidb_cursor_read(cursor, NULL, 0, &used));
    CHECK(used == 16);
    OK(minidb_cursor_read(cursor, buffer, 16, &used));
    CHECK(used == 16 && memcmp(buffer + HEADER, "keyvalue", 8) == 0);
    CHECK(strcmp(minidb_cursor_key(cursor, NULL), "key") == 0);
    NO_RESULT(MINIDB_NOTFOUND, minidb_cursor_read(cursor, NULL, 0, &out.len));
    minidb_cursor_close(cursor);
    minidb_close(db);
}

/* What is read from here begins with this key; "" for nothing. */
static void reads_from(minidb_cursor_t *cursor, const char *key)
{
    char buffer[16];
    size_t used;

    if (*key == '\0') {
        NO_RESULT(MINIDB_NOTFOUND,
                  minidb_cursor_read(cursor, buffer, 10, &out.len));
        return;
    }
    OK(minidb_cursor_read(cursor, buffer, 10, &used));
    CHECK(used == 10 && buffer[HEADER] == *key);
    CHECK(strcmp(minidb_cursor_key(cursor, NULL), key) == 0);
}

static void reading_begins_after_the_cursors_entry(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;

    fill(db, "a=1 b=2 c=3 d=4 e=5");
    OK(minidb_scan(db, "b", 1, "e", 1, &cursor));
    reads_from(cursor, "b");
    reads_from(cursor, "c");
    OK(minidb_cursor_seek(cursor, "bb", 2));
    reads_from(cursor, "d");
    reads_from(cursor, "");
    OK(minidb_cursor_prev(cursor));
    reads_from(cursor, "");
    OK(minidb_cursor_first(cursor));
    reads_from(cursor, "c");
    OK(minidb_cursor_prev(cursor));
    GIVES(MINIDB_NOTFOUND, minidb_cursor_prev(cursor));
    reads_from(cursor, "b");
    GIVES(MINIDB_NOTFOUND, minidb_cursor_seek(cursor, "e", 1));
    reads_from(cursor, "");
    minidb_cursor_close(cursor);
    OK(minidb_scan(db, "c", 1, "b", 1, &cursor));
    reads_from(cursor, "");
    minidb_cursor_close(cursor);
    minidb_close(db);
}

static void what_is_read_can_be_written_at_any_size(void)
{
    minidb_t *db = database();
    struct entries set = {0};
    char key[32], value[300] = "", *buffer;
    size_t size, used;
    int i;

    for (i = 0; i < 3000; i++) {
        size_t key_len = (size_t)sprintf(key, "%u", (unsigned)any_number());

        value[below(sizeof value)] = (char)any_number();
        used = below(sizeof value);
        add(&set, key, key_len, value, used);
        OK(minidb_put(db, key, key_len, value, used, NULL, NULL));
    }
    for (size = 400; size < 1000000; size = size * 7 + 1) {
        minidb_t *copy = database();
        minidb_cursor_t *cursor = cursor_on(db);

        buffer = malloc(size + 1); /* at an odd address: nothing is aligned */
        CHECK(buffer != NULL);
        while (minidb_cursor_read(cursor, buffer + 1, size, &used) == 0) {
            CHECK(used > 0 && used <= size);
            OK(minidb_write(copy, buffer + 1, used));
        }
        holds_all(copy, &set);
        free(buffer);
        minidb_cursor_close(cursor);
        minidb_close(copy);
    }
    discard(&set);
    minidb_close(db);
}

static void a_cut_buffer_is_refused_and_nothing_applied(void)
{
    minidb_t *db = database();
    struct packed packed;
    size_t size;

    pack_five(&packed);
    for (size = 0; size <= packed.size; size++) {
        char *exact = copy_of(packed.bytes, size);

        OK(minidb_clear(db, NULL, 0, NULL, 0));
        fill(db, "a=old z=");
        if (is_boundary(&packed, size)) {
            OK(minidb_write(db, exact, size));
        } else {
            GIVES(MINIDB_INVALID, minidb_write(db, exact, size));
            HOLDS(db, "a=old z=");
        }
        free(exact);
    }
    OK(minidb_delete(db, "z", 1, NULL, NULL));
    HOLDS(db, FIVE);
    minidb_close(db);
}

static void lengths_that_do_not_fit_the_buffer_are_refused(void)
{
    static const uint32_t lens[][2] = {
        {0, 0}, {2, 0}, {0, 2}, {1, 1}, {100, 0}, {0, 100}, {INT32_MAX, 0},
        {0, INT32_MAX}, {INT32_MAX, INT32_MAX}, {UINT32_MAX, 0},
        {0, UINT32_MAX}, {UINT32_MAX, UINT32_MAX}, {UINT32_MAX, 2},
        {2, UINT32_MAX}, {UINT32_MAX - 8, 1}, {1, UINT32_MAX - 8},
        {(uint32_t)INT32_MAX + 1, (uint32_t)INT32_MAX + 1},
        {(uint32_t)INT32_MAX + 1, (uint32_t)INT32_MAX + 2}
    };
    minidb_t *db = database();
    size_t i;

    fill(db, "k=v");
    for (i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct packed packed = {{0}, 0};

        pack(&packed, "good", 4, "entry", 5);
        pack(&packed, "x", 1, "", 0);
        memcpy(packed.bytes + packed.size - 9, lens[i], HEADER);
        GIVES(MINIDB_INVALID, minidb_write(db, packed.bytes, packed.size));
        HOLDS(db, "k=v");
    }
    minidb_close(db);
}

static void any_byte_changed_is_refused_or_whole_entries(void)
{
    minidb_t *db = database();
    struct packed packed;
    int i, code;

    for (i = 0; i < 2000; i++) {
        pack_five(&packed);
        packed.bytes[below(packed.size)] = (char)any_number();
        code = minidb_write(db, packed.bytes, packed.size);
        CHECK(code == MINIDB_OK || code == MINIDB_INVALID);
        if (code == MINIDB_INVALID)
            HOLDS(db, "");
        OK(minidb_clear(db, NULL, 0, NULL, 0));
    }
    minidb_close(db);
}

static void entries_are_put_in_the_buffers_order(void)
{
    minidb_t *db = database();
    struct packed packed = {{0}, 0};

    fill(db, "a=old");
    pack(&packed, "c", 1, "first", 5);
    pack(&packed, "a", 1, "1", 1);
    pack(&packed, "c", 1, "", 0);
    pack(&packed, "b", 1, "2", 1);
    pack(&packed, "c", 1, "last", 4);
    OK(minidb_write(db, packed.bytes, packed.size));
    HOLDS(db, "a=1 b=2 c=last");
    CHECK(number(db, MINIDB_STAT_COUNT) == 3);
    CHECK(number(db, MINIDB_STAT_DATA_BYTES) == 3 + 6);
    minidb_close(db);
}

static void a_write_is_one_commit_and_copies_its_buffer(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor = cursor_on(db);
    uint64_t commits = number(db, MINIDB_STAT_COMMITS);
    struct packed packed;

    pack_five(&packed);
    OK(minidb_write(db, packed.bytes, packed.size));
    memset(packed.bytes, 'x', packed.size);
    CHECK(number(db, MINIDB_STAT_COMMITS) == commits + 1);
    HOLDS(db, FIVE);
    CHECK(strcmp(rest_of(cursor), "") == 0);
    minidb_cursor_close(cursor);
    minidb_close(db);
}

static void an_empty_buffer_writes_nothing(void)
{
    minidb_t *db = database();

    fill(db, "k=v");
    OK(minidb_write(db, NULL, 0));
    OK(minidb_write(db, "x", 0));
    HOLDS(db, "k=v");
    minidb_close(db);
}

static void a_read_that_does_not_fit_leaves_what_is_borrowed(void)
{
    enum { LEN = 100000 };
    minidb_t *db = database();
    minidb_cursor_t *cursor;
    char *long_key = calloc(LEN, 1);
    const char *key;
    size_t used;

    CHECK(long_key != NULL);
    memset(long_key, 'b', LEN);
    fill(db, "a=1");
    OK(minidb_put(db, long_key, LEN, "2", 1, NULL, NULL));
    cursor = cursor_on(db);
    OK(minidb_cursor_next(cursor));
    key = minidb_cursor_key(cursor, NULL);
    OK(minidb_cursor_read(cursor, NULL, 0, &used));
    CHECK(used == 8 + LEN + 1);
    CHECK(strcmp(key, "a") == 0 && minidb_cursor_key(cursor, NULL) == key);
    minidb_cursor_close(cursor);
    minidb_close(db);
    free(long_key);
}

int main(void)
{
    RUN(a_read_that_does_not_fit_leaves_what_is_borrowed);
    RUN(entries_are_laid_out_as_promised);
    RUN(as_many_entries_are_read_as_fit_whatever_the_size);
    RUN(a_buffer_that_is_too_small_is_left_as_it_was);
    RUN(reading_begins_after_the_cursors_entry);
    RUN(what_is_read_can_be_written_at_any_size);
    RUN(a_cut_buffer_is_refused_and_nothing_applied);
    RUN(lengths_that_do_not_fit_the_buffer_are_refused);
    RUN(any_byte_changed_is_refused_or_whole_entries);
    RUN(entries_are_put_in_the_buffers_order);
    RUN(a_write_is_one_commit_and_copies_its_buffer);
    RUN(an_empty_buffer_writes_nothing);
    return passed("packed");
}
