/* Transactions in conflict: when what they read was written, and not else. */
#include "script.h"

/* The database begins as b=1 d=1 f=1 h=1. */
struct conflict {
    const char *txn, *other;
    int expected;
};

/* What a transaction did, and what was committed before its own commit. */
static const struct conflict keys[] = {
    {"get b", "put b", 1},
    {"get b", "put_same b", 1},
    {"get b", "put a", 0},
    {"get b", "put c", 0},
    {"get b", "put bb", 0},
    {"get c", "put c", 1},
    {"get c", "put b; put d", 0},
    {"get b", "delete b", 1},
    {"get b", "delete d", 0},
    {"get b; get d", "put d", 1},
    {"ask b", "put b", 1},
    {"ask c", "put c", 1},
    {"get_into b", "put b", 1},
    {"get_into c", "put c", 1},
    {"get_into b", "put c", 0},
    {"get b", "cas b", 1},
    {"get b", "cas_away b", 1},
    {"get b", "cas_wrong b", 0},
    {"get c", "cas_absent c", 1},
    {"get b", "write b", 1},
    {"get b", "write c", 0},
    {"get b", "clear - -", 1},
    {"get b", "clear b c", 1},
    {"get b", "clear a b", 0},
    {"get b", "clear c -", 0},
    {"get b", "clear b b", 0},
    {"get b", "clear c a", 0},
    {"get b", "put b; delete b", 1},
    {"cas b", "put b", 1},
    {"cas b", "put c", 0},
    {"cas_wrong b", "put b", 1},
    {"cas_absent c", "put c", 1},
    {"cas_absent b", "put b", 1},
    {"cas_away b", "put b", 1},
    {"put_old b", "put b", 1},
    {"put_len b", "put b", 1},
    {"put_old c", "put c", 1},
    {"put_old b", "put c", 0},
    {"delete_old b", "put b", 1},
    {"delete_len b", "put b", 1},
    {"delete_old c", "put c", 1},
};

static const struct conflict nothing_read[] = {
    {"put b", "put b", 0},
    {"put b", "clear - -", 0},
    {"delete b", "put b", 0},
    {"delete b", "delete b", 0},
    {"delete c", "put c", 0},
    {"write b", "put b", 0},
    {"clear - -", "put b; put c", 0},
    {"clear b e", "put b; put c", 0},
    {"put b; delete d; clear e -; write k", "clear - -; put b; put k", 0},
    {"others", "put b", 0},
};

static const struct conflict own[] = {
    {"put b; get b", "put b", 0},
    {"put b; ask b; get_into b", "delete b", 0},
    {"put b; get b", "clear - -", 0},
    {"write b; get b", "put b", 0},
    {"delete b; get b", "put b", 0},
    {"delete c; get c", "put c", 0},
    {"clear a c; get b", "put b", 0},
    {"clear a c; get bb", "put bb", 0},
    {"clear a c; get d", "put d", 1},
    {"clear b b; get b", "put b", 1},
    {"put b; cas_wrong b", "put b", 0},
    {"put_same b; cas b", "put b", 0},
    {"delete b; cas_absent b", "put b", 0},
    {"put b; put_old b", "put b", 0},
    {"put b; delete_old b", "put b", 0},
    {"get b; put b", "put b", 1},
    {"get b; put b; get b", "put b", 1},
    {"get b; delete b", "put b", 1},
    {"cas b; get b", "put b", 1},
    {"put b; get b; get d", "put d", 1},
};

