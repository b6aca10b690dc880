/* Snapshots: frozen, and read-only. */
#include "check.h"

static void a_snapshot_stays_as_it_was_made(void)
{
    minidb_t *db = database(), *snapshot;

    fill(db, "a=1 b=2 c=3");
    snapshot = snapshot_of(db);
    fill(db, "a=new d=4");
    OK(minidb_delete(db, "b", 1, NULL, NULL));
    OK(minidb_cas(db, "c", 1, "3", 1, NULL, 0));
    HOLDS(db, "a=new d=4");
    HOLDS(snapshot, "a=1 b=2 c=3");
    OK(minidb_clear(db, NULL, 0, NULL, 0));
    HOLDS(db, "");
    HOLDS(snapshot, "a=1 b=2 c=3");
    minidb_close(snapshot);
    HOLDS(db, "");
    minidb_close(db);
}

static int count(void *ctx, const char *key, size_t key_len,
                 const char *value, size_t value_len)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    ++*(int *)ctx;
    return 0;
}

static void every_reading_function_works_on_a_snapshot(void)
{
    minidb_t *db = database(), *snapshot, *again;
    minidb_cursor_t *cursor;
    char buffer[8];
    int visits = 0;

    fill(db, "a=1 ab=2 b=3");
    snapshot = snapshot_of(db);
    fill(db, "a=new ab=new b=new c=new");
    OK(minidb_get(snapshot, "ab", 2, &out.bytes, &out.len));
    CHECK(out.len == 1 && strcmp(out.bytes, "2") == 0);
    minidb_free(out.bytes);
    NO_RESULT(MINIDB_NOTFOUND,
              minidb_get(snapshot, "c", 1, &out.bytes, &out.len));
    OK(minidb_get_into(snapshot, "b", 1, buffer, 8, &out.len));
    CHECK(out.len == 1 && buffer[0] == '3');
    OK(minidb_scan(snapshot, "ab", 2, "b", 1, &cursor));
    CHECK(strcmp(rest_of(cursor), "ab=2") == 0);
    minidb_cursor_close(cursor);
    OK(minidb_scan_prefix(snapshot, "a", 1, &cursor));
    CHECK(strcmp(rest_of(cursor), "a=1 ab=2") == 0);
    minidb_cursor_close(cursor);
    OK(minidb_each(snapshot, "a", 1, count, &visits));
    CHECK(visits == 2);
    OK(minidb_check(snapshot));
    OK(minidb_snapshot(snapshot, &again));
    HOLDS(again, "a=1 ab=2 b=3");
    minidb_close(again);
    minidb_close(snapshot);
    minidb_close(db);
}

static void every_write_to_a_snapshot_is_refused(void)
{
    static const char entry[8];
    minidb_t *db = database(), *views[2];
    int i;

    fill(db, "a=1 b=2");
    views[0] = snapshot_of(db);
    views[1] = snapshot_of(views[0]);
    for (i = 0; i < 2; i++) {
        minidb_t *view = views[i];

        NO_RESULT(MINIDB_READONLY,
                  minidb_put(view, "a", 1, "x", 1, &out.bytes, &out.len));
        NO_RESULT(MINIDB_READONLY,
                  minidb_put(view, "c", 1, "x", 1, &out.bytes, &out.len));
        NO_RESULT(MINIDB_READONLY,
                  minidb_delete(view, "a", 1, &out.bytes, &out.len));
        NO_RESULT(MINIDB_READONLY,
                  minidb_delete(view, "c", 1, &out.bytes, &out.len));
        GIVES(MINIDB_READONLY, minidb_clear(view, NULL, 0, NULL, 0));
        GIVES(MINIDB_READONLY, minidb_clear(view, "b", 1, "a", 1));
        GIVES(MINIDB_READONLY, minidb_cas(view, "a", 1, "1", 1, "x", 1));
        GIVES(MINIDB_READONLY, minidb_cas(view, "a", 1, "2", 1, "x", 1));
        GIVES(MINIDB_READONLY, minidb_write(view, entry, sizeof entry));
        GIVES(MINIDB_READONLY, minidb_write(view, NULL, 0));
        CHECK(strstr(minidb_strerror(MINIDB_READONLY), "snapshot") != NULL);
        NO_RESULT(MINIDB_INVALID, minidb_begin(view, &out.view));
        GIVES(MINIDB_INVALID, minidb_commit(view));
        GIVES(MINIDB_INVALID, minidb_sync(view));
        GIVES(MINIDB_INVALID, minidb_checkpoint(view));
        HOLDS(view, "a=1 b=2");
        minidb_close(view);
    }
    HOLDS(db, "a=1 b=2");
    minidb_close(db);
}

