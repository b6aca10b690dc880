/* Threads: many on one handle, each with error texts of its own. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <pthread.h>
#include <sched.h>

enum { THREADS = 4, STEPS = 2500 };

/* Held while threads are made that are to begin together. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

/* What a thread works on, and what it leaves. */
struct job {
    minidb_t *db;
    minidb_cursor_t *cursor;
    void *(*work)(void *job);
    pthread_t thread;
    int number;
    char *bytes;
    char *seen;
};

static void *begin(void *arg)
{
    struct job *job = arg;

    CHECK(pthread_mutex_lock(&gate) == 0);
    CHECK(pthread_mutex_unlock(&gate) == 0);
    return job->work(job);
}

static void start(struct job *job)
{
    CHECK(pthread_create(&job->thread, NULL, begin, job) == 0);
}

static void finish(struct job *job)
{
    CHECK(pthread_join(job->thread, NULL) == 0);
}

/* Runs the job in another thread, to its end. */
static void run_elsewhere(struct job *job)
{
    start(job);
    finish(job);
}

/* Starts numbered threads that do the same work on one handle. */
static void start_all(struct job *jobs, int count, minidb_t *db,
                      void *(*work)(void *job), char *seen)
{
    int i;

    CHECK(pthread_mutex_lock(&gate) == 0);
    for (i = 0; i < count; i++) {
        memset(&jobs[i], 0, sizeof jobs[i]);
        jobs[i].db = db;
        jobs[i].work = work;
        jobs[i].number = i;
        jobs[i].seen = seen;
        start(&jobs[i]);
    }
    CHECK(pthread_mutex_unlock(&gate) == 0);
}

static void finish_all(struct job *jobs, int count)
{
    int i;

    for (i = 0; i < count; i++)
        finish(&jobs[i]);
}

static void together(minidb_t *db, void *(*work)(void *job), char *seen)
{
    struct job jobs[THREADS];

    start_all(jobs, THREADS, db, work, seen);
    finish_all(jobs, THREADS);
}

static void *put_own_keys(void *arg)
{
    struct job *job = arg;
    char key[32];
    size_t len;
    int i;

    for (i = 0; i < STEPS; i++) {
        size_t key_len = (size_t)sprintf(key, "%d-%04d", job->number, i);

        NO_RESULT(MINIDB_OK,
                  minidb_put(job->db, key, key_len, key, key_len, &out.bytes,
                             &out.len));
        OK(minidb_get(job->db, key, key_len, NULL, &len));
        CHECK(len == key_len);
        if (i % 2)
            OK(minidb_delete(job->db, key, key_len, NULL, NULL));
    }
    return NULL;
}

static void every_threads_writes_are_kept(void)
{
    minidb_t *db = database();
    struct entries set = {0};
    char key[32];
    int i, thread;

    together(db, put_own_keys, NULL);
    for (thread = 0; thread < THREADS; thread++)
        for (i = 0; i < STEPS; i += 2) {
            size_t key_len = (size_t)sprintf(key, "%d-%04d", thread, i);

            add(&set, key, key_len, key, key_len);
        }
    holds_all(db, &set);
    CHECK(number(db, MINIDB_STAT_COMMITS) == THREADS * STEPS * 3 / 2);
    discard(&set);
    minidb_close(db);
}

static void *count_up(void *arg)
{
    struct job *job = arg;
    int i, now, next, code;

    for (i = 0; i < STEPS; i++)
        do {
            OK(minidb_get_into(job->db, "n", 1, &now, sizeof now, NULL));
            next = now + 1;
            code = minidb_cas(job->db, "n", 1, &now, sizeof now, &next,
                              sizeof next);
            CHECK(code == MINIDB_OK || code == MINIDB_CONFLICT);
        } while (code != MINIDB_OK);
    return NULL;
}

static void no_swap_is_lost(void)
{
    minidb_t *db = database();
    int n = 0;

    OK(minidb_put(db, "n", 1, &n, sizeof n, NULL, NULL));
    together(db, count_up, NULL);
    OK(minidb_get_into(db, "n", 1, &n, sizeof n, NULL));
    CHECK(n == THREADS * STEPS);
    minidb_close(db);
}

static void *put_and_take(void *arg)
{
    struct job *job = arg;
    char *old;
    size_t len;
    int i, n, code;

    for (i = 0; i < STEPS; i++) {
        n = job->number * STEPS + i;
        if (i % 4)
            code = minidb_put(job->db, "n", 1, &n, sizeof n, &old, &len);
        else
            code = minidb_delete(job->db, "n", 1, &old, &len);
        CHECK(code == MINIDB_OK || (code == MINIDB_NOTFOUND && i % 4 == 0));
        if (old != NULL) {
            CHECK(len == sizeof n);
            memcpy(&n, old, sizeof n);
            job->seen[n]++;
            minidb_free(old);
        }
    }
    return NULL;
}

