/* Databases in files: what is found again, where the log lies, maintenance. */
#define _XOPEN_SOURCE 700

#include "file.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

enum {
    READONLY = MINIDB_OPEN_READONLY,
    EXISTING = MINIDB_OPEN_EXISTING,
    NEW = MINIDB_OPEN_NEW,
    NOSYNC = MINIDB_OPEN_NOSYNC
};

/* What a view says about itself, but for its handles. */
struct numbers {
    uint64_t count, data_bytes, commits;
};

static struct numbers numbers_of(const minidb_t *db)
{
    struct numbers numbers;

    numbers.count = number(db, MINIDB_STAT_COUNT);
    numbers.data_bytes = number(db, MINIDB_STAT_DATA_BYTES);
    numbers.commits = number(db, MINIDB_STAT_COMMITS);
    return numbers;
}

static int same_numbers(const minidb_t *db, struct numbers numbers)
{
    struct numbers now = numbers_of(db);

    return now.count == numbers.count && now.commits == numbers.commits &&
           now.data_bytes == numbers.data_bytes;
}

static void put_any(minidb_t *db, struct entries *set, const void *key,
                    size_t key_len, const void *value, size_t value_len)
{
    OK(minidb_put(db, key, key_len, value, value_len, NULL, NULL));
    add(set, key, key_len, value, value_len);
}

/* Entries of all kinds: empty ones, long ones, and enough for a tree. */
static void fill_with_all_kinds(minidb_t *db, struct entries *set,
                                uint32_t many)
{
    static const size_t sizes[] = {
        0, 1, 255, 256, 511, 512, 513, 1024, 1025, 4096, 70000, 1000000
    };
    static char bytes[1000000];
    size_t i;
    uint32_t n;

    for (i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7 / 5);
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        put_any(db, set, bytes, sizes[i], "value", 5);
        put_any(db, set, &i, sizeof i, bytes, sizes[i]);
        bytes[0]++; /* else each key would begin the next */
        put_any(db, set, bytes, sizes[i], bytes, sizes[i] / 2);
    }
    put_any(db, set, "", 0, "", 0);
    for (n = 0; n < many; n++)
        put_any(db, set, &n, sizeof n, bytes, n % 40);
}

static void everything_is_found_again(void)
{
    struct entries set = {0};
    struct numbers numbers;
    uint32_t flags;
    minidb_t *db;

    for (flags = 0; flags <= NOSYNC; flags += NOSYNC) {
        db = opened("a", flags | NEW);
        fill_with_all_kinds(db, &set, flags == NOSYNC ? 5000 : 50);
        holds_all(db, &set);
        numbers = numbers_of(db);
        minidb_close(db);

        db = opened("a", READONLY);
        CHECK(same_numbers(db, numbers));
        holds_all(db, &set);
        minidb_close(db);
        db = opened("a", EXISTING);
        CHECK(same_numbers(db, numbers));
        holds_all(db, &set);
        put_any(db, &set, "one more", 8, "", 0);
        minidb_close(db);
        db = opened("a", 0);
        CHECK(number(db, MINIDB_STAT_COMMITS) == numbers.commits + 1);
        holds_all(db, &set);
        minidb_close(db);
        discard(&set);
        CHECK(remove("a") == 0);
    }
}

static void each_way_to_write_is_found_again(void)
{
    char entries[18] = {1, 0, 0, 0, 1, 0, 0, 0, 'x', '1',
                        0, 0, 0, 0, 0, 0, 0, 0};
    minidb_t *db = opened("a", 0);
    int step;

    fill(db, "a=1 b=2 c=3 d=4 e=5 f=6");
    OK(minidb_delete(db, "a", 1, NULL, NULL));
    OK(minidb_clear(db, "b", 1, "d", 1));
    OK(minidb_cas(db, "d", 1, "4", 1, "44", 2));
    OK(minidb_cas(db, "e", 1, "5", 1, NULL, 0));
    OK(minidb_cas(db, "g", 1, NULL, 0, "7", 1));
    OK(minidb_write(db, entries, sizeof entries));
    GIVES(MINIDB_CONFLICT, minidb_cas(db, "f", 1, "x", 1, "y", 1));
    for (step = 0; step < 3; step++) {
        HOLDS(db, "= d=44 f=6 g=7 x=1");
        CHECK(number(db, MINIDB_STAT_COMMITS) == 12);
        minidb_close(db);
        db = opened("a", 0);
    }
    OK(minidb_clear(db, NULL, 0, NULL, 0));
    minidb_close(db);
    file_holds("a", "");
}

