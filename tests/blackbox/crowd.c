/*
 * Very many calls inside the library at once: writers that wait for a sync that
 * is held. Readers do not wait for them, in this process and in a child of it;
 * closing their handle does, asleep.
 */
#define _GNU_SOURCE

#include "files.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

#include "faults.h"

enum { WRITERS = 200, READS = 1000 };

static minidb_t *db;
static int done; /* writers whose call has returned */

struct caller {
    pthread_t thread;
    long id; /* the system's */
    int number;
};

static void begin(struct caller *caller)
{
    __atomic_store_n(&caller->id, syscall(SYS_gettid), __ATOMIC_SEQ_CST);
}

static void *put_one(void *arg)
{
    struct caller *caller = arg;

    begin(caller);
    OK(minidb_put(db, &caller->number, sizeof caller->number, "", 0, NULL, NULL));
    __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void *close_it(void *arg)
{
    struct caller *caller = arg;

    begin(caller);
    minidb_close(db);
    return NULL;
}

static void start(struct caller *caller, void *(*run)(void *))
{
    caller->id = 0;
    CHECK(pthread_create(&caller->thread, NULL, run, caller) == 0);
}

/* Reads in all ways, many times. */
static void read_all(minidb_t *view)
{
    int i;

    for (i = 0; i < READS; i++) {
        minidb_t *snapshot = snapshot_of(view), *txn;

        HOLDS(view, "a=1");
        HOLDS(snapshot, "a=1");
        OK(minidb_get(view, "a", 1, NULL, NULL));
        GIVES(MINIDB_NOTFOUND, minidb_get(view, "b", 1, NULL, NULL));
        CHECK(number(view, MINIDB_STAT_COUNT) == 1);
        OK(minidb_begin(view, &txn));
        OK(minidb_get(txn, "a", 1, NULL, NULL));
        OK(minidb_commit(txn));
        minidb_close(txn);
        minidb_close(snapshot);
    }
}

/* The child has none of the calls that are inside in its parent. */
static void a_child_has_a_library_of_its_own(void)
{
    pid_t child = fork();
    int status;

    CHECK(child >= 0);
    if (child == 0) {
        minidb_t *own;

        alarm(60);
        GIVES(MINIDB_INVALID, minidb_get(db, "a", 1, NULL, NULL));
        minidb_close(db);
        OK(minidb_open(NULL, 0, &own));
        fill(own, "a=1");
        read_all(own);
        minidb_close(own);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* Milliseconds of a processor that a thread has taken. */
static long cpu_ms(pthread_t thread)
{
    struct timespec time;
    clockid_t clock;

    CHECK(pthread_getcpuclockid(thread, &clock) == 0);
    CHECK(clock_gettime(clock, &time) == 0);
    return (long)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void readers_do_not_wait_for_a_crowd_of_writers(void)
{
    static struct caller writers[WRITERS], closer;
    int i;

    remove_all();
    done = 0;
    db = open_file("db", 0);
    fill(db, "a=1");
    faults_hold_syncs(1);
    for (i = 0; i < WRITERS; i++) {
        writers[i].number = i;
        start(&writers[i], put_one);
    }
    faults_wait_for_sync();
    for (i = 0; i < WRITERS; i++)
        wait_until_asleep(&writers[i].id);
    read_all(db);
    a_child_has_a_library_of_its_own();

    start(&closer, close_it);
    while (minidb_get(db, "a", 1, NULL, NULL) != MINIDB_INVALID)
        sched_yield();
    usleep(500000);
    CHECK(cpu_ms(closer.thread) < 100);
    CHECK(__atomic_load_n(&done, __ATOMIC_SEQ_CST) == 0);

    faults_hold_syncs(0);
    faults_release_sync(0);
    for (i = 0; i < WRITERS; i++)
        CHECK(pthread_join(writers[i].thread, NULL) == 0);
    CHECK(pthread_join(closer.thread, NULL) == 0);
    CHECK(exists("db") && !exists("db-log"));
    db = open_file("db", MINIDB_OPEN_EXISTING);
    CHECK(number(db, MINIDB_STAT_COUNT) == WRITERS + 1);
    minidb_close(db);
}

int main(int argc, char **argv)
{
    int i;

    work_in_folder(argc, argv);
    alarm(thorough() ? 600 : 120);
    for (i = thorough() ? 20 : 1; i > 0; i--)
        RUN(readers_do_not_wait_for_a_crowd_of_writers);
    return passed("crowd");
}
