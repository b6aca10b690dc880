/* A diary moves an entry to another day, and lists a month: on minidb. */
#include <minidb.h>
#include <stdio.h>
#include <stdlib.h>

static int check(int rc)
{
    if (rc >= 0) return rc;
    fprintf(stderr, "%s\n", minidb_strerror(rc));
    exit(1);
}

static void put(minidb_t *db, const char *day, const char *text)
{
    check(minidb_put(db, day, MINIDB_STR, text, MINIDB_STR, NULL, NULL));
}

int main(void)
{
    minidb_t *db, *batch;
    minidb_cursor_t *cursor;
    char *text;

    check(minidb_open("diary.minidb", 0, &db)); /* a commit waits for the disk */

    put(db, "2026-04-30", "Rain");
    put(db, "2026-05-02", "Sun");
    put(db, "2026-05-09", "Wind");

    check(minidb_begin(db, &batch));
    do { /* the value is still that when both writes are made */
        check(minidb_delete(batch, "2026-05-02", MINIDB_STR, &text, NULL));
        put(batch, "2026-05-03", text);
        minidb_free(text);
    } while (check(minidb_commit(batch)) == MINIDB_CONFLICT);

    check(minidb_scan_prefix(db, "2026-05", MINIDB_STR, &cursor));
    while (check(minidb_cursor_next(cursor)) == MINIDB_OK)
        printf("%s: %s\n", minidb_cursor_key(cursor, NULL), minidb_cursor_value(cursor, NULL));

    minidb_cursor_close(cursor);
    minidb_close(batch);
    minidb_close(db);
    return 0;
}
