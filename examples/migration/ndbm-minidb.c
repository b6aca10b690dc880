/* Aliases of addresses, counted: on minidb. */
#include <minidb.h>
#include <stdio.h>
#include <stdlib.h>

static int check(int rc)
{
    if (rc >= 0) return rc;
    fprintf(stderr, "%s\n", minidb_strerror(rc));
    exit(1);
}

static void put(minidb_t *db, const char *alias, const char *name)
{
    check(minidb_put(db, alias, MINIDB_STR, name, MINIDB_STR, NULL, NULL));
}

int main(void)
{
    minidb_t *db;
    char *value;
    uint64_t count;

    check(minidb_open("aliases.minidb", 0, &db)); /* one file, once it is closed */
    put(db, "root", "ann");
    put(db, "news", "bob");
    put(db, "www", "bob");

    check(minidb_get(db, "root", MINIDB_STR, &value, NULL));
    printf("root is %s\n", value);
    minidb_free(value); /* a copy, of any length */
    if (check(minidb_get(db, "mail", MINIDB_STR, NULL, NULL)) == MINIDB_NOTFOUND)
        printf("mail is nobody\n");
    check(minidb_delete(db, "news", MINIDB_STR, NULL, NULL));

    check(minidb_stat(db, MINIDB_STAT_COUNT, &count));
    printf("%d aliases\n", (int)count);
    minidb_close(db);
    return 0;
}
