/* Arguments: NULL and impossible lengths, for every parameter there is. */
#include "check.h"

/* Reading a byte from here ends the program. */
#define UNREADABLE ((const void *)(uintptr_t)16)

static void null_is_refused_as_a_handle(void)
{
    refused_as_view(NULL);
    refused_as_cursor(NULL);
    minidb_close(NULL);
    minidb_cursor_close(NULL);
}

static void a_handle_must_be_wanted(void)
{
    minidb_t *db = database();

    GIVES(MINIDB_INVALID, minidb_open(NULL, 0, NULL));
    GIVES(MINIDB_INVALID, minidb_open(":memory:", 0, NULL));
    GIVES(MINIDB_INVALID, minidb_snapshot(db, NULL));
    GIVES(MINIDB_INVALID, minidb_begin(db, NULL));
    GIVES(MINIDB_INVALID, minidb_scan(db, NULL, 0, NULL, 0, NULL));
    GIVES(MINIDB_INVALID, minidb_scan_prefix(db, NULL, 0, NULL));
    CHECK(number(db, MINIDB_STAT_HANDLES) == 1);
    minidb_close(db);
}

/* Bytes that are not valid are refused wherever bytes are passed. */
static void refused_as_bytes(minidb_t *db, const void *bytes, size_t len)
{
    minidb_cursor_t *cursor = cursor_on(db);
    char buffer[8];

    NO_RESULT(MINIDB_INVALID, minidb_get(db, bytes, len, &out.bytes, &out.len));
    NO_RESULT(MINIDB_INVALID,
              minidb_get_into(db, bytes, len, buffer, 8, &out.len));
    NO_RESULT(MINIDB_INVALID,
              minidb_put(db, bytes, len, "v", 1, &out.bytes, &out.len));
    NO_RESULT(MINIDB_INVALID,
              minidb_put(db, "b", 1, bytes, len, &out.bytes, &out.len));
    NO_RESULT(MINIDB_INVALID,
              minidb_delete(db, bytes, len, &out.bytes, &out.len));
    NO_RESULT(MINIDB_INVALID, minidb_clear(db, bytes, len, NULL, 0));
    NO_RESULT(MINIDB_INVALID, minidb_clear(db, NULL, 0, bytes, len));
    NO_RESULT(MINIDB_INVALID, minidb_cas(db, bytes, len, NULL, 0, "v", 1));
    NO_RESULT(MINIDB_INVALID, minidb_cas(db, "b", 1, bytes, len, "v", 1));
    NO_RESULT(MINIDB_INVALID, minidb_cas(db, "b", 1, "2", 1, bytes, len));
    NO_RESULT(MINIDB_INVALID,
              minidb_scan(db, bytes, len, NULL, 0, &out.cursor));
    NO_RESULT(MINIDB_INVALID,
              minidb_scan(db, NULL, 0, bytes, len, &out.cursor));
    NO_RESULT(MINIDB_INVALID, minidb_scan_prefix(db, bytes, len, &out.cursor));
    NO_RESULT(MINIDB_INVALID, minidb_cursor_seek(cursor, bytes, len));
    NO_RESULT(MINIDB_INVALID, minidb_each(db, bytes, len, never_visit, NULL));
    minidb_cursor_close(cursor);
    HOLDS(db, "a=1 b=2 c=3");
    CHECK(number(db, MINIDB_STAT_HANDLES) == 1);
}

static void null_with_a_length_is_refused(void)
{
    static const size_t lengths[] = {
        1, 5, MINIDB_MAX_LEN, TOO_LONG, SIZE_MAX / 2, SIZE_MAX - 1, MINIDB_STR
    };
    minidb_t *db = database();
    size_t i;

    fill(db, "a=1 b=2 c=3");
    for (i = 0; i < sizeof lengths / sizeof *lengths; i++)
        refused_as_bytes(db, NULL, lengths[i]);
    minidb_close(db);
}

static void a_length_over_the_limit_is_refused_unread(void)
{
    static const size_t lengths[] = {
        TOO_LONG, TOO_LONG + 1, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX - 1
    };
    minidb_t *db = database();
    size_t i;

    fill(db, "a=1 b=2 c=3");
    for (i = 0; i < sizeof lengths / sizeof *lengths; i++)
        if (lengths[i] > MINIDB_MAX_LEN) /* where size_t has 32 bits, one is not */
            refused_as_bytes(db, UNREADABLE, lengths[i]);
    minidb_close(db);
}

