/* Entries: putting, getting and deleting one at a time. */
#include "check.h"

/* The key has that value, by every way of asking. */
static void is(const minidb_t *db, const void *key, size_t key_len,
               const void *value, size_t value_len)
{
    char *buffer = malloc(value_len + 1);
    char *copy;
    size_t len;

    CHECK(buffer != NULL);
    OK(minidb_get(db, key, key_len, &copy, &len));
    CHECK(copy != NULL && len == value_len && copy[len] == '\0');
    CHECK(len == 0 || memcmp(copy, value, len) == 0);
    minidb_free(copy);
    len = 12345;
    OK(minidb_get_into(db, key, key_len, buffer, value_len, &len));
    CHECK(len == value_len);
    CHECK(len == 0 || memcmp(buffer, value, len) == 0);
    free(buffer);
}

static void a_key_has_the_value_that_was_put(void)
{
    minidb_t *db = database();

    OK(minidb_put(db, "key", 3, "value", 5, NULL, NULL));
    is(db, "key", 3, "value", 5);
    OK(minidb_put(db, "key", 3, "another", 7, NULL, NULL));
    is(db, "key", 3, "another", 7);
    HOLDS(db, "key=another");
    minidb_close(db);
}

static void a_missing_key_is_not_found_and_has_no_results(void)
{
    minidb_t *db = database();
    char buffer[1];
    int filled;

    for (filled = 0; filled < 2; filled++) {
        NO_RESULT(MINIDB_NOTFOUND,
                  minidb_get(db, "b", 1, &out.bytes, &out.len));
        NO_RESULT(MINIDB_NOTFOUND,
                  minidb_get_into(db, "b", 1, buffer, 1, &out.len));
        NO_RESULT(MINIDB_NOTFOUND,
                  minidb_delete(db, "b", 1, &out.bytes, &out.len));
        fill(db, "a=1 bb=2 c=3");
    }
    HOLDS(db, "a=1 bb=2 c=3");
    minidb_close(db);
}

static void an_empty_value_is_not_a_missing_one(void)
{
    minidb_t *db = database();
    char *old;
    size_t len;

    fill(db, "k=");
    is(db, "k", 1, "", 0);
    old = NULL;
    OK(minidb_put(db, "k", 1, "", 0, &old, &len));
    CHECK(old != NULL && len == 0 && old[0] == '\0');
    minidb_free(old);
    old = NULL;
    OK(minidb_delete(db, "k", 1, &old, &len));
    CHECK(old != NULL && len == 0 && old[0] == '\0');
    minidb_free(old);
    NO_RESULT(MINIDB_NOTFOUND, minidb_get(db, "k", 1, &out.bytes, &out.len));
    minidb_close(db);
}

static void put_hands_out_the_value_that_was_there(void)
{
    minidb_t *db = database();
    char *old;
    size_t len;

    NO_RESULT(MINIDB_OK,
              minidb_put(db, "k", 1, "one", 3, &out.bytes, &out.len));
    OK(minidb_put(db, "k", 1, "three", 5, &old, &len));
    CHECK(len == 3 && memcmp(old, "one", 4) == 0);
    minidb_free(old);
    OK(minidb_put(db, "k", 1, "", 0, NULL, &len));
    CHECK(len == 5);
    OK(minidb_put(db, "k", 1, "x", 1, &old, NULL));
    CHECK(old != NULL && old[0] == '\0');
    minidb_free(old);
    is(db, "k", 1, "x", 1);
    minidb_close(db);
}

static void delete_hands_out_the_value_that_was_there(void)
{
    minidb_t *db = database();
    char *old;
    size_t len;

    fill(db, "a=one b=three c= d=four");
    OK(minidb_delete(db, "a", 1, &old, &len));
    CHECK(len == 3 && memcmp(old, "one", 4) == 0);
    minidb_free(old);
    OK(minidb_delete(db, "b", 1, NULL, &len));
    CHECK(len == 5);
    OK(minidb_delete(db, "c", 1, NULL, NULL));
    HOLDS(db, "d=four");
    NO_RESULT(MINIDB_NOTFOUND, minidb_delete(db, "a", 1, &out.bytes, &out.len));
    OK(minidb_delete(db, "d", 1, NULL, NULL));
    HOLDS(db, "");
    minidb_close(db);
}