static void each_old_value_is_handed_out_just_once(void)
{
    static char seen[THREADS * STEPS];
    minidb_t *db = database();
    int i, n;

    together(db, put_and_take, seen);
    if (minidb_get_into(db, "n", 1, &n, sizeof n, NULL) == MINIDB_OK)
        seen[n]++;
    for (i = 0; i < THREADS * STEPS; i++)
        CHECK(seen[i] == (i % STEPS % 4 ? 1 : 0));
    minidb_close(db);
}

/* Two entries that are always written together: "a" and "b", with one value. */
static void write_pair(minidb_t *db, uint32_t value)
{
    const uint32_t lens[2] = {1, sizeof value};
    char packed[2 * (8 + 1 + sizeof value)];
    int i;

    for (i = 0; i < 2; i++) {
        char *entry = packed + i * 13;

        memcpy(entry, lens, 8);
        entry[8] = (char)('a' + i);
        memcpy(entry + 9, &value, sizeof value);
    }
    OK(minidb_write(db, packed, sizeof packed));
}

struct pair {
    uint32_t value;
    int visits;
};

static int visit_pair(void *ctx, const char *key, size_t key_len,
                      const char *value, size_t value_len)
{
    struct pair *pair = ctx;

    CHECK(key_len == 1 && value_len == sizeof pair->value);
    CHECK(*key == 'a' + pair->visits);
    CHECK(pair->visits == 0 || memcmp(&pair->value, value, value_len) == 0);
    memcpy(&pair->value, value, value_len);
    pair->visits++;
    return 0;
}

static void *look_at_pairs(void *arg)
{
    struct job *job = arg;
    minidb_t *db = job->db;
    uint32_t a, b, latest = 0;
    int i;

    for (i = 0; i < STEPS; i++) {
        minidb_t *snapshot = snapshot_of(db);
        minidb_cursor_t *cursor = cursor_on(db);
        struct pair pair = {0, 0};

        OK(minidb_get_into(snapshot, "b", 1, &b, sizeof b, NULL));
        OK(minidb_get_into(snapshot, "a", 1, &a, sizeof a, NULL));
        CHECK(a == b && a >= latest);
        OK(minidb_cursor_last(cursor));
        memcpy(&b, minidb_cursor_value(cursor, NULL), sizeof b);
        OK(minidb_cursor_first(cursor));
        memcpy(&a, minidb_cursor_value(cursor, NULL), sizeof a);
        CHECK(a == b);
        latest = a;
        OK(minidb_each(db, NULL, 0, visit_pair, &pair));
        CHECK(pair.visits == 2 && pair.value >= latest);
        minidb_cursor_close(cursor);
        minidb_close(snapshot);
        OK(minidb_get_into(db, "a", 1, &latest, sizeof latest, NULL));
    }
    return NULL;
}

static void readers_see_each_write_whole_and_in_order(void)
{
    struct job readers[2];
    minidb_t *db = database();
    uint32_t value;

    write_pair(db, 0);
    start_all(readers, 2, db, look_at_pairs, NULL);
    for (value = 1; value <= 5 * STEPS; value++)
        write_pair(db, value);
    finish_all(readers, 2);
    CHECK(number(db, MINIDB_STAT_HANDLES) == 1);
    minidb_close(db);
}

static void *open_and_close(void *arg)
{
    enum { MANY = 100 };
    struct job *job = arg;
    minidb_t *views[MANY];
    minidb_cursor_t *cursors[MANY];
    int round, i;

    for (round = 0; round < 5; round++) {
        for (i = 0; i < MANY; i++) {
            views[i] = i % 10 ? snapshot_of(job->db) : database();
            cursors[i] = cursor_on(views[i]);
        }
        for (i = 0; i < MANY; i++) {
            GIVES(i % 10 ? MINIDB_OK : MINIDB_NOTFOUND,
                  minidb_cursor_next(cursors[i]));
            GIVES(i % 10 ? MINIDB_OK : MINIDB_NOTFOUND,
                  minidb_get(views[i], "k", 1, NULL, NULL));
            minidb_close(views[i]);
            minidb_cursor_close(cursors[i]);
            GIVES(MINIDB_INVALID, minidb_check(views[i]));
            GIVES(MINIDB_INVALID, minidb_cursor_next(cursors[i]));
        }
    }
    return NULL;
}

static void handles_are_opened_and_closed_by_all_at_once(void)
{
    minidb_t *db = database();

    fill(db, "k=v");
    together(db, open_and_close, NULL);
    CHECK(number(db, MINIDB_STAT_HANDLES) == 1);
    minidb_close(db);
}

/* One of the calls on a handle that may be closed meanwhile. */
static int call_any(minidb_t *db, int which)
{
    minidb_t *snapshot;
    minidb_cursor_t *cursor;
    int code;

    switch (which % 6) {
    case 0:
        return minidb_put(db, "k", 1, "v", 1, NULL, NULL);
    case 1:
        return minidb_get(db, "k", 1, NULL, NULL);
    case 2:
        return minidb_cas(db, "k", 1, "v", 1, "v", 1);
    case 3:
        return minidb_check(db);
    case 4:
        code = minidb_snapshot(db, &snapshot);
        if (code == MINIDB_OK)
            HOLDS(snapshot, "k=v");
        CHECK((code == MINIDB_OK) == (snapshot != NULL));
        minidb_close(snapshot);
        return code;
    default:
        code = minidb_scan(db, NULL, 0, NULL, 0, &cursor);
        if (code == MINIDB_OK)
            OK(minidb_cursor_next(cursor));
        CHECK((code == MINIDB_OK) == (cursor != NULL));
        minidb_cursor_close(cursor);
        return code;
    }
}

