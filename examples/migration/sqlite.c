/* Settings of users, some of them taken over: a table of keys and values in SQLite. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

static sqlite3 *db;

static int check(int rc)
{
    if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE) return rc;
    fprintf(stderr, "%s\n", sqlite3_errmsg(db));
    exit(1);
}

static void run(const char *sql)
{
    check(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

static sqlite3_stmt *prepare(const char *sql, const char *first, const char *second)
{
    sqlite3_stmt *statement;

    check(sqlite3_prepare_v2(db, sql, -1, &statement, NULL));
    if (first != NULL) check(sqlite3_bind_text(statement, 1, first, -1, SQLITE_STATIC));
    if (second != NULL) check(sqlite3_bind_text(statement, 2, second, -1, SQLITE_STATIC));
    return statement;
}

static void put(const char *key, const char *value)
{
    sqlite3_stmt *statement = prepare("INSERT OR REPLACE INTO kv VALUES (?, ?)", key, value);

    check(sqlite3_step(statement));
    sqlite3_finalize(statement);
}

int main(void)
{
    sqlite3_stmt *statement;

    check(sqlite3_open("settings.sqlite", &db));
    run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    run("CREATE TABLE kv (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID");
    put("ann/colour", "red");
    put("ann/size", "12");
    put("bob/size", "9");

    run("BEGIN IMMEDIATE"); /* SQLITE_BUSY while another connection writes */
    statement = prepare("SELECT value FROM kv WHERE key = ?", "ann/colour", NULL);
    if (check(sqlite3_step(statement)) == SQLITE_ROW)
        put("bob/colour", (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    run("DELETE FROM kv WHERE key >= 'ann/' AND key < 'ann0'");
    run("COMMIT");

    statement = prepare("SELECT key, value FROM kv WHERE key >= ? AND key < ? ORDER BY key DESC",
                        "bob/", "bob0");
    while (check(sqlite3_step(statement)) == SQLITE_ROW)
        printf("%s = %s\n", sqlite3_column_text(statement, 0), sqlite3_column_text(statement, 1));
    sqlite3_finalize(statement); /* before the connection */
    sqlite3_close(db);
    return 0;
}