static void null_with_length_0_is_the_empty_string(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;
    char buffer[8];

    fill(db, "a=1");
    OK(minidb_put(db, NULL, 0, NULL, 0, NULL, NULL));
    HOLDS(db, "= a=1");
    OK(minidb_put(db, NULL, 0, "x", 1, NULL, &out.len));
    CHECK(out.len == 0);
    OK(minidb_get(db, NULL, 0, NULL, &out.len));
    CHECK(out.len == 1);
    OK(minidb_get_into(db, NULL, 0, buffer, 8, &out.len));
    CHECK(out.len == 1 && buffer[0] == 'x');
    OK(minidb_cas(db, NULL, 0, "x", 1, "y", 1));
    HOLDS(db, "=y a=1");
    OK(minidb_scan_prefix(db, NULL, 0, &cursor));
    CHECK(strcmp(rest_of(cursor), "=y a=1") == 0);
    OK(minidb_cursor_seek(cursor, NULL, 0));
    CHECK(minidb_cursor_key(cursor, &out.len) != NULL && out.len == 0);
    minidb_cursor_close(cursor);
    OK(minidb_delete(db, NULL, 0, NULL, NULL));
    HOLDS(db, "a=1");
    OK(minidb_write(db, NULL, 0));
    HOLDS(db, "a=1");
    minidb_close(db);
}

static void zero_bytes_are_not_read(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;
    const void *none = UNREADABLE;

    OK(minidb_put(db, none, 0, none, 0, NULL, NULL));
    OK(minidb_get(db, none, 0, NULL, NULL));
    OK(minidb_get_into(db, none, 0, (void *)(uintptr_t)16, 0, NULL));
    OK(minidb_cas(db, none, 0, none, 0, none, 0));
    OK(minidb_write(db, none, 0));
    OK(minidb_scan(db, none, 0, none, 0, &cursor));
    GIVES(MINIDB_NOTFOUND, minidb_cursor_seek(cursor, none, 0));
    minidb_cursor_close(cursor);
    HOLDS(db, "=");
    OK(minidb_clear(db, none, 0, none, 0));
    HOLDS(db, "=");
    OK(minidb_delete(db, none, 0, NULL, NULL));
    HOLDS(db, "");
    OK(minidb_each(db, none, 0, never_visit, NULL));
    minidb_close(db);
}

static void a_buffer_may_be_null_only_with_size_0(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;

    fill(db, "k=value");
    cursor = cursor_on(db);
    NO_RESULT(MINIDB_INVALID, minidb_get_into(db, "k", 1, NULL, 5, &out.len));
    NO_RESULT(MINIDB_INVALID, minidb_cursor_read(cursor, NULL, 5, &out.len));
    NO_RESULT(MINIDB_INVALID, minidb_write(db, NULL, 5));
    NO_RESULT(MINIDB_INVALID, minidb_write(db, NULL, MINIDB_STR));
    OK(minidb_get_into(db, "k", 1, NULL, 0, &out.len));
    CHECK(out.len == 5);
    OK(minidb_cursor_read(cursor, NULL, 0, &out.len));
    CHECK(out.len == 8 + 6);
    minidb_cursor_close(cursor);
    HOLDS(db, "k=value");
    minidb_close(db);
}

static void a_result_need_not_be_wanted(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;
    char buffer[32];

    OK(minidb_put(db, "k", 1, "v", 1, NULL, NULL));
    OK(minidb_put(db, "k", 1, "v", 1, NULL, NULL));
    OK(minidb_get(db, "k", 1, NULL, NULL));
    OK(minidb_get_into(db, "k", 1, buffer, sizeof buffer, NULL));
    CHECK(buffer[0] == 'v');
    OK(minidb_stat(db, MINIDB_STAT_COUNT, NULL));
    cursor = cursor_on(db);
    OK(minidb_cursor_read(cursor, buffer, sizeof buffer, NULL));
    CHECK(buffer[8] == 'k' && buffer[9] == 'v');
    CHECK(strcmp(minidb_cursor_key(cursor, NULL), "k") == 0);
    CHECK(strcmp(minidb_cursor_value(cursor, NULL), "v") == 0);
    minidb_cursor_close(cursor);
    OK(minidb_delete(db, "k", 1, NULL, NULL));
    GIVES(MINIDB_NOTFOUND, minidb_delete(db, "k", 1, NULL, NULL));
    GIVES(MINIDB_NOTFOUND, minidb_get_into(db, "k", 1, buffer, 8, NULL));
    minidb_close(db);
}

