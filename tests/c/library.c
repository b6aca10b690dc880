/* The library: its version, its texts, the numbers of a view, maintenance. */
#include "check.h"

#include <limits.h>

static void the_version_is_that_of_the_header(void)
{
    char text[64];

    CHECK(strcmp(minidb_version(), MINIDB_VERSION) == 0);
    sprintf(text, "%d.%d.%d", MINIDB_VERSION_MAJOR, MINIDB_VERSION_MINOR,
            MINIDB_VERSION_PATCH);
    CHECK(strcmp(minidb_version(), text) == 0);
}

/* A copy of the text, since the next call may change it. */
static char *text_of(int code)
{
    const char *text = minidb_strerror(code);

    return copy_of(text, strlen(text));
}

static int text_is(int code, const char *text)
{
    return strcmp(minidb_strerror(code), text) == 0;
}

/* The text that MINIDB_INVALID has after a failure with another code. */
static char *general_text(void)
{
    minidb_t *db = database(), *snapshot = snapshot_of(db);

    GIVES(MINIDB_READONLY, minidb_put(snapshot, "k", 1, "", 0, NULL, NULL));
    minidb_close(snapshot);
    minidb_close(db);
    return text_of(MINIDB_INVALID);
}

static void every_code_has_a_text(void)
{
    static const int extremes[] = {INT_MIN, INT_MIN + 1, INT_MAX - 1, INT_MAX};
    int code, other;
    size_t i;

    for (code = -200; code <= 200; code++)
        CHECK(*minidb_strerror(code) != '\0');
    for (i = 0; i < sizeof extremes / sizeof *extremes; i++)
        CHECK(*minidb_strerror(extremes[i]) != '\0');
    for (code = MINIDB_INTERNAL; code <= MINIDB_CONFLICT; code++)
        for (other = MINIDB_INTERNAL; other < code; other++) {
            char *text = text_of(code);

            CHECK(!text_is(other, text));
            free(text);
        }
}

static void details_belong_to_the_code_of_the_latest_failed_call(void)
{
    minidb_t *db = database();
    char *general = general_text(), *details, *again;

    GIVES(MINIDB_INVALID, minidb_get(db, NULL, 1, NULL, NULL));
    details = text_of(MINIDB_INVALID);
    CHECK(strcmp(details, general) != 0);
    CHECK(!text_is(MINIDB_READONLY, details));

    /* Neither answers nor successes are failures. */
    GIVES(MINIDB_NOTFOUND, minidb_get(db, "k", 1, NULL, NULL));
    GIVES(MINIDB_CONFLICT, minidb_cas(db, "k", 1, "x", 1, "y", 1));
    OK(minidb_put(db, "k", 1, "", 0, NULL, NULL));
    CHECK(!text_is(MINIDB_OK, details));
    CHECK(!text_is(MINIDB_NOTFOUND, details));
    CHECK(text_is(MINIDB_INVALID, details));

    /* Another failure with the same code has details of its own. */
    GIVES(MINIDB_INVALID, minidb_get(NULL, "k", 1, NULL, NULL));
    CHECK(!text_is(MINIDB_INVALID, details));
    CHECK(!text_is(MINIDB_INVALID, general));

    again = general_text();
    CHECK(strcmp(again, general) == 0);
    free(again);
    free(details);
    free(general);
    minidb_close(db);
}

static void freeing_null_does_nothing(void)
{
    minidb_free(NULL);
}

static void an_unknown_number_is_refused(void)
{
    static const int unknown[] = {-1, 6, 7, 100, INT_MIN, INT_MAX};
    minidb_t *db = database();
    size_t i;
    int what;

    for (what = MINIDB_STAT_COUNT; what <= MINIDB_STAT_HANDLES; what++)
        OK(minidb_stat(db, what, NULL));
    for (i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        NO_RESULT(MINIDB_INVALID, minidb_stat(db, unknown[i], &out.number));
        GIVES(MINIDB_INVALID, minidb_stat(db, unknown[i], NULL));
    }
    minidb_close(db);
}

static void numbers_follow_the_entries(void)
{
    minidb_t *db = database();

    CHECK(number(db, MINIDB_STAT_COUNT) == 0);
    CHECK(number(db, MINIDB_STAT_DATA_BYTES) == 0);
    CHECK((number(db, MINIDB_STAT_FILE_BYTES) == 0) == in_memory());
    CHECK(number(db, MINIDB_STAT_HANDLES) == 1);
    fill(db, "=x a= bb=22 bb=333");
    CHECK(number(db, MINIDB_STAT_COUNT) == 3);
    CHECK(number(db, MINIDB_STAT_DATA_BYTES) == 1 + 1 + 5);
    OK(minidb_cas(db, "bb", 2, "333", 3, "", 0));
    OK(minidb_delete(db, "a", 1, NULL, NULL));
    CHECK(number(db, MINIDB_STAT_COUNT) == 2);
    CHECK(number(db, MINIDB_STAT_DATA_BYTES) == 1 + 2);
    CHECK(number(db, MINIDB_STAT_MEMORY_BYTES) >= 3);
    CHECK((number(db, MINIDB_STAT_FILE_BYTES) == 0) == in_memory());
    OK(minidb_clear(db, "a", 1, NULL, 0));
    CHECK(number(db, MINIDB_STAT_COUNT) == 1);
    CHECK(number(db, MINIDB_STAT_DATA_BYTES) == 1);
    minidb_close(db);
}

/* The call returns that code and adds that many commits. */
#define COMMITS(added, code, call) \
    (before = number(db, MINIDB_STAT_COMMITS), GIVES(code, call), \
     CHECK(number(db, MINIDB_STAT_COMMITS) == before + (added)))

