/* A diary moves an entry to another day, and lists a month: on LevelDB. */
#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(char *error)
{
    if (error == NULL) return;
    fprintf(stderr, "%s\n", error);
    exit(1);
}

int main(void)
{
    leveldb_options_t *options = leveldb_options_create();
    leveldb_readoptions_t *reading = leveldb_readoptions_create();
    leveldb_writeoptions_t *writing = leveldb_writeoptions_create();
    leveldb_writebatch_t *batch = leveldb_writebatch_create();
    leveldb_iterator_t *it;
    leveldb_t *db;
    char *error = NULL, *text;
    size_t length;

    leveldb_options_set_create_if_missing(options, 1);
    leveldb_writeoptions_set_sync(writing, 1);
    db = leveldb_open(options, "diary.leveldb", &error), check(error);

    leveldb_put(db, writing, "2026-04-30", 10, "Rain", 4, &error), check(error);
    leveldb_put(db, writing, "2026-05-02", 10, "Sun", 3, &error), check(error);
    leveldb_put(db, writing, "2026-05-09", 10, "Wind", 4, &error), check(error);

    text = leveldb_get(db, reading, "2026-05-02", 10, &length, &error), check(error);
    leveldb_writebatch_put(batch, "2026-05-03", 10, text, length);
    leveldb_writebatch_delete(batch, "2026-05-02", 10);
    leveldb_write(db, writing, batch, &error), check(error);
    leveldb_free(text);

    it = leveldb_create_iterator(db, reading); /* as the database is now */
    for (leveldb_iter_seek(it, "2026-05", 7); leveldb_iter_valid(it); leveldb_iter_next(it)) {
        size_t key_length;
        const char *key = leveldb_iter_key(it, &key_length);
        const char *value = leveldb_iter_value(it, &length);

        if (key_length < 7 || memcmp(key, "2026-05", 7) != 0) break;
        printf("%.*s: %.*s\n", (int)key_length, key, (int)length, value); /* no NUL */
    }
    leveldb_iter_get_error(it, &error), check(error); /* easily forgotten */

    leveldb_iter_destroy(it); /* before the database */
    leveldb_close(db);
    leveldb_writebatch_destroy(batch);
    leveldb_writeoptions_destroy(writing);
    leveldb_readoptions_destroy(reading);
    leveldb_options_destroy(options);
    return 0;
}