static void closed_it_is_one_file_that_may_be_copied(void)
{
    make("a", "k=v");
    FILES("a");
    copy_file("a", "b");
    file_holds("b", "k=v");
    minidb_close(opened("b", 0));
    file_holds("b", "k=v");
    FILES("a b");
}

static void the_log_lies_beside_the_target_of_a_link(void)
{
    minidb_t *db;

    CHECK(mkdir("there", 0700) == 0);
    CHECK(symlink("there/a", "link") == 0);
    db = opened("link", NEW); /* there is no target yet */
    fill(db, "k=v");
    FILES("link there");
    CHECK(size_of("there/a-log") > 0);
    NO_RESULT(MINIDB_CONFLICT, minidb_open("link", NEW, &out.view));
    minidb_close(db);
    CHECK(access("there/a-log", F_OK) != 0);
    file_holds("there/a", "k=v");
    file_holds("link", "k=v");
    CHECK(remove("there/a") == 0);
}

static void a_missing_log_is_damage(void)
{
    uint32_t flags;
    minidb_t *db = opened("a", 0);

    fill(db, "k=v");
    copy_file("a", "b");
    for (flags = 0; flags < NEW; flags++)
        SAYS(MINIDB_CORRUPT, minidb_open("b", flags, &out.view), "/b", "/b-log");
    FILES("a a-log b");
    copy_file("a-log", "b-log"); /* the two as a crash would leave them */
    minidb_close(db);
    file_holds("b", "k=v"); /* not even now is anything written */
    FILES("a b b-log");
    minidb_close(opened("b", 0));
    FILES("a b");
    file_holds("b", "k=v");
}

static void another_files_log_is_not_taken(void)
{
    minidb_t *db = opened("a", 0), *other = opened("b", 0);

    fill(db, "k=v");
    fill(other, "k=w");
    copy_file("a", "c");
    copy_file("b-log", "c-log");
    minidb_close(db);
    minidb_close(other);
    NO_RESULT(MINIDB_CORRUPT, minidb_open("c", 0, &out.view));
}

static void read_only_refuses_writes_and_changes_no_byte(void)
{
    static const char entry[8];
    struct numbers numbers;
    size_t len;
    char *before;
    minidb_t *db;

    make("a", "a=1 b=2");
    before = content_of("a", &len);
    db = opened("a", READONLY);
    numbers = numbers_of(db);
    NO_RESULT(MINIDB_READONLY,
              minidb_put(db, "k", 1, "v", 1, &out.bytes, &out.len));
    NO_RESULT(MINIDB_READONLY,
              minidb_delete(db, "a", 1, &out.bytes, &out.len));
    NO_RESULT(MINIDB_READONLY,
              minidb_delete(db, "k", 1, &out.bytes, &out.len));
    GIVES(MINIDB_READONLY, minidb_clear(db, NULL, 0, NULL, 0));
    GIVES(MINIDB_READONLY, minidb_cas(db, "a", 1, "1", 1, "2", 1));
    GIVES(MINIDB_READONLY, minidb_cas(db, "a", 1, "x", 1, "2", 1));
    GIVES(MINIDB_READONLY, minidb_cas(db, "k", 1, NULL, 0, "v", 1));
    GIVES(MINIDB_READONLY, minidb_write(db, entry, sizeof entry));
    GIVES(MINIDB_READONLY, minidb_write(db, entry, 0));
    GIVES(MINIDB_READONLY, minidb_checkpoint(db));
    CHECK(text_has(MINIDB_READONLY, "/a"));
    OK(minidb_sync(db));
    OK(minidb_check(db));
    HOLDS(db, "a=1 b=2");
    CHECK(same_numbers(db, numbers));
    CHECK(number(db, MINIDB_STAT_FILE_BYTES) == len);
    FILES("a");
    minidb_close(db);
    CHECK(is_content("a", before, len));
    free(before);
}

