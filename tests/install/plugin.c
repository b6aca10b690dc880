/* A plugin: it has a database, and nobody sees of which library. */
#include <minidb.h>

int plugin_use(const char *path);

static int use(minidb_t *db)
{
    minidb_t *snapshot;
    minidb_cursor_t *cursor;
    char *value;

    if (minidb_put(db, "a", 1, "b", 1, NULL, NULL) != MINIDB_OK ||
        minidb_get(db, "a", 1, &value, NULL) != MINIDB_OK ||
        minidb_snapshot(db, &snapshot) != MINIDB_OK ||
        minidb_scan(snapshot, NULL, 0, NULL, 0, &cursor) != MINIDB_OK ||
        minidb_cursor_next(cursor) != MINIDB_OK)
        return 0;
    minidb_free(value);
    minidb_cursor_close(cursor);
    minidb_close(snapshot);
    minidb_close(db);
    /* A failure, whose text the thread keeps. */
    return minidb_open("/", 0, &db) < 0 && *minidb_strerror(MINIDB_IO) != '\0';
}

/* Uses a database in memory and one in a file; 1 if all is well. */
int plugin_use(const char *path)
{
    minidb_t *db;

    return minidb_open(NULL, 0, &db) == MINIDB_OK && use(db) &&
           minidb_open(path, 0, &db) == MINIDB_OK && use(db);
}
