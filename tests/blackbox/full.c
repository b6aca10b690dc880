/*
 * Full disks: nothing is applied by halves, and once there is space again
 * everything works. The disk is a small file system in memory, where one can be
 * made; and files are kept from growing by a limit of the process.
 */
#define _GNU_SOURCE

#include "files.h"

#include <sys/resource.h>

enum { VALUE = 3000, BALLAST = 580 << 10, LIMIT = 400 << 10, MOST = 2000 };

static struct entries model;
static char value[VALUE];
static uint32_t flags;

/* Takes so much space from the database, or all there is. */
static void load_ballast(long most)
{
    int file = open("ballast", O_WRONLY | O_CREAT, 0600);

    CHECK(file >= 0);
    while (most > 0 && write(file, value, sizeof value) > 0)
        most -= (long)sizeof value;
    CHECK(close(file) == 0);
}

static void drop_ballast(void)
{
    CHECK(unlink("ballast") == 0);
}

/*
 * Puts so many keys in turn, as long as there is space, with checkpoints
 * between them if `every` is not 0. Returns how many puts were done.
 */
static int fill_up(minidb_t *db, int keys, int every)
{
    char key[16];
    int i, code = MINIDB_OK;

    for (i = 0; code == MINIDB_OK; i++) {
        size_t key_len = (size_t)sprintf(key, "%06d", i % keys);

        CHECK(i < MOST);
        code = minidb_put(db, key, key_len, value, VALUE, NULL, NULL);
        if (code == MINIDB_OK)
            add(&model, key, key_len, value, VALUE);
        if (code == MINIDB_OK && every != 0 && i % every == 0)
            code = minidb_checkpoint(db);
    }
    GIVES(MINIDB_FULL, code);
    CHECK(strstr(minidb_strerror(code), "db") != NULL);
    holds_all(db, &model);
    return i;
}

static minidb_t *start(long ballast)
{
    discard(&model);
    remove_all();
    load_ballast(ballast);
    return open_file("db", flags);
}

/* A batch that does not fit has no part that does. */
static void nothing_of_a_batch_fits(minidb_t *db)
{
    static char packed[400 * (VALUE + 16)];
    uint32_t lens[2] = {6, VALUE};
    char key[16];
    size_t used = 0;
    int i;

    for (i = 0; i < 400; i++) {
        sprintf(key, "%06d", 900000 + i);
        memcpy(packed + used, lens, sizeof lens);
        memcpy(packed + used + 8, key, 6);
        memcpy(packed + used + 14, value, VALUE);
        used += 14 + VALUE;
    }
    GIVES(MINIDB_FULL, minidb_write(db, packed, used));
    holds_all(db, &model);
}

static void works(minidb_t *db)
{
    OK(minidb_put(db, "works", 5, value, VALUE, NULL, NULL));
    add(&model, "works", 5, value, VALUE);
    OK(minidb_sync(db));
    OK(minidb_checkpoint(db));
    holds_all(db, &model);
}

static void holds_when_opened(uint32_t how)
{
    minidb_t *db = open_file("db", how | MINIDB_OPEN_EXISTING);

    holds_all(db, &model);
    minidb_close(db);
}

static void closes(minidb_t *db)
{
    minidb_close(db);
    CHECK(!exists("db-log"));
    holds_when_opened(flags);
}

static void space_from_outside_is_used(void)
{
    minidb_t *db = start(BALLAST);

    fill_up(db, MOST, 0);
    nothing_of_a_batch_fits(db);
    OK(minidb_checkpoint(db));
    holds_all(db, &model);
    load_ballast(LONG_MAX);
    GIVES(MINIDB_FULL, minidb_backup(db, "backup"));
    CHECK(!exists("backup") && !exists("backup-unfinished"));
    drop_ballast();
    works(db);
    closes(db);
}

/* Others take all space. What cannot be folded at the end stays in the log. */
static void a_database_may_be_closed_on_a_full_disk(void)
{
    minidb_t *db = start(0);
    char key[16];
    int i, code;

    for (i = 0; i < 100; i++) {
        size_t key_len = (size_t)sprintf(key, "%06d", i);

        OK(minidb_put(db, key, key_len, value, VALUE, NULL, NULL));
        add(&model, key, key_len, value, VALUE);
    }
    load_ballast(LONG_MAX);
    minidb_close(db);
    CHECK(exists("db-log"));
    for (i = 0; i < 3; i++) {
        holds_when_opened(MINIDB_OPEN_READONLY);
        code = minidb_open("db", flags, &db);
        CHECK(code == MINIDB_OK || code == MINIDB_FULL);
        minidb_close(db);
    }
    drop_ballast();
    db = open_file("db", flags);
    holds_all(db, &model);
    works(db);
    closes(db);
}

