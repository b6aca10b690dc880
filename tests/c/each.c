/* minidb_each: what it visits, and what a visit may do. */
#include "check.h"

/* What the visits have seen, and what they are to do. */
struct walk {
    minidb_t *db;
    char seen[256];
    int visits, stop_at;
    void (*act)(struct walk *walk, const char *key, const char *value);
};

static int visit(void *ctx, const char *key, size_t key_len,
                 const char *value, size_t value_len)
{
    struct walk *walk = ctx;

    CHECK(key != NULL && key[key_len] == '\0');
    CHECK(value != NULL && value[value_len] == '\0');
    strcat(walk->seen, key);
    strcat(walk->seen, "=");
    strcat(walk->seen, value);
    strcat(walk->seen, ";");
    if (walk->act != NULL)
        walk->act(walk, key, value);
    return ++walk->visits == walk->stop_at;
}

/* Visits the keys with that prefix, and has then seen that. */
static void sees(struct walk *walk, const char *prefix, const char *seen)
{
    walk->seen[0] = '\0';
    walk->visits = 0;
    OK(minidb_each(walk->db, prefix, prefix ? MINIDB_STR : 0, visit, walk));
    CHECK(check_equal(walk->seen, seen));
}

static void every_entry_is_visited_in_order(void)
{
    struct walk walk = {database(), "", 0, 0, NULL};

    sees(&walk, NULL, "");
    fill(walk.db, "c=3 a=1 =0 b= \xff=4");
    sees(&walk, NULL, "=0;a=1;b=;c=3;\xff=4;");
    sees(&walk, "", "=0;a=1;b=;c=3;\xff=4;");
    minidb_close(walk.db);
}

static void only_keys_with_the_prefix_are_visited(void)
{
    struct walk walk = {database(), "", 0, 0, NULL};

    fill(walk.db, "=0 a=1 ab=2 abc=3 ac=4 b=5 \xfe=6 \xff=7 \xff\xff=8");
    sees(&walk, "a", "a=1;ab=2;abc=3;ac=4;");
    sees(&walk, "ab", "ab=2;abc=3;");
    sees(&walk, "abcd", "");
    sees(&walk, "\xff", "\xff=7;\xff\xff=8;");
    sees(&walk, "\xff\xff", "\xff\xff=8;");
    minidb_close(walk.db);
}

static void a_visit_can_stop_the_walk(void)
{
    struct walk walk = {database(), "", 0, 1, NULL};

    fill(walk.db, "a=1 b=2 c=3");
    sees(&walk, NULL, "a=1;");
    walk.stop_at = 2;
    sees(&walk, NULL, "a=1;b=2;");
    walk.stop_at = 3;
    sees(&walk, NULL, "a=1;b=2;c=3;");
    minidb_close(walk.db);
}

static int stop_with(void *ctx, const char *key, size_t key_len,
                     const char *value, size_t value_len)
{
    int *code = ctx, result = *code;

    (void)key, (void)key_len, (void)value, (void)value_len;
    CHECK(result != 12345);
    if (result != 0)
        *code = 12345; /* not to be visited again */
    return result;
}

static void anything_but_0_stops_and_the_result_is_ok_either_way(void)
{
    static const int codes[] = {1, -1, MINIDB_NOTFOUND, MINIDB_NOMEM, 256,
                                INT32_MAX, INT32_MIN};
    minidb_t *db = database();
    size_t i;
    int code = 0;

    fill(db, "a=1 b=2");
    OK(minidb_each(db, NULL, 0, stop_with, &code));
    for (i = 0; i < sizeof codes / sizeof *codes; i++) {
        code = codes[i];
        OK(minidb_each(db, NULL, 0, stop_with, &code));
        CHECK(code == 12345);
    }
    minidb_close(db);
}

struct bytes_seen {
    unsigned char key[3], value[3];
    int visits;
};

static int visit_bytes(void *ctx, const char *key, size_t key_len,
                       const char *value, size_t value_len)
{
    struct bytes_seen *seen = ctx;

    CHECK(key_len == 3 && memcmp(key, seen->key, 4) == 0);
    CHECK(value_len == 2 && memcmp(value, seen->value, 3) == 0);
    seen->visits++;
    return 0;
}

static void keys_and_values_are_any_bytes(void)
{
    struct bytes_seen seen = {{0, 0xff, 0}, {0, 0, 0}, 0};
    unsigned char key[4] = {0, 0xff, 0, 0};
    minidb_t *db = database();

    memcpy(seen.key, key, 3);
    OK(minidb_put(db, key, 3, "\0", 2, NULL, NULL));
    OK(minidb_each(db, "\0\xff", 2, visit_bytes, &seen));
    CHECK(seen.visits == 1);
    minidb_close(db);
}

static int visit_nothing(void *ctx, const char *key, size_t key_len,
                         const char *value, size_t value_len)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    CHECK(ctx == NULL);
    return 0;
}

static void the_context_is_passed_on_as_it_is(void)
{
    minidb_t *db = database();

    fill(db, "a=1 b=2");
    OK(minidb_each(db, NULL, 0, visit_nothing, NULL));
    minidb_close(db);
}

