/* Handles of transactions, what they are on, files under them, and threads. */
#define _POSIX_C_SOURCE 200809L

#include "script.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

enum { THREADS = 8, OPEN = 40, TRANSFERS = 300 };

static char path[4096]; /* of the database file of a test that needs one */

static minidb_t *begun_on(const minidb_t *db)
{
    minidb_t *txn;

    OK(minidb_begin(db, &txn));
    return txn;
}

/* Also what an earlier run that failed has left. */
static void remove_file(void)
{
    char log[sizeof path + 4];

    remove(path);
    sprintf(log, "%s-log", path);
    remove(log);
}

static minidb_t *file_database(uint32_t flags)
{
    minidb_t *db;

    OK(minidb_open(path, flags, &db));
    return db;
}

static void a_transaction_is_on_a_database(void)
{
    minidb_t *db = database(), *txn = begun_on(db), *snapshot = snapshot_of(db);
    minidb_cursor_t *cursor = cursor_on(txn);

    NO_RESULT(MINIDB_INVALID, minidb_begin(txn, &out.view));
    NO_RESULT(MINIDB_INVALID, minidb_begin(snapshot, &out.view));
    NO_RESULT(MINIDB_INVALID, minidb_begin((minidb_t *)cursor, &out.view));
    NO_RESULT(MINIDB_INVALID, minidb_begin(NULL, &out.view));
    GIVES(MINIDB_INVALID, minidb_begin(db, NULL));
    NO_RESULT(MINIDB_INVALID, minidb_snapshot(txn, &out.view));
    GIVES(MINIDB_INVALID, minidb_commit(db));
    GIVES(MINIDB_INVALID, minidb_commit(snapshot));
    GIVES(MINIDB_INVALID, minidb_commit((minidb_t *)cursor));
    GIVES(MINIDB_INVALID, minidb_commit(NULL));
    GIVES(MINIDB_INVALID, minidb_sync(txn));
    GIVES(MINIDB_INVALID, minidb_checkpoint(txn));
    GIVES(MINIDB_INVALID, minidb_stat(txn, 99, NULL));
    refused_as_cursor((minidb_cursor_t *)txn);
    minidb_cursor_close((minidb_cursor_t *)txn);
    fill(txn, "a=1");
    OK(minidb_commit(txn));
    minidb_cursor_close(cursor);
    minidb_close(snapshot);
    minidb_close(txn);
    refused_as_view(txn);
    minidb_close(txn);
    HOLDS(db, "a=1");
    minidb_close(db);
}

static void it_works_on_after_its_database_was_closed(void)
{
    minidb_t *db, *txn, *other;

    remove_file();
    db = file_database(MINIDB_OPEN_NEW);
    txn = begun_on(db);
    other = begun_on(db);
    fill(txn, "a=1");
    minidb_close(db);
    OK(minidb_commit(txn));
    act(txn, "get a; put b");
    act(other, "put c");
    OK(minidb_commit(other));
    OK(minidb_commit(txn));
    HOLDS(txn, "a=1 b=2 c=2");
    NO_RESULT(MINIDB_BUSY, minidb_open(path, 0, &out.view));
    minidb_close(other);
    minidb_close(txn);
    db = file_database(MINIDB_OPEN_EXISTING);
    HOLDS(db, "a=1 b=2 c=2");
    minidb_close(db);
}

