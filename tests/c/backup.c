/* Backups: of each kind of view, complete or not at all. */
#define _XOPEN_SOURCE 700

#include "file.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

enum { READONLY = MINIDB_OPEN_READONLY, NOSYNC = MINIDB_OPEN_NOSYNC };

static minidb_t *in_no_file(void)
{
    return opened(NULL, 0);
}

/* The copy is a database of its own, and equals the view that it is of. */
static void is_saved_as(const minidb_t *view, const char *path)
{
    minidb_t *copy;

    OK(minidb_backup(view, path));
    copy = opened(path, READONLY);
    HOLDS(copy, listing(view));
    CHECK(number(copy, MINIDB_STAT_COUNT) == number(view, MINIDB_STAT_COUNT));
    CHECK(number(copy, MINIDB_STAT_COMMITS) ==
          number(view, MINIDB_STAT_COMMITS));
    CHECK(number(copy, MINIDB_STAT_DATA_BYTES) ==
          number(view, MINIDB_STAT_DATA_BYTES));
    OK(minidb_check(copy));
    minidb_close(copy);
    copy = opened(path, 0);
    fill(copy, "only=here");
    minidb_close(copy);
    GIVES(MINIDB_NOTFOUND, minidb_get(view, "only", 4, NULL, NULL));
    CHECK(remove(path) == 0);
}

static void each_kind_of_view_can_be_saved(void)
{
    int kind;

    for (kind = 0; kind < 3; kind++) {
        minidb_t *db = kind == 0 ? in_no_file() : opened("a", 0), *snapshot;

        is_saved_as(db, "empty");
        fill(db, "a=1 b= =3");
        is_saved_as(db, "b");
        snapshot = snapshot_of(db);
        OK(minidb_checkpoint(db));
        OK(minidb_delete(db, "a", 1, NULL, NULL));
        is_saved_as(db, "b");
        is_saved_as(snapshot, "c");
        minidb_close(db);
        HOLDS(snapshot, "=3 a=1 b=");
        is_saved_as(snapshot, "c");
        minidb_close(snapshot);
        if (kind == 1)
            CHECK(remove("a") == 0);
    }
    FILES("a");
    {
        minidb_t *db = opened("a", READONLY);

        is_saved_as(db, "b");
        minidb_close(db);
    }
    FILES("a");
}

static void a_backup_of_a_backup_equals_it(void)
{
    minidb_t *db = opened("a", 0), *copy;
    struct entries set = {0};
    static char value[5000];
    uint32_t i;

    for (i = 0; i < 3000; i++) {
        add(&set, &i, sizeof i, value, i % (i % 50 ? 60 : 5000));
        value[i] = (char)i;
    }
    minidb_close(db);
    db = opened("a", NOSYNC);
    for (i = 0; i < set.count; i++)
        OK(minidb_put(db, set.list[i].key, set.list[i].key_len,
                      set.list[i].value, set.list[i].value_len, NULL, NULL));
    OK(minidb_backup(db, "b"));
    copy = opened("b", READONLY);
    holds_all(copy, &set);
    OK(minidb_backup(copy, "c"));
    minidb_close(copy);
    copy = opened("c", 0);
    holds_all(copy, &set);
    minidb_close(copy);
    minidb_close(db);
    FILES("a b c");
    discard(&set);
}

static void what_is_there_is_left_alone(void)
{
    static const char *const names[] = {
        "dangling", "file", "folder", "link", "pipe", "self", "self-log"
    };
    minidb_t *db = opened("self", 0);
    char *before = copy_of("", 0);
    size_t i;

    fill(db, "k=v");
    write_file("file", "untouched", 9);
    CHECK(mkdir("folder", 0700) == 0 && mkfifo("pipe", 0600) == 0);
    CHECK(symlink("file", "link") == 0 && symlink("no", "dangling") == 0);
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        GIVES(MINIDB_CONFLICT, minidb_backup(db, names[i]));
        CHECK(text_has(MINIDB_CONFLICT, names[i]));
        FILES("dangling file folder link pipe self self-log");
    }
    free(before);
    before = content_of("file", &i);
    CHECK(i == 9 && memcmp(before, "untouched", 9) == 0);
    free(before);
    HOLDS(db, "k=v");
    minidb_close(db);
    file_holds("self", "k=v");
}

