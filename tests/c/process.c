/* Processes: after fork() the handles stay the parent's. */
#define _DEFAULT_SOURCE

#include "check.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a process has open. */
struct handles {
    minidb_t *db, *snapshot;
    minidb_cursor_t *cursor;
};

static struct handles open_all(void)
{
    struct handles handles;

    handles.db = database();
    fill(handles.db, "a=1 b=2 c=3");
    handles.snapshot = snapshot_of(handles.db);
    handles.cursor = cursor_on(handles.db);
    OK(minidb_cursor_next(handles.cursor));
    return handles;
}

static void close_all(const struct handles *handles)
{
    minidb_close(handles->db);
    minidb_close(handles->snapshot);
    minidb_cursor_close(handles->cursor);
}

/* They work as they did when they were opened. */
static void all_work(const struct handles *handles)
{
    HOLDS(handles->db, "a=1 b=2 c=3");
    HOLDS(handles->snapshot, "a=1 b=2 c=3");
    CHECK(strcmp(minidb_cursor_key(handles->cursor, NULL), "a") == 0);
    CHECK(number(handles->db, MINIDB_STAT_HANDLES) == 3);
    OK(minidb_check(handles->db));
}

static void all_refused(const struct handles *handles)
{
    refused_as_view(handles->db);
    refused_as_view(handles->snapshot);
    refused_as_cursor(handles->cursor);
}

static pid_t start_child(void (*work)(const struct handles *handles),
                         const struct handles *handles)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        alarm(600); /* a child that hangs fails */
        work(handles);
        _exit(0);
    }
    return child;
}

static void finish_child(pid_t child)
{
    int status;

    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void in_child(void (*work)(const struct handles *handles),
                     const struct handles *handles)
{
    finish_child(start_child(work, handles));
}

static void the_childs_calls_are_refused(void)
{
    struct handles handles = open_all();

    in_child(all_refused, &handles);
    all_work(&handles);
    close_all(&handles);
}

static void close_twice(const struct handles *handles)
{
    close_all(handles);
    all_refused(handles);
    close_all(handles);
}

static void the_childs_closing_does_nothing(void)
{
    struct handles handles = open_all();

    in_child(close_twice, &handles);
    all_work(&handles);
    fill(handles.db, "d=4");
    HOLDS(handles.db, "a=1 b=2 c=3 d=4");
    OK(minidb_cursor_next(handles.cursor));
    CHECK(strcmp(minidb_cursor_key(handles.cursor, NULL), "b") == 0);
    close_all(&handles);
    all_refused(&handles);
}

/* Opens as many handles as the parent has, and more: none is like its. */
static void open_own(const struct handles *parents)
{
    struct handles own[20];
    int i;

    for (i = 0; i < 20; i++) {
        own[i] = open_all();
        CHECK(own[i].db != parents->db && own[i].db != parents->snapshot);
        CHECK(own[i].snapshot != parents->db);
        CHECK(own[i].snapshot != parents->snapshot);
        CHECK(own[i].cursor != parents->cursor);
    }
    all_refused(parents);
    close_all(parents);
    for (i = 0; i < 20; i++) {
        all_work(&own[i]);
        close_all(&own[i]);
        all_refused(&own[i]);
    }
    all_refused(parents);
}

static void a_child_opens_databases_of_its_own(void)
{
    struct handles handles = open_all();

    in_child(open_own, &handles);
    all_work(&handles);
    close_all(&handles);
    in_child(open_own, &handles); /* closed by the parent before */
    all_refused(&handles);
}

static void a_child_opens_databases_where_the_parent_had_none(void)
{
    static const struct handles none = {NULL, NULL, NULL};

    in_child(open_own, &none);
}

static const struct handles *grandparents;

static void both_refused(const struct handles *parents)
{
    struct handles own = open_all();

    all_refused(grandparents);
    all_refused(parents);
    close_all(grandparents);
    close_all(parents);
    all_refused(grandparents);
    all_refused(parents);
    all_work(&own);
    close_all(&own);
}

static void fork_again(const struct handles *parents)
{
    struct handles own = open_all();

    grandparents = parents;
    in_child(both_refused, &own);
    all_refused(parents);
    all_work(&own);
    in_child(both_refused, &own);
    close_all(&own);
}

static void a_grandchild_has_neither_generations_handles(void)
{
    struct handles handles = open_all();

    in_child(fork_again, &handles);
    all_work(&handles);
    close_all(&handles);
}

/* Forks at once: what the parent has open is refused also one fork later. */
static void fork_at_once(const struct handles *parents)
{
    in_child(all_refused, parents);
    in_child(open_own, parents);
    open_own(parents);
}

static void a_child_may_fork_before_it_opens_anything(void)
{
    struct handles handles = open_all();

    in_child(fork_at_once, &handles);
    all_work(&handles);
    close_all(&handles);
}

static void the_parent_goes_on_meanwhile(void)
{
    enum { CHILDREN = 4 };
    struct handles handles = open_all();
    pid_t children[CHILDREN];
    int i, n;

    for (i = 0; i < CHILDREN; i++) {
        children[i] = start_child(open_own, &handles);
        for (n = 0; n < 200; n++)
            OK(minidb_put(handles.db, &n, sizeof n, "v", 1, NULL, NULL));
        OK(minidb_delete(handles.db, "a", 1, NULL, NULL));
        fill(handles.db, "a=1");
    }
    for (i = 0; i < CHILDREN; i++)
        finish_child(children[i]);
    CHECK(number(handles.db, MINIDB_STAT_COUNT) == 203);
    HOLDS(handles.snapshot, "a=1 b=2 c=3");
    CHECK(strcmp(rest_of(handles.cursor), "b=2 c=3") == 0);
    close_all(&handles);
}

static int fork_in_visit(void *ctx, const char *key, size_t key_len,
                         const char *value, size_t value_len)
{
    const struct handles *handles = ctx;

    (void)key, (void)key_len, (void)value, (void)value_len;
    in_child(open_own, handles);
    all_work(handles);
    return 0;
}

static void a_visit_may_fork(void)
{
    struct handles handles = open_all();

    OK(minidb_each(handles.db, NULL, 0, fork_in_visit, &handles));
    all_work(&handles);
    close_all(&handles);
}

static char *copy; /* handed out by minidb */

static void free_copy(const struct handles *handles)
{
    CHECK(strcmp(copy, "2") == 0);
    minidb_free(copy);
    all_refused(handles);
}

static void bytes_handed_out_before_are_the_childs_too(void)
{
    struct handles handles = open_all();

    OK(minidb_get(handles.db, "b", 1, &copy, NULL));
    in_child(free_copy, &handles);
    CHECK(strcmp(copy, "2") == 0);
    minidb_free(copy);
    close_all(&handles);
}

/* Keeps the locks of a handle busy until it is closed. */
static void *use_busily(void *arg)
{
    minidb_t *db = arg;
    char buffer[8];

    while (minidb_put(db, "b", 1, "2", 1, NULL, NULL) == MINIDB_OK &&
           minidb_get_into(db, "a", 1, buffer, 8, NULL) == MINIDB_OK)
        ;
    return NULL;
}

static void forking_while_another_thread_calls_leaves_no_lock(void)
{
    struct handles handles = open_all();
    pthread_t thread;
    int i;

    CHECK(pthread_create(&thread, NULL, use_busily, handles.db) == 0);
    for (i = 0; i < 50; i++)
        in_child(i % 2 ? open_own : all_refused, &handles);
    all_work(&handles);
    minidb_close(handles.db);
    CHECK(pthread_join(thread, NULL) == 0);
    HOLDS(handles.snapshot, "a=1 b=2 c=3");
    close_all(&handles);
}

static int fork_late_in_visit(void *ctx, const char *key, size_t key_len,
                              const char *value, size_t value_len)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    usleep(2000); /* the other thread is in the middle of a write, most likely */
    *(pid_t *)ctx = fork();
    if (*(pid_t *)ctx == 0)
        alarm(600);
    return 1;
}

