/* Cursors: every move from every place, and what a cursor shows. */
#include "check.h"

/*
 * Where a cursor must be, as its moves say: at one of `count` entries, which
 * begin at `first` in the set, or at none.
 */
enum { BEFORE = -1, NEW = -2 }; /* past the end is `count` */

struct place {
    const struct entries *set;
    int first, count, at;
};

enum move { FIRST, LAST, NEXT, PREV, SEEK };

/* Makes a move on both, and compares. */
static void go(minidb_cursor_t *cursor, struct place *place, enum move move,
               const char *key, size_t key_len)
{
    int code = 0, at = place->at, count = place->count;

    switch (move) {
    case FIRST:
        code = minidb_cursor_first(cursor);
        at = 0;
        break;
    case LAST:
        code = minidb_cursor_last(cursor);
        at = count - 1;
        break;
    case NEXT:
        code = minidb_cursor_next(cursor);
        at = at == NEW ? 0 : at < count ? at + 1 : count;
        break;
    case PREV:
        code = minidb_cursor_prev(cursor);
        at = at == NEW ? count - 1 : at > BEFORE ? at - 1 : BEFORE;
        break;
    case SEEK:
        code = minidb_cursor_seek(cursor, key, key_len);
        at = (int)place_of(place->set, key, key_len) - place->first;
        at = at < 0 ? 0 : at > count ? count : at;
        break;
    }
    place->at = at;
    if (at >= 0 && at < count) {
        GIVES(MINIDB_OK, code);
        at_entry(cursor, &place->set->list[place->first + at]);
    } else {
        GIVES(MINIDB_NOTFOUND, code);
        lends_nothing(cursor);
    }
}

/* Keys to seek in a set of "b", "d", "f", ...: each, between, and outside. */
static const char *const seeks[] = {
    "", "a", "b", "bb", "c", "d", "e", "f", "g", "h", "i", "\xff"
};
enum { MOVES = SEEK + (int)(sizeof seeks / sizeof *seeks) };

/* Makes the n-th of all moves. */
static void go_nth(minidb_cursor_t *cursor, struct place *place, int n)
{
    if (n < SEEK)
        go(cursor, place, (enum move)n, NULL, 0);
    else
        go(cursor, place, SEEK, seeks[n - SEEK], strlen(seeks[n - SEEK]));
}

/* All triples of moves, on cursors bounded as `first` and `count` say. */
static void moves_work(const minidb_t *db, struct place place,
                       const char *from, const char *to)
{
    int n;

    for (n = 0; n < MOVES * MOVES * MOVES; n++) {
        minidb_cursor_t *cursor;

        place.at = NEW;
        OK(minidb_scan(db, from, from ? MINIDB_STR : 0, to,
                       to ? MINIDB_STR : 0, &cursor));
        lends_nothing(cursor);
        go_nth(cursor, &place, n % MOVES);
        go_nth(cursor, &place, n / MOVES % MOVES);
        go_nth(cursor, &place, n / MOVES / MOVES);
        minidb_cursor_close(cursor);
    }
}

static void put_entry(minidb_t *db, struct entries *set, const char *key,
                      const char *value)
{
    add(set, key, strlen(key), value, strlen(value));
    OK(minidb_put(db, key, MINIDB_STR, value, MINIDB_STR, NULL, NULL));
}

static void all_moves_work_from_all_places(void)
{
    static const char *const keys[] = {"b", "d", "f", "h"};
    minidb_t *db = database();
    struct entries set = {0};
    struct place place = {&set, 0, 0, NEW};

    moves_work(db, place, NULL, NULL);
    while (place.count < 4) {
        put_entry(db, &set, keys[place.count], place.count % 2 ? "v" : "");
        place.count++;
        moves_work(db, place, NULL, NULL);
    }
    place.first = 1;
    place.count = 2;
    moves_work(db, place, "c", "h");
    moves_work(db, place, "d", "g");
    place.count = 1;
    moves_work(db, place, "d", "f");
    place.count = 3;
    moves_work(db, place, "c", NULL);
    place.first = 0;
    place.count = 0;
    moves_work(db, place, NULL, "b");
    discard(&set);
    minidb_close(db);
}

static void any_walk_over_many_entries_shows_the_right_ones(void)
{
    minidb_t *db = database();
    struct entries set = {0};
    struct place place = {&set, 300, 2400, NEW};
    minidb_cursor_t *cursor;
    char key[32], value[400];
    int i, step, n;

    memset(value, 'v', sizeof value);
    for (i = 0; i < 3000; i++) {
        sprintf(key, "%05d", 2 * i);
        value[i % 399] = '\0';
        put_entry(db, &set, key, value);
        value[i % 399] = 'v';
    }
    OK(minidb_scan(db, "00600", 5, "05399", 5, &cursor));
    for (step = 0; step < 400; step++) {
        enum move move = (enum move)below(SEEK + 4);

        if (move >= SEEK) {
            sprintf(key, "%05u", (unsigned)below(6200));
            go(cursor, &place, SEEK, key, 5);
        } else if (move < NEXT) {
            go(cursor, &place, move, NULL, 0);
        }
        for (n = (int)below(80); n > 0; n--)
            go(cursor, &place, step % 2 ? NEXT : PREV, NULL, 0);
    }
    minidb_cursor_close(cursor);
    discard(&set);
    minidb_close(db);
}

