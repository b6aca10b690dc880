/*
 * A sync that many wait for fails: none of their commits is acknowledged, none
 * is seen, and after opening again each is there whole or not at all.
 *
 * Syncs are held, so that it is known who waits for which: first a commit that
 * is done, then the group whose sync fails, then those who have come meanwhile.
 */
#define _GNU_SOURCE

#include "files.h"

#include <pthread.h>
#include <sys/syscall.h>

#include "faults.h"

enum { GROUP = 4, LATE = 3, WRITERS = 1 + GROUP + LATE, KEYS = 3 };

static struct writer {
    minidb_t *db;
    pthread_t thread;
    long id; /* the system's */
    int number, code;
} writers[WRITERS];

/* A commit of several keys: some are made by transactions. */
static int commit(minidb_t *db, int number)
{
    minidb_t *txn;
    char key[8], packed[KEYS * 11], *entry = packed;
    const uint32_t lens[2] = {2, 1};
    int i, code;

    OK(minidb_begin(db, &txn));
    for (i = 0; i < KEYS; i++, entry += 11) {
        sprintf(key, "%d%d", number, i);
        memcpy(entry, lens, 8);
        memcpy(entry + 8, key, 2);
        entry[10] = 'v';
        OK(minidb_put(txn, key, 2, "v", 1, NULL, NULL));
    }
    code = number % 2 ? minidb_commit(txn) : minidb_write(db, packed, sizeof packed);
    minidb_close(txn);
    return code;
}

/* How many keys of a commit there are. */
static int keys_of(minidb_t *db, int number)
{
    char key[8];
    int i, found = 0;

    for (i = 0; i < KEYS; i++) {
        sprintf(key, "%d%d", number, i);
        found += minidb_get(db, key, 2, NULL, NULL) == MINIDB_OK;
    }
    return found;
}

static void *work(void *arg)
{
    struct writer *writer = arg;

    __atomic_store_n(&writer->id, syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    writer->code = commit(writer->db, writer->number);
    return NULL;
}

static void start(minidb_t *db, int from, int to)
{
    int i;

    for (i = from; i < to; i++) {
        writers[i].db = db;
        writers[i].number = i;
        writers[i].id = 0;
        CHECK(pthread_create(&writers[i].thread, NULL, work, &writers[i]) == 0);
    }
    for (i = from; i < to; i++)
        wait_until_asleep(&writers[i].id);
}

/* Those that were done are there, and of the others what the rule says. */
static void after_it(minidb_t *db, int may_be_there)
{
    int i;

    CHECK(keys_of(db, 0) == KEYS);
    for (i = 1; i < WRITERS; i++) {
        int found = keys_of(db, i);

        CHECK(found == 0 || (found == KEYS && may_be_there && i <= GROUP));
    }
    OK(minidb_check(db));
}

static void all_who_wait_are_told(void)
{
    minidb_t *db, *crashed;
    int i;

    remove_all();
    db = open_file("db", 0);
    faults_hold_syncs(1);
    start(db, 0, 1);
    faults_wait_for_sync();
    start(db, 1, 1 + GROUP);
    CHECK(keys_of(db, 0) == 0);
    faults_release_sync(0);
    faults_wait_for_sync();
    CHECK(pthread_join(writers[0].thread, NULL) == 0 && writers[0].code == MINIDB_OK);
    start(db, 1 + GROUP, WRITERS);
    after_it(db, 0);
    copy_file("db", "crashed");
    copy_file("db-log", "crashed-log");
    faults_hold_syncs(0);
    faults_release_sync(EIO);
    for (i = 1; i < WRITERS; i++) {
        CHECK(pthread_join(writers[i].thread, NULL) == 0);
        CHECK(writers[i].code == MINIDB_IO);
    }
    after_it(db, 0);
    GIVES(MINIDB_IO, commit(db, WRITERS));
    GIVES(MINIDB_IO, minidb_sync(db));
    minidb_close(db);

    db = open_file("db", MINIDB_OPEN_EXISTING);
    after_it(db, 1);
    OK(commit(db, WRITERS));
    minidb_close(db);
    crashed = open_file("crashed", MINIDB_OPEN_EXISTING);
    after_it(crashed, 1);
    minidb_close(crashed);
    CHECK(names_in(".") == 2);
}

int main(int argc, char **argv)
{
    int i;

    work_in_folder(argc, argv);
    for (i = thorough() ? 200 : 10; i > 0; i--)
        RUN(all_who_wait_are_told);
    return passed("group");
}
