/*
 * Transactions: what they show, and what committing and closing them does.
 * When they are in conflict is in conflicts.c; their handles, files and threads
 * are in transaction_handles.c.
 */
#include "script.h"

static minidb_t *begun_on(const minidb_t *db)
{
    minidb_t *txn;

    OK(minidb_begin(db, &txn));
    return txn;
}

/* A new database with these entries, and a transaction on it. */
static minidb_t *begun_with(minidb_t **db, const char *entries)
{
    *db = database();
    fill(*db, entries);
    return begun_on(*db);
}

static void close_both(minidb_t *txn, minidb_t *db)
{
    minidb_close(txn);
    minidb_close(db);
}

/* What a view shows. */

static int visit(void *ctx, const char *key, size_t key_len, const char *value,
                 size_t value_len)
{
    struct entries *seen = ctx;

    add(seen, key, key_len, value, value_len);
    return 0;
}

/* Every way of reading a view shows the entries of the set. */
static void shows_all(const minidb_t *view, const struct entries *set)
{
    minidb_cursor_t *cursor = cursor_on(view);
    struct entries seen = {0};
    char buffer[64], *value;
    size_t i, used, at, len;

    holds_all(view, set); /* forwards, backwards, the numbers */
    OK(minidb_each(view, NULL, 0, visit, &seen));
    CHECK(seen.count == set->count);
    for (i = 0; i < set->count; i++) {
        const struct entry *entry = &set->list[i];

        CHECK(strcmp(seen.list[i].value, entry->value) == 0);
        OK(minidb_get(view, entry->key, entry->key_len, &value, &len));
        CHECK(len == entry->value_len && strcmp(value, entry->value) == 0);
        minidb_free(value);
        OK(minidb_get_into(view, entry->key, entry->key_len, buffer,
                           sizeof buffer, &len));
        CHECK(len == entry->value_len &&
              memcmp(buffer, entry->value, len) == 0);
        OK(minidb_cursor_seek(cursor, entry->key, entry->key_len));
        at_entry(cursor, entry);
        sprintf(buffer, "%s!", entry->key); /* just after it */
        CHECK(minidb_cursor_seek(cursor, buffer, MINIDB_STR) ==
              (i + 1 < set->count ? MINIDB_OK : MINIDB_NOTFOUND));
        if (i + 1 < set->count)
            at_entry(cursor, entry + 1);
        OK(minidb_cursor_prev(cursor));
        at_entry(cursor, entry);
    }
    discard(&seen);
    minidb_cursor_close(cursor);
    cursor = cursor_on(view);
    for (i = 0; minidb_cursor_read(cursor, buffer, sizeof buffer, &used) ==
                MINIDB_OK;)
        for (at = 0; at < used; i++) {
            uint32_t lens[2];

            memcpy(lens, buffer + at, sizeof lens);
            CHECK(i < set->count && lens[0] == set->list[i].key_len);
            CHECK(memcmp(buffer + at + 8, set->list[i].key, lens[0]) == 0);
            at += 8 + lens[0] + lens[1];
            CHECK(memcmp(buffer + at - lens[1], set->list[i].value, lens[1]) ==
                  0);
        }
    CHECK(i == set->count);
    minidb_cursor_close(cursor);
}

static size_t any_key(char *key)
{
    return (size_t)sprintf(key, "%02u", (unsigned)below(40));
}

