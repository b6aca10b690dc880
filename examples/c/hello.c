/*
 * hello: put, get, walk over and delete, with every result checked.
 */
#include <minidb.h>
#include <stdio.h>
#include <stdlib.h>

/* Passes an answer on, be it "no"; ends the program after a failure. */
static int check(int code)
{
    if (code < 0) {
        fprintf(stderr, "hello: %s\n", minidb_strerror(code));
        exit(EXIT_FAILURE);
    }
    return code;
}

/* Prints what a call handed out, NULL if there was no value, and frees it. */
static void print(const char *call, const char *key, char *value)
{
    printf("%s %s => %s\n", call, key, value != NULL ? value : "None");
    minidb_free(value);
}

static void show_get(const minidb_t *db, const char *key)
{
    char *value;

    check(minidb_get(db, key, MINIDB_STR, &value, NULL));
    print("Get", key, value);
}

static void show_put(minidb_t *db, const char *key, const char *value)
{
    char *old;

    check(minidb_put(db, key, MINIDB_STR, value, MINIDB_STR, &old, NULL));
    print("Put", key, old);
}

static void show_delete(minidb_t *db, const char *key)
{
    char *old;

    check(minidb_delete(db, key, MINIDB_STR, &old, NULL));
    print("Delete", key, old);
}

static void show_all(const minidb_t *db)
{
    minidb_cursor_t *cursor;
    int entries = 0;

    check(minidb_scan(db, NULL, 0, NULL, 0, &cursor));
    for (; check(minidb_cursor_next(cursor)) == MINIDB_OK; entries++)
        printf("Key: %s, Value: %s\n", minidb_cursor_key(cursor, NULL),
               minidb_cursor_value(cursor, NULL));
    minidb_cursor_close(cursor);
    if (entries == 0)
        puts("The database is empty");
}

int main(void)
{
    minidb_t *db;

    check(minidb_open(NULL, 0, &db)); /* in memory */
    show_get(db, "user-1");
    show_put(db, "user-1", "{\"first_name\": \"John\", \"last_name\": \"Doe\"}");
    show_get(db, "user-1");
    show_all(db);
    show_put(db, "user-1", "{\"first_name\": \"Jane\", \"last_name\": \"Doe\"}");
    show_delete(db, "user-1");
    show_all(db);
    minidb_close(db);

    if (ferror(stdout) || fclose(stdout) != 0) {
        perror("hello: stdout");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
