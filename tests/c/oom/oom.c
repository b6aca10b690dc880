/*
 * Memory is refused, one allocation after the other: whatever has a size that
 * the caller decides is MINIDB_NOMEM then, with the store unchanged; in memory,
 * and with MINIDB_TEST_FOLDER set in a file, which then holds what it should.
 */
#include "store.h"

static char packed[3 * BIG_VALUE];
static size_t packed_size;

/* The calls that are tried. Each returns its code, closes what it opens, and
 * checks that its out-parameters are empty unless it is done. */

static int get(minidb_t *db)
{
    char *got = value;
    size_t len = 1;
    int rc = minidb_get(db, key, LONG_KEY, &got, &len);

    CHECK((got != NULL) == (rc == MINIDB_OK) && len == (got ? BIG_VALUE : 0));
    minidb_free(got);
    return rc;
}

static int put_over(minidb_t *db)
{
    char *old = value;
    size_t len = 1;
    int rc = minidb_put(db, key, LONG_KEY, value, BIG_VALUE - 1, &old, &len);

    CHECK((old != NULL) == (rc == MINIDB_OK) && len == (old ? BIG_VALUE : 0));
    minidb_free(old);
    return rc;
}

static int put_new(minidb_t *db)
{
    key[LONG_KEY - 1]++;
    int rc = minidb_put(db, key, LONG_KEY, value, BIG_VALUE, NULL, NULL);
    key[LONG_KEY - 1]--;
    return rc;
}

static int delete_old(minidb_t *db)
{
    char *old = value;
    size_t len = 1;
    int rc = minidb_delete(db, key, LONG_KEY, &old, &len);

    CHECK((old != NULL) == (rc == MINIDB_OK) && len == (old ? BIG_VALUE : 0));
    minidb_free(old);
    return rc;
}

static int cas(minidb_t *db)
{
    return minidb_cas(db, key, LONG_KEY, value, BIG_VALUE, value, BIG_VALUE - 2);
}

static int write_packed(minidb_t *db)
{
    return minidb_write(db, packed, packed_size);
}

static int scan(minidb_t *db)
{
    minidb_cursor_t *cursor = (minidb_cursor_t *)value;
    int rc = minidb_scan(db, "0", 1, key, LONG_KEY, &cursor);

    CHECK((cursor != NULL) == (rc == MINIDB_OK));
    minidb_cursor_close(cursor);
    return rc;
}

/* A move to a long key needs memory for it; refused, the cursor stays. */
static int move(minidb_t *db)
{
    minidb_cursor_t *cursor;
    size_t len;
    int rc;

    CHECK(minidb_scan(db, NULL, 0, NULL, 0, &cursor) == MINIDB_OK);
    CHECK(minidb_cursor_first(cursor) == MINIDB_OK);
    rc = minidb_cursor_last(cursor);
    CHECK(minidb_cursor_key(cursor, &len) != NULL);
    CHECK(len == (rc == MINIDB_OK ? LONG_KEY : 8));
    minidb_cursor_close(cursor);
    return rc;
}

static int nothing(void *ctx, const char *k, size_t k_len, const char *v, size_t v_len)
{
    (void)ctx, (void)k, (void)k_len, (void)v, (void)v_len;
    return 0;
}

static int each(minidb_t *db)
{
    return minidb_each(db, "", 0, nothing, NULL);
}

/* All that a transaction does takes memory; one that is refused is dropped. */
static int commit(minidb_t *db)
{
    minidb_t *txn;
    char *got = NULL;
    int rc;

    OK(minidb_begin(db, &txn));
    rc = minidb_get(txn, key, LONG_KEY, &got, NULL);
    minidb_free(got);
    if (rc == MINIDB_OK)
        rc = minidb_put(txn, key, LONG_KEY, value, BIG_VALUE - 3, NULL, NULL);
    if (rc == MINIDB_OK)
        rc = minidb_put(txn, "big", 3, value, BIG_VALUE, NULL, NULL);
    if (rc == MINIDB_OK)
        rc = minidb_delete(txn, key, LONG_KEY, NULL, NULL);
    if (rc == MINIDB_OK)
        rc = minidb_commit(txn);
    minidb_close(txn);
    return rc;
}

/* Enough small entries for the arena to grow: mmap is refused. */
static int grow(minidb_t *db)
{
    int many = in_memory() ? 60000 : 15000, i, rc = MINIDB_OK;

    for (i = 0; i < many && rc == MINIDB_OK; i++) {
        char name[16];
        state_t before = state(db), after;
        sprintf(name, "n%08d", i);
        rc = minidb_put(db, name, MINIDB_STR, value, 100, NULL, NULL);
        after = state(db);
        CHECK(after.commits - before.commits == (rc == MINIDB_OK));
    }
    return rc;
}

