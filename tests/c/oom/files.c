/*
 * Memory is refused, one allocation after the other, to what is done to files
 * as a whole: opening them as they were closed and as a crash has left them,
 * checkpoints, checks, backups, and closing. What is refused is MINIDB_NOMEM, and
 * no more than that: the files hold what they did, and the call can be made again.
 */
#include "store.h"

enum { TABLE = 42 * 12 }; /* bytes of a table of the file in memory */

static int k, repeated; /* which allocation is refused, and whether all later ones */
static int step = 1;    /* how far apart the refused allocations of two trials are */

static void refuse_some(void)
{
    refuse_from(k, repeated);
}

/* Whether a call was refused; if so, memory was. */
static int was_refused(int code)
{
    refuse_all(0);
    CHECK(code == MINIDB_OK || (refused && code == MINIDB_NOMEM));
    return code != MINIDB_OK;
}

/* Opening is refused, or it holds this. */
static void open_refused(const char *path, uint32_t flags, state_t expected)
{
    minidb_t *db;

    refuse_some();
    if (was_refused(minidb_open(path, flags, &db))) {
        CHECK(db == NULL);
        db = opened(path, flags);
    }
    CHECK(same(state(db), expected));
    OK(minidb_check(db));
    minidb_close(db);
}

static void open_closed(void)
{
    minidb_t *db = filled();
    state_t last = state(db);

    minidb_close(db);
    open_refused("store.minidb", open_flags, last);
}

/* Some of it is in the file, and some in the log. */
static void open_after_crash(uint32_t flags)
{
    minidb_t *db = filled();
    state_t last;

    OK(minidb_checkpoint(db));
    OK(minidb_put(db, "later", 5, value, BIG_VALUE, NULL, NULL));
    last = state(db);
    copy_file("store.minidb", "crashed");
    copy_file("store.minidb-log", "crashed-log");
    minidb_close(db);
    open_refused("crashed", flags, last);
    remove("crashed-log");
    CHECK(remove("crashed") == 0);
}

static void open_crashed(void)
{
    open_after_crash(open_flags);
}

static void open_crashed_to_read(void)
{
    open_after_crash(MINIDB_OPEN_READONLY);
}

/* Nobody is told what closing could not do: the log has it still. */
static void close_refused(minidb_t *db)
{
    state_t last = state(db);

    refuse_some();
    minidb_close(db);
    refuse_all(0);
    file_has("store.minidb", last);
    minidb_close(opened("store.minidb", open_flags));
    FILES("store.minidb");
    file_has("store.minidb", last);
}

static void close_full(void)
{
    close_refused(filled());
}

/* With much deleted, the file is made smaller: what is at its end is moved. */
static void close_emptier(void)
{
    minidb_t *db = filled();

    OK(minidb_checkpoint(db));
    OK(minidb_put(db, "~", 1, value, BIG_VALUE, NULL, NULL));
    OK(minidb_checkpoint(db));
    OK(minidb_delete(db, key, LONG_KEY, NULL, NULL));
    close_refused(db);
}

/* A call that is refused changes nothing, and can be made again. */
static void call_refused(minidb_t *db, int (*call)(minidb_t *db))
{
    state_t last = state(db);

    refuse_some();
    if (was_refused(call(db))) {
        FILES("store.minidb store.minidb-log");
        survives_a_crash(last);
        OK(minidb_put(db, "more", 4, value, BIG_VALUE, NULL, NULL));
        OK(call(db));
    }
    close_store(db);
}

static void make_checkpoint(void)
{
    call_refused(filled(), minidb_checkpoint);
}

static int check_files(minidb_t *db)
{
    return minidb_check(db);
}

static void check(void)
{
    minidb_t *db = filled();

    OK(minidb_checkpoint(db));
    OK(minidb_put(db, "later", 5, value, BIG_VALUE, NULL, NULL));
    call_refused(db, check_files);
}

/* One that was made holds what the store does, and is removed. */
static int back_up(minidb_t *db)
{
    int code = minidb_backup(db, "backup");

    refuse_all(0);
    if (code == MINIDB_OK) {
        file_has("backup", state(db));
        CHECK(remove("backup") == 0);
    }
    return code;
}

static void make_backup(void)
{
    call_refused(filled(), back_up);
}

static const struct {
    const char *name;
    void (*trial)(void);
} trials[] = {
    {"open", open_closed},
    {"open after a crash", open_crashed},
    {"open after a crash to read", open_crashed_to_read},
    {"close", close_full},
    {"close and make smaller", close_emptier},
    {"checkpoint", make_checkpoint},
    {"check", check},
    {"backup", make_backup},
};

/* The k-th allocation is refused for k = 1, 1 + step, ... until none is. */
static void try_all(const char *name, void (*trial)(void))
{
    k = 1 - step;
    do {
        k += step;
        trial();
    } while (refused);
    CHECK(k > 1); /* else this tests nothing */
    check_passed++;
    printf("oom: %s: %d allocations refused in turn\n", name, (k - 1) / step);
}

int main(void)
{
    size_t i;

    prepare();
    for (i = 0; i < sizeof trials / sizeof *trials; i++)
        for (repeated = 0; repeated < 2; repeated++) {
            open_flags = repeated ? MINIDB_OPEN_NOSYNC : 0;
            try_all(trials[i].name, trials[i].trial);
        }
    /* There are as many tables as the file decides, though each is small. */
    smallest = TABLE;
    step = 5;
    try_all("checkpoint, tables too", make_checkpoint);
    try_all("close and make smaller, tables too", close_emptier);
    return passed("oom in files");
}