static void each_write_is_a_commit(void)
{
    minidb_t *db = database();
    char entries[18] = {0}; /* packed: the keys "x" and "y" */
    uint32_t one = 1;
    uint64_t before;

    memcpy(entries, &one, sizeof one);
    entries[8] = 'x';
    memcpy(entries + 9, &one, sizeof one);
    entries[17] = 'y';
    COMMITS(1, MINIDB_OK, minidb_put(db, "a", 1, "1", 1, NULL, NULL));
    COMMITS(1, MINIDB_OK, minidb_put(db, "a", 1, "1", 1, NULL, NULL));
    COMMITS(1, MINIDB_OK, minidb_put(db, "b", 1, "", 0, NULL, NULL));
    COMMITS(1, MINIDB_OK, minidb_put(db, "b", 1, "", 0, NULL, NULL));
    COMMITS(1, MINIDB_OK, minidb_cas(db, "a", 1, "1", 1, "2", 1));
    COMMITS(1, MINIDB_OK, minidb_cas(db, "a", 1, "2", 1, "2", 1));
    COMMITS(1, MINIDB_OK, minidb_cas(db, "c", 1, NULL, 0, "3", 1));
    COMMITS(1, MINIDB_OK, minidb_cas(db, "c", 1, "3", 1, NULL, 0));
    COMMITS(1, MINIDB_OK, minidb_write(db, entries, sizeof entries));
    COMMITS(1, MINIDB_OK, minidb_write(db, entries, sizeof entries));
    COMMITS(1, MINIDB_OK, minidb_delete(db, "a", 1, NULL, NULL));
    HOLDS(db, "b= x= y=");
    COMMITS(1, MINIDB_OK, minidb_clear(db, NULL, 0, NULL, 0));
    minidb_close(db);
}

static void what_does_not_write_is_no_commit(void)
{
    minidb_t *db = database(), *snapshot;
    minidb_cursor_t *cursor;
    uint64_t before;
    char buffer[16];

    fill(db, "a=1");
    COMMITS(0, MINIDB_OK, minidb_get(db, "a", 1, NULL, NULL));
    COMMITS(0, MINIDB_OK, minidb_get_into(db, "a", 1, buffer, 1, NULL));
    COMMITS(0, MINIDB_NOTFOUND, minidb_get(db, "b", 1, NULL, NULL));
    COMMITS(0, MINIDB_NOTFOUND, minidb_delete(db, "b", 1, NULL, NULL));
    COMMITS(0, MINIDB_CONFLICT, minidb_cas(db, "a", 1, "2", 1, "3", 1));
    COMMITS(0, MINIDB_CONFLICT, minidb_cas(db, "b", 1, "", 0, NULL, 0));
    COMMITS(0, MINIDB_INVALID, minidb_put(db, "a", 1, NULL, 1, NULL, NULL));
    COMMITS(0, MINIDB_INVALID, minidb_put(db, "a", TOO_LONG, "", 0, NULL,
                                          NULL));
    COMMITS(0, MINIDB_INVALID, minidb_delete(db, NULL, 1, NULL, NULL));
    COMMITS(0, MINIDB_INVALID, minidb_clear(db, NULL, 1, NULL, 0));
    COMMITS(0, MINIDB_INVALID, minidb_write(db, "short", 5));
    COMMITS(0, MINIDB_OK, minidb_sync(db));
    COMMITS(0, MINIDB_OK, minidb_checkpoint(db));
    COMMITS(0, MINIDB_OK, minidb_check(db));
    COMMITS(0, MINIDB_OK, minidb_snapshot(db, &snapshot));
    COMMITS(0, MINIDB_OK, minidb_scan(db, NULL, 0, NULL, 0, &cursor));
    COMMITS(0, MINIDB_OK, minidb_cursor_next(cursor));
    COMMITS(0, MINIDB_READONLY, minidb_clear(snapshot, NULL, 0, NULL, 0));
    minidb_cursor_close(cursor);
    minidb_close(snapshot);
    HOLDS(db, "a=1");
    minidb_close(db);
}

static void sync_and_checkpoint_are_for_databases(void)
{
    minidb_t *db = database(), *snapshot;

    OK(minidb_sync(db));
    OK(minidb_checkpoint(db));
    fill(db, "a=1 b=2");
    OK(minidb_sync(db));
    OK(minidb_checkpoint(db));
    HOLDS(db, "a=1 b=2");
    snapshot = snapshot_of(db);
    GIVES(MINIDB_INVALID, minidb_sync(snapshot));
    GIVES(MINIDB_INVALID, minidb_checkpoint(snapshot));
    minidb_close(snapshot);
    minidb_close(db);
}

static void a_sound_view_is_found_sound(void)
{
    minidb_t *db = database(), *snapshot;
    int i;

    OK(minidb_check(db));
    for (i = 0; i < 5000; i++)
        OK(minidb_put(db, &i, sizeof i, "value", (size_t)(i % 6), NULL, NULL));
    snapshot = snapshot_of(db);
    for (i = 0; i < 5000; i += 2)
        OK(minidb_delete(db, &i, sizeof i, NULL, NULL));
    OK(minidb_check(db));
    OK(minidb_check(snapshot));
    minidb_close(db);
    OK(minidb_check(snapshot));
    minidb_close(snapshot);
}

int main(void)
{
    RUN(the_version_is_that_of_the_header);
    RUN(every_code_has_a_text);
    RUN(details_belong_to_the_code_of_the_latest_failed_call);
    RUN(freeing_null_does_nothing);
    RUN(an_unknown_number_is_refused);
    RUN(numbers_follow_the_entries);
    RUN(each_write_is_a_commit);
    RUN(what_does_not_write_is_no_commit);
    RUN(sync_and_checkpoint_are_for_databases);
    RUN(a_sound_view_is_found_sound);
    return passed("library");
}