typedef struct {
    const char *name;
    int (*call)(minidb_t *db);
    int may_do_part; /* it makes several commits */
} trial_t;

static const trial_t trials[] = {
    {"get", get, 0},           {"put over", put_over, 0}, {"put new", put_new, 0},
    {"delete", delete_old, 0}, {"cas", cas, 0},           {"write", write_packed, 0},
    {"commit", commit, 0},     {"scan", scan, 0},         {"move", move, 0},
    {"each", each, 0},         {"grow", grow, 1},
};

/* Refuses the k-th allocation for k = 1, 2, ... until the call needs no more. */
static int try_all(const trial_t *trial, int repeated)
{
    int k, most = 0;

    for (k = 1;; k++) {
        minidb_t *db = filled();
        state_t before = state(db), after;
        int rc;

        refuse_from(k, repeated);
        rc = trial->call(db);
        countdown = 0;
        if (refused)
            most = k;
        /* A refusal may be made up for; if not, nothing has happened. */
        CHECK(rc == MINIDB_OK || (refused && rc == MINIDB_NOMEM));
        after = state(db);
        if (rc == MINIDB_NOMEM && !trial->may_do_part)
            CHECK(same(before, after));
        CHECK(before.handles == after.handles);
        CHECK(minidb_check(db) == MINIDB_OK);
        if (rc == MINIDB_NOMEM) {
            survives_a_crash(after);
            CHECK(trial->call(db) == MINIDB_OK); /* it works once there is memory */
        }
        CHECK(minidb_check(db) == MINIDB_OK);
        close_store(db);
        if (!refused)
            return most;
    }
}

/* When there is no memory for more, what is there can be read and deleted. */
static void a_full_store_can_be_emptied(void)
{
    minidb_t *db = filled();
    char name[16];
    int i, n = 0;

    refuse_all(1);
    do
        sprintf(name, "n%08d", n++);
    while (minidb_put(db, name, MINIDB_STR, value, 100, NULL, NULL) == MINIDB_OK);
    CHECK(minidb_get(db, name, MINIDB_STR, NULL, NULL) == MINIDB_NOTFOUND);
    for (i = 0; i + 1 < n; i++) {
        sprintf(name, "n%08d", i);
        CHECK(minidb_delete(db, name, MINIDB_STR, NULL, NULL) == MINIDB_OK);
    }
    CHECK(minidb_put(db, "new", 3, value, 100, NULL, NULL) == MINIDB_OK);
    CHECK(minidb_clear(db, "0", 1, "1", 1) == MINIDB_OK);
    CHECK(minidb_clear(db, NULL, 0, NULL, 0) == MINIDB_OK);
    refuse_all(0);
    CHECK(minidb_check(db) == MINIDB_OK);
    close_store(db);
}

enum { ORDERS = 3 };

/* The i-th of n numbers in an order: ascending, descending, or all over. */
static int in_order(int order, int i, int n)
{
    return order == 0 ? i : order == 1 ? n - 1 - i : (int)(i * 7919ull % n);
}

static int length_of(int i)
{
    return i % 50 == 0 ? 3000 : 100;
}

/* Removes or overwrites entry i in one of several ways, which all need no memory. */
static int free_entry(minidb_t *db, int i)
{
    char name[16];
    minidb_t *txn;
    int rc, len = length_of(i);

    sprintf(name, "n%08d", i);
    CHECK(minidb_put(db, name, 9, value + 1, len, NULL, NULL) == MINIDB_OK);
    switch (i % 4) {
    case 0:
        return minidb_cas(db, name, 9, value, len, NULL, 0);
    case 1:
        CHECK(minidb_begin(db, &txn) == MINIDB_OK);
        CHECK(minidb_delete(txn, name, 9, NULL, NULL) == MINIDB_OK);
        rc = minidb_commit(txn);
        minidb_close(txn);
        return rc;
    case 2:
        return minidb_clear(db, name, 9, name, 10);
    default:
        return minidb_delete(db, name, 9, NULL, NULL);
    }
}