static const struct conflict walks[] = {
    /* From where it began to where it went. */
    {"up - - 0", "put b", 0},
    {"up - - 1", "put a", 1},
    {"up - - 1", "put b", 1},
    {"up - - 1", "put c", 0},
    {"up - - 2", "put c", 1},
    {"up - - 2", "delete d", 1},
    {"up - - 2", "put e", 0},
    {"up - - 4", "put i", 0},
    {"up - - 5", "put i", 1},
    {"up - - 5", "clear k -", 1},
    {"up c g 1", "put b", 0},
    {"up c g 1", "put c", 1},
    {"up c g 1", "put e", 0},
    {"up c g 3", "put f", 1},
    {"up c g 3", "put ff", 1},
    {"up c g 3", "put g", 0},
    {"up c g 3", "put bb", 0},
    {"up c g 3", "clear g -", 0},
    {"up c g 3", "clear - c", 0},
    {"up c g 3", "clear ff fz", 1},
    {"up d e 9", "put e; put c", 0},
    {"up e f 1", "put e", 1},
    {"up e f 1", "put f", 0},
    {"up f c 1", "put d; put e", 0},
    {"down - - 0", "put h", 0},
    {"down - - 1", "put z", 1},
    {"down - - 1", "put h", 1},
    {"down - - 1", "put g", 0},
    {"down - - 2", "put g", 1},
    {"down - - 2", "put e", 0},
    {"down - - 4", "put a", 0},
    {"down - - 5", "put a", 1},
    {"down c g 1", "put g", 0},
    {"down c g 1", "put ff", 1},
    {"down c g 1", "put e", 0},
    {"down c g 3", "put c", 1},
    {"down c g 3", "put b", 0},
    {"seek - - c 0", "put b", 0},
    {"seek - - c 0", "put c", 1},
    {"seek - - c 0", "put d", 1},
    {"seek - - c 0", "put e", 0},
    {"seek - - c 1", "put e", 1},
    {"seek - - x 0", "put x", 1},
    {"seek - - x 0", "put w", 0},
    {"seek c g a 0", "put b", 0},
    {"seek c g a 0", "put c", 1},
    {"seek c g z 0", "put f; put z", 0},
    {"read - - 2", "put c", 1},
    {"read - - 2", "put d", 1},
    {"read - - 2", "put g", 0},
    {"read - - 9", "put z", 1},
    {"read c g 9", "put g; put b", 0},
    {"each - 9", "put z", 1},
    {"each - 2", "put c", 1},
    {"each - 2", "put e", 0},
    {"each d 9", "put dd", 1},
    {"each d 9", "put c; put e", 0},
    /* Past its own. */
    {"put d; up - - 9", "put d", 0},
    {"put d; up - - 9", "put e", 1},
    {"put d; down - - 9", "put d", 0},
    {"put d; read - - 9", "put d", 0},
    {"put d; each - 9", "put d", 0},
    {"delete d; up - - 9", "put d", 0},
    {"clear c e; up - - 9", "put cc", 0},
    {"clear c e; up - - 9", "put e", 1},
    {"clear c e; up c e 9", "clear - -", 0},
    {"up - - 9; put d", "put d", 1},
    {"up - - 9; clear - -", "put d", 1},
    {"up c e 1; put d", "put c", 1},
};

static const struct conflict everything[] = {
    {"check", "put z", 1},
    {"check", "put z; delete z", 1},
    {"check", "clear k -", 1},
    {"check", "clear k k", 0},
    {"check", "cas_wrong b; cas_absent b", 0},
};

static const struct conflict numbers[] = {
    {"count", "put z", 1},
    {"count", "delete b", 1},
    {"count", "clear b c", 1},
    {"count", "clear k -", 0},
    {"count", "put b", 0},
    {"count", "put z; delete z", 0},
    {"count", "put z; delete b", 0},
    {"count", "cas_wrong b; cas_absent b", 0},
    {"bytes", "put z", 1},
    {"bytes", "delete b", 1},
    {"bytes", "clear k -", 0},
    {"bytes", "put_same b", 0},
    {"put b; count", "put_same b", 1},
    {"put b; count", "clear a -; write d; write f; write h; write x", 1},
    {"put b; count", "put d", 0},
    {"count; put b", "put_same b", 0},
    {"delete c; count", "put c; delete d", 1},
    {"clear c e; count", "put cc; delete f", 1},
    {"clear c e; count", "put e; delete f", 0},
};

/* Whether there is a conflict; in either case commits are whole. */
static int in_conflict(const struct conflict *it, int other_is_a_transaction)
{
    minidb_t *db = database(), *txn, *other = db;
    int code;

    fill(db, "b=1 d=1 f=1 h=1");
    OK(minidb_begin(db, &txn));
    if (other_is_a_transaction)
        OK(minidb_begin(db, &other));
    act(txn, it->txn);
    act(txn, "put result");
    act(other, it->other);
    if (other_is_a_transaction) {
        OK(minidb_commit(other));
        minidb_close(other);
    }
    code = minidb_commit(txn);
    CHECK(code == MINIDB_OK || code == MINIDB_CONFLICT);
    CHECK(minidb_get(db, "result", 6, NULL, NULL) ==
          (code == MINIDB_OK ? MINIDB_OK : MINIDB_NOTFOUND));
    /* Begun anew, it has read nothing, and holds nothing. */
    act(db, "put b");
    act(txn, "put again");
    OK(minidb_commit(txn));
    minidb_close(txn);
    minidb_close(db);
    return code == MINIDB_CONFLICT;
}