static void a_place_that_is_none_is_refused(void)
{
    minidb_t *db = in_no_file();

    fill(db, "k=v");
    SAYS(MINIDB_IO, minidb_backup(db, "no/b"), "no/b", strerror(ENOENT));
    write_file("file", "", 0);
    SAYS(MINIDB_IO, minidb_backup(db, "file/b"), "file/b", strerror(ENOTDIR));
    GIVES(MINIDB_INVALID, minidb_backup(db, NULL));
    CHECK(minidb_backup(db, "") < 0);
    CHECK(minidb_backup(db, "b/") < 0);
    FILES("file");
    minidb_close(db);
}

static void one_that_fails_leaves_nothing_behind(void)
{
    static char value[1 << 20];
    minidb_t *db = in_no_file();
    struct rlimit limit;

    OK(minidb_put(db, "k", 1, value, sizeof value, NULL, NULL));
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = 100000;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    SAYS(MINIDB_FULL, minidb_backup(db, "b"), "/b", strerror(EFBIG));
    FILES("");
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    OK(minidb_backup(db, "b"));
    FILES("b");
    minidb_close(db);
}

static const char zeros[3 * 4096];

static void one_that_was_interrupted_is_in_nobodys_way(void)
{
    minidb_t *db = in_no_file();

    fill(db, "k=v");
    write_file("b-unfinished", zeros, sizeof zeros); /* its roots are not written yet */
    OK(minidb_backup(db, "b"));
    FILES("b");
    file_holds("b", "k=v");
    minidb_close(db);
}

static void nothing_of_somebody_elses_is_taken_for_an_interrupted_one(void)
{
    minidb_t *db = in_no_file();

    write_file("b-unfinished", "a text", 6);
    GIVES(MINIDB_CONFLICT, minidb_backup(db, "b"));
    CHECK(text_has(MINIDB_CONFLICT, "b-unfinished"));
    CHECK(is_content("b-unfinished", "a text", 6));
    make("c-unfinished", "k=v");
    GIVES(MINIDB_CONFLICT, minidb_backup(db, "c"));
    file_holds("c-unfinished", "k=v");
    FILES("b-unfinished c-unfinished");
    minidb_close(db);
}

static void a_backup_is_a_file(void)
{
    minidb_t *db = in_no_file();

    GIVES(MINIDB_INVALID, minidb_backup(db, ":memory:"));
    GIVES(MINIDB_INVALID, minidb_backup(db, ""));
    FILES("");
    minidb_close(db);
}

static volatile int stop, slowly;

/* Writes "x" and "y" together again and again, always with equal values. */
static void *write_pairs(void *arg)
{
    char entries[2 * (8 + 1 + 8)];
    const uint32_t lens[2] = {1, 8};
    const struct timespec moment = {0, 50000};
    uint64_t n;
    int i;

    for (n = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); n++) {
        for (i = 0; i < 2; i++) {
            char *entry = entries + 17 * i;

            memcpy(entry, lens, 8);
            entry[8] = (char)('x' + i);
            memcpy(entry + 9, &n, 8);
        }
        OK(minidb_write(arg, entries, sizeof entries));
        OK(minidb_put(arg, &n, sizeof n, &n, sizeof n, NULL, NULL));
        if (slowly)
            nanosleep(&moment, NULL);
        if (n % 1000 == 999)
            OK(minidb_clear(arg, NULL, 0, "a", 1));
    }
    return NULL;
}

