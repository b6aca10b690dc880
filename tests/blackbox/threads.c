/*
 * The system makes no threads: checkpoints are made all the same, and by a thread once
 * there may be one. This program's pthread_create stands before that of libc.
 */
#define _GNU_SOURCE

#include "files.h"

#include <dlfcn.h>
#include <pthread.h>

enum { VALUE = 1 << 20, ROUNDS = 600, MORE = 150 };

/* Bytes of file and log: a log that is due at 64 MiB, and some space to work in. */
static const uint64_t bound = 90u << 20;

static int refused, refuses_threads, made;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*body)(void *), void *arg)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    int code;

    if (__atomic_load_n(&refuses_threads, __ATOMIC_SEQ_CST)) {
        __atomic_add_fetch(&refused, 1, __ATOMIC_SEQ_CST);
        return EAGAIN;
    }
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    CHECK(real != NULL);
    code = real(thread, attributes, body, arg);
    if (code == 0)
        __atomic_add_fetch(&made, 1, __ATOMIC_SEQ_CST);
    return code;
}

/* Overwrites one value; file and log have at most so many bytes meanwhile. */
static void overwrite(minidb_t *db, int rounds, uint64_t most)
{
    static char value[VALUE];
    uint64_t bytes;
    int i;

    for (i = 0; i < rounds; i++) {
        memset(value, 'a' + i % 26, VALUE);
        OK(minidb_put(db, "key", 3, value, VALUE, NULL, NULL));
        OK(minidb_stat(db, MINIDB_STAT_FILE_BYTES, &bytes));
        CHECK(bytes < most);
        CHECK((uint64_t)(size_of("db") + size_of("db-log")) < most);
    }
}

static void file_and_log_stay_small_without_threads(void)
{
    minidb_t *db;

    remove_all();
    refuses_threads = 1;
    db = open_file("db", MINIDB_OPEN_NOSYNC);
    overwrite(db, ROUNDS, bound);
    CHECK(refused > 0 && made == 0);
    /* A thread is tried again; how far it falls behind is not what is tested. */
    __atomic_store_n(&refuses_threads, 0, __ATOMIC_SEQ_CST);
    overwrite(db, MORE, UINT64_MAX);
    CHECK(__atomic_load_n(&made, __ATOMIC_SEQ_CST) > 0);
    OK(minidb_check(db));
    minidb_close(db);
    CHECK(names_in(".") == 1 && is_alone());
}

int main(int argc, char **argv)
{
    work_in_folder(argc, argv);
    RUN(file_and_log_stay_small_without_threads);
    return passed("threads");
}
