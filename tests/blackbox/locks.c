/* Locks: who may open a file, in which process and by whatever path. */
#define _GNU_SOURCE

#include "files.h"

#include <dlfcn.h>

/* The file is in use, by whatever name it goes. */
static void is_busy(void *flags)
{
    uint32_t more = flags ? *(uint32_t *)flags : 0;
    char whole[PATH_MAX];

    CHECK(realpath("db", whole) != NULL);
    refuses(MINIDB_BUSY, "db", more);
    refuses(MINIDB_BUSY, "./db", more | MINIDB_OPEN_EXISTING);
    refuses(MINIDB_BUSY, "folder/../db", more);
    refuses(MINIDB_BUSY, whole, more);
    refuses(MINIDB_BUSY, "symbolic", more);
    refuses(MINIDB_BUSY, "hard", more);
    CHECK(!exists("symbolic-log") && !exists("hard-log"));
}

static void make_names(void)
{
    remove_all();
    minidb_close(open_file("db", MINIDB_OPEN_NEW));
    CHECK(mkdir("folder", 0700) == 0);
    CHECK(symlink("folder/../db", "symbolic") == 0);
    CHECK(link("db", "hard") == 0);
}

static void a_second_open_is_refused(void)
{
    uint32_t reading = MINIDB_OPEN_READONLY;
    minidb_t *db;

    make_names();
    db = open_file("symbolic", 0);
    is_busy(NULL);
    fill(db, "b=2");
    CHECK(exists("db-log"));
    is_busy(NULL);
    is_busy(&reading);
    in_child(is_busy, NULL);
    in_child(is_busy, &reading);
    fill(db, "a=1");
    minidb_close(db);
    stays("hard", "a=1 b=2");
    stays("symbolic", "a=1 b=2");
}

static void a_file_is_in_use_until_its_last_handle_is_closed(void)
{
    minidb_t *db, *snapshot;
    minidb_cursor_t *cursor;

    make_names();
    db = open_file("db", 0);
    fill(db, "a=1");
    snapshot = snapshot_of(db);
    cursor = cursor_on(snapshot);
    minidb_close(db);
    is_busy(NULL);
    minidb_close(snapshot);
    is_busy(NULL);
    OK(minidb_cursor_next(cursor));
    minidb_cursor_close(cursor);
    CHECK(!exists("db-log"));
    stays("db", "a=1");
}

static void read_along(void *entries)
{
    minidb_t *db = open_file("hard", MINIDB_OPEN_READONLY);

    HOLDS(db, entries);
    GIVES(MINIDB_READONLY, minidb_put(db, "b", 1, "", 0, NULL, NULL));
    OK(minidb_check(db));
    minidb_close(db);
}

static void readers_share_a_file_and_keep_writers_out(void)
{
    char entries[] = "a=1";
    minidb_t *db, *first, *second;

    make_names();
    db = open_file("db", 0);
    fill(db, entries);
    minidb_close(db);
    first = open_file("db", MINIDB_OPEN_READONLY);
    second = open_file("symbolic", MINIDB_OPEN_READONLY);
    in_child(read_along, entries);
    is_busy(NULL);
    in_child(is_busy, NULL);
    minidb_close(first);
    is_busy(NULL);
    HOLDS(second, entries);
    minidb_close(second);
    CHECK(!exists("db-log"));
    stays("db", entries);
}

/* Another copy of the library. */
struct copy {
    void *library;
    int (*open)(const char *path, uint32_t flags, minidb_t **db);
    int (*put)(minidb_t *db, const void *key, size_t key_len,
               const void *value, size_t value_len, char **old,
               size_t *old_len);
    void (*close)(minidb_t *db);
};

static struct copy copy_in(void *loaded)
{
    struct copy copy;

    if (loaded == NULL)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(loaded != NULL);
    copy.library = loaded;
    *(void **)&copy.open = dlsym(loaded, "minidb_open");
    *(void **)&copy.put = dlsym(loaded, "minidb_put");
    *(void **)&copy.close = dlsym(loaded, "minidb_close");
    CHECK(copy.open != NULL && copy.put != NULL && copy.close != NULL);
    CHECK(copy.open != minidb_open);
    return copy;
}