static void *call_until_closed(void *arg)
{
    struct job *job = arg;
    int code, i = job->number;

    while ((code = call_any(job->db, i++)) != MINIDB_INVALID)
        GIVES(MINIDB_OK, code);
    CHECK(*minidb_strerror(MINIDB_INVALID) != '\0');
    refused_as_view(job->db);
    minidb_close(job->db);
    return NULL;
}

static void a_handle_may_be_closed_while_others_call(void)
{
    struct job jobs[THREADS];
    minidb_t *db, *witness;
    int round;

    for (round = 0; round < 20; round++) {
        db = database();
        fill(db, "k=v");
        witness = snapshot_of(db);
        start_all(jobs, THREADS, db, call_until_closed, NULL);
        while (number(db, MINIDB_STAT_COMMITS) < 20u * (unsigned)round)
            sched_yield(); /* until they have got so far */
        minidb_close(db);
        finish_all(jobs, THREADS);
        CHECK(number(witness, MINIDB_STAT_HANDLES) == 1);
        HOLDS(witness, "k=v");
        minidb_close(witness);
    }
}

static void *close_with_others(void *arg)
{
    struct job *job = arg;

    minidb_close(job->db);
    refused_as_view(job->db);
    return NULL;
}

static void of_those_who_close_a_handle_at_once_one_does(void)
{
    int round;

    for (round = 0; round < 20; round++) {
        minidb_t *db = database(), *witness = snapshot_of(db);

        together(db, close_with_others, NULL);
        CHECK(number(witness, MINIDB_STAT_HANDLES) == 1);
        minidb_close(witness);
    }
}

static void *walk_and_leave(void *arg)
{
    struct job *job = arg;

    if (job->cursor == NULL) {
        job->cursor = cursor_on(job->db);
        OK(minidb_get(job->db, "a", 1, &job->bytes, NULL));
        fill(job->db, "a=new");
    } else {
        CHECK(strcmp(minidb_cursor_key(job->cursor, NULL), "a") == 0);
        CHECK(strcmp(rest_of(job->cursor), "b=2") == 0);
        minidb_free(job->bytes);
        minidb_cursor_close(job->cursor);
        minidb_close(job->db);
    }
    return NULL;
}

static void handles_and_bytes_go_from_thread_to_thread(void)
{
    struct job job = {0};

    job.db = database();
    job.work = walk_and_leave;
    fill(job.db, "a=1 b=2");
    run_elsewhere(&job);
    OK(minidb_cursor_next(job.cursor));
    CHECK(strcmp(minidb_cursor_value(job.cursor, NULL), "1") == 0);
    CHECK(strcmp(job.bytes, "1") == 0);
    run_elsewhere(&job);
    refused_as_view(job.db);
    refused_as_cursor(job.cursor);
}

/* Takes the text before a failure of its own, and after. */
static void *take_texts(void *arg)
{
    struct job *job = arg;
    const char *text = minidb_strerror(MINIDB_INVALID);

    job->seen = copy_of(text, strlen(text));
    GIVES(MINIDB_INVALID, minidb_write(job->db, "short", 5));
    text = minidb_strerror(MINIDB_INVALID);
    job->bytes = copy_of(text, strlen(text));
    return NULL;
}

static void the_text_of_a_failure_is_its_threads(void)
{
    struct job job = {0};
    minidb_t *db = database();
    char mine[1024];

    GIVES(MINIDB_INVALID, minidb_get(NULL, "k", 1, NULL, NULL));
    CHECK(strlen(minidb_strerror(MINIDB_INVALID)) < sizeof mine);
    strcpy(mine, minidb_strerror(MINIDB_INVALID));
    job.db = db;
    job.work = take_texts;
    run_elsewhere(&job);
    CHECK(strcmp(minidb_strerror(MINIDB_INVALID), mine) == 0);
    CHECK(strcmp(job.seen, mine) != 0);
    CHECK(strcmp(job.bytes, mine) != 0);
    CHECK(strcmp(job.bytes, job.seen) != 0);
    free(job.seen);
    free(job.bytes);
    minidb_close(db);
}

int main(void)
{
    RUN(every_threads_writes_are_kept);
    RUN(no_swap_is_lost);
    RUN(each_old_value_is_handed_out_just_once);
    RUN(readers_see_each_write_whole_and_in_order);
    RUN(handles_are_opened_and_closed_by_all_at_once);
    RUN(a_handle_may_be_closed_while_others_call);
    RUN(of_those_who_close_a_handle_at_once_one_does);
    RUN(handles_and_bytes_go_from_thread_to_thread);
    RUN(the_text_of_a_failure_is_its_threads);
    return passed("threads");
}
