/* Damage: a byte that changes behind minidb's back is found, not passed on. */
#define _XOPEN_SOURCE 700

#include "file.h"

enum { READONLY = MINIDB_OPEN_READONLY, NOSYNC = MINIDB_OPEN_NOSYNC };

/* A value that can be found in the files. */
#define NEEDLE "a-needle-in-the-file"

/* Where a text stands in a file for the first time, and in which it must. */
static size_t place_in(const char *path, const char *text)
{
    size_t len, size = strlen(text), at;
    char *bytes = content_of(path, &len);

    for (at = 0; at + size <= len && memcmp(bytes + at, text, size); at++)
        ;
    CHECK(at + size <= len);
    free(bytes);
    return at;
}

static void change_byte(const char *path, size_t at)
{
    int was = exchange_byte(path, at, 0);

    exchange_byte(path, at, was ^ 0x10);
}

/* The file is refused as damaged, or shows just what it did before. */
static int is_refused(const char *path, const char *entries)
{
    minidb_t *db;
    int code = minidb_open(path, READONLY, &db);

    check_code = code;
    if (code != MINIDB_OK) {
        CHECK(code == MINIDB_CORRUPT || code == MINIDB_FORMAT);
        CHECK(db == NULL && text_has(code, path));
        return 1;
    }
    HOLDS(db, entries);
    code = minidb_check(db);
    CHECK(code == MINIDB_OK || code == MINIDB_CORRUPT);
    minidb_close(db);
    return 0;
}

#define ENTRIES "a=1 needle=" NEEDLE

static void make_needle(const char *path)
{
    make(path, "a=0");
    {
        minidb_t *db = opened(path, 0);

        fill(db, ENTRIES);
        minidb_close(db);
    }
}

static void no_byte_of_a_closed_file_can_change_unseen(void)
{
    size_t len, at, refused = 0;

    make_needle("a");
    len = size_of("a");
    for (at = 0; at < len; at += 11) {
        change_byte("a", at);
        refused += (size_t)is_refused("a", ENTRIES);
        CHECK(at >= 8192 || refused == at / 11 + 1); /* the roots */
        change_byte("a", at);
    }
    CHECK(refused < len / 11); /* some of it is free */
    at = place_in("a", NEEDLE);
    change_byte("a", at);
    SAYS(MINIDB_CORRUPT, minidb_open("a", 0, &out.view), "/a", "bytes at ");
    change_byte("a", at);
    file_holds("a", ENTRIES);
}

static void no_end_of_a_file_can_be_lost_unseen(void)
{
    size_t len, cut;
    char *bytes;

    make_needle("a");
    bytes = content_of("a", &len);
    for (cut = 1; cut < len; cut += 509) {
        write_file("a", bytes, len - cut);
        CHECK(is_refused("a", ENTRIES) || cut <= 512);
    }
    write_file("a", bytes, 1);
    CHECK(is_refused("a", ENTRIES));
    write_file("a", bytes, len);
    free(bytes);
    file_holds("a", ENTRIES);
}

static void what_is_refused_is_not_written_to(void)
{
    size_t len;
    char *before;
    uint32_t flags;

    make_needle("a");
    change_byte("a", place_in("a", NEEDLE));
    before = content_of("a", &len);
    for (flags = 0; flags < 16; flags++)
        if (!(flags & MINIDB_OPEN_NEW))
            NO_RESULT(MINIDB_CORRUPT, minidb_open("a", flags, &out.view));
    FILES("a");
    CHECK(is_content("a", before, len));
    free(before);
}

/* By every view of the store; what is in memory reads on. */
static void check_finds_what_changed_in(const char *path, const char *where,
                                        minidb_t *db)
{
    minidb_t *snapshot = snapshot_of(db);
    size_t at = place_in(path, NEEDLE);

    OK(minidb_check(db));
    OK(minidb_check(snapshot));
    change_byte(path, at);
    SAYS(MINIDB_CORRUPT, minidb_check(db), path, where);
    SAYS(MINIDB_CORRUPT, minidb_check(snapshot), path, where);
    HOLDS(db, ENTRIES);
    HOLDS(snapshot, ENTRIES);
    change_byte(path, at);
    OK(minidb_check(snapshot));
    OK(minidb_check(db));
    minidb_close(snapshot);
}

static void check_finds_what_changes_under_an_open_file(void)
{
    uint32_t flags;
    minidb_t *db;

    make_needle("a");
    for (flags = 0; flags < 16; flags++)
        if (!(flags & MINIDB_OPEN_NEW)) {
            db = opened("a", flags);
            check_finds_what_changed_in("a", "bytes at ", db);
            minidb_close(db);
        }
    db = opened("a", 0);
    change_byte("a", 100);
    SAYS(MINIDB_CORRUPT, minidb_check(db), "/a", "root");
    change_byte("a", 100);
    minidb_close(db);
    file_holds("a", ENTRIES);
}

static void check_finds_what_changes_in_the_log(void)
{
    uint32_t flags;
    minidb_t *db;

    for (flags = 0; flags <= NOSYNC; flags += NOSYNC) {
        db = opened("a", flags);
        fill(db, ENTRIES);
        check_finds_what_changed_in("a-log", "at ", db);
        OK(minidb_checkpoint(db));
        check_finds_what_changed_in("a", "bytes at ", db);
        minidb_close(db);
        CHECK(remove("a") == 0);
    }
}

/* What is in memory is sound, and so is the file that it is written to. */
static void a_close_after_damage_in_the_log_loses_nothing(void)
{
    minidb_t *db = opened("a", 0);

    fill(db, ENTRIES);
    change_byte("a-log", place_in("a-log", NEEDLE));
    GIVES(MINIDB_CORRUPT, minidb_check(db));
    OK(minidb_checkpoint(db));
    OK(minidb_check(db));
    minidb_close(db);
    file_holds("a", ENTRIES);
}

/* What others built on is not taken for a write that a crash cut off. */
static void damage_within_a_log_is_told_from_its_end(void)
{
    minidb_t *db = opened("a", 0);
    size_t at;

    fill(db, "needle=" NEEDLE " a=1");
    copy_file("a", "b");
    copy_file("a-log", "b-log");
    minidb_close(db);
    at = place_in("b-log", NEEDLE);
    change_byte("b-log", at);
    SAYS(MINIDB_CORRUPT, minidb_open("b", READONLY, &out.view), "/b-log",
         "at ");
    SAYS(MINIDB_CORRUPT, minidb_open("b", 0, &out.view), "/b-log", "at ");
    FILES("a b b-log");
    change_byte("b-log", at);
    file_holds("b", ENTRIES);
}

int main(void)
{
    RUN_ALONE(no_byte_of_a_closed_file_can_change_unseen);
    RUN_ALONE(no_end_of_a_file_can_be_lost_unseen);
    RUN_ALONE(what_is_refused_is_not_written_to);
    RUN_ALONE(check_finds_what_changes_under_an_open_file);
    RUN_ALONE(check_finds_what_changes_in_the_log);
    RUN_ALONE(a_close_after_damage_in_the_log_loses_nothing);
    RUN_ALONE(damage_within_a_log_is_told_from_its_end);
    return passed("damage");
}