/* Without any memory entries are removed in every order, one by one or many in one step. */
static void freeing_needs_nothing(void)
{
    int order, i, rc;

    for (order = 0; order <= ORDERS; order++) {
        minidb_t *db = empty(), *txn;
        char name[16];
        int n = 0;
        uint64_t count;

        do {
            if (n == 25000)
                refuse_all(1);
            sprintf(name, "n%08d", n);
        } while (minidb_put(db, name, 9, value, length_of(n), NULL, NULL) == MINIDB_OK && ++n);
        if (order < ORDERS) {
            while (n % 7919 == 0)
                n--; /* else it would be in no order */
            for (i = 0; i < n; i++)
                CHECK(free_entry(db, in_order(order, i, n)) == MINIDB_OK);
        } else {
            CHECK(minidb_clear(db, "n00000100", 9, "n00009000", 9) == MINIDB_OK);
            CHECK(minidb_begin(db, &txn) == MINIDB_OK);
            for (i = 9000; i < 9300; i++) {
                sprintf(name, "n%08d", in_order(2, i, 24000));
                rc = minidb_delete(txn, name, 9, NULL, NULL);
                CHECK(rc == MINIDB_OK || rc == MINIDB_NOTFOUND);
            }
            CHECK(minidb_commit(txn) == MINIDB_OK);
            minidb_close(txn);
            CHECK(minidb_clear(db, NULL, 0, NULL, 0) == MINIDB_OK);
        }
        CHECK(minidb_stat(db, MINIDB_STAT_COUNT, &count) == MINIDB_OK && count <= 1);
        refuse_all(0);
        CHECK(minidb_check(db) == MINIDB_OK);
        close_store(db);
    }
}

/* Commits puts of so many new keys, as a transaction or as a batch. */
static int commit_new(minidb_t *db, int *n, int keys, int packed_batch)
{
    minidb_t *txn;
    char batch[4 * (8 + 9 + 100)], *end = batch;
    int i, rc;

    if (!packed_batch)
        OK(minidb_begin(db, &txn));
    for (i = 0; i < keys; i++, end += 8 + 9 + 100) {
        const uint32_t lens[2] = {9, 100};
        memcpy(end, lens, 8);
        sprintf(end + 8, "m%08d", (*n)++);
        memcpy(end + 17, value, 100);
        if (!packed_batch)
            OK(minidb_put(txn, end + 8, 9, value, 100, NULL, NULL));
    }
    if (packed_batch)
        return minidb_write(db, batch, end - batch);
    rc = minidb_commit(txn);
    minidb_close(txn);
    return rc;
}

/* A small batch in a full store is done or not, and the store goes on. */
static void a_full_store_takes_a_batch_or_refuses_it(void)
{
    minidb_t *db = empty();
    char name[16];
    int i, n = 0, m = 0, refusals = 0;

    do {
        if (n == 46000)
            refuse_all(1);
        sprintf(name, "n%08d", n++);
    } while (minidb_put(db, name, MINIDB_STR, value, 100, NULL, NULL) == MINIDB_OK);
    for (i = 0; i < 800; i++) {
        int keys = 1 + i % 4, rc;
        uint64_t before = state(db).count;
        rc = commit_new(db, &m, keys, i % 3 == 0);
        CHECK(rc == MINIDB_OK || rc == MINIDB_NOMEM);
        CHECK(state(db).count - before == (uint64_t)(rc == MINIDB_OK ? keys : 0));
        CHECK(minidb_get(db, "n00000000", 9, NULL, NULL) == MINIDB_OK);
        refusals += rc == MINIDB_NOMEM;
    }
    CHECK(refusals > 0);
    refuse_all(0);
    CHECK(minidb_check(db) == MINIDB_OK);
    close_store(db);
}

/*
 * Commits with so many snapshots open that the next view needs more room, and
 * returns whether anything was refused.
 */
static int commit_beside(int views, int k)
{
    static minidb_t *snapshots[600];
    minidb_t *db = filled(), *txn;
    uint64_t before, after;
    int i, rc, was_refused;

    for (i = 0; i < views; i++) {
        CHECK(minidb_snapshot(db, &snapshots[i]) == MINIDB_OK);
        CHECK(minidb_put(db, "s", 1, "", 0, NULL, NULL) == MINIDB_OK);
    }
    CHECK(minidb_begin(db, &txn) == MINIDB_OK);
    CHECK(minidb_get(txn, "r", 1, NULL, NULL) == MINIDB_NOTFOUND);
    CHECK(minidb_put(txn, "t", 1, value, BIG_VALUE, NULL, NULL) == MINIDB_OK);
    before = state(db).commits;
    refuse_from((k + 1) / 2, k % 2);
    rc = minidb_commit(txn);
    was_refused = refused;
    refuse_all(0);
    after = state(db).commits;
    CHECK(rc == MINIDB_OK || (was_refused && rc == MINIDB_NOMEM));
    CHECK(after - before == (rc == MINIDB_OK));
    CHECK(minidb_get(txn, "t", 1, NULL, NULL) == MINIDB_OK);
    CHECK(minidb_commit(txn) == MINIDB_OK);
    CHECK(minidb_get(db, "t", 1, NULL, NULL) == MINIDB_OK);
    CHECK(minidb_check(db) == MINIDB_OK);
    minidb_close(txn);
    while (i-- > 0)
        minidb_close(snapshots[i]);
    close_store(db);
    return was_refused;
}