static void a_snapshot_of_a_snapshot_is_the_same_view(void)
{
    minidb_t *db = database(), *first, *second;

    fill(db, "a=1");
    first = snapshot_of(db);
    fill(db, "b=2");
    second = snapshot_of(first);
    HOLDS(second, "a=1");
    CHECK(number(first, MINIDB_STAT_COMMITS) ==
          number(second, MINIDB_STAT_COMMITS));
    minidb_close(first);
    fill(db, "a=new");
    HOLDS(second, "a=1");
    minidb_close(second);
    minidb_close(db);
}

static void a_snapshot_outlives_its_database(void)
{
    minidb_t *db = database(), *snapshot, *second;
    minidb_cursor_t *cursor;

    fill(db, "a=1 b=2");
    snapshot = snapshot_of(db);
    fill(db, "c=3");
    minidb_close(db);
    HOLDS(snapshot, "a=1 b=2");
    OK(minidb_check(snapshot));
    CHECK(number(snapshot, MINIDB_STAT_HANDLES) == 1);
    second = snapshot_of(snapshot);
    cursor = cursor_on(snapshot);
    minidb_close(snapshot);
    HOLDS(second, "a=1 b=2");
    minidb_close(second);
    CHECK(strcmp(rest_of(cursor), "a=1 b=2") == 0);
    minidb_cursor_close(cursor);
}

static void numbers_are_those_of_the_view(void)
{
    minidb_t *db = database(), *snapshot;
    uint64_t commits;

    CHECK(number(db, MINIDB_STAT_COUNT) == 0);
    CHECK(number(db, MINIDB_STAT_DATA_BYTES) == 0);
    fill(db, "a=1 bb=22 c= =44");
    commits = number(db, MINIDB_STAT_COMMITS);
    snapshot = snapshot_of(db);
    fill(db, "a=longer d=5");
    OK(minidb_delete(db, "bb", 2, NULL, NULL));
    CHECK(number(db, MINIDB_STAT_COUNT) == 4);
    CHECK(number(db, MINIDB_STAT_DATA_BYTES) == 7 + 2 + 1 + 2);
    CHECK(number(db, MINIDB_STAT_COMMITS) == commits + 3);
    CHECK(number(snapshot, MINIDB_STAT_COUNT) == 4);
    CHECK(number(snapshot, MINIDB_STAT_DATA_BYTES) == 2 + 4 + 1 + 2);
    CHECK(number(snapshot, MINIDB_STAT_COMMITS) == commits);
    CHECK((number(snapshot, MINIDB_STAT_FILE_BYTES) == 0) == in_memory());
    CHECK(number(snapshot, MINIDB_STAT_HANDLES) == 2);
    minidb_close(snapshot);
    OK(minidb_clear(db, NULL, 0, NULL, 0));
    CHECK(number(db, MINIDB_STAT_COUNT) == 0);
    CHECK(number(db, MINIDB_STAT_DATA_BYTES) == 0);
    minidb_close(db);
}

