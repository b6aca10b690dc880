/*
 * Files and processes: a file is its process's, and lives on when that ends; in
 * what the process does otherwise, fork() and signals, no call is lost.
 */
#define _XOPEN_SOURCE 700

#include "file.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { READONLY = MINIDB_OPEN_READONLY, NOSYNC = MINIDB_OPEN_NOSYNC };

/* What the parent has open. */
static minidb_t *parents;

/* Runs `work` in a child that ends at once, without closing anything. */
static pid_t start_child(void (*work)(void))
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        alarm(600); /* a child that hangs fails */
        work();
        _exit(0);
    }
    return child;
}

static void in_child(void (*work)(void))
{
    pid_t child = start_child(work);
    int status;

    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void is_busy(void)
{
    NO_RESULT(MINIDB_BUSY, minidb_open("a", 0, &out.view));
    NO_RESULT(MINIDB_BUSY, minidb_open("a", READONLY, &out.view));
}

static void is_readable(void)
{
    file_holds("a", "k=v");
    NO_RESULT(MINIDB_BUSY, minidb_open("a", 0, &out.view));
}

static void other_processes_find_it_busy_too(void)
{
    minidb_t *db = opened("a", 0);

    fill(db, "k=v");
    in_child(is_busy);
    minidb_close(db);
    db = opened("a", READONLY);
    in_child(is_readable);
    minidb_close(db);
}

static void close_parents(void)
{
    is_busy();
    minidb_close(parents);
    GIVES(MINIDB_INVALID, minidb_put(parents, "k", 1, "", 0, NULL, NULL));
    is_busy();
}

static void a_childs_closing_leaves_the_file_alone(void)
{
    parents = opened("a", 0);
    fill(parents, "a=1");
    in_child(close_parents);
    FILES("a a-log");
    fill(parents, "b=2");
    OK(minidb_check(parents));
    minidb_close(parents);
    file_holds("a", "a=1 b=2");
}

/* Pipes: a child that stays says when it runs, and ends when it is told to. */
static int runs[2], told[2];

static void stay(void)
{
    char byte = 'r';

    close(told[1]);
    CHECK(write(runs[1], &byte, 1) == 1);
    CHECK(read(told[0], &byte, 1) == 0);
}

static void end_before_the_child(void)
{
    char byte;

    fill(opened("a", 0), "k=v");
    start_child(stay);
    CHECK(read(runs[0], &byte, 1) == 1);
}

static void a_child_does_not_keep_the_file_locked(void)
{
    int i;

    CHECK(pipe(runs) == 0 && pipe(told) == 0);
    in_child(end_before_the_child);
    minidb_close(opened("a", 0));
    file_holds("a", "k=v");
    for (i = 0; i < 2; i++) {
        close(runs[i]);
        close(told[i]);
    }
}

static void open_others(void)
{
    minidb_t *db;

    make("b", "k=w");
    db = opened("b", 0);
    HOLDS(db, "k=w");
    HOLDS(opened("c", NOSYNC), "");
    minidb_close(db);
}

static void a_child_may_open_files_of_its_own(void)
{
    minidb_t *db = opened("a", 0);

    fill(db, "k=v");
    in_child(open_others);
    OK(minidb_checkpoint(db));
    minidb_close(db);
    file_holds("a", "k=v");
    file_holds("b", "k=w");
    minidb_close(opened("c", 0));
    FILES("a b c");
}

static uint32_t flags_of_child;

static void write_and_end(void)
{
    minidb_t *db = opened("a", flags_of_child);

    fill(db, "a=1 b=2");
    OK(minidb_checkpoint(db));
    fill(db, "c=3");
    OK(minidb_delete(db, "a", 1, NULL, NULL));
    kill(getpid(), SIGKILL);
}

static void a_process_that_is_killed_loses_nothing(void)
{
    int status, i;
    minidb_t *db;
    pid_t child;

    for (i = 0; i < 2; i++) {
        flags_of_child = i ? NOSYNC : 0;
        child = start_child(write_and_end);
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
        FILES("a a-log");
        file_holds("a", "b=2 c=3");
        FILES("a a-log");
        db = opened("a", 0);
        CHECK(number(db, MINIDB_STAT_COMMITS) == 4);
        minidb_close(db);
        FILES("a");
        file_holds("a", "b=2 c=3");
        CHECK(remove("a") == 0);
    }
}

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    (void)number;
    signals++;
}

static void signals_interrupt_no_call(void)
{
    static const struct itimerval often = {{0, 1000}, {0, 1000}}, never;
    static char value[3000];
    struct sigaction counting;
    uint32_t flags, n = 0, first;
    minidb_t *db;

    memset(&counting, 0, sizeof counting); /* without SA_RESTART */
    counting.sa_handler = count_signal;
    CHECK(sigaction(SIGALRM, &counting, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (flags = 0; flags <= NOSYNC; flags += NOSYNC)
        for (signals = 0, first = n; signals < 50 || n < first + 20; n++) {
            db = opened("a", flags);
            OK(minidb_put(db, &n, sizeof n, value, sizeof value, NULL, NULL));
            OK(minidb_checkpoint(db));
            OK(minidb_delete(db, &n, sizeof n, NULL, NULL));
            OK(minidb_check(db));
            CHECK(number(db, MINIDB_STAT_COMMITS) == 2 * (n + 1));
            minidb_close(db);
        }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    file_holds("a", "");
}

int main(void)
{
    RUN_ALONE(other_processes_find_it_busy_too);
    RUN_ALONE(a_childs_closing_leaves_the_file_alone);
    RUN_ALONE(a_child_does_not_keep_the_file_locked);
    RUN_ALONE(a_child_may_open_files_of_its_own);
    RUN_ALONE(a_process_that_is_killed_loses_nothing);
    RUN_ALONE(signals_interrupt_no_call);
    return passed("forks");
}
