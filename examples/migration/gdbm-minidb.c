/* A telephone book, sorted: on minidb. */
#include <minidb.h>
#include <stdio.h>
#include <stdlib.h>

static int check(int rc)
{
    if (rc >= 0) return rc;
    fprintf(stderr, "%s\n", minidb_strerror(rc));
    exit(1);
}

static void put(minidb_t *db, const char *name, const char *number)
{
    check(minidb_put(db, name, MINIDB_STR, number, MINIDB_STR, NULL, NULL)); /* without the NUL */
}

int main(void)
{
    minidb_t *db;
    minidb_cursor_t *cursor;
    char *old;
    int rc;

    check(minidb_open("book.minidb", 0, &db));
    put(db, "Cy", "300");
    put(db, "Ann", "100");
    put(db, "Bob", "200");

    rc = check(minidb_cas(db, "Ann", MINIDB_STR, NULL, 0, "999", MINIDB_STR));
    if (rc == MINIDB_CONFLICT) printf("Ann is there.\n");
    rc = check(minidb_delete(db, "Dan", MINIDB_STR, NULL, NULL));
    if (rc == MINIDB_NOTFOUND) printf("Dan is not there.\n");
    check(minidb_delete(db, "Cy", MINIDB_STR, &old, NULL)); /* with its value, in one step */
    printf("Cy had %s.\n", old);
    minidb_free(old);

    check(minidb_scan(db, NULL, 0, NULL, 0, &cursor)); /* in order */
    while (check(minidb_cursor_next(cursor)) == MINIDB_OK)
        printf("%s %s\n", minidb_cursor_key(cursor, NULL), minidb_cursor_value(cursor, NULL));
    minidb_cursor_close(cursor);
    minidb_close(db);
    return 0;
}