static void write_much(struct walk *walk, const char *key,
                       const char *value)
{
    minidb_t *db = walk->db;

    (void)value;
    fill(db, "0=new a=new bb=new b=new z=new");
    OK(minidb_cas(db, "c", 1, "new", 3, "newer", 5));
    OK(minidb_delete(db, key, MINIDB_STR, NULL, NULL));
    OK(minidb_clear(db, "b", 1, NULL, 0));
    fill(db, "c=new");
}

static void entries_are_visited_as_they_were_whatever_a_visit_writes(void)
{
    struct walk walk = {database(), "", 0, 0, write_much};

    fill(walk.db, "a=1 b=2 c=new");
    sees(&walk, NULL, "a=1;b=2;c=new;");
    HOLDS(walk.db, "0=new a=new c=new");
    walk.act = NULL;
    sees(&walk, NULL, "0=new;a=new;c=new;");
    minidb_close(walk.db);
}

static void put_back(struct walk *walk, const char *key, const char *value)
{
    OK(minidb_put(walk->db, value, MINIDB_STR, key, MINIDB_STR, NULL, NULL));
    OK(minidb_put(walk->db, key, MINIDB_STR, value, MINIDB_STR, NULL, NULL));
}

static void borrowed_bytes_may_be_put_again(void)
{
    struct walk walk = {database(), "", 0, 0, put_back};

    fill(walk.db, "a=x b=y");
    sees(&walk, NULL, "a=x;b=y;");
    HOLDS(walk.db, "a=x b=y x=a y=b");
    minidb_close(walk.db);
}

static void use_everything(struct walk *walk, const char *key,
                           const char *value)
{
    minidb_t *db = walk->db, *other = database(), *snapshot = snapshot_of(db);
    minidb_cursor_t *cursor = cursor_on(snapshot);
    struct walk inner = {snapshot, "", 0, 0, NULL};
    char buffer[64];
    size_t used;

    (void)value;
    sees(&inner, key, *key == 'a' ? "a=1;" : "b=2;");
    OK(minidb_cursor_read(cursor, buffer, sizeof buffer, &used));
    OK(minidb_write(other, buffer, used));
    HOLDS(other, "a=1 b=2");
    NO_RESULT(MINIDB_NOTFOUND, minidb_get(db, "x", 1, &out.bytes, &out.len));
    NO_RESULT(MINIDB_INVALID, minidb_get(db, NULL, 1, &out.bytes, &out.len));
    CHECK(minidb_strerror(MINIDB_INVALID) != NULL);
    CHECK(number(db, MINIDB_STAT_COUNT) == 2);
    OK(minidb_sync(db));
    OK(minidb_checkpoint(db));
    OK(minidb_check(db));
    minidb_cursor_close(cursor);
    minidb_close(snapshot);
    minidb_close(other);
}

static void a_visit_may_call_any_function(void)
{
    struct walk walk = {database(), "", 0, 0, use_everything};

    fill(walk.db, "a=1 b=2");
    sees(&walk, NULL, "a=1;b=2;");
    CHECK(number(walk.db, MINIDB_STAT_HANDLES) == 1);
    minidb_close(walk.db);
}

static void close_it(struct walk *walk, const char *key,
                     const char *value)
{
    (void)value;
    if (*key == 'a') {
        OK(minidb_put(walk->db, "b", 1, "new", 3, NULL, NULL));
        minidb_close(walk->db);
    }
    refused_as_view(walk->db);
}

static void a_visit_may_close_what_it_walks(void)
{
    struct walk walk = {database(), "", 0, 0, close_it};
    minidb_t *db = walk.db;

    fill(db, "a=1 b=2 c=3");
    sees(&walk, NULL, "a=1;b=2;c=3;");
    refused_as_view(db);
    walk.db = db = database();
    fill(db, "a=1 b=2");
    walk.db = snapshot_of(db);
    walk.act = NULL;
    sees(&walk, NULL, "a=1;b=2;");
    minidb_close(db);
    sees(&walk, NULL, "a=1;b=2;");
    minidb_close(walk.db);
}

static int count(void *ctx, const char *key, size_t key_len,
                 const char *value, size_t value_len)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    ++*(int *)ctx;
    return 0;
}

static void many_entries_are_visited(void)
{
    minidb_t *db = database();
    char key[32];
    int i, visits = 0;

    for (i = 0; i < 10000; i++) {
        sprintf(key, "%05d", i);
        OK(minidb_put(db, key, 5, key, (size_t)(i % 6), NULL, NULL));
    }
    OK(minidb_each(db, NULL, 0, count, &visits));
    CHECK(visits == 10000);
    OK(minidb_each(db, "07", 2, count, &visits));
    CHECK(visits == 11000);
    minidb_close(db);
}

int main(void)
{
    RUN(every_entry_is_visited_in_order);
    RUN(only_keys_with_the_prefix_are_visited);
    RUN(a_visit_can_stop_the_walk);
    RUN(anything_but_0_stops_and_the_result_is_ok_either_way);
    RUN(keys_and_values_are_any_bytes);
    RUN(the_context_is_passed_on_as_it_is);
    RUN(entries_are_visited_as_they_were_whatever_a_visit_writes);
    RUN(borrowed_bytes_may_be_put_again);
    RUN(a_visit_may_call_any_function);
    RUN(a_visit_may_close_what_it_walks);
    RUN(many_entries_are_visited);
    return passed("each");
}