static void on_a_database_opened_read_only_it_can_only_read(void)
{
    static const char entry[8];
    minidb_t *db, *txn;
    int round;

    remove_file();
    db = file_database(MINIDB_OPEN_NEW);
    fill(db, "a=1 b=2");
    minidb_close(db);
    db = file_database(MINIDB_OPEN_READONLY);
    txn = begun_on(db);
    for (round = 0; round < 2; round++) {
        act(txn, "get a; get x; up - - 9; count; check");
        HOLDS(txn, "a=1 b=2");
        GIVES(MINIDB_READONLY, minidb_put(txn, "a", 1, "", 0, NULL, NULL));
        NO_RESULT(MINIDB_READONLY,
                  minidb_put(txn, "a", 1, "", 0, &out.bytes, &out.len));
        GIVES(MINIDB_READONLY, minidb_delete(txn, "a", 1, NULL, NULL));
        NO_RESULT(MINIDB_READONLY,
                  minidb_delete(txn, "a", 1, &out.bytes, &out.len));
        GIVES(MINIDB_READONLY, minidb_delete(txn, "x", 1, NULL, NULL));
        NO_RESULT(MINIDB_READONLY,
                  minidb_delete(txn, "x", 1, &out.bytes, &out.len));
        GIVES(MINIDB_READONLY, minidb_clear(txn, NULL, 0, NULL, 0));
        GIVES(MINIDB_READONLY, minidb_clear(txn, "b", 1, "a", 1));
        GIVES(MINIDB_READONLY, minidb_cas(txn, "a", 1, "1", 1, "2", 1));
        GIVES(MINIDB_READONLY, minidb_cas(txn, "a", 1, "0", 1, "2", 1));
        GIVES(MINIDB_READONLY, minidb_write(txn, entry, sizeof entry));
        GIVES(MINIDB_READONLY, minidb_write(txn, NULL, 0));
        OK(minidb_commit(txn));
    }
    minidb_close(txn);
    minidb_close(db);
}

static void a_backup_holds_its_own_writes(void)
{
    minidb_t *db = database(), *txn, *copy;

    remove_file();
    fill(db, "a=1 b=2");
    txn = begun_on(db);
    OK(minidb_delete(txn, "a", 1, NULL, NULL));
    fill(txn, "c=3");
    OK(minidb_check(txn));
    OK(minidb_backup(txn, path));
    GIVES(MINIDB_CONFLICT, minidb_backup(txn, path));
    fill(db, "z=1");
    GIVES(MINIDB_CONFLICT, minidb_commit(txn)); /* it has read everything */
    copy = file_database(MINIDB_OPEN_READONLY);
    HOLDS(copy, "b=2 c=3");
    minidb_close(copy);
    remove_file();
    OK(minidb_backup(txn, path)); /* and again, without writes */
    copy = file_database(MINIDB_OPEN_READONLY);
    HOLDS(copy, "a=1 b=2 z=1");
    minidb_close(copy);
    minidb_close(txn);
    minidb_close(db);
}

/* There is no more space than so many bytes for any file. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void after_a_failure_it_still_has_its_writes(void)
{
    static char value[100000];
    struct rlimit before;
    minidb_t *db, *txn;

    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    remove_file();
    db = file_database(MINIDB_OPEN_NEW);
    fill(db, "a=1");
    txn = begun_on(db);
    act(txn, "get a; put c");
    OK(minidb_put(txn, "b", 1, value, sizeof value, NULL, NULL));
    limit_files(50000);
    GIVES(MINIDB_FULL, minidb_commit(txn));
    HOLDS(db, "a=1");
    CHECK(number(txn, MINIDB_STAT_COUNT) == 3);
    GIVES(MINIDB_FULL, minidb_commit(txn));
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    OK(minidb_commit(txn));
    CHECK(number(db, MINIDB_STAT_COUNT) == 3);
    act(txn, "get a; put d");
    act(db, "put a");
    GIVES(MINIDB_CONFLICT, minidb_commit(txn));
    minidb_close(txn);
    minidb_close(db);
    db = file_database(0);
    CHECK(number(db, MINIDB_STAT_COUNT) == 3);
    minidb_close(db);
}

/* Threads. */

static void *put_in_it(void *txn)
{
    fill(txn, "a=1");
    HOLDS(txn, "a=1");
    return NULL;
}

static void *commit_it(void *txn)
{
    OK(minidb_commit(txn));
    return NULL;
}

static void *close_it(void *txn)
{
    minidb_close(txn);
    return NULL;
}