#define EXPECTED(table) \
    as_expected(table, sizeof table / sizeof *table)

static void as_expected(const struct conflict *table, size_t count)
{
    size_t i;
    int way;

    for (i = 0; i < count; i++)
        for (way = 0; way < 2; way++)
            if (in_conflict(&table[i], way) != table[i].expected) {
                fprintf(stderr, "\"%s\", then \"%s\" by %s\n", table[i].txn,
                        table[i].other, way ? "another" : "the database");
                CHECK(!"as expected");
            }
}

static void looking_at_a_key_reads_it(void)
{
    EXPECTED(keys);
}

static void what_reads_nothing_always_commits(void)
{
    EXPECTED(nothing_read);
}

static void what_it_wrote_before_is_its_own(void)
{
    EXPECTED(own);
}

static void a_walk_reads_from_where_it_began_to_where_it_went(void)
{
    EXPECTED(walks);
}

static void some_functions_read_everything(void)
{
    EXPECTED(everything);
}

static void a_number_reads_the_number(void)
{
    EXPECTED(numbers);
}

static void what_writes_nothing_always_commits(void)
{
    minidb_t *db = database(), *txn;

    fill(db, "b=1 d=1");
    OK(minidb_begin(db, &txn));
    act(txn, "get b; up - -; count; check; cas_wrong b; get x");
    OK(minidb_clear(txn, "d", 1, "b", 1)); /* an empty range */
    OK(minidb_clear(txn, "d", 1, "d", 1));
    OK(minidb_clear(txn, NULL, 0, "", 0));
    OK(minidb_write(txn, NULL, 0));
    act(db, "put b; put x; clear - -");
    OK(minidb_commit(txn));
    minidb_close(txn);
    minidb_close(db);
}

static void what_was_written_before_it_began_is_no_conflict(void)
{
    minidb_t *db = database(), *other, *txn;

    OK(minidb_begin(db, &other)); /* so that commits are noted */
    act(db, "put b; put c");
    OK(minidb_begin(db, &txn));
    act(txn, "get b; count; put d");
    OK(minidb_commit(txn));
    act(txn, "get b; count; put e"); /* begun anew after its own commit */
    OK(minidb_commit(txn));
    act(other, "get b; put f");
    GIVES(MINIDB_CONFLICT, minidb_commit(other));
    minidb_close(txn);
    minidb_close(other);
    minidb_close(db);
}

/* A move of a cursor counts for what its transaction does until it commits. */
static void a_cursor_counts_until_the_commit(void)
{
    minidb_t *db = database(), *txn;
    minidb_cursor_t *cursor;

    fill(db, "b=1 d=1 f=1");
    OK(minidb_begin(db, &txn));
    cursor = cursor_on(txn);
    OK(minidb_cursor_next(cursor));
    act(txn, "put x");
    act(db, "put d");
    OK(minidb_cursor_next(cursor));
    GIVES(MINIDB_CONFLICT, minidb_commit(txn));
    CHECK(*minidb_cursor_key(cursor, NULL) == 'd');
    OK(minidb_cursor_next(cursor));
    CHECK(strcmp(rest_of(cursor), "") == 0);
    act(txn, "put x");
    act(db, "put d; put f; put z");
    OK(minidb_commit(txn));
    minidb_close(txn);
    OK(minidb_cursor_first(cursor));
    CHECK(strcmp(rest_of(cursor), "d=1 f=1") == 0);
    minidb_cursor_close(cursor);
    minidb_close(db);
}

int main(void)
{
    RUN(looking_at_a_key_reads_it);
    RUN(what_reads_nothing_always_commits);
    RUN(what_it_wrote_before_is_its_own);
    RUN(a_walk_reads_from_where_it_began_to_where_it_went);
    RUN(some_functions_read_everything);
    RUN(a_number_reads_the_number);
    RUN(what_writes_nothing_always_commits);
    RUN(what_was_written_before_it_began_is_no_conflict);
    RUN(a_cursor_counts_until_the_commit);
    return passed("conflicts");
}