static void the_memory_of_a_snapshot_is_counted(void)
{
    static char value[100000];
    minidb_t *db = database(), *snapshot;
    int i;

    for (i = 0; i < 50; i++)
        OK(minidb_put(db, &i, sizeof i, value, sizeof value, NULL, NULL));
    CHECK(number(db, MINIDB_STAT_MEMORY_BYTES) >= 5000000);
    snapshot = snapshot_of(db);
    for (i = 0; i < 50; i++)
        OK(minidb_put(db, &i, sizeof i, "x", 1, NULL, NULL));
    CHECK(number(db, MINIDB_STAT_DATA_BYTES) == 50 * (sizeof i + 1));
    CHECK(number(db, MINIDB_STAT_MEMORY_BYTES) >= 5000000);
    CHECK(number(snapshot, MINIDB_STAT_MEMORY_BYTES) >= 5000000);
    minidb_close(snapshot);
    minidb_close(db);
}

static void snapshots_of_every_step_keep_their_step(void)
{
    enum { STEPS = 100, KEYS = 400 };
    minidb_t *db = database(), *snapshots[STEPS];
    struct entries set[STEPS + 1];
    size_t i, step;
    char key[8];

    memset(set, 0, sizeof set);
    for (step = 0; step < STEPS; step++) {
        snapshots[step] = snapshot_of(db);
        for (i = 0; i < set[step].count; i++)
            add(&set[step + 1], set[step].list[i].key, 3,
                set[step].list[i].value, set[step].list[i].value_len);
        for (i = 0; i < 20; i++) {
            size_t len = below(60);
            size_t place;

            sprintf(key, "%03u", (unsigned)below(KEYS));
            place = place_of(&set[step + 1], key, 3);
            if (find(&set[step + 1], key, 3) != NULL && below(3) == 0) {
                OK(minidb_delete(db, key, 3, NULL, NULL));
                cut(&set[step + 1], place, place + 1);
            } else {
                OK(minidb_put(db, key, 3, check_test, len % 40, NULL, NULL));
                add(&set[step + 1], key, 3, check_test, len % 40);
            }
        }
    }
    holds_all(db, &set[STEPS]);
    minidb_close(db);
    for (i = 0; i < STEPS; i++) { /* 37 and STEPS have no common divisor */
        step = i * 37 % STEPS;
        holds_all(snapshots[step], &set[step]);
        minidb_close(snapshots[step]);
    }
    for (step = 0; step <= STEPS; step++)
        discard(&set[step]);
}

static void a_new_snapshot_is_of_now_whichever_are_open(void)
{
    enum { OPEN = 6 };
    minidb_t *db = database(), *snapshots[OPEN] = {NULL};
    int made_at[OPEN] = {0}, now = 0, seen, step, i, place;

    OK(minidb_put(db, "n", 1, &now, sizeof now, NULL, NULL));
    for (step = 0; step < 20000; step++) {
        place = (int)below(OPEN);
        if (below(3) == 0) {
            now++;
            OK(minidb_put(db, "n", 1, &now, sizeof now, NULL, NULL));
        } else if (snapshots[place] == NULL) {
            snapshots[place] = snapshot_of(db);
            made_at[place] = now;
        } else {
            minidb_close(snapshots[place]);
            snapshots[place] = NULL;
        }
        for (i = 0; i < OPEN; i++)
            if (snapshots[i] != NULL) {
                OK(minidb_get_into(snapshots[i], "n", 1, &seen, sizeof seen,
                                   NULL));
                CHECK(seen == made_at[i]);
            }
    }
    for (i = 0; i < OPEN; i++)
        minidb_close(snapshots[i]);
    minidb_close(db);
}

int main(void)
{
    RUN(a_snapshot_stays_as_it_was_made);
    RUN(every_reading_function_works_on_a_snapshot);
    RUN(every_write_to_a_snapshot_is_refused);
    RUN(a_snapshot_of_a_snapshot_is_the_same_view);
    RUN(a_snapshot_outlives_its_database);
    RUN(numbers_are_those_of_the_view);
    RUN(the_memory_of_a_snapshot_is_counted);
    RUN(snapshots_of_every_step_keep_their_step);
    RUN(a_new_snapshot_is_of_now_whichever_are_open);
    return passed("snapshots");
}