/* Two copies keep each other out, whichever comes first. */
static void exclude_each_other(const struct copy *copy)
{
    minidb_t *db, *other;

    make_names();
    db = open_file("db", 0);
    GIVES(MINIDB_BUSY, copy->open("db", 0, &other));
    GIVES(MINIDB_BUSY, copy->open("hard", MINIDB_OPEN_READONLY, &other));
    fill(db, "a=1");
    minidb_close(db);
    OK(copy->open("db", 0, &other));
    is_busy(NULL);
    OK(copy->put(other, "b", 1, "2", 1, NULL, NULL));
    copy->close(other);
    stays("db", "a=1 b=2");
}

static void two_copies_of_the_library_exclude_each_other(void)
{
    struct copy copy;
    char command[PATH_MAX + 20];

    remove_all();
    CHECK(strlen(library) < PATH_MAX);
    sprintf(command, "cp '%s' copy.so", library);
    CHECK(system(command) == 0);
    copy = copy_in(dlopen("./copy.so", RTLD_NOW | RTLD_LOCAL));
    exclude_each_other(&copy);
}

static void a_library_of_another_namespace_is_excluded(void)
{
    struct copy copy = copy_in(dlmopen(LM_ID_NEWLM, library, RTLD_NOW));

    exclude_each_other(&copy);
}

/* Waits, with the file open, to be killed. */
static void hold(void *ready)
{
    minidb_t *db = open_file("db", 0);

    fill(db, "a=1");
    CHECK(write(*(int *)ready, "!", 1) == 1);
    pause();
    minidb_close(db);
}

static void the_lock_goes_with_a_process_that_is_killed(void)
{
    int i;

    for (i = 0; i < 20; i++) {
        int ends[2];
        pid_t child;
        char byte;

        make_names();
        CHECK(pipe(ends) == 0);
        child = start_child(hold, &ends[1]);
        CHECK(read(ends[0], &byte, 1) == 1);
        is_busy(NULL);
        kill_child(child);
        stays("db", "a=1");
        close(ends[0]);
        close(ends[1]);
    }
}

static void use_refused(void *db)
{
    refused_as_view(db);
    is_busy(NULL);
}

static void close_refused(void *db)
{
    minidb_close(db);
    refused_as_view(db);
    is_busy(NULL);
}

static void a_child_leaves_its_parents_file_alone(void)
{
    minidb_t *db;

    make_names();
    db = open_file("db", 0);
    fill(db, "a=1");
    in_child(use_refused, db);
    fill(db, "b=2");
    in_child(close_refused, db);
    CHECK(exists("db-log"));
    is_busy(NULL);
    fill(db, "c=3");
    OK(minidb_checkpoint(db));
    HOLDS(db, "a=1 b=2 c=3");
    OK(minidb_check(db));
    minidb_close(db);
    stays("db", "a=1 b=2 c=3");
}

struct family {
    int ready[2], ends[2];
};

static void outlive(void *arg)
{
    const struct family *family = arg;
    char byte;

    close(family->ends[1]);
    CHECK(write(family->ready[1], "!", 1) == 1);
    CHECK(read(family->ends[0], &byte, 1) == 0); /* the test is over */
}

/* Leaves a child that lives on. */
static void leave_a_child(void *arg)
{
    minidb_t *db = open_file("db", 0);
    const struct family *family = arg;
    char byte;

    fill(db, "a=1");
    start_child(outlive, arg);
    CHECK(read(family->ready[0], &byte, 1) == 1);
    /* and ends without closing */
}

static void a_child_does_not_keep_the_lock_of_its_parent(void)
{
    struct family family;

    make_names();
    CHECK(pipe(family.ready) == 0 && pipe(family.ends) == 0);
    in_child(leave_a_child, &family);
    stays("db", "a=1");
    close(family.ends[0]);
    close(family.ends[1]);
    close(family.ready[0]);
    close(family.ready[1]);
}

/* Goes on where the files of its parent were open, with its own. */
static void open_another(void *parents)
{
    minidb_t *db = open_file("own", MINIDB_OPEN_NEW);

    fill(db, "own=1");
    minidb_close(parents);
    fill(db, "own=2");
    HOLDS(db, "own=2");
    minidb_close(db);
}