/* One that is refused has done nothing; one that is done says so. */
static void a_commit_is_done_or_not(void)
{
    static const int views[] = {0, 510, 511, 512};
    size_t i;
    int k;

    for (i = 0; i < sizeof views / sizeof *views; i++) {
        for (k = 1; commit_beside(views[i], k);)
            k++;
        CHECK(k > 1);
    }
}

/* A read that gets no memory for an entry hands out those before it. */
static void a_read_loses_no_entry(void)
{
    minidb_t *db = filled();
    minidb_cursor_t *cursor;
    static char buffer[4 * BIG_VALUE + LONG_KEY];
    size_t used, small = ENTRIES * (8 + 8 + 100), big = 8 + LONG_KEY + BIG_VALUE;

    CHECK(small + big <= sizeof buffer);
    CHECK(minidb_scan(db, NULL, 0, NULL, 0, &cursor) == MINIDB_OK);
    refuse_all(1);
    CHECK(minidb_cursor_read(cursor, buffer, sizeof buffer, &used) == MINIDB_OK);
    CHECK(used == small);
    CHECK(minidb_cursor_read(cursor, buffer, sizeof buffer, &used) == MINIDB_NOMEM);
    CHECK(used == 0);
    refuse_all(0);
    CHECK(minidb_cursor_read(cursor, buffer, sizeof buffer, &used) == MINIDB_OK);
    CHECK(used == big);
    minidb_cursor_close(cursor);
    close_store(db);
}

/* What a snapshot keeps is noted somewhere: without memory for the note nothing
 * is deleted, and nothing is lost. */
static void what_a_snapshot_keeps_is_not_lost(void)
{
    minidb_t *db, *snapshot;
    char name[16];
    int i, refusals = 0;
    uint64_t full, left;

    db = empty();
    for (i = 0; i < 6000; i++) {
        sprintf(name, "%08d", i);
        CHECK(minidb_put(db, name, MINIDB_STR, value, 2000, NULL, NULL) == MINIDB_OK);
    }
    CHECK(minidb_stat(db, MINIDB_STAT_MEMORY_BYTES, &full) == MINIDB_OK);
    CHECK(minidb_snapshot(db, &snapshot) == MINIDB_OK);
    refuse_all(1);
    for (i = 0; i < 6000; i++) {
        int rc;
        sprintf(name, "%08d", i);
        rc = minidb_delete(db, name, MINIDB_STR, NULL, NULL);
        CHECK(rc == MINIDB_OK || rc == MINIDB_NOMEM);
        refusals += rc == MINIDB_NOMEM;
    }
    CHECK(refusals > 0 && refusals < 6000);
    minidb_close(snapshot);
    refuse_all(0);
    CHECK(minidb_check(db) == MINIDB_OK);
    CHECK(minidb_clear(db, NULL, 0, NULL, 0) == MINIDB_OK);
    CHECK(minidb_check(db) == MINIDB_OK);
    CHECK(minidb_stat(db, MINIDB_STAT_MEMORY_BYTES, &left) == MINIDB_OK);
    CHECK(left < full / 8);
    close_store(db);
}

static void pack(char first)
{
    uint32_t lens[2] = {LONG_KEY, BIG_VALUE};

    memcpy(packed + packed_size, lens, sizeof lens);
    packed_size += sizeof lens;
    memcpy(packed + packed_size, key, LONG_KEY);
    packed[packed_size] = first;
    packed_size += LONG_KEY;
    memcpy(packed + packed_size, value, BIG_VALUE);
    packed_size += BIG_VALUE;
}

static void try_calls(void)
{
    size_t i;

    for (i = 0; i < sizeof trials / sizeof *trials; i++) {
        int once = try_all(&trials[i], 0), ever = try_all(&trials[i], 1);
        CHECK(once > 0 && ever > 0); /* else this tests nothing */
        printf("oom: %s: %d allocations refused in turn\n", trials[i].name, once);
    }
}

int main(void)
{
    prepare();
    pack('x');
    pack('y');
    try_calls();
    RUN(freeing_needs_nothing);
    open_flags = MINIDB_OPEN_NOSYNC;
    if (!in_memory())
        try_calls();
    RUN(a_full_store_can_be_emptied);
    RUN(freeing_needs_nothing);
    RUN(a_full_store_takes_a_batch_or_refuses_it);
    RUN(a_read_loses_no_entry);
    RUN(what_a_snapshot_keeps_is_not_lost);
    RUN(a_commit_is_done_or_not);
    return passed("oom");
}