/* The number is there, and no more than what lies on the disk. */
static uint64_t file_bytes(const minidb_t *db)
{
    uint64_t bytes = number(db, MINIDB_STAT_FILE_BYTES);
    size_t disk = size_of("a") + (access("a-log", F_OK) ? 0 : size_of("a-log"));

    CHECK(bytes > 0 && bytes <= disk);
    return bytes;
}

static void file_bytes_follow_what_lies_on_disk(void)
{
    static char value[100000];
    minidb_t *db = opened("a", 0), *snapshot;
    minidb_cursor_t *cursor;
    uint64_t before = file_bytes(db);

    OK(minidb_put(db, "k", 1, value, sizeof value, NULL, NULL));
    CHECK(file_bytes(db) >= before + sizeof value);
    OK(minidb_checkpoint(db));
    CHECK(file_bytes(db) >= sizeof value && size_of("a") >= sizeof value);
    snapshot = snapshot_of(db);
    CHECK(file_bytes(snapshot) == file_bytes(db));
    cursor = cursor_on(db);
    minidb_close(db);
    CHECK(file_bytes(snapshot) > 0);
    minidb_cursor_close(cursor);
    minidb_close(snapshot);

    db = opened("a", READONLY);
    CHECK(file_bytes(db) == size_of("a"));
    minidb_close(db);
    db = opened("a", 0); /* what is deleted comes back, at the close */
    OK(minidb_delete(db, "k", 1, NULL, NULL));
    minidb_close(db);
    CHECK(size_of("a") < sizeof value);
}

static void sync_and_checkpoint_are_for_databases(void)
{
    uint32_t flags;
    minidb_t *db, *snapshot;

    for (flags = 0; flags <= NOSYNC; flags += NOSYNC) {
        db = opened("a", flags);
        OK(minidb_sync(db));
        OK(minidb_checkpoint(db));
        fill(db, "a=1");
        OK(minidb_sync(db));
        OK(minidb_sync(db));
        OK(minidb_checkpoint(db));
        OK(minidb_checkpoint(db));
        fill(db, "b=2");
        snapshot = snapshot_of(db);
        GIVES(MINIDB_INVALID, minidb_sync(snapshot));
        GIVES(MINIDB_INVALID, minidb_checkpoint(snapshot));
        minidb_close(snapshot);
        HOLDS(db, "a=1 b=2");
        OK(minidb_check(db));
        minidb_close(db);
        file_holds("a", "a=1 b=2");
    }
}

/* Else a log would grow for ever under a host that never closes. */
static void a_checkpoint_lets_the_log_be_used_again(void)
{
    static char value[1 << 20];
    minidb_t *db = opened("a", NOSYNC);
    int i;

    for (i = 0; i < 64; i++) {
        OK(minidb_put(db, "k", 1, value, sizeof value, NULL, NULL));
        if (i % 4 == 3)
            OK(minidb_checkpoint(db));
    }
    CHECK(size_of("a-log") < 20 * sizeof value);
    CHECK(size_of("a") < 20 * sizeof value);
    minidb_close(db);
    CHECK(size_of("a") < 4 * sizeof value);
}