static void a_child_has_files_of_its_own(void)
{
    minidb_t *db;

    make_names();
    db = open_file("db", 0);
    fill(db, "a=1");
    in_child(open_another, db);
    fill(db, "b=2");
    minidb_close(db);
    stays("own", "own=2");
    stays("db", "a=1 b=2");
}

static void print_into_nothing(void *arg)
{
    minidb_t *db;
    int i;

    (void)arg;
    for (i = 0; i < 3; i++)
        close(i);
    if (minidb_open("db", 0, &db) != MINIDB_OK)
        _exit(2);
    if (minidb_put(db, "a", 1, "1", 1, NULL, NULL) != MINIDB_OK)
        _exit(3);
    if (minidb_checkpoint(db) != MINIDB_OK)
        _exit(4);
    for (i = 0; i < 3; i++)
        if (write(i, "what the host prints", 20) != -1 || errno != EBADF)
            _exit(5);
    if (minidb_backup(db, "backup") != MINIDB_OK)
        _exit(6);
    minidb_close(db);
}

static void no_file_is_where_the_host_prints(void)
{
    make_names();
    in_child(print_into_nothing, NULL);
    stays("db", "a=1");
    stays("backup", "a=1");
}

static int ours_pass_on_exec(void)
{
    char target[PATH_MAX], here[PATH_MAX];
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    int ours = 0, passed_on = 0;

    CHECK(folder != NULL && getcwd(here, sizeof here) != NULL);
    while ((entry = readdir(folder)) != NULL) {
        ssize_t len = readlinkat(dirfd(folder), entry->d_name, target,
                                 sizeof target - 1);

        if (len < 0)
            continue;
        target[len] = '\0';
        if (strncmp(target, here, strlen(here)) != 0)
            continue;
        ours++;
        passed_on += !(fcntl(atoi(entry->d_name), F_GETFD) & FD_CLOEXEC);
    }
    closedir(folder);
    CHECK(ours > 0);
    return passed_on;
}

static void no_descriptor_is_passed_on(void)
{
    minidb_t *db, *reader;

    make_names();
    db = open_file("db", 0);
    OK(minidb_backup(db, "backup"));
    reader = open_file("backup", MINIDB_OPEN_READONLY);
    OK(minidb_checkpoint(db));
    CHECK(ours_pass_on_exec() == 0);
    minidb_close(reader);
    minidb_close(db);
}

/* Those that whoever started this has passed on. */
static int descriptors_before;

static void opening_and_closing_leaks_nothing(void)
{
    int rounds = getenv("MINIDB_VALGRIND") ? 30 : thorough() ? 1000 : 200;
    int files, i;

    make_names();
    files = names_in(".");
    CHECK(descriptors() == descriptors_before && is_alone());
    for (i = rounds; i > 0; i--) {
        uint32_t flags = i % 3 ? MINIDB_OPEN_NOSYNC : MINIDB_OPEN_READONLY;
        int before = descriptors();
        minidb_t *db = open_file("db", flags);

        refuses(MINIDB_BUSY, "db", MINIDB_OPEN_NOSYNC);
        if (i % 3 == 1)
            fill(db, "a=1 b=2");
        minidb_close(db);
        CHECK(descriptors() == before);
        CHECK(is_alone());
    }
    CHECK(names_in(".") == files);
    stays("db", "a=1 b=2");
}

int main(int argc, char **argv)
{
    work_in_folder(argc, argv);
    work_on_own_disk("size=64m"); /* if it can, to be quicker */
    descriptors_before = descriptors();
    RUN(a_second_open_is_refused);
    RUN(a_file_is_in_use_until_its_last_handle_is_closed);
    RUN(readers_share_a_file_and_keep_writers_out);
    RUN(the_lock_goes_with_a_process_that_is_killed);
    RUN(a_child_leaves_its_parents_file_alone);
    RUN(a_child_has_files_of_its_own);
    RUN(no_file_is_where_the_host_prints);
    RUN(no_descriptor_is_passed_on);
    RUN(opening_and_closing_leaks_nothing);
    RUN(two_copies_of_the_library_exclude_each_other);
    if (getenv("MINIDB_VALGRIND") == NULL) /* which cannot follow there */
        RUN(a_library_of_another_namespace_is_excluded);
    RUN(a_child_does_not_keep_the_lock_of_its_parent);
    return passed("locks");
}