static void a_visit_may_fork_while_another_thread_writes(void)
{
    minidb_t *db = database();
    pthread_t thread;
    int i;

    fill(db, "a=1 b=2");
    CHECK(pthread_create(&thread, NULL, use_busily, db) == 0);
    for (i = 0; i < 20; i++) {
        pid_t child = -1;

        OK(minidb_each(db, NULL, 0, fork_late_in_visit, &child));
        if (child == 0)
            _exit(0);
        CHECK(child > 0);
        finish_child(child);
    }
    minidb_close(db);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* What a fork handler does first in the child, if anything. */
static void (*early_work)(const struct handles *handles);
static const struct handles *early_handles;

static void work_early(void)
{
    void (*work)(const struct handles *handles) = early_work;

    early_work = NULL;
    if (work != NULL) {
        alarm(600);
        work(early_handles);
    }
}

static void a_handler_that_was_registered_first_finds_it_so_too(void)
{
    struct handles handles = open_all();

    early_handles = &handles;
    early_work = all_refused;
    in_child(all_refused, &handles);
    early_work = close_twice;
    in_child(fork_at_once, &handles);
    early_work = open_own;
    in_child(fork_at_once, &handles);
    early_work = NULL;
    all_work(&handles);
    close_all(&handles);
}

/* Whether the system empties memory at a fork. Without that, the library does so in a
 * handler of its own, which runs after those that were registered before. */
static int memory_is_emptied_at_a_fork(void)
{
    int emptied = 0;
#ifdef MADV_WIPEONFORK
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(page != MAP_FAILED);
    /* Some emulators accept any advice, and do nothing. */
    emptied = madvise(page, size, -1) != 0 &&
              madvise(page, size, MADV_WIPEONFORK) == 0;
    munmap(page, size);
#endif
    return emptied;
}

int main(void)
{
    if (memory_is_emptied_at_a_fork()) {
        /* Before minidb can have registered one. */
        CHECK(pthread_atfork(NULL, NULL, work_early) == 0);
        RUN(a_handler_that_was_registered_first_finds_it_so_too);
    }
    RUN(a_visit_may_fork_while_another_thread_writes);
    RUN(a_child_opens_databases_where_the_parent_had_none);
    RUN(the_childs_calls_are_refused);
    RUN(the_childs_closing_does_nothing);
    RUN(a_child_opens_databases_of_its_own);
    RUN(a_grandchild_has_neither_generations_handles);
    RUN(a_child_may_fork_before_it_opens_anything);
    RUN(the_parent_goes_on_meanwhile);
    RUN(a_visit_may_fork);
    RUN(bytes_handed_out_before_are_the_childs_too);
    RUN(forking_while_another_thread_calls_leaves_no_lock);
    return passed("process");
}