static void get_tells_the_length_without_the_value(void)
{
    minidb_t *db = database();
    size_t len = 12345;

    fill(db, "k=four");
    OK(minidb_get(db, "k", 1, NULL, &len));
    CHECK(len == 4);
    OK(minidb_get(db, "k", 1, NULL, NULL));
    NO_RESULT(MINIDB_NOTFOUND, minidb_get(db, "x", 1, NULL, &out.len));
    GIVES(MINIDB_NOTFOUND, minidb_get(db, "x", 1, NULL, NULL));
    minidb_close(db);
}

static void get_into_copies_as_much_as_fits(void)
{
    minidb_t *db = database();
    size_t size, len;

    fill(db, "k=value none=");
    for (size = 0; size <= 8; size++) {
        char buffer[] = "--------";

        OK(minidb_get_into(db, "k", 1, buffer, size, &len));
        CHECK(len == 5);
        len = size < 5 ? size : 5;
        CHECK(memcmp(buffer, "value", len) == 0);
        CHECK(buffer[len] == (len < 8 ? '-' : '\0'));
        OK(minidb_get_into(db, "none", 4, buffer, size, &len));
        CHECK(len == 0 && strlen(buffer) == 8);
    }
    OK(minidb_get_into(db, "k", 1, NULL, 0, &len));
    CHECK(len == 5);
    OK(minidb_get_into(db, "k", 1, NULL, 0, NULL));
    minidb_close(db);
}

static void a_length_may_be_up_to_the_nul(void)
{
    minidb_t *db = database();
    char buffer[8], *old;
    size_t len;

    OK(minidb_put(db, "key\0x", MINIDB_STR, "value\0x", MINIDB_STR, NULL,
                  NULL));
    is(db, "key", 3, "value", 5);
    is(db, "key", MINIDB_STR, "value", 5);
    OK(minidb_get_into(db, "key", MINIDB_STR, buffer, 8, &len));
    CHECK(len == 5);
    OK(minidb_cas(db, "key", MINIDB_STR, "value", MINIDB_STR, "new",
                  MINIDB_STR));
    is(db, "key", 3, "new", 3);
    OK(minidb_delete(db, "key", MINIDB_STR, &old, &len));
    CHECK(len == 3 && strcmp(old, "new") == 0);
    minidb_free(old);
    OK(minidb_put(db, "", MINIDB_STR, "", MINIDB_STR, NULL, NULL));
    HOLDS(db, "=");
    minidb_close(db);
}

static void keys_and_values_are_any_bytes(void)
{
    minidb_t *db = database();
    struct entries set = {0};
    unsigned char bytes[3];
    int i, j;

    for (i = 0; i < 256; i++) {
        bytes[0] = (unsigned char)i;
        add(&set, bytes, 1, bytes, 1);
        for (j = 0; j < 256; j += 51) {
            bytes[1] = (unsigned char)j;
            bytes[2] = 0;
            add(&set, bytes, 2, bytes, 3);
            add(&set, bytes, 3, bytes + 1, 2);
        }
    }
    for (i = (int)set.count; i-- > 0;) {
        struct entry *entry = &set.list[i];

        OK(minidb_put(db, entry->key, entry->key_len, entry->value,
                      entry->value_len, NULL, NULL));
    }
    holds_all(db, &set);
    for (i = 0; i < (int)set.count; i++)
        is(db, set.list[i].key, set.list[i].key_len, set.list[i].value,
           set.list[i].value_len);
    discard(&set);
    minidb_close(db);
}

static void keys_are_ordered_as_unsigned_bytes_the_shorter_first(void)
{
    minidb_t *db = database();

    fill(db, "b=5 a\xff=4 ab=3 a=1 =0 \x80=6 \xff\xff=8 \xff=7");
    OK(minidb_put(db, "a\0", 2, "2", 1, NULL, NULL));
    HOLDS(db, "=0 a=1 a\\x00=2 ab=3 a\\xff=4 b=5 \\x80=6 \\xff=7 "
              "\\xff\\xff=8");
    minidb_close(db);
}

static void arguments_are_copied(void)
{
    minidb_t *db = database();
    char key[] = "key", value[] = "value";

    OK(minidb_put(db, key, 3, value, 5, NULL, NULL));
    memset(key, 'x', 3);
    memset(value, 'x', 5);
    is(db, "key", 3, "value", 5);
    minidb_close(db);
}

