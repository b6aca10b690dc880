/* Handles: closing in any order, and refusing whatever is not an open one. */
#include "check.h"

static minidb_t *as_view(const void *handle)
{
    return (minidb_t *)handle;
}

static minidb_cursor_t *as_cursor(const void *handle)
{
    return (minidb_cursor_t *)handle;
}

static void refused(const void *handle)
{
    refused_as_view(as_view(handle));
    refused_as_cursor(as_cursor(handle));
    minidb_close(as_view(handle));
    minidb_cursor_close(as_cursor(handle));
}

/* A database, a snapshot of it, one of that, and a cursor on each. */
enum { FAMILY = 6, VIEWS = 3 };

struct family {
    void *handles[FAMILY];
};

static struct family new_family(void)
{
    struct family family;
    minidb_t *db = database();
    int i;

    fill(db, "a=1 b=2");
    family.handles[0] = db;
    family.handles[1] = snapshot_of(db);
    family.handles[2] = snapshot_of(family.handles[1]);
    for (i = 0; i < VIEWS; i++)
        family.handles[VIEWS + i] = cursor_on(family.handles[i]);
    return family;
}

static void close_member(struct family *family, int member)
{
    if (member < VIEWS)
        minidb_close(family->handles[member]);
    else
        minidb_cursor_close(family->handles[member]);
    family->handles[member] = NULL;
}

/* All that are open work, and know how many they are. */
static void members_work(const struct family *family, uint64_t open)
{
    int i;

    for (i = 0; i < FAMILY; i++) {
        void *handle = family->handles[i];

        if (handle == NULL)
            continue;
        if (i < VIEWS) {
            HOLDS(handle, "a=1 b=2");
            CHECK(number(handle, MINIDB_STAT_HANDLES) == open);
        } else {
            OK(minidb_cursor_first(handle));
            CHECK(strcmp(minidb_cursor_value(handle, NULL), "1") == 0);
            CHECK(strcmp(rest_of(handle), "b=2") == 0);
        }
    }
}

static void handles_are_closed_in_any_order(void)
{
    int order_number, i, left, step;

    for (order_number = 0; order_number < 720; order_number++) {
        struct family family = new_family();
        int member[FAMILY] = {0, 1, 2, 3, 4, 5};

        for (left = FAMILY, step = order_number; left > 0; left--) {
            members_work(&family, (uint64_t)left);
            i = step % left;
            step /= left;
            close_member(&family, member[i]);
            member[i] = member[left - 1];
        }
    }
}

static void a_closed_handle_is_refused(void)
{
    struct family family = new_family(), closed = family;
    int i, j;

    for (i = 0; i < FAMILY; i++) {
        close_member(&family, i);
        for (j = 0; j <= i; j++)
            refused(closed.handles[j]);
        members_work(&family, (uint64_t)(FAMILY - 1 - i));
    }
}

static void closing_again_does_nothing(void)
{
    struct family family = new_family(), closed = family;
    minidb_t *db;
    int i, j;

    for (i = 0; i < FAMILY; i++) {
        close_member(&family, i);
        for (j = 0; j <= i; j++) {
            struct family again = closed;

            close_member(&again, j);
        }
        members_work(&family, (uint64_t)(FAMILY - 1 - i));
    }
    db = database();
    for (i = 0; i < FAMILY; i++)
        close_member(&closed, i);
    HOLDS(db, "");
    minidb_close(db);
}

static void a_closed_handle_is_refused_however_many_were_opened_since(void)
{
    minidb_t *db = database(), *view, *closed_view = snapshot_of(db);
    minidb_cursor_t *cursor, *closed_cursor = cursor_on(db);
    minidb_t *closed_db = database();
    int i;

    minidb_close(closed_view);
    minidb_cursor_close(closed_cursor);
    minidb_close(closed_db);
    for (i = 0; i < 50000; i++) {
        view = snapshot_of(db);
        cursor = cursor_on(view);
        CHECK(view != closed_view && view != closed_db);
        CHECK(cursor != closed_cursor);
        CHECK((void *)view != closed_cursor && (void *)cursor != closed_view);
        if (i % 5000 == 0) {
            refused(closed_view);
            refused(closed_cursor);
            refused(closed_db);
        }
        minidb_close(view);
        minidb_cursor_close(cursor);
    }
    refused(closed_view);
    refused(closed_cursor);
    refused(closed_db);
    CHECK(number(db, MINIDB_STAT_HANDLES) == 1);
    minidb_close(db);
}

static void a_handle_of_another_kind_is_refused(void)
{
    struct family family = new_family();
    int i;

    for (i = 0; i < FAMILY; i++) {
        void *handle = family.handles[i];

        if (i < VIEWS) {
            refused_as_cursor(as_cursor(handle));
            minidb_cursor_close(as_cursor(handle));
        } else {
            refused_as_view(as_view(handle));
            minidb_close(as_view(handle));
        }
        members_work(&family, FAMILY);
    }
    GIVES(MINIDB_INVALID, minidb_commit(family.handles[0]));
    for (i = 1; i < VIEWS; i++) {
        minidb_t *snapshot = family.handles[i];

        NO_RESULT(MINIDB_INVALID, minidb_begin(snapshot, &out.view));
        GIVES(MINIDB_INVALID, minidb_commit(snapshot));
        GIVES(MINIDB_INVALID, minidb_sync(snapshot));
        GIVES(MINIDB_INVALID, minidb_checkpoint(snapshot));
    }
    members_work(&family, FAMILY);
    for (i = 0; i < FAMILY; i++)
        close_member(&family, i);
}