static void writers_go_on_and_a_backup_is_of_one_moment(void)
{
    minidb_t *db = opened("a", NOSYNC), *copy;
    uint64_t x, y, last = 0;
    pthread_t thread;
    int i;

    OK(minidb_put(db, "x", 1, &last, 8, NULL, NULL));
    OK(minidb_put(db, "y", 1, &last, 8, NULL, NULL));
    __atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
    CHECK(pthread_create(&thread, NULL, write_pairs, db) == 0);
    for (i = 0; i < 30 || last == 0; i++) {
        OK(minidb_backup(db, "b"));
        copy = opened("b", READONLY);
        OK(minidb_check(copy));
        OK(minidb_get_into(copy, "x", 1, &x, 8, NULL));
        OK(minidb_get_into(copy, "y", 1, &y, 8, NULL));
        CHECK(x == y && x >= last);
        last = x;
        minidb_close(copy);
        CHECK(remove("b") == 0);
        if (i % 4 == 3)
            OK(minidb_checkpoint(db));
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    CHECK(pthread_join(thread, NULL) == 0);
    minidb_close(db);
    FILES("a");
}

static void copy_in_turn(int log_first)
{
    static const char *const names[][2] = {{"a", "b"}, {"a-log", "b-log"}};
    int i;

    for (i = 0; i < 2; i++)
        copy_file(names[i != log_first][0], names[i != log_first][1]);
}

/* No way to save a database; but nobody shall be told anything wrong by it. */
static void a_copy_of_files_in_use_is_sound_or_refused(void)
{
    minidb_t *db = opened("a", NOSYNC), *copy;
    uint64_t x, y, last = 0;
    int i, code, sound = 0;
    pthread_t thread;

    OK(minidb_put(db, "x", 1, &last, 8, NULL, NULL));
    OK(minidb_put(db, "y", 1, &last, 8, NULL, NULL));
    OK(minidb_checkpoint(db));
    slowly = 1;
    __atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
    CHECK(pthread_create(&thread, NULL, write_pairs, db) == 0);
    for (i = 0; i < 24 || (i < 1000 && sound == 0); i++) {
        copy_in_turn(i % 2);
        code = minidb_open("b", i % 4 < 2 ? READONLY : 0, &copy);
        CHECK(code == MINIDB_OK || code == MINIDB_CORRUPT);
        if (code == MINIDB_OK) {
            OK(minidb_check(copy));
            OK(minidb_get_into(copy, "x", 1, &x, 8, NULL));
            OK(minidb_get_into(copy, "y", 1, &y, 8, NULL));
            CHECK(x == y);
            minidb_close(copy);
            sound++;
        }
        if (i % 3 == 2)
            OK(minidb_checkpoint(db));
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    CHECK(pthread_join(thread, NULL) == 0);
    slowly = 0;
    minidb_close(db);
    CHECK(sound > 0);
    remove("b");
    remove("b-log");
}

static void *save(void *arg)
{
    return (void *)(intptr_t)minidb_backup(arg, "b");
}

/* Of those who save to one name at a time, one does. */
static void of_many_backups_with_one_name_one_is_there(void)
{
    enum { MANY = 4 };
    minidb_t *db = in_no_file();
    pthread_t threads[MANY];
    int round, i, done;

    for (i = 0; i < 1000; i++)
        OK(minidb_put(db, &i, sizeof i, "value", 5, NULL, NULL));
    for (round = 0; round < 20; round++) {
        for (i = 0; i < MANY; i++)
            CHECK(pthread_create(&threads[i], NULL, save, db) == 0);
        for (i = done = 0; i < MANY; i++) {
            void *code;

            CHECK(pthread_join(threads[i], &code) == 0);
            check_code = (int)(intptr_t)code;
            CHECK(check_code == MINIDB_OK || check_code == MINIDB_CONFLICT ||
                  check_code == MINIDB_BUSY);
            done += check_code == MINIDB_OK;
        }
        CHECK(done == 1);
        FILES("b");
        minidb_close(opened("b", 0));
        CHECK(remove("b") == 0);
    }
    minidb_close(db);
}

int main(void)
{
    RUN_ALONE(each_kind_of_view_can_be_saved);
    RUN_ALONE(a_backup_of_a_backup_equals_it);
    RUN_ALONE(what_is_there_is_left_alone);
    RUN_ALONE(a_place_that_is_none_is_refused);
    RUN_ALONE(one_that_fails_leaves_nothing_behind);
    RUN_ALONE(one_that_was_interrupted_is_in_nobodys_way);
    RUN_ALONE(nothing_of_somebody_elses_is_taken_for_an_interrupted_one);
    RUN_ALONE(a_backup_is_a_file);
    RUN_ALONE(writers_go_on_and_a_backup_is_of_one_moment);
    RUN_ALONE(a_copy_of_files_in_use_is_sound_or_refused);
    RUN_ALONE(of_many_backups_with_one_name_one_is_there);
    return passed("backup");
}
