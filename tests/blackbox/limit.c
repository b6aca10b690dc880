/*
 * A limit of the address space: the library uses most of it, and all that is there can be
 * overwritten and deleted.
 */
#define _GNU_SOURCE

#include "files.h"

#include <sys/resource.h>

enum { MIB = 150 };

static char value[200000];

/* KiB of address space. */
static long space(void)
{
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");

    CHECK(status != NULL);
    while (fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "VmSize:", 7) == 0)
            kib = atol(line + 7);
    fclose(status);
    return kib;
}

/* Runs a test in a process that has a limit. */
static void limited(void (*test)(const char *, int), const char *path, int len)
{
    pid_t child = fork();
    int status;

    CHECK(child >= 0);
    if (child == 0) {
        struct rlimit limit = {(rlim_t)MIB << 20, (rlim_t)MIB << 20};
        CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
        test(path, len);
        exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void name(char *key, int i)
{
    sprintf(key, "%010d", (int)(i * 7919ull % 1000003));
}

/* Puts entries until one is refused; returns how many there are. */
static int fill_up(minidb_t *db, int len)
{
    char key[16];
    int n = -1, rc;

    do
        name(key, ++n);
    while ((rc = minidb_put(db, key, 10, value, len, NULL, NULL)) == MINIDB_OK);
    GIVES(MINIDB_NOMEM, rc);
    return n;
}

static void fill_and_empty(const char *path, int len)
{
    minidb_t *db;
    char key[16];
    int i, n;

    OK(minidb_open(path, path == NULL ? 0 : MINIDB_OPEN_NOSYNC, &db));
    n = fill_up(db, len);
    printf("limit: %d entries of %d bytes take %ld of %d MiB\n", n, len, space() >> 10, MIB);
    CHECK(space() >= MIB * 1024l * 8 / 10);
    for (i = 0; i < n; i++) {
        name(key, (int)(i * 104729ull % n));
        OK(minidb_put(db, key, 10, value + 1, len, NULL, NULL));
        OK(minidb_delete(db, key, 10, NULL, NULL));
    }
    if (path == NULL) /* it takes memory to read a file */
        OK(minidb_check(db));
    CHECK(fill_up(db, len) >= n * 8 / 10);
    OK(minidb_clear(db, "0000000001", 10, NULL, 0));
    minidb_close(db);
}

static void most_of_a_limit_is_used_and_all_is_deleted(void)
{
    static const int lens[] = {100, 1500, 5000, 100000};
    size_t i;

    for (i = 0; i < sizeof lens / sizeof *lens; i++) {
        limited(fill_and_empty, NULL, lens[i]);
        if (lens[i] <= 1024)
            limited(fill_and_empty, "emptied.db", lens[i]);
    }
}

int main(int argc, char **argv)
{
    work_in_folder(argc, argv);
    memset(value, 'v', sizeof value);
    RUN(most_of_a_limit_is_used_and_all_is_deleted);
    return passed("limit");
}
