/* Aliases of addresses, counted: on ndbm. */
#include <fcntl.h>
#include <ndbm.h>
#include <stdio.h>
#include <string.h>

static datum text(const char *text)
{
    datum bytes = {(char *)text, (int)strlen(text)};
    return bytes;
}

int main(void)
{
    DBM *db = dbm_open("aliases", O_RDWR | O_CREAT, 0644); /* aliases.pag, aliases.dir */
    datum key, value;
    int count = 0;

    if (db == NULL) return perror("aliases"), 1;
    if (dbm_store(db, text("root"), text("ann"), DBM_REPLACE) < 0
        || dbm_store(db, text("news"), text("bob"), DBM_REPLACE) < 0
        || dbm_store(db, text("www"), text("bob"), DBM_REPLACE) < 0)
        return fprintf(stderr, "dbm_store failed\n"), 1;

    value = dbm_fetch(db, text("root"));
    printf("root is %.*s\n", (int)value.dsize, (char *)value.dptr); /* until the next call */
    value = dbm_fetch(db, text("mail"));
    if (value.dptr == NULL) printf("mail is nobody\n");
    dbm_delete(db, text("news"));

    for (key = dbm_firstkey(db); key.dptr != NULL; key = dbm_nextkey(db)) count++;
    printf("%d aliases\n", count);
    dbm_close(db);
    return 0;
}
