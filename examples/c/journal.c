/*
 * journal: a diary in a file, one entry a call.
 *
 *     journal FILE add TEXT    appends an entry and prints its number
 *     journal FILE             prints all entries
 *     journal FILE last        prints the latest one
 *     journal FILE copy COPY   writes all of it to a new file
 *
 * The keys are the numbers, most significant byte first, so that their order
 * is that of the numbers.
 */
#include <minidb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_LEN 4

/* The text has the file's name and, if there is one, the system's reason. */
static void fail(int code)
{
    fprintf(stderr, "journal: %s\n", minidb_strerror(code));
    exit(EXIT_FAILURE);
}

/* Passes an answer on, be it "no"; ends the program after a failure. */
static int check(int code)
{
    if (code < 0)
        fail(code);
    return code;
}

/* Where "no" is a failure, too: no such file, or one that is there already. */
static void must(int code)
{
    if (code != MINIDB_OK)
        fail(code);
}

static void print_at(const minidb_cursor_t *cursor)
{
    const unsigned char *key =
        (const unsigned char *)minidb_cursor_key(cursor, NULL);
    unsigned long number = 0;
    int i;

    for (i = 0; i < KEY_LEN; i++)
        number = number << 8 | key[i];
    printf("%lu %s\n", number, minidb_cursor_value(cursor, NULL));
}

/* The key after the last one. */
static void next_key(const minidb_t *db, unsigned char key[KEY_LEN])
{
    minidb_cursor_t *cursor;
    int i = KEY_LEN;

    memset(key, 0, KEY_LEN);
    check(minidb_scan(db, NULL, 0, NULL, 0, &cursor));
    if (check(minidb_cursor_last(cursor)) == MINIDB_OK)
        memcpy(key, minidb_cursor_key(cursor, NULL), KEY_LEN);
    minidb_cursor_close(cursor);
    while (i-- > 0 && ++key[i] == 0) /* carry */
        ;
}

static void add(const char *file, const char *text)
{
    unsigned char key[KEY_LEN];
    minidb_cursor_t *cursor;
    minidb_t *db;

    must(minidb_open(file, 0, &db)); /* created with the first entry */
    next_key(db, key);
    check(minidb_put(db, key, KEY_LEN, text, MINIDB_STR, NULL, NULL));
    /* From here on the entry is on disk, even if the power fails. */
    check(minidb_scan_prefix(db, key, KEY_LEN, &cursor));
    if (check(minidb_cursor_next(cursor)) == MINIDB_OK)
        print_at(cursor);
    minidb_cursor_close(cursor);
    minidb_close(db);
}

static void print(const char *file, int only_last)
{
    minidb_cursor_t *cursor;
    minidb_t *db;

    /* Any number of programs may read at a time, and none writes then. */
    must(minidb_open(file, MINIDB_OPEN_READONLY, &db));
    check(minidb_scan(db, NULL, 0, NULL, 0, &cursor));
    if (only_last && check(minidb_cursor_last(cursor)) == MINIDB_OK)
        print_at(cursor);
    while (!only_last && check(minidb_cursor_next(cursor)) == MINIDB_OK)
        print_at(cursor);
    minidb_cursor_close(cursor);
    minidb_close(db);
}

static void copy(const char *file, const char *to)
{
    minidb_t *db;

    must(minidb_open(file, MINIDB_OPEN_READONLY, &db));
    check(minidb_check(db)); /* no damage shall be copied */
    must(minidb_backup(db, to));
    minidb_close(db);
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[2] : "";

    if (argc == 4 && strcmp(what, "add") == 0) {
        add(argv[1], argv[3]);
    } else if (argc == 4 && strcmp(what, "copy") == 0) {
        copy(argv[1], argv[3]);
    } else if (argc == 2 || (argc == 3 && strcmp(what, "last") == 0)) {
        print(argv[1], argc == 3);
    } else {
        fprintf(stderr, "usage: %s FILE [add TEXT | last | copy COPY]\n",
                argv[0]);
        return EXIT_FAILURE;
    }
    if (ferror(stdout) || fclose(stdout) != 0) {
        perror("journal: stdout");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