/* One write at random, to a view and to what it should hold. */
static void write_any(minidb_t *view, struct entries *set)
{
    char key[8], value[16], to[8], *old = NULL;
    size_t key_len = any_key(key), len = (size_t)sprintf(value, "%u",
                                              (unsigned)below(1000));
    struct entry *entry = find(set, key, key_len);
    size_t place = place_of(set, key, key_len);

    switch (below(6)) {
    case 0:
        CHECK(minidb_delete(view, key, key_len, &old, NULL) ==
              (entry ? MINIDB_OK : MINIDB_NOTFOUND));
        CHECK((old == NULL) == (entry == NULL));
        CHECK(old == NULL || strcmp(old, entry->value) == 0);
        cut(set, place, place + (entry != NULL));
        break;
    case 1:
        any_key(to);
        OK(minidb_clear(view, key, key_len, to, 2));
        cut(set, place, place_of(set, to, 2));
        break;
    case 2:
        CHECK(minidb_cas(view, key, key_len, entry ? entry->value : NULL,
                         entry ? entry->value_len : 0, value, len) ==
              MINIDB_OK);
        add(set, key, key_len, value, len);
        break;
    case 3:
        CHECK(minidb_cas(view, key, key_len, entry ? NULL : "", 0, value,
                         len) == MINIDB_CONFLICT);
        break;
    default:
        OK(minidb_put(view, key, key_len, value, len, &old, NULL));
        CHECK((old == NULL) == (entry == NULL));
        CHECK(old == NULL || strcmp(old, entry->value) == 0);
        add(set, key, key_len, value, len);
    }
    minidb_free(old);
}

static void every_way_of_reading_sees_its_own_writes(void)
{
    int round, i;

    for (round = 0; round < 20; round++) {
        minidb_t *db = database(), *txn;
        struct entries set = {0};

        for (i = 0; i < 30; i++)
            write_any(db, &set);
        txn = begun_on(db);
        shows_all(txn, &set);
        for (i = 0; i < 30; i++) {
            write_any(txn, &set);
            if (i % 6 == 0)
                shows_all(txn, &set);
        }
        OK(minidb_commit(txn));
        shows_all(db, &set);
        shows_all(txn, &set);
        discard(&set);
        close_both(txn, db);
    }
}

static void nobody_else_sees_a_write_before_its_commit(void)
{
    minidb_t *db, *txn = begun_with(&db, "a=1 b=2"), *other, *before;

    other = begun_on(db);
    fill(txn, "a=x c=3");
    OK(minidb_delete(txn, "b", 1, NULL, NULL));
    before = snapshot_of(db);
    HOLDS(txn, "a=x c=3");
    HOLDS(db, "a=1 b=2");
    HOLDS(other, "a=1 b=2");
    OK(minidb_commit(txn));
    HOLDS(db, "a=x c=3");
    HOLDS(before, "a=1 b=2");
    HOLDS(other, "a=1 b=2"); /* the view that it began with */
    minidb_close(before);
    minidb_close(other);
    close_both(txn, db);
}

static void a_view_stays_while_others_commit(void)
{
    minidb_t *db, *txn = begun_with(&db, "a=1 b=2");

    fill(db, "a=x c=3");
    OK(minidb_clear(db, "b", 1, "c", 1));
    HOLDS(txn, "a=1 b=2");
    CHECK(number(txn, MINIDB_STAT_COUNT) == 2);
    CHECK(number(txn, MINIDB_STAT_DATA_BYTES) == 4);
    GIVES(MINIDB_NOTFOUND, minidb_get(txn, "c", 1, NULL, NULL));
    OK(minidb_commit(txn));
    HOLDS(txn, "a=x c=3");
    close_both(txn, db);
}

static void an_open_cursor_does_not_see_later_writes(void)
{
    minidb_t *db, *txn = begun_with(&db, "a=1 c=3");
    minidb_cursor_t *cursor;

    fill(txn, "b=2");
    cursor = cursor_on(txn);
    fill(txn, "b=x d=4");
    OK(minidb_delete(txn, "c", 1, NULL, NULL));
    CHECK(check_equal(rest_of(cursor), "a=1 b=2 c=3"));
    minidb_cursor_close(cursor);
    HOLDS(txn, "a=1 b=x d=4");
    close_both(txn, db);
}

static int write_meanwhile(void *ctx, const char *key, size_t key_len,
                           const char *value, size_t value_len)
{
    char copy[8];

    (void)value, (void)value_len;
    sprintf(copy, "%.*s", (int)key_len, key);
    OK(minidb_delete(ctx, key, key_len, NULL, NULL));
    fill(ctx, "y=9");
    CHECK(memcmp(copy, key, key_len) == 0);
    return 0;
}

