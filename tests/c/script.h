/*
 * What a view is to do, as text, so that a table can say it:
 *
 *     act(txn, "get b; put c; up a z 2");
 *
 * A dash is NULL as a bound and empty as a prefix. Values are one byte: those
 * at the beginning are "1", those written "2". Each command must be done, or
 * answer that something is not there, or not equal.
 */
#ifndef SCRIPT_H
#define SCRIPT_H

#include "check.h"

static inline size_t bound(const char **text)
{
    size_t len = strlen(*text);

    if (strcmp(*text, "-") != 0)
        return len;
    *text = NULL;
    return 0;
}

static inline int count_visits(void *ctx, const char *key, size_t key_len,
                               const char *value, size_t value_len)
{
    int *left = ctx;

    (void)key, (void)key_len, (void)value, (void)value_len;
    return --*left == 0;
}

static inline void act_on_key(minidb_t *view, const char *act, const char *key)
{
    size_t len = strlen(key);
    char entry[64], *bytes = NULL;

    if (strcmp(act, "get") == 0)
        check_code = minidb_get(view, key, len, &bytes, NULL);
    else if (strcmp(act, "ask") == 0)
        check_code = minidb_get(view, key, len, NULL, NULL);
    else if (strcmp(act, "get_into") == 0)
        check_code = minidb_get_into(view, key, len, entry, 1, NULL);
    else if (strcmp(act, "put") == 0)
        check_code = minidb_put(view, key, len, "2", 1, NULL, NULL);
    else if (strcmp(act, "put_same") == 0)
        check_code = minidb_put(view, key, len, "1", 1, NULL, NULL);
    else if (strcmp(act, "put_old") == 0)
        check_code = minidb_put(view, key, len, "2", 1, &bytes, NULL);
    else if (strcmp(act, "put_len") == 0)
        check_code = minidb_put(view, key, len, "2", 1, NULL, &out.len);
    else if (strcmp(act, "delete") == 0)
        check_code = minidb_delete(view, key, len, NULL, NULL);
    else if (strcmp(act, "delete_old") == 0)
        check_code = minidb_delete(view, key, len, &bytes, NULL);
    else if (strcmp(act, "delete_len") == 0)
        check_code = minidb_delete(view, key, len, NULL, &out.len);
    else if (strcmp(act, "cas") == 0)
        check_code = minidb_cas(view, key, len, "1", 1, "2", 1);
    else if (strcmp(act, "cas_wrong") == 0)
        check_code = minidb_cas(view, key, len, "wrong", 5, "2", 1);
    else if (strcmp(act, "cas_absent") == 0)
        check_code = minidb_cas(view, key, len, NULL, 0, "2", 1);
    else if (strcmp(act, "cas_away") == 0)
        check_code = minidb_cas(view, key, len, "1", 1, NULL, 0);
    else if (strcmp(act, "write") == 0) {
        uint32_t lens[2];

        lens[0] = (uint32_t)len, lens[1] = 1;
        memcpy(entry, lens, 8);
        memcpy(entry + 8, key, len);
        entry[8 + len] = '2';
        check_code = minidb_write(view, entry, 9 + len);
    } else
        CHECK(!"a command for a key");
    CHECK(check_code >= 0);
    minidb_free(bytes);
}

/* Moves a cursor on a range `count` times, or until it is at an end. */
static inline void act_walk(minidb_t *view, const char *act, const char *from,
                            const char *to, const char *start, int count)
{
    size_t from_len = bound(&from), to_len = bound(&to), used;
    minidb_cursor_t *cursor;
    char buffer[256];

    OK(minidb_scan(view, from, from_len, to, to_len, &cursor));
    if (strcmp(act, "seek") == 0)
        check_code = minidb_cursor_seek(cursor, start, MINIDB_STR);
    else if (strcmp(act, "read") == 0)
        check_code = minidb_cursor_read(cursor, buffer, (size_t)count * 10,
                                        &used), count = 0;
    for (; count > 0; count--)
        check_code = strcmp(act, "down") == 0 ? minidb_cursor_prev(cursor)
                                              : minidb_cursor_next(cursor);
    CHECK(check_code >= 0);
    minidb_cursor_close(cursor);
}

static inline void act_once(minidb_t *view, const char *command)
{
    char act[16] = "", a[16] = "-", b[16] = "-", c[16] = "9", d[16] = "0";
    const char *from = a, *to = b;

    CHECK(sscanf(command, "%15s %15s %15s %15s %15s", act, a, b, c, d) > 0);
    if (strcmp(act, "clear") == 0) {
        size_t from_len = bound(&from), to_len = bound(&to);

        OK(minidb_clear(view, from, from_len, to, to_len));
    } else if (strcmp(act, "up") == 0 || strcmp(act, "down") == 0 ||
               strcmp(act, "read") == 0) {
        act_walk(view, act, a, b, NULL, atoi(c));
    } else if (strcmp(act, "seek") == 0) {
        act_walk(view, act, a, b, c, atoi(d));
    } else if (strcmp(act, "each") == 0) {
        int left = atoi(b);
        size_t len = bound(&from);

        OK(minidb_each(view, from, len, count_visits, &left));
    } else if (strcmp(act, "count") == 0) {
        number(view, MINIDB_STAT_COUNT);
    } else if (strcmp(act, "bytes") == 0) {
        number(view, MINIDB_STAT_DATA_BYTES);
    } else if (strcmp(act, "check") == 0) {
        OK(minidb_check(view));
    } else if (strcmp(act, "others") == 0) {
        number(view, MINIDB_STAT_MEMORY_BYTES);
        number(view, MINIDB_STAT_FILE_BYTES);
        number(view, MINIDB_STAT_COMMITS);
        number(view, MINIDB_STAT_HANDLES);
    } else {
        act_on_key(view, act, a);
    }
}

static inline void act(minidb_t *view, const char *script)
{
    char command[128];

    while (*script != '\0') {
        size_t len = strcspn(script, ";");

        CHECK(len < sizeof command);
        memcpy(command, script, len);
        command[len] = '\0';
        act_once(view, command);
        script += len;
        script += strspn(script, "; ");
    }
}

#endif /* SCRIPT_H */