static void none_is_bound_to_a_thread(void)
{
    static void *(*const work[])(void *) = {put_in_it, commit_it, close_it};
    minidb_t *db = database(), *txn = begun_on(db);
    pthread_t thread;
    size_t i;

    for (i = 0; i < sizeof work / sizeof *work; i++) {
        CHECK(pthread_create(&thread, NULL, work[i], txn) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    HOLDS(db, "a=1");
    refused_as_view(txn);
    minidb_close(db);
}

/* Opens many at once, and commits them last to first. */
static void *open_many(void *db)
{
    minidb_t *txns[OPEN];
    char key[64];
    int i;

    for (i = 0; i < OPEN; i++) {
        txns[i] = begun_on(db);
        act(txns[i], "put mine");
        OK(minidb_get(txns[i], "mine", 4, NULL, NULL));
        OK(minidb_put(txns[i], key,
                      (size_t)sprintf(key, "%p", (void *)txns[i]), "", 0, NULL,
                      NULL));
    }
    while (i-- > 0) {
        OK(minidb_commit(txns[i]));
        minidb_close(txns[i]);
    }
    return NULL;
}

static void all_at_once(void *(*work)(void *), void *arg)
{
    pthread_t threads[THREADS];
    int i;

    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, arg) == 0);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static void many_may_be_open_at_once(void)
{
    minidb_t *db = database(), *left_open[200];
    int i;

    for (i = 0; i < 200; i++) {
        left_open[i] = begun_on(db);
        act(left_open[i], "count; put mine");
    }
    all_at_once(open_many, db);
    CHECK(number(db, MINIDB_STAT_COUNT) == THREADS * OPEN + 1);
    CHECK(number(db, MINIDB_STAT_HANDLES) == 201);
    for (i = 0; i < 200; i++) {
        if (i % 2)
            GIVES(MINIDB_CONFLICT, minidb_commit(left_open[i]));
        minidb_close(left_open[i]);
    }
    CHECK(number(db, MINIDB_STAT_HANDLES) == 1);
    minidb_close(db);
}

/* Moves one from one account to another, again if it was overtaken. */
static void *transfer(void *db)
{
    minidb_t *txn = begun_on(db);
    int i, from, to;

    for (i = 0; i < TRANSFERS; i++)
        do {
            OK(minidb_get_into(txn, i % 2 ? "a" : "b", 1, &from, sizeof from,
                               NULL));
            OK(minidb_get_into(txn, i % 2 ? "b" : "a", 1, &to, sizeof to,
                               NULL));
            from--, to++;
            OK(minidb_put(txn, i % 2 ? "a" : "b", 1, &from, sizeof from, NULL,
                          NULL));
            OK(minidb_put(txn, i % 2 ? "b" : "a", 1, &to, sizeof to, NULL,
                          NULL));
            check_code = minidb_commit(txn);
            CHECK(check_code == MINIDB_OK || check_code == MINIDB_CONFLICT);
        } while (check_code != MINIDB_OK);
    minidb_close(txn);
    return NULL;
}

static void transactions_that_retry_lose_nothing(void)
{
    minidb_t *db = database();
    int begin = 1000, a, b;

    OK(minidb_put(db, "a", 1, &begin, sizeof begin, NULL, NULL));
    OK(minidb_put(db, "b", 1, &begin, sizeof begin, NULL, NULL));
    all_at_once(transfer, db);
    OK(minidb_get_into(db, "a", 1, &a, sizeof a, NULL));
    OK(minidb_get_into(db, "b", 1, &b, sizeof b, NULL));
    CHECK(a == 1000 && b == 1000);
    CHECK(number(db, MINIDB_STAT_COMMITS) == 2 + THREADS * TRANSFERS);
    minidb_close(db);
}

int main(int argc, char **argv)
{
    CHECK(argc == 1);
    snprintf(path, sizeof path, "%s.minidb", argv[0]);
    RUN(a_transaction_is_on_a_database);
    RUN(it_works_on_after_its_database_was_closed);
    RUN(on_a_database_opened_read_only_it_can_only_read);
    RUN(a_backup_holds_its_own_writes);
    RUN(after_a_failure_it_still_has_its_writes);
    RUN(none_is_bound_to_a_thread);
    RUN(many_may_be_open_at_once);
    RUN(transactions_that_retry_lose_nothing);
    remove_file();
    return passed("transaction handles");
}