static void a_visitor_may_use_the_transaction(void)
{
    minidb_t *db, *txn = begun_with(&db, "a=1 b=2");

    fill(txn, "c=3");
    OK(minidb_each(txn, NULL, 0, write_meanwhile, txn));
    HOLDS(txn, "y=9");
    OK(minidb_commit(txn));
    HOLDS(db, "y=9");
    close_both(txn, db);
}

/* What commit does. */

static void a_commit_is_one_step(void)
{
    minidb_t *db = database(), *txn = begun_on(db);
    uint64_t before = number(db, MINIDB_STAT_COMMITS);
    char key[16];
    int i;

    for (i = 0; i < 1000; i++)
        OK(minidb_put(txn, key, (size_t)sprintf(key, "%d", i), "v", 1, NULL,
                      NULL));
    CHECK(number(txn, MINIDB_STAT_COMMITS) > before); /* its data have changed */
    CHECK(number(db, MINIDB_STAT_COMMITS) == before);
    OK(minidb_commit(txn));
    CHECK(number(db, MINIDB_STAT_COMMITS) == before + 1);
    CHECK(number(txn, MINIDB_STAT_COMMITS) == before + 1);
    CHECK(number(db, MINIDB_STAT_COUNT) == 1000);
    OK(minidb_commit(txn)); /* of nothing */
    CHECK(number(db, MINIDB_STAT_COMMITS) == before + 1);
    OK(minidb_check(db));
    close_both(txn, db);
}

static void blind_deletes_and_clears_remove_what_others_have_put(void)
{
    minidb_t *db, *txn = begun_with(&db, "a=1 b=2 k=1");

    GIVES(MINIDB_NOTFOUND, minidb_delete(txn, "c", 1, NULL, NULL));
    OK(minidb_delete(txn, "a", 1, NULL, NULL));
    OK(minidb_clear(txn, "k", 1, "n", 1));
    fill(txn, "l=mine");
    fill(db, "a=new c=new k=new kk=new l=new m=new n=new");
    OK(minidb_commit(txn));
    HOLDS(db, "b=2 l=mine n=new");
    close_both(txn, db);
}

static void deleting_answers_what_the_view_says(void)
{
    minidb_t *db, *txn = begun_with(&db, "a=1");

    fill(db, "b=2");
    GIVES(MINIDB_NOTFOUND, minidb_delete(txn, "b", 1, NULL, NULL));
    NO_RESULT(MINIDB_NOTFOUND, minidb_delete(txn, "b", 1, &out.bytes, &out.len));
    OK(minidb_delete(txn, "a", 1, NULL, NULL));
    GIVES(MINIDB_NOTFOUND, minidb_delete(txn, "a", 1, NULL, NULL));
    fill(txn, "a=2");
    OK(minidb_delete(txn, "a", 1, NULL, &out.len));
    CHECK(out.len == 1);
    GIVES(MINIDB_CONFLICT, minidb_cas(txn, "a", 1, "2", 1, "3", 1));
    close_both(txn, db);
}

static void after_ok_and_conflict_it_has_begun_anew(void)
{
    minidb_t *db, *txn = begun_with(&db, "a=1");

    fill(txn, "b=mine");
    fill(db, "c=3");
    OK(minidb_commit(txn));
    HOLDS(txn, "a=1 b=mine c=3");
    fill(db, "d=4");
    act(txn, "get a");
    fill(txn, "b=again");
    fill(db, "a=x");
    HOLDS(txn, "a=1 b=again c=3");
    GIVES(MINIDB_CONFLICT, minidb_commit(txn));
    HOLDS(txn, "a=x b=mine c=3 d=4");
    HOLDS(db, "a=x b=mine c=3 d=4");
    fill(txn, "b=finally");
    OK(minidb_commit(txn));
    HOLDS(db, "a=x b=finally c=3 d=4");
    close_both(txn, db);
}

