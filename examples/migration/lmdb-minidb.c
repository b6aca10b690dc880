/* A shop sells a pear, and lists its fruits: on minidb. */
#include <minidb.h>
#include <stdio.h>
#include <stdlib.h>

static int check(int rc)
{
    if (rc >= 0) return rc;
    fprintf(stderr, "%s\n", minidb_strerror(rc));
    exit(1);
}

static void put(minidb_t *txn, const char *name, int count)
{
    char text[20];

    sprintf(text, "%d", count);
    check(minidb_put(txn, name, MINIDB_STR, text, MINIDB_STR, NULL, NULL));
}

int main(void)
{
    minidb_t *db, *txn, *snapshot;
    minidb_cursor_t *cursor;
    char *value;

    check(minidb_open("shop.minidb", 0, &db));

    check(minidb_begin(db, &txn)); /* waits for nobody */
    put(txn, "fruit/plum", 2);
    put(txn, "fruit/pear", 5);
    put(txn, "nut/hazel", 9);
    check(minidb_commit(txn)); /* the transaction has begun anew */

    do {
        check(minidb_get(txn, "fruit/pear", MINIDB_STR, &value, NULL));
        put(txn, "fruit/pear", atoi(value) - 1);
        minidb_free(value);
    } while (check(minidb_commit(txn)) == MINIDB_CONFLICT);

    check(minidb_snapshot(db, &snapshot));
    check(minidb_scan_prefix(snapshot, "fruit/", MINIDB_STR, &cursor));
    while (check(minidb_cursor_next(cursor)) == MINIDB_OK)
        printf("%s: %s\n", minidb_cursor_key(cursor, NULL), minidb_cursor_value(cursor, NULL));
    minidb_close(db); /* in any order */
    minidb_close(txn);
    minidb_close(snapshot);
    minidb_cursor_close(cursor);
    return 0;
}
