/*
 * What the tests on files share: a folder of its own for each test, and a look
 * at the files from outside.
 *
 * A test runs with RUN_ALONE, in an empty folder that is the current one; so it
 * names files as it likes. What it leaves there goes with it.
 */
#ifndef FILE_H
#define FILE_H

#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/types.h>

#define RUN_ALONE(test) (enter_folder(), RUN(test), leave_folder())

/* The current folder holds just these files, in the order of their names. */
#define FILES(names) CHECK(check_equal(file_names(), names))

/* The call fails with that code, whose text has all of these in it. */
#define SAYS(code, call, part, other) \
    (GIVES(code, call), CHECK(text_has(code, part)), \
     CHECK(text_has(code, other)))

static inline int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline const char *file_names(void)
{
    static char text[4096];
    char *names[100];
    DIR *folder = opendir(".");
    struct dirent *entry;
    size_t count = 0, i;

    CHECK(folder != NULL);
    while ((entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            CHECK(count < 100);
            names[count++] = copy_of(entry->d_name, strlen(entry->d_name));
        }
    closedir(folder);
    qsort(names, count, sizeof *names, by_name);
    text[0] = '\0';
    for (i = 0; i < count; i++) {
        strcat(strcat(text, i > 0 ? " " : ""), names[i]);
        free(names[i]);
    }
    return text;
}

static char folder_name[4096];

static inline void enter_folder(void)
{
    static int entered;
    const char *place = getenv("TMPDIR");

    snprintf(folder_name, sizeof folder_name, "%s/minidb-c-%ld-%d",
             place != NULL ? place : "/tmp", (long)getpid(), entered++);
    CHECK(mkdir(folder_name, 0700) == 0);
    CHECK(chdir(folder_name) == 0);
}

static inline void leave_folder(void)
{
    char *names = copy_of(file_names(), strlen(file_names())), *name;

    for (name = strtok(names, " "); name != NULL; name = strtok(NULL, " "))
        CHECK(remove(name) == 0);
    free(names);
    CHECK(chdir("/") == 0);
    CHECK(rmdir(folder_name) == 0);
}

static inline int text_has(int code, const char *part)
{
    int has = strstr(minidb_strerror(code), part) != NULL;

    if (!has)
        fprintf(stderr, "not in the text: %s\n", part);
    return has;
}

/* What a file holds; to be freed. */
static inline char *content_of(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    char *bytes = NULL;
    size_t more, room;

    CHECK(file != NULL);
    *len = 0;
    do {
        room = *len + 65536;
        bytes = realloc(bytes, *len + room);
        CHECK(bytes != NULL);
        more = fread(bytes + *len, 1, room, file);
        *len += more;
    } while (more > 0);
    CHECK(!ferror(file));
    fclose(file);
    return bytes;
}

/* Whether a file holds just that. */
static inline int is_content(const char *path, const void *bytes, size_t len)
{
    size_t there;
    char *content = content_of(path, &there);
    int is = there == len && (len == 0 || memcmp(content, bytes, len) == 0);

    free(content);
    return is;
}

static inline int same_content(const char *one, const char *other)
{
    size_t len;
    char *bytes = content_of(one, &len);
    int same = is_content(other, bytes, len);

    free(bytes);
    return same;
}

static inline void write_file(const char *path, const void *bytes, size_t len)
{
    FILE *file = fopen(path, "wb");

    CHECK(file != NULL);
    CHECK(fwrite(bytes, 1, len, file) == len);
    CHECK(fclose(file) == 0);
}

static inline void copy_file(const char *from, const char *to)
{
    size_t len;
    char *bytes = content_of(from, &len);

    write_file(to, bytes, len);
    free(bytes);
}

/* Changes one byte of a file behind its back; returns what it was. */
static inline int exchange_byte(const char *path, size_t at, int byte)
{
    FILE *file = fopen(path, "r+b");
    int was;

    CHECK(file != NULL);
    CHECK(fseek(file, (long)at, SEEK_SET) == 0);
    was = getc(file);
    CHECK(was != EOF);
    CHECK(fseek(file, (long)at, SEEK_SET) == 0);
    CHECK(putc(byte, file) == byte);
    CHECK(fclose(file) == 0);
    return was;
}

static inline size_t size_of(const char *path)
{
    struct stat status;

    CHECK(stat(path, &status) == 0);
    return (size_t)status.st_size;
}

/* The file's database; whoever opens it closes it. */
static inline minidb_t *opened(const char *path, uint32_t flags)
{
    minidb_t *db;

    OK(minidb_open(path, flags, &db));
    CHECK(db != NULL);
    return db;
}

/* A database made anew with entries written as in "a=1 b= c=3", and closed. */
static inline void make(const char *path, const char *entries)
{
    minidb_t *db = opened(path, MINIDB_OPEN_NEW);

    fill(db, entries);
    minidb_close(db);
}

/* The closed file holds just these entries, and reading changes no byte. */
static inline void file_holds(const char *path, const char *entries)
{
    size_t len;
    char *before = content_of(path, &len);
    minidb_t *db = opened(path, MINIDB_OPEN_READONLY);

    HOLDS(db, entries);
    OK(minidb_check(db));
    minidb_close(db);
    CHECK(is_content(path, before, len));
    free(before);
}

#endif /* FILE_H */
