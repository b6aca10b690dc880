/* A telephone book, sorted: on GDBM. */
#include <gdbm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static datum text(const char *text)
{
    datum bytes = {(char *)text, (int)strlen(text) + 1}; /* the NUL is stored */
    return bytes;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(void)
{
    char *names[10];
    size_t count = 0;
    datum key, next, value;
    GDBM_FILE db = gdbm_open("book.gdbm", 0, GDBM_WRCREAT | GDBM_SYNC, 0644, NULL);

    if (db == NULL) return fprintf(stderr, "%s\n", gdbm_strerror(gdbm_errno)), 1;
    if (gdbm_store(db, text("Cy"), text("300"), GDBM_REPLACE) != 0
        || gdbm_store(db, text("Ann"), text("100"), GDBM_REPLACE) != 0
        || gdbm_store(db, text("Bob"), text("200"), GDBM_REPLACE) != 0)
        return fprintf(stderr, "%s\n", gdbm_db_strerror(db)), 1;

    if (gdbm_store(db, text("Ann"), text("999"), GDBM_INSERT) == 1) printf("Ann is there.\n");
    if (gdbm_delete(db, text("Dan")) != 0) printf("Dan is not there.\n");
    value = gdbm_fetch(db, text("Cy"));
    gdbm_delete(db, text("Cy"));
    printf("Cy had %s.\n", value.dptr);
    free(value.dptr);

    for (key = gdbm_firstkey(db); key.dptr != NULL; key = next) { /* in no order */
        names[count++] = key.dptr;
        next = gdbm_nextkey(db, key);
    }
    qsort(names, count, sizeof *names, compare);
    for (size_t n = 0; n < count; n++) {
        value = gdbm_fetch(db, text(names[n]));
        printf("%s %s\n", names[n], value.dptr);
        free(value.dptr);
        free(names[n]);
    }
    gdbm_close(db);
    return 0;
}