/* What its view shows is never told by a number that told something else. */
static void its_commits_change_with_what_it_shows(void)
{
    minidb_t *db = database(), *txn = begun_on(db);
    uint64_t before;

    GIVES(MINIDB_NOTFOUND, minidb_get(txn, "a", 1, NULL, NULL));
    fill(txn, "b=1");
    before = number(txn, MINIDB_STAT_COMMITS);
    fill(db, "a=1");
    GIVES(MINIDB_CONFLICT, minidb_commit(txn));
    CHECK(number(txn, MINIDB_STAT_COMMITS) != before); /* b went, a came */

    fill(txn, "b=1 c=1");
    before = number(txn, MINIDB_STAT_COMMITS);
    fill(db, "a=2");
    OK(minidb_commit(txn));
    CHECK(number(txn, MINIDB_STAT_COMMITS) != before); /* a is another */
    CHECK(number(txn, MINIDB_STAT_COMMITS) == number(db, MINIDB_STAT_COMMITS));
    close_both(txn, db);
}

static void cursors_go_on_over_the_view_they_had(void)
{
    minidb_t *db, *txn = begun_with(&db, "a=1 c=3");
    minidb_cursor_t *cursor;

    fill(txn, "b=2");
    cursor = cursor_on(txn);
    OK(minidb_cursor_next(cursor));
    OK(minidb_commit(txn));
    OK(minidb_clear(db, NULL, 0, NULL, 0));
    fill(txn, "z=1");
    CHECK(check_equal(rest_of(cursor), "b=2 c=3"));
    OK(minidb_commit(txn)); /* that walk did not count */
    close_both(txn, db);
    OK(minidb_cursor_first(cursor));
    CHECK(check_equal(rest_of(cursor), "b=2 c=3"));
    minidb_cursor_close(cursor);
}

static void a_failed_write_is_not_in_it(void)
{
    static const char entries[] = "\1\0\0\0\1\0\0\0ab\1\0\0"; /* cut short */
    minidb_t *db = database(), *txn = begun_on(db);

    fill(txn, "a=1");
    GIVES(MINIDB_INVALID, minidb_put(txn, "b", 1, NULL, 5, NULL, NULL));
    GIVES(MINIDB_INVALID, minidb_put(txn, "b", TOO_LONG, "", 0, NULL, NULL));
    GIVES(MINIDB_INVALID, minidb_write(txn, entries, sizeof entries - 1));
    GIVES(MINIDB_INVALID, minidb_clear(txn, NULL, 5, NULL, 0));
    GIVES(MINIDB_INVALID, minidb_get(txn, NULL, 5, NULL, NULL));
    HOLDS(txn, "a=1");
    OK(minidb_commit(txn));
    HOLDS(db, "a=1");
    close_both(txn, db);
}

static void closing_drops_its_writes(void)
{
    minidb_t *db = database(), *txn = begun_on(db);
    minidb_cursor_t *cursor;

    fill(txn, "a=1");
    cursor = cursor_on(txn);
    CHECK(number(db, MINIDB_STAT_HANDLES) == 3);
    minidb_close(txn);
    CHECK(number(db, MINIDB_STAT_HANDLES) == 2);
    HOLDS(db, "");
    CHECK(check_equal(rest_of(cursor), "a=1"));
    minidb_cursor_close(cursor);
    minidb_close(db);
}

int main(void)
{
    RUN(every_way_of_reading_sees_its_own_writes);
    RUN(nobody_else_sees_a_write_before_its_commit);
    RUN(a_view_stays_while_others_commit);
    RUN(an_open_cursor_does_not_see_later_writes);
    RUN(a_visitor_may_use_the_transaction);
    RUN(a_commit_is_one_step);
    RUN(blind_deletes_and_clears_remove_what_others_have_put);
    RUN(deleting_answers_what_the_view_says);
    RUN(after_ok_and_conflict_it_has_begun_anew);
    RUN(its_commits_change_with_what_it_shows);
    RUN(cursors_go_on_over_the_view_they_had);
    RUN(a_failed_write_is_not_in_it);
    RUN(closing_drops_its_writes);
    return passed("transactions");
}
