/* Salvage: a new file with all that a damaged one still gives. */
#define _XOPEN_SOURCE 700

#include "file.h"

enum { ENTRIES = 500 };

/* A value that can be found in the file. */
#define NEEDLE "a-needle-in-the-file"

/* The number of a line "name number" of a report. */
static long in_report(const char *report, const char *name)
{
    size_t len = strlen(name);

    for (;;) {
        if (strncmp(report, name, len) == 0 && report[len] == ' ')
            return atol(report + len + 1);
        report = strchr(report, '\n');
        CHECK(report != NULL);
        report++;
    }
}

static void make_numbered(const char *path)
{
    minidb_t *db = opened(path, MINIDB_OPEN_NEW | MINIDB_OPEN_NOSYNC);
    char key[16], value[64];
    int i;

    for (i = 0; i < ENTRIES; i++) {
        sprintf(key, "%04d", i);
        sprintf(value, "%s-%04d", i == ENTRIES / 2 ? NEEDLE : "value", i);
        OK(minidb_put(db, key, 4, value, strlen(value), NULL, NULL));
    }
    minidb_close(db);
}

/* Changes a byte of the first place where a text stands in a file. */
static void damage(const char *path, const char *text)
{
    size_t len, size = strlen(text), at;
    char *bytes = content_of(path, &len);

    for (at = 0; at + size <= len && memcmp(bytes + at, text, size); at++)
        ;
    CHECK(at + size <= len);
    exchange_byte(path, at, bytes[at] ^ 0x10);
    free(bytes);
}

static void of_a_sound_file_everything_is_found(void)
{
    char *report, expected[256];

    make_numbered("a");
    OK(minidb_salvage("a", "b", &report));
    sprintf(expected, "entries %d\nlost 0\noutdated 0\ndamaged_roots 0\n"
            "damaged_sectors 0\ncommits 0\ngaps 0\nlog_missing 0\n", ENTRIES);
    CHECK(check_equal(report, expected));
    minidb_free(report);
    make("c", "a=1 b=2");
    OK(minidb_salvage("c", "d", NULL));
    file_holds("d", "a=1 b=2");
    FILES("a b c d");
}

static void of_a_damaged_file_the_rest_is_found(void)
{
    size_t len;
    char *report, *before;
    long entries, lost;
    minidb_t *db;

    make_numbered("a");
    damage("a", NEEDLE);
    GIVES(MINIDB_CORRUPT, minidb_open("a", 0, &db));
    before = content_of("a", &len);
    OK(minidb_salvage("a", "b", &report));
    entries = in_report(report, "entries");
    lost = in_report(report, "lost");
    CHECK(strncmp(report, "entries ", 8) == 0);
    CHECK(lost > 0 && entries > 0 && entries + lost >= ENTRIES);
    CHECK(in_report(report, "damaged_sectors") > 0);
    CHECK(in_report(report, "damaged_roots") == 0);
    minidb_free(report);

    CHECK(is_content("a", before, len));
    free(before);
    db = opened("b", MINIDB_OPEN_EXISTING);
    CHECK(number(db, MINIDB_STAT_COUNT) == (uint64_t)entries);
    OK(minidb_check(db));
    OK(minidb_get(db, "0000", 4, NULL, NULL));
    minidb_close(db);
    FILES("a b");
}

static void the_commits_of_a_log_are_found(void)
{
    minidb_t *db = opened("a", 0);
    char *report;

    fill(db, "a=1 b=2 c=3");
    copy_file("a", "b");
    copy_file("a-log", "b-log");
    minidb_close(db);
    OK(minidb_salvage("b", "c", &report));
    CHECK(in_report(report, "entries") == 3);
    CHECK(in_report(report, "commits") == 3);
    CHECK(in_report(report, "log_missing") == 0);
    minidb_free(report);
    file_holds("c", "a=1 b=2 c=3");
    CHECK(remove("b-log") == 0);
    OK(minidb_salvage("b", "d", &report));
    CHECK(in_report(report, "entries") == 0);
    CHECK(in_report(report, "log_missing") == 1);
    minidb_free(report);
    FILES("a b c d");
}

static void what_cannot_be_done_is_told(void)
{
    minidb_t *db;
    char *zeros;

    make("a", "a=1");
    NO_RESULT(MINIDB_NOTFOUND, minidb_salvage("nothing", "b", &out.bytes));
    CHECK(text_has(MINIDB_NOTFOUND, "nothing"));
    make("b", "b=1");
    NO_RESULT(MINIDB_CONFLICT, minidb_salvage("a", "b", &out.bytes));
    CHECK(text_has(MINIDB_CONFLICT, "b"));
    NO_RESULT(MINIDB_CONFLICT, minidb_salvage("a", "a", &out.bytes));
    file_holds("b", "b=1");

    db = opened("a", 0);
    NO_RESULT(MINIDB_BUSY, minidb_salvage("a", "c", &out.bytes));
    CHECK(text_has(MINIDB_BUSY, "a"));
    minidb_close(db);
    db = opened("a", MINIDB_OPEN_READONLY);
    OK(minidb_salvage("a", "c", NULL));
    minidb_close(db);

    zeros = calloc(1, 65536);
    CHECK(zeros != NULL);
    strcpy(zeros + 10000, "nothing of minidb");
    write_file("d", zeros, 65536);
    free(zeros);
    NO_RESULT(MINIDB_CORRUPT, minidb_salvage("d", "e", &out.bytes));
    CHECK(text_has(MINIDB_CORRUPT, "d"));
    GIVES(MINIDB_CORRUPT, minidb_salvage("d", "e", NULL));
    FILES("a b c d");
}

static void a_path_must_name_a_file(void)
{
    static const char *const none[] = {NULL, "", ":memory:"};
    size_t i;

    make("a", "a=1");
    for (i = 0; i < sizeof none / sizeof *none; i++) {
        NO_RESULT(MINIDB_INVALID, minidb_salvage(none[i], "b", &out.bytes));
        CHECK(text_has(MINIDB_INVALID, "damaged"));
        NO_RESULT(MINIDB_INVALID, minidb_salvage("a", none[i], &out.bytes));
        CHECK(text_has(MINIDB_INVALID, "path"));
        NO_RESULT(MINIDB_INVALID, minidb_salvage(none[i], none[i], &out.bytes));
        GIVES(MINIDB_INVALID, minidb_salvage("a", none[i], NULL));
    }
    FILES("a");
}

int main(void)
{
    RUN_ALONE(of_a_sound_file_everything_is_found);
    RUN_ALONE(of_a_damaged_file_the_rest_is_found);
    RUN_ALONE(the_commits_of_a_log_are_found);
    RUN_ALONE(what_cannot_be_done_is_told);
    RUN_ALONE(a_path_must_name_a_file);
    return passed("salvage");
}