static void a_cursor_walks_what_was_there_when_it_was_opened(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;
    struct entries set = {0};
    char key[32];
    int i;

    for (i = 0; i < 500; i++) {
        sprintf(key, "%03d", i);
        put_entry(db, &set, key, "old");
    }
    cursor = cursor_on(db);
    for (i = 0; i < 500; i++) {
        OK(minidb_cursor_next(cursor));
        at_entry(cursor, &set.list[i]);
        sprintf(key, "%03d", (i + 1) % 500);
        OK(minidb_put(db, key, 3, "new", 3, NULL, NULL));
        OK(minidb_put(db, key, 4, "extra", 5, NULL, NULL));
        if (i % 3 == 0)
            OK(minidb_delete(db, key, 3, NULL, NULL));
        at_entry(cursor, &set.list[i]);
    }
    OK(minidb_clear(db, NULL, 0, NULL, 0));
    at_entry(cursor, &set.list[499]);
    GIVES(MINIDB_NOTFOUND, minidb_cursor_next(cursor));
    OK(minidb_cursor_seek(cursor, "250", 3));
    at_entry(cursor, &set.list[250]);
    minidb_cursor_close(cursor);
    HOLDS(db, "");
    discard(&set);
    minidb_close(db);
}

static void a_cursor_outlives_its_database(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;
    const char *key;

    fill(db, "a=1 b=2");
    cursor = cursor_on(db);
    OK(minidb_cursor_next(cursor));
    key = minidb_cursor_key(cursor, NULL);
    minidb_close(db);
    CHECK(strcmp(key, "a") == 0);
    CHECK(minidb_cursor_key(cursor, NULL) == key);
    CHECK(strcmp(rest_of(cursor), "b=2") == 0);
    OK(minidb_cursor_first(cursor));
    CHECK(strcmp(minidb_cursor_value(cursor, NULL), "1") == 0);
    minidb_cursor_close(cursor);
}

static void borrowed_bytes_stay_until_the_cursor_moves(void)
{
    static char lengthy[5000];
    minidb_t *db = database();
    minidb_cursor_t *cursor, *other;
    const char *key, *value;
    int i;

    memset(lengthy, 'x', sizeof lengthy - 1);
    OK(minidb_put(db, lengthy, MINIDB_STR, lengthy, MINIDB_STR, NULL, NULL));
    fill(db, "a=1 b=2");
    cursor = cursor_on(db);
    OK(minidb_cursor_last(cursor));
    key = minidb_cursor_key(cursor, NULL);
    value = minidb_cursor_value(cursor, NULL);
    other = cursor_on(db);
    OK(minidb_cursor_next(other));
    for (i = 0; i < 100; i++)
        OK(minidb_put(db, lengthy, sizeof lengthy - 2 - (size_t)i, "new", 3,
                      NULL, NULL));
    OK(minidb_clear(db, NULL, 0, NULL, 0));
    minidb_cursor_close(other);
    GIVES(MINIDB_INVALID, minidb_sync(NULL));
    minidb_close(db);
    CHECK(strcmp(key, lengthy) == 0 && strcmp(value, lengthy) == 0);
    minidb_cursor_close(cursor);
}

static void borrowed_bytes_may_be_put_again(void)
{
    minidb_t *db = database();
    minidb_cursor_t *cursor;

    fill(db, "a=b c=d");
    cursor = cursor_on(db);
    while (minidb_cursor_next(cursor) == MINIDB_OK) {
        const char *key = minidb_cursor_key(cursor, NULL);
        const char *value = minidb_cursor_value(cursor, NULL);

        OK(minidb_put(db, value, MINIDB_STR, key, MINIDB_STR, NULL, NULL));
        OK(minidb_delete(db, key, MINIDB_STR, NULL, NULL));
    }
    HOLDS(db, "b=a d=c");
    OK(minidb_cursor_first(cursor));
    OK(minidb_cursor_seek(cursor, minidb_cursor_value(cursor, NULL), 1));
    CHECK(strcmp(minidb_cursor_key(cursor, NULL), "c") == 0);
    minidb_cursor_close(cursor);
    minidb_close(db);
}

static void cursors_do_not_disturb_each_other(void)
{
    enum { CURSORS = 300 };
    minidb_t *db = database();
    minidb_cursor_t *cursors[CURSORS];
    char key[32];
    int i;

    for (i = 0; i < CURSORS; i++) {
        sprintf(key, "%03d", i);
        OK(minidb_put(db, key, 3, key, 3, NULL, NULL));
        cursors[i] = cursor_on(db);
    }
    for (i = 0; i < CURSORS; i++)
        OK(minidb_cursor_last(cursors[i]));
    for (i = 0; i < CURSORS; i++) {
        sprintf(key, "%03d", i);
        CHECK(strcmp(minidb_cursor_value(cursors[i], NULL), key) == 0);
        GIVES(MINIDB_NOTFOUND, minidb_cursor_next(cursors[i]));
        minidb_cursor_close(cursors[i]);
    }
    minidb_close(db);
}

int main(void)
{
    RUN(all_moves_work_from_all_places);
    RUN(any_walk_over_many_entries_shows_the_right_ones);
    RUN(a_cursor_walks_what_was_there_when_it_was_opened);
    RUN(a_cursor_outlives_its_database);
    RUN(borrowed_bytes_stay_until_the_cursor_moves);
    RUN(borrowed_bytes_may_be_put_again);
    RUN(cursors_do_not_disturb_each_other);
    return passed("cursors");
}
