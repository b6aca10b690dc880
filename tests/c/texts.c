/*
 * Texts: what minidb_strerror says is about the call that failed last, or
 * general; an answer has no details, and takes those of its code away.
 */
#define _XOPEN_SOURCE 700

#include "file.h"

/* The texts of the two codes that calls fail with and answer as well. */
static char *general[MINIDB_CONFLICT + 1];

static int text_is(int code, const char *text)
{
    return strcmp(minidb_strerror(code), text) == 0;
}

/* A call fails with this code, and its text has details. */
static void fail_with(int code)
{
    minidb_t *db;

    if (code == MINIDB_NOTFOUND)
        GIVES(code, minidb_open("nothing", MINIDB_OPEN_EXISTING, &db));
    else
        GIVES(code, minidb_open("a", MINIDB_OPEN_NEW, &db));
    CHECK(text_has(code, code == MINIDB_NOTFOUND ? "/nothing" : "/a"));
}

/* A call that answers this has the general text, whatever failed before. */
#define ANSWERS(code, call) \
    (fail_with(code), GIVES(code, call), \
     CHECK(text_is(code, general[code])))

/* Takes them before anything has failed. */
static void take_general_texts(void)
{
    int code;

    for (code = MINIDB_NOTFOUND; code <= MINIDB_CONFLICT; code++)
        general[code] = copy_of(minidb_strerror(code),
                                strlen(minidb_strerror(code)));
}

static void every_function_that_answers(minidb_t *db)
{
    minidb_cursor_t *cursor;
    char buffer[8];
    size_t len;

    ANSWERS(MINIDB_NOTFOUND, minidb_get(db, "k", 1, NULL, NULL));
    ANSWERS(MINIDB_NOTFOUND, minidb_get(db, "k", 1, &out.bytes, &out.len));
    ANSWERS(MINIDB_NOTFOUND, minidb_get_into(db, "k", 1, buffer, 8, &len));
    ANSWERS(MINIDB_NOTFOUND, minidb_delete(db, "k", 1, NULL, NULL));
    ANSWERS(MINIDB_NOTFOUND, minidb_delete(db, "k", 1, &out.bytes, &out.len));
    ANSWERS(MINIDB_CONFLICT, minidb_cas(db, "k", 1, "", 0, "", 0));
    cursor = cursor_on(db);
    ANSWERS(MINIDB_NOTFOUND, minidb_cursor_first(cursor));
    ANSWERS(MINIDB_NOTFOUND, minidb_cursor_last(cursor));
    ANSWERS(MINIDB_NOTFOUND, minidb_cursor_next(cursor));
    ANSWERS(MINIDB_NOTFOUND, minidb_cursor_prev(cursor));
    ANSWERS(MINIDB_NOTFOUND, minidb_cursor_seek(cursor, "k", 1));
    ANSWERS(MINIDB_NOTFOUND, minidb_cursor_read(cursor, buffer, 8, &len));
    minidb_cursor_close(cursor);
}

static void an_answer_has_the_general_text(void)
{
    minidb_t *db = opened("a", 0), *txn;

    every_function_that_answers(db);
    OK(minidb_begin(db, &txn));
    every_function_that_answers(txn);
    OK(minidb_put(db, "k", 1, "", 0, NULL, NULL));
    OK(minidb_put(txn, "k", 1, "", 0, NULL, NULL));
    ANSWERS(MINIDB_CONFLICT, minidb_commit(txn));
    minidb_close(txn);
    minidb_close(db);
}

static void an_answer_takes_no_details_of_another_code(void)
{
    minidb_t *db = opened("a", 0);

    fail_with(MINIDB_NOTFOUND);
    GIVES(MINIDB_CONFLICT, minidb_cas(db, "k", 1, "", 0, "", 0));
    CHECK(text_has(MINIDB_NOTFOUND, "/nothing"));
    CHECK(text_is(MINIDB_CONFLICT, general[MINIDB_CONFLICT]));
    fail_with(MINIDB_CONFLICT);
    GIVES(MINIDB_NOTFOUND, minidb_get(db, "k", 1, NULL, NULL));
    CHECK(text_has(MINIDB_CONFLICT, "/a"));
    CHECK(text_is(MINIDB_NOTFOUND, general[MINIDB_NOTFOUND]));
    OK(minidb_put(db, "k", 1, "", 0, NULL, NULL));
    CHECK(text_has(MINIDB_CONFLICT, "/a"));
    minidb_close(db);
}

static void a_file_in_the_way_of_a_backup_has_details(void)
{
    minidb_t *db = opened("a", 0);

    GIVES(MINIDB_CONFLICT, minidb_cas(db, "k", 1, "", 0, "", 0));
    SAYS(MINIDB_CONFLICT, minidb_backup(db, "a"), "already there", "a");
    ANSWERS(MINIDB_CONFLICT, minidb_cas(db, "k", 1, "", 0, "", 0));
    minidb_close(db);
}

int main(void)
{
    take_general_texts();
    RUN_ALONE(an_answer_has_the_general_text);
    RUN_ALONE(an_answer_takes_no_details_of_another_code);
    RUN_ALONE(a_file_in_the_way_of_a_backup_has_details);
    free(general[MINIDB_NOTFOUND]);
    free(general[MINIDB_CONFLICT]);
    return passed("texts");
}