/* Or to less, if the system has a limit that is lower. */
static void limit_files_to(rlim_t bytes)
{
    struct rlimit limit;

    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

enum { MIB = 1 << 20 };

/* A limit on the size of files is met as a full disk is. */
static void without_space_nothing_changes_and_with_space_it_goes_on(void)
{
    static char value[4 * MIB];
    struct numbers numbers;
    uint32_t flags;
    minidb_t *db;

    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    for (flags = 0; flags <= NOSYNC; flags += NOSYNC) {
        db = opened("a", flags);
        fill(db, "a=1 b=2");
        numbers = numbers_of(db);
        limit_files_to(2 * MIB);
        NO_RESULT(MINIDB_FULL, minidb_put(db, "a", 1, value, sizeof value,
                                          &out.bytes, &out.len));
        CHECK(text_has(MINIDB_FULL, "/a-log"));
        CHECK(text_has(MINIDB_FULL, strerror(EFBIG)));
        GIVES(MINIDB_FULL,
              minidb_cas(db, "a", 1, "1", 1, value, sizeof value));
        HOLDS(db, "a=1 b=2");
        CHECK(same_numbers(db, numbers));
        fill(db, "c=3"); /* for this there is space */
        limit_files_to(RLIM_INFINITY);
        OK(minidb_put(db, "a", 1, value, sizeof value, NULL, NULL));
        OK(minidb_delete(db, "a", 1, NULL, NULL));
        OK(minidb_check(db));
        minidb_close(db);
        file_holds("a", "b=2 c=3");
        CHECK(remove("a") == 0);
    }
}

static void a_checkpoint_without_space_changes_nothing(void)
{
    static char value[4 * MIB];
    minidb_t *db = opened("a", NOSYNC);
    struct numbers numbers;

    OK(minidb_put(db, "d", 1, value, 4 * MIB, NULL, NULL));
    OK(minidb_checkpoint(db));
    OK(minidb_put(db, "e", 1, value, 3 * MIB, NULL, NULL));
    numbers = numbers_of(db);
    limit_files_to(6 * MIB);
    SAYS(MINIDB_FULL, minidb_checkpoint(db), "/a", strerror(EFBIG));
    CHECK(same_numbers(db, numbers));
    fill(db, "a=1");
    GIVES(MINIDB_FULL, minidb_checkpoint(db));
    OK(minidb_check(db));
    copy_file("a", "b"); /* as if the machine had crashed now */
    copy_file("a-log", "b-log");
    limit_files_to(RLIM_INFINITY);
    OK(minidb_checkpoint(db));
    OK(minidb_clear(db, "b", 1, NULL, 0));
    minidb_close(db);
    file_holds("a", "a=1");
    db = opened("b", 0);
    CHECK(number(db, MINIDB_STAT_COUNT) == 3);
    CHECK(number(db, MINIDB_STAT_DATA_BYTES) == 7 * MIB + 4);
    minidb_close(db);
}

/* All there is to do with a file. */
static void *live(void *arg)
{
    static const char path[] = "stack.db", copy[] = "stack.db-copy";
    minidb_cursor_t *cursor;
    minidb_t *db, *txn;
    char key[16];
    int i, round;

    (void)arg;
    for (round = 0; round < 2; round++) {
        OK(minidb_open(path, MINIDB_OPEN_NOSYNC, &db));
        for (i = 0; i < 20000; i++) {
            sprintf(key, "key %d", i * 7919 % 20000);
            OK(minidb_put(db, key, MINIDB_STR, key, MINIDB_STR, NULL, NULL));
        }
        OK(minidb_begin(db, &txn));
        OK(minidb_put(txn, "", 0, "", 0, NULL, NULL));
        OK(minidb_clear(txn, "key 1", 5, "key 2", 5));
        OK(minidb_scan(txn, NULL, 0, NULL, 0, &cursor));
        while (minidb_cursor_next(cursor) == MINIDB_OK)
            ;
        minidb_cursor_close(cursor);
        OK(minidb_commit(txn));
        minidb_close(txn);
        OK(minidb_checkpoint(db));
        OK(minidb_check(db));
        GIVES(round == 0 ? MINIDB_OK : MINIDB_CONFLICT, minidb_backup(db, copy));
        GIVES(MINIDB_BUSY, minidb_open(path, 0, &txn));
        minidb_close(db);
    }
    return NULL;
}

static void a_small_stack_suffices(void)
{
    enum { STACK = 128 << 10 };
    pthread_attr_t attributes;
    pthread_t thread;

    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, STACK) == 0);
    CHECK(pthread_create(&thread, &attributes, live, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_attr_destroy(&attributes) == 0);
}

int main(void)
{
    RUN_ALONE(everything_is_found_again);
    RUN_ALONE(each_way_to_write_is_found_again);
    RUN_ALONE(closed_it_is_one_file_that_may_be_copied);
    RUN_ALONE(the_log_lies_beside_the_target_of_a_link);
    RUN_ALONE(a_missing_log_is_damage);
    RUN_ALONE(another_files_log_is_not_taken);
    RUN_ALONE(read_only_refuses_writes_and_changes_no_byte);
    RUN_ALONE(file_bytes_follow_what_lies_on_disk);
    RUN_ALONE(sync_and_checkpoint_are_for_databases);
    RUN_ALONE(a_checkpoint_lets_the_log_be_used_again);
    RUN_ALONE(without_space_nothing_changes_and_with_space_it_goes_on);
    RUN_ALONE(a_checkpoint_without_space_changes_nothing);
    RUN_ALONE(a_small_stack_suffices);
    return passed("files");
}
