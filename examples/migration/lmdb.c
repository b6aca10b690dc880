/* A shop sells a pear, and lists its fruits: on LMDB. */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check(int rc)
{
    if (rc == 0 || rc == MDB_NOTFOUND) return rc;
    fprintf(stderr, "%s\n", mdb_strerror(rc));
    exit(1);
}

static void put(MDB_txn *txn, MDB_dbi dbi, const char *name, int count)
{
    char text[20];
    MDB_val key = {strlen(name), (void *)name}, value = {0, text};

    value.mv_size = (size_t)sprintf(text, "%d", count);
    check(mdb_put(txn, dbi, &key, &value, 0));
}

int main(void)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_cursor *cursor;
    MDB_val key = {10, "fruit/pear"}, value;
    char text[20];

    check(mdb_env_create(&env));
    check(mdb_env_set_mapsize(env, 1 << 30));
    check(mdb_env_open(env, "shop.lmdb", MDB_NOSUBDIR, 0644));

    check(mdb_txn_begin(env, NULL, 0, &txn)); /* waits for other writers */
    check(mdb_dbi_open(txn, NULL, 0, &dbi));
    put(txn, dbi, "fruit/plum", 2);
    put(txn, dbi, "fruit/pear", 5);
    put(txn, dbi, "nut/hazel", 9);
    check(mdb_txn_commit(txn));

    check(mdb_txn_begin(env, NULL, 0, &txn));
    check(mdb_get(txn, dbi, &key, &value));
    sprintf(text, "%.*s", (int)value.mv_size, (char *)value.mv_data); /* no NUL */
    put(txn, dbi, "fruit/pear", atoi(text) - 1);
    check(mdb_txn_commit(txn));

    check(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn)); /* a snapshot */
    check(mdb_cursor_open(txn, dbi, &cursor));
    key.mv_size = 6, key.mv_data = "fruit/";
    for (int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
         check(rc) == 0 && key.mv_size >= 6 && memcmp(key.mv_data, "fruit/", 6) == 0;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
        printf("%.*s: %.*s\n", (int)key.mv_size, (char *)key.mv_data, (int)value.mv_size,
               (char *)value.mv_data);
    mdb_cursor_close(cursor); /* in this order */
    mdb_txn_abort(txn);
    mdb_env_close(env);
    return 0;
}