/* The same for a number, unless it is the handle that is open. */
static void number_is_refused(uint64_t value, const minidb_t *open)
{
    if ((uintptr_t)value != (uintptr_t)open)
        refused((void *)(uintptr_t)value);
}

static void what_never_was_a_handle_is_not_followed(void)
{
    static char outside[64];
    char stack[64], *heap = copy_of(outside, sizeof outside);
    minidb_t *db = database();
    uint64_t n;
    int i;

    memset(stack, 0xff, sizeof stack);
    for (i = 0; i < 16; i++) {
        refused(stack + i);
        refused(outside + i);
        refused(heap + i);
    }
    refused(&db);
    refused("a string");
    for (n = 1; n < 300; n++) {
        number_is_refused(n, db);
        number_is_refused(0 - n, db);
        number_is_refused((uint64_t)any_number() << 32 | any_number(), db);
    }
    for (n = 1; n != 0; n <<= 1) {
        number_is_refused(n, db);
        number_is_refused(~n, db);
        number_is_refused((uintptr_t)db ^ n, db); /* one bit off */
    }
    free(heap);
    fill(db, "k=v");
    HOLDS(db, "k=v");
    CHECK(number(db, MINIDB_STAT_HANDLES) == 1);
    minidb_close(db);
}

static void handles_are_counted_for_each_store_alone(void)
{
    minidb_t *one = database(), *other = database(), *snapshot;
    minidb_cursor_t *cursor;

    CHECK(number(one, MINIDB_STAT_HANDLES) == 1);
    snapshot = snapshot_of(one);
    OK(minidb_scan_prefix(one, "a", 1, &cursor));
    CHECK(number(one, MINIDB_STAT_HANDLES) == 3);
    CHECK(number(snapshot, MINIDB_STAT_HANDLES) == 3);
    CHECK(number(other, MINIDB_STAT_HANDLES) == 1);
    NO_RESULT(MINIDB_INVALID, minidb_scan(one, NULL, 1, NULL, 0, &out.cursor));
    NO_RESULT(MINIDB_INVALID, minidb_scan_prefix(one, NULL, 1, &out.cursor));
    CHECK(number(one, MINIDB_STAT_HANDLES) == 3);
    minidb_close(one);
    CHECK(number(snapshot, MINIDB_STAT_HANDLES) == 2);
    minidb_cursor_close(cursor);
    CHECK(number(snapshot, MINIDB_STAT_HANDLES) == 1);
    CHECK(number(other, MINIDB_STAT_HANDLES) == 1);
    minidb_close(snapshot);
    minidb_close(other);
}

static void many_handles_are_open_at_once(void)
{
    enum { MANY = 6000 };
    static minidb_t *views[MANY];
    static minidb_cursor_t *cursors[MANY];
    minidb_t *db = database();
    int i;

    for (i = 0; i < MANY; i++) {
        OK(minidb_put(db, "k", 1, &i, sizeof i, NULL, NULL));
        views[i] = snapshot_of(db);
        cursors[i] = cursor_on(views[i]);
    }
    CHECK(number(db, MINIDB_STAT_HANDLES) == 1 + 2 * MANY);
    minidb_close(db);
    for (i = 0; i < MANY; i++) {
        int value = -1;

        OK(minidb_get_into(views[i], "k", 1, &value, sizeof value, NULL));
        CHECK(value == i);
        minidb_close(views[i]);
        OK(minidb_cursor_next(cursors[i]));
        CHECK(memcmp(minidb_cursor_value(cursors[i], NULL), &i, sizeof i) == 0);
        if (i % 2)
            minidb_cursor_close(cursors[i]);
    }
    for (i = 0; i < MANY; i += 2)
        minidb_cursor_close(cursors[i]);
}

static void databases_come_and_go(void)
{
    minidb_t *all[50], *db;
    int i;

    for (i = 0; i < 2000; i++) {
        db = database();
        OK(minidb_put(db, &i, sizeof i, "v", 1, NULL, NULL));
        OK(minidb_get(db, &i, sizeof i, NULL, NULL));
        minidb_close(db);
    }
    for (i = 0; i < 50; i++) {
        all[i] = database();
        OK(minidb_put(all[i], "k", 1, &i, sizeof i, NULL, NULL));
    }
    for (i = 0; i < 50; i++) {
        int value = -1;

        OK(minidb_get_into(all[i], "k", 1, &value, sizeof value, NULL));
        CHECK(value == i);
        minidb_close(all[i]);
    }
}

int main(void)
{
    RUN(handles_are_closed_in_any_order);
    RUN(a_closed_handle_is_refused);
    RUN(closing_again_does_nothing);
    RUN(a_closed_handle_is_refused_however_many_were_opened_since);
    RUN(a_handle_of_another_kind_is_refused);
    RUN(what_never_was_a_handle_is_not_followed);
    RUN(handles_are_counted_for_each_store_alone);
    RUN(many_handles_are_open_at_once);
    RUN(databases_come_and_go);
    return passed("handles");
}
