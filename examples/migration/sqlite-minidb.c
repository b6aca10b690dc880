/* Settings of users, some of them taken over: on minidb. */
#include <minidb.h>
#include <stdio.h>
#include <stdlib.h>

static int check(int rc)
{
    if (rc >= 0) return rc;
    fprintf(stderr, "%s\n", minidb_strerror(rc));
    exit(1);
}

static void put(minidb_t *db, const char *key, const char *value)
{
    check(minidb_put(db, key, MINIDB_STR, value, MINIDB_STR, NULL, NULL));
}

int main(void)
{
    minidb_t *db, *txn;
    minidb_cursor_t *cursor;
    char *colour;

    check(minidb_open("settings.minidb", 0, &db));
    put(db, "ann/colour", "red");
    put(db, "ann/size", "12");
    put(db, "bob/size", "9");

    check(minidb_begin(db, &txn)); /* never busy: what clashes is found at the commit */
    do {
        if (check(minidb_get(txn, "ann/colour", MINIDB_STR, &colour, NULL)) == MINIDB_OK)
            put(txn, "bob/colour", colour);
        minidb_free(colour);
        check(minidb_clear(txn, "ann/", MINIDB_STR, "ann0", MINIDB_STR));
    } while (check(minidb_commit(txn)) == MINIDB_CONFLICT);

    check(minidb_scan_prefix(db, "bob/", MINIDB_STR, &cursor));
    while (check(minidb_cursor_prev(cursor)) == MINIDB_OK) /* from the last one down */
        printf("%s = %s\n", minidb_cursor_key(cursor, NULL), minidb_cursor_value(cursor, NULL));
    minidb_cursor_close(cursor);
    minidb_close(txn);
    minidb_close(db);
    return 0;
}