static void a_result_is_set_alone_as_well(void)
{
    minidb_t *db = database();

    fill(db, "k=value");
    out = check_garbage;
    OK(minidb_get(db, "k", 1, &out.bytes, NULL));
    CHECK(strcmp(out.bytes, "value") == 0);
    minidb_free(out.bytes);
    NO_RESULT(MINIDB_NOTFOUND, minidb_get(db, "x", 1, &out.bytes, NULL));
    NO_RESULT(MINIDB_NOTFOUND, minidb_delete(db, "x", 1, &out.bytes, NULL));
    NO_RESULT(MINIDB_NOTFOUND, minidb_delete(db, "x", 1, NULL, &out.len));
    NO_RESULT(MINIDB_OK, minidb_put(db, "x", 1, "", 0, &out.bytes, NULL));
    NO_RESULT(MINIDB_OK, minidb_put(db, "y", 1, "", 0, NULL, &out.len));
    minidb_close(db);
}

static void a_function_and_a_path_are_needed(void)
{
    minidb_t *db = database();

    NO_RESULT(MINIDB_INVALID, minidb_each(db, NULL, 0, NULL, NULL));
    NO_RESULT(MINIDB_INVALID, minidb_backup(db, NULL));
    minidb_close(db);
}

static void in_memory_no_flag_but_nosync_is_valid(void)
{
    static const char *const paths[] = {NULL, ":memory:"};
    size_t i;
    int bit;

    for (i = 0; i < 2; i++) {
        const char *path = paths[i];

        for (bit = 0; bit < 32; bit++) {
            const uint32_t flag = (uint32_t)1 << bit;

            if (flag == MINIDB_OPEN_NOSYNC)
                continue;
            NO_RESULT(MINIDB_INVALID, minidb_open(path, flag, &out.view));
            NO_RESULT(MINIDB_INVALID,
                      minidb_open(path, flag | MINIDB_OPEN_NOSYNC, &out.view));
        }
        NO_RESULT(MINIDB_INVALID, minidb_open(path, UINT32_MAX, &out.view));
        OK(minidb_open(path, MINIDB_OPEN_NOSYNC, &out.view));
        fill(out.view, "k=v");
        HOLDS(out.view, "k=v");
        minidb_close(out.view);
    }
}

static void unknown_and_contradicting_flags_are_refused(void)
{
    static const uint32_t flags[] = {
        16, UINT32_MAX, MINIDB_OPEN_NEW | MINIDB_OPEN_EXISTING,
        MINIDB_OPEN_NEW | MINIDB_OPEN_READONLY,
        MINIDB_OPEN_NEW | MINIDB_OPEN_READONLY | MINIDB_OPEN_EXISTING
    };
    size_t i;

    for (i = 0; i < sizeof flags / sizeof *flags; i++)
        NO_RESULT(MINIDB_INVALID,
                  minidb_open("refused.minidb", flags[i], &out.view));
    CHECK(fopen("refused.minidb", "rb") == NULL);
}

static void a_memory_database_is_new_each_time(void)
{
    minidb_t *one, *other;

    OK(minidb_open(":memory:", 0, &one));
    OK(minidb_open(":memory:", 0, &other));
    fill(one, "k=v");
    HOLDS(one, "k=v");
    HOLDS(other, "");
    CHECK(fopen(":memory:", "rb") == NULL);
    minidb_close(one);
    minidb_close(other);
}

static void an_out_parameter_may_be_part_of_an_argument(void)
{
    minidb_t *db = database();
    size_t n = 42, len, got = 0;

    OK(minidb_put(db, "n", 1, &n, sizeof n, NULL, &n));
    CHECK(n == 0);
    OK(minidb_get_into(db, "n", 1, &got, sizeof got, &len));
    CHECK(got == 42 && len == sizeof got);
    OK(minidb_put(db, &got, sizeof got, "v", 1, NULL, NULL));
    OK(minidb_get(db, &got, sizeof got, NULL, &got));
    CHECK(got == 1);
    minidb_close(db);
}

int main(void)
{
    RUN(an_out_parameter_may_be_part_of_an_argument);
    RUN(null_is_refused_as_a_handle);
    RUN(a_handle_must_be_wanted);
    RUN(null_with_a_length_is_refused);
    RUN(a_length_over_the_limit_is_refused_unread);
    RUN(null_with_length_0_is_the_empty_string);
    RUN(zero_bytes_are_not_read);
    RUN(a_buffer_may_be_null_only_with_size_0);
    RUN(a_result_need_not_be_wanted);
    RUN(a_result_is_set_alone_as_well);
    RUN(a_function_and_a_path_are_needed);
    RUN(in_memory_no_flag_but_nosync_is_valid);
    RUN(unknown_and_contradicting_flags_are_refused);
    RUN(a_memory_database_is_new_each_time);
    return passed("arguments");
}
