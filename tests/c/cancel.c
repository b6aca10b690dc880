/* A thread that is cancelled in a call: the call finishes first. */
#define _XOPEN_SOURCE 700
#include "file.h"

#include <pthread.h>

#define PUTS 3000

/* AddressSanitizer takes the stack of a thread that is cancelled for damaged. */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static minidb_t *shared;

/* Whether this thread goes on where a call of the library would let it end. */
static __thread int goes_on;

/* A cancellation point that the library does not know of. */
static void point(void)
{
    struct timespec none = {0, 0};

    nanosleep(&none, NULL);
}

/* The one that it knows: this program's comes before the system's. */
void pthread_testcancel(void)
{
    if (!goes_on)
        point();
}

static int visit(void *ctx, const char *key, size_t key_len, const char *value,
                 size_t value_len)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    point();
    ++*(int *)ctx;
    return 0;
}

static void read_all(minidb_t *view)
{
    char buffer[64], *bytes = NULL;
    minidb_cursor_t *cursor = cursor_on(view);
    size_t used;
    int visits = 0;

    OK(minidb_get(view, "k", 1, &bytes, NULL));
    minidb_free(bytes);
    OK(minidb_get_into(view, "k", 1, buffer, sizeof buffer, NULL));
    OK(minidb_cursor_read(cursor, buffer, sizeof buffer, &used));
    OK(minidb_cursor_last(cursor));
    OK(minidb_cursor_seek(cursor, "k", 1));
    minidb_cursor_close(cursor);
    OK(minidb_each(view, NULL, 0, visit, &visits));
    CHECK(visits > 0 && number(view, MINIDB_STAT_COUNT) == (uint64_t)visits);
    CHECK(number(view, MINIDB_STAT_MEMORY_BYTES) > 0);
    OK(minidb_check(view));
}

static void write_all(minidb_t *db)
{
    static const char entry[8];

    OK(minidb_put(db, "k", 1, "v", 1, NULL, NULL));
    OK(minidb_cas(db, "k", 1, "v", 1, "w", 1));
    OK(minidb_write(db, entry, sizeof entry));
    OK(minidb_put(db, "l", 1, "v", 1, NULL, NULL));
    OK(minidb_delete(db, "l", 1, NULL, NULL));
    OK(minidb_clear(db, "x", 1, NULL, 0));
}

/* Every call on a database, while a cancellation is waiting. */
static void use(const char *path, uint32_t flags)
{
    minidb_t *db, *snapshot, *txn, *again;
    char key[16];
    int i;

    OK(minidb_open(path, flags, &db));
    write_all(db);
    read_all(db);
    OK(minidb_snapshot(db, &snapshot));
    read_all(snapshot);
    OK(minidb_begin(db, &txn));
    write_all(txn);
    read_all(txn);
    OK(minidb_commit(txn));
    for (i = 0; i < PUTS; i++) {
        sprintf(key, "%d", i);
        OK(minidb_put(db, key, MINIDB_STR, key, MINIDB_STR, NULL, NULL));
    }
    OK(minidb_sync(db));
    OK(minidb_checkpoint(db));
    OK(minidb_put(db, "k", 1, "v", 1, NULL, NULL));
    OK(minidb_backup(txn, "copy.minidb"));
    if (path != NULL)
        NO_RESULT(MINIDB_BUSY, minidb_open(path, 0, &out.view));
    minidb_close(db);
    minidb_close(txn);
    minidb_close(snapshot);
    NO_RESULT(MINIDB_CONFLICT,
              minidb_open("copy.minidb", MINIDB_OPEN_NEW, &out.view));
    OK(minidb_open("copy.minidb", MINIDB_OPEN_READONLY, &again));
    read_all(again);
    minidb_close(again);
    OK(minidb_salvage("copy.minidb", "salvaged.minidb", NULL));
    CHECK(remove("copy.minidb") == 0 && remove("salvaged.minidb") == 0);
}

static void *use_all(void *done)
{
    goes_on = 1;
    CHECK(pthread_cancel(pthread_self()) == 0);
    use(NULL, 0);
    use("synced.minidb", MINIDB_OPEN_NEW);
    use("plain.minidb", MINIDB_OPEN_NEW | MINIDB_OPEN_NOSYNC);
    *(int *)done = 1;
    for (;;)
        point();
    return NULL;
}

static void no_call_is_a_cancellation_point(void)
{
    pthread_t thread;
    void *result;
    int done = 0;

    CHECK(pthread_create(&thread, NULL, use_all, &done) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED && done);
}

static void *put_for_ever(void *name)
{
    char key[32];
    unsigned i;

    for (i = 0;; i++) {
        sprintf(key, "%s-%u", (const char *)name, i % 100);
        OK(minidb_put(shared, key, MINIDB_STR, "v", 1, NULL, NULL));
    }
    return NULL;
}

/* Those who wait for a group commit, or lead it, may be cancelled; others go on. */
static void others_go_on(void)
{
    static const char *const names[] = {"a", "b", "c"};
    pthread_t threads[3];
    struct timespec pause = {0, 0};
    int i, round;

    OK(minidb_open("shared.minidb", MINIDB_OPEN_NEW, &shared));
    for (round = 0; round < 20; round++) {
        for (i = 0; i < 3; i++)
            CHECK(pthread_create(&threads[i], NULL, put_for_ever,
                                 (void *)names[i]) == 0);
        pause.tv_nsec = 100000L * (round + 1);
        nanosleep(&pause, NULL);
        for (i = 0; i < 3; i++) {
            CHECK(pthread_cancel(threads[i]) == 0);
            OK(minidb_put(shared, "own", 3, "v", 1, NULL, NULL));
        }
        for (i = 0; i < 3; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
    }
    OK(minidb_check(shared));
    minidb_close(shared);
}

int main(void)
{
    if (!SANITIZED) {
        RUN_ALONE(no_call_is_a_cancellation_point);
        RUN_ALONE(others_go_on);
    }
    return passed("cancel");
}