static void a_copy_stays_the_callers(void)
{
    minidb_t *db = database();
    char *first, *second, *old;

    fill(db, "k=first");
    OK(minidb_get(db, "k", 1, &first, NULL));
    OK(minidb_get(db, "k", 1, &second, NULL));
    CHECK(first != second);
    first[0] = 'F';
    OK(minidb_put(db, "k", 1, "third", 5, &old, NULL));
    OK(minidb_delete(db, "k", 1, NULL, NULL));
    minidb_close(db);
    CHECK(strcmp(first, "First") == 0);
    CHECK(strcmp(second, "first") == 0);
    CHECK(strcmp(old, "first") == 0);
    minidb_free(first);
    minidb_free(second);
    minidb_free(old);
}

static void values_of_every_size_come_and_go(void)
{
    static const size_t sizes[] = {
        0, 1, 7, 8, 15, 16, 63, 64, 127, 128, 254, 255, 256, 257, 511, 512,
        1023, 1024, 2000, 4095, 4096, 4097, 32767, 65535, 65536, 65537, 1000000
    };
    static char bytes[1000000];
    const size_t count = sizeof sizes / sizeof *sizes;
    minidb_t *db = database();
    size_t i, len;

    for (i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7 / 5);
    for (i = 0; i < count; i++) {
        OK(minidb_put(db, "value", 5, bytes, sizes[i], NULL, &len));
        CHECK(len == (i > 0 ? sizes[i - 1] : 0));
        is(db, "value", 5, bytes, sizes[i]);
        OK(minidb_put(db, bytes, sizes[i], "key", 3, NULL, NULL));
        is(db, bytes, sizes[i], "key", 3);
    }
    for (i = count; i-- > 0;) {
        is(db, bytes, sizes[i], "key", 3);
        OK(minidb_put(db, "value", 5, bytes, sizes[i], NULL, NULL));
        is(db, "value", 5, bytes, sizes[i]);
        OK(minidb_delete(db, bytes, sizes[i], NULL, &len));
        CHECK(len == 3);
    }
    HOLDS(db, "value=");
    minidb_close(db);
}

/* Any entry: keys collide often, values seldom, and some are long. */
static void make_any(char *key, size_t *key_len, char *value,
                     size_t *value_len)
{
    size_t i;

    *key_len = below(4) + (below(40) == 0 ? below(600) : 0);
    for (i = 0; i < *key_len; i++)
        key[i] = (char)("\0aA\xff\x80xyz0123"[below(12)]);
    *value_len = below(12) + (below(60) == 0 ? below(3000) : 0);
    for (i = 0; i < *value_len; i++)
        value[i] = (char)any_number();
}

static void any_changes_are_what_the_set_says(void)
{
    minidb_t *db = database();
    struct entries set = {0};
    char key[604], value[3012], *old;
    size_t key_len, value_len, len;
    int step, code;

    for (step = 0; step < 6000; step++) {
        struct entry *entry;

        make_any(key, &key_len, value, &value_len);
        entry = find(&set, key, key_len);
        if (below(3) > 0) {
            OK(minidb_put(db, key, key_len, value, value_len, &old, &len));
        } else {
            code = minidb_delete(db, key, key_len, &old, &len);
            CHECK(code == (entry ? MINIDB_OK : MINIDB_NOTFOUND));
            value_len = (size_t)-1;
        }
        CHECK((old != NULL) == (entry != NULL));
        CHECK(len == (entry ? entry->value_len : 0));
        CHECK(entry == NULL || memcmp(old, entry->value, len + 1) == 0);
        minidb_free(old);
        if (value_len != (size_t)-1)
            add(&set, key, key_len, value, value_len);
        else if (entry != NULL)
            cut(&set, (size_t)(entry - set.list),
                (size_t)(entry - set.list) + 1);
        if (step % 500 == 0)
            holds_all(db, &set);
    }
    holds_all(db, &set);
    discard(&set);
    minidb_close(db);
}

int main(void)
{
    RUN(a_key_has_the_value_that_was_put);
    RUN(a_missing_key_is_not_found_and_has_no_results);
    RUN(an_empty_value_is_not_a_missing_one);
    RUN(put_hands_out_the_value_that_was_there);
    RUN(delete_hands_out_the_value_that_was_there);
    RUN(get_tells_the_length_without_the_value);
    RUN(get_into_copies_as_much_as_fits);
    RUN(a_length_may_be_up_to_the_nul);
    RUN(keys_and_values_are_any_bytes);
    RUN(keys_are_ordered_as_unsigned_bytes_the_shorter_first);
    RUN(arguments_are_copied);
    RUN(a_copy_stays_the_callers);
    RUN(values_of_every_size_come_and_go);
    RUN(any_changes_are_what_the_set_says);
    return passed("entries");
}