static void clearing_makes_space(void)
{
    minidb_t *db = start(0);
    int puts = fill_up(db, MOST, 8), again;

    nothing_of_a_batch_fits(db);
    OK(minidb_clear(db, NULL, 0, NULL, 0));
    cut(&model, 0, model.count);
    holds_all(db, &model);
    works(db);
    again = fill_up(db, MOST, 8);
    CHECK(again > puts / 2);
    minidb_close(db);
    drop_ballast();
    holds_when_opened(MINIDB_OPEN_READONLY);
}

/* Closes the database and opens it again, if it is to be; else a checkpoint does. */
static minidb_t *again(minidb_t *db, int reopens)
{
    if (reopens) {
        minidb_close(db);
        return open_file("db", flags);
    }
    OK(minidb_checkpoint(db));
    return db;
}

static void deleting_and_clearing_make_space(void)
{
    int reopens, i;

    for (reopens = 0; reopens < 2; reopens++) {
        minidb_t *db = start(0);
        int puts = fill_up(db, MOST, 0);
        char key[16];
        size_t place;

        db = again(db, reopens);
        for (i = 0; i < puts - 1; i += 2) {
            size_t key_len = (size_t)sprintf(key, "%06d", i);

            OK(minidb_delete(db, key, key_len, NULL, NULL));
            place = place_of(&model, key, key_len);
            cut(&model, place, place + 1);
        }
        holds_all(db, &model);
        db = again(db, reopens);
        CHECK(fill_up(db, MOST, 0) > puts / 8);
        OK(minidb_clear(db, NULL, 0, "000100", 6));
        cut(&model, 0, place_of(&model, "000100", 6));
        db = again(db, reopens);
        works(db);
        closes(db);
    }
}

/* Puts so many keys in turn; returns how many puts were refused. */
static int overwrite(minidb_t *db, int keys)
{
    char key[16];
    int i, refused = 0;

    for (i = 0; i < MOST; i++) {
        size_t key_len = (size_t)sprintf(key, "%06d", i % keys);
        int code = minidb_put(db, key, key_len, value, VALUE, NULL, NULL);

        if (code == MINIDB_OK)
            add(&model, key, key_len, value, VALUE);
        else
            GIVES(MINIDB_FULL, code);
        refused += code != MINIDB_OK;
    }
    holds_all(db, &model);
    return refused;
}

static void what_is_overwritten_never_fills_the_disk(void)
{
    minidb_t *db = start(0);

    CHECK(overwrite(db, 10) == 0);
    works(db);
    closes(db);
}

/* Of such a limit nobody knows before it is met. */
static void the_log_is_folded_when_it_may_not_grow(void)
{
    minidb_t *db = start(0);
    int refused = overwrite(db, 10);

    CHECK(refused > 0 && refused < MOST / 20);
    works(db);
    closes(db);
}

static void nothing_is_made_without_space(void)
{
    minidb_t *db;

    remove_all();
    discard(&model);
    load_ballast(LONG_MAX);
    refuses(MINIDB_FULL, "db", flags);
    drop_ballast();
    db = open_file("db", flags);
    works(db);
    closes(db);
}

int main(int argc, char **argv)
{
    static const struct rlimit limit = {LIMIT, LIMIT}, lower = {LIMIT / 3, LIMIT / 3};
    int own_disk, i;

    work_in_folder(argc, argv);
    memset(value, 'v', sizeof value);
    own_disk = work_on_own_disk("size=1m");
    for (i = 0; i < 2 && own_disk; i++) {
        flags = i ? MINIDB_OPEN_NOSYNC : 0;
        RUN(space_from_outside_is_used);
        RUN(a_database_may_be_closed_on_a_full_disk);
        RUN(clearing_makes_space);
        RUN(deleting_and_clearing_make_space);
        RUN(what_is_overwritten_never_fills_the_disk);
        RUN(nothing_is_made_without_space);
    }
    if (!own_disk)
        puts("full: no file system can be mounted here, only files are limited");
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    for (i = 0; i < 2; i++) {
        flags = i ? MINIDB_OPEN_NOSYNC : 0;
        RUN(clearing_makes_space);
    }
    CHECK(setrlimit(RLIMIT_FSIZE, &lower) == 0);
    for (i = 0; i < 2; i++) {
        flags = i ? MINIDB_OPEN_NOSYNC : 0;
        RUN(the_log_is_folded_when_it_may_not_grow);
    }
    discard(&model);
    return passed("full");
}
