/*
 * Paths: what may lie at one, what may happen to it while it is open, and
 * where the database writes at all.
 */
#define _GNU_SOURCE

#include "files.h"

#include <grp.h>

static void a_path_must_lead_to_an_ordinary_file(void)
{
    static const uint32_t flags[] = {
        0, MINIDB_OPEN_EXISTING, MINIDB_OPEN_READONLY, MINIDB_OPEN_NOSYNC
    };
    char path[5001];
    size_t i;

    remove_all();
    CHECK(mkdir("folder", 0700) == 0);
    CHECK(mkfifo("pipe", 0600) == 0);
    CHECK(symlink("loop", "loop") == 0);
    CHECK(symlink("folder", "to-folder") == 0);
    CHECK(symlink("nothing/db", "dangling") == 0);
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    for (i = 0; i < sizeof flags / sizeof *flags; i++) {
        int creates = flags[i] == 0 || flags[i] == MINIDB_OPEN_NOSYNC;
        int none = creates ? MINIDB_IO : MINIDB_NOTFOUND;

        refuses(none, "nothing/db", flags[i]);
        refuses(none, "dangling", flags[i]);
        refuses(MINIDB_FORMAT, "folder", flags[i]);
        refuses(MINIDB_FORMAT, "folder/", flags[i]);
        refuses(MINIDB_FORMAT, "to-folder", flags[i]);
        refuses(MINIDB_FORMAT, "pipe", flags[i]);
        refuses(MINIDB_FORMAT, "/dev/null", flags[i]);
        refuses(MINIDB_IO, "pipe/db", flags[i]);
        refuses(MINIDB_IO, "loop", flags[i]);
        refuses(MINIDB_IO, path, flags[i]);
        refuses(MINIDB_INVALID, "", flags[i]);
    }
    CHECK(names_in(".") == 5 && names_in("folder") == 0);
}

static void a_backup_needs_a_path_where_nothing_lies(void)
{
    minidb_t *db = database();

    remove_all();
    fill(db, "a=1");
    CHECK(mkdir("folder", 0700) == 0);
    CHECK(mkfifo("pipe", 0600) == 0);
    OK(minidb_backup(db, "there"));
    GIVES(MINIDB_CONFLICT, minidb_backup(db, "there"));
    GIVES(MINIDB_CONFLICT, minidb_backup(db, "folder"));
    GIVES(MINIDB_CONFLICT, minidb_backup(db, "pipe"));
    GIVES(MINIDB_CONFLICT, minidb_backup(db, "/dev/null"));
    GIVES(MINIDB_IO, minidb_backup(db, "nothing/db"));
    GIVES(MINIDB_INVALID, minidb_backup(db, NULL));
    CHECK(minidb_backup(db, "") < 0);
    minidb_close(db);
    CHECK(names_in(".") == 3);
    stays("there", "a=1");
}

static void an_empty_file_is_an_empty_database(void)
{
    static const uint32_t flags[] = {
        MINIDB_OPEN_READONLY, MINIDB_OPEN_EXISTING, 0, MINIDB_OPEN_READONLY
    };
    size_t i;

    remove_all();
    CHECK(close(open("db", O_CREAT | O_WRONLY, 0600)) == 0);
    refuses(MINIDB_CONFLICT, "db", MINIDB_OPEN_NEW);
    for (i = 0; i < sizeof flags / sizeof *flags; i++) {
        minidb_t *db = open_file("db", flags[i]);

        HOLDS(db, "");
        OK(minidb_check(db));
        minidb_close(db);
        CHECK(names_in(".") == 1);
    }
    CHECK(size_of("db") > 0);
}

/* Makes "db", and with it the log that it needs, as a crash leaves them. */
static void make_crashed(void)
{
    minidb_t *db;

    remove_all();
    db = open_file("open", 0);
    fill(db, "a=1 b=2");
    OK(minidb_checkpoint(db));
    fill(db, "a=3 c=4");
    copy_file("open", "db");
    copy_file("open-log", "db-log");
    minidb_close(db);
    CHECK(unlink("open") == 0);
    CHECK(names_in(".") == 2);
}

/* Reads what cannot be written, with and without a log to be replayed. */
static void read_only(const char *entries)
{
    minidb_t *first, *second;
    int files = names_in(".");

    first = open_file("db", MINIDB_OPEN_READONLY);
    second = open_file("db", MINIDB_OPEN_READONLY | MINIDB_OPEN_EXISTING);
    HOLDS(first, entries);
    HOLDS(second, entries);
    OK(minidb_check(first));
    GIVES(MINIDB_READONLY, minidb_put(first, "a", 1, "", 0, NULL, NULL));
    GIVES(MINIDB_READONLY, minidb_checkpoint(first));
    minidb_close(first);
    minidb_close(second);
    CHECK(names_in(".") == files);
}

/* What is opened to be read only stays as it is, byte by byte. */
static void read_untouched(const char *entries)
{
    static char before[2][4 << 20], after[4 << 20];
    static const char *const paths[] = {"db", "db-log"};
    size_t lens[2] = {0, 0};
    int i;

    for (i = 0; i < 2; i++)
        if (exists(paths[i]))
            lens[i] = read_file(paths[i], before[i], sizeof before[i]);
    read_only(entries);
    for (i = 0; i < 2; i++) {
        CHECK(exists(paths[i]) == (lens[i] > 0));
        if (lens[i] == 0)
            continue;
        CHECK(read_file(paths[i], after, sizeof after) == lens[i]);
        CHECK(memcmp(before[i], after, lens[i]) == 0);
    }
}

static void a_read_only_open_writes_nothing(void)
{
    make_crashed();
    read_untouched("a=3 b=2 c=4");
    stays("db", "a=3 b=2 c=4");
    read_untouched("a=3 b=2 c=4");
    remove_all();
    refuses(MINIDB_NOTFOUND, "db", MINIDB_OPEN_READONLY);
    CHECK(names_in(".") == 0);
}

/* The files and their folder have lost the right to be written. */
static void read_without_the_right_to_write(void *arg)
{
    (void)arg;
    read_untouched("a=3 b=2 c=4");
    if (access("db", W_OK) == 0)
        return; /* nothing is forbidden to root */
    refuses(MINIDB_IO, "db", 0);
    refuses(MINIDB_IO, "new", 0);
}

static void reading_needs_no_right_to_write(void)
{
    make_crashed();
    CHECK(chmod("db", 0400) == 0 && chmod("db-log", 0400) == 0);
    CHECK(chmod(".", 0500) == 0);
    in_child(read_without_the_right_to_write, NULL);
    CHECK(chmod(".", 0700) == 0);
}

/* The folder may be entered and written, but not listed. */
static void write_unlisted(void *arg)
{
    char here[PATH_MAX];
    minidb_t *db;

    (void)arg;
    CHECK(getcwd(here, sizeof here) != NULL);
    /* Nothing is forbidden to root. */
    if (getuid() == 0 && (chown(".", 54321, 54321) != 0 || setgroups(0, NULL) != 0 ||
                          setgid(54321) != 0 || setuid(54321) != 0 ||
                          access(here, X_OK) != 0)) {
        puts("paths: no other user can work here");
        return;
    }
    CHECK(opendir(".") == NULL && errno == EACCES);
    OK(minidb_open("db", 0, &db));
    OK(minidb_put(db, "a", 1, "1", 1, NULL, NULL));
    OK(minidb_checkpoint(db));
    OK(minidb_backup(db, "copy"));
    minidb_close(db);
    stays("db", "a=1");
    stays("copy", "a=1");
    CHECK(access("db-log", F_OK) != 0);
}

static void a_folder_need_not_be_listed(void)
{
    CHECK(mkdir("unlisted", 0700) == 0 && chdir("unlisted") == 0);
    CHECK(chmod("..", 0755) == 0 && chmod(".", 0300) == 0);
    in_child(write_unlisted, NULL);
    CHECK(chmod(".", 0700) == 0);
    remove_all();
    CHECK(chdir("..") == 0 && rmdir("unlisted") == 0);
}

static void read_on_a_read_only_disk(void *arg)
{
    char here[PATH_MAX];

    (void)arg;
    if (!work_on_own_disk("size=8m")) {
        puts("paths: no file system can be mounted here");
        return;
    }
    make_crashed();
    CHECK(getcwd(here, sizeof here) != NULL);
    CHECK(mount("none", here, "none", MS_REMOUNT | MS_BIND | MS_RDONLY,
                NULL) == 0);
    read_untouched("a=3 b=2 c=4");
    refuses(MINIDB_IO, "db", 0);
    refuses(MINIDB_IO, "new", 0);
    read_untouched("a=3 b=2 c=4");
}

static void reading_works_on_a_read_only_disk(void)
{
    in_child(read_on_a_read_only_disk, NULL);
}

static void a_file_that_is_removed_lives_until_it_is_closed(void)
{
    minidb_t *db, *other;

    remove_all();
    db = open_file("db", 0);
    fill(db, "a=1");
    CHECK(unlink("db") == 0);
    fill(db, "b=2");
    OK(minidb_checkpoint(db));
    OK(minidb_check(db));
    HOLDS(db, "a=1 b=2");
    OK(minidb_backup(db, "saved"));
    minidb_close(db);
    stays("saved", "a=1 b=2");
    refuses(MINIDB_NOTFOUND, "db", MINIDB_OPEN_EXISTING);
    other = open_file("db", 0);
    HOLDS(other, "");
    minidb_close(other);
}

/* Whatever a file that is in use is replaced by, neither harms the other. */
static void replace(const char *before, const char *replacement, int log)
{
    minidb_t *old, *new;
    int code;

    remove_all();
    new = open_file("replacement", MINIDB_OPEN_NOSYNC);
    fill(new, replacement);
    minidb_close(new);
    old = open_file("db", 0);
    fill(old, before);
    CHECK(rename("db", "moved") == 0);
    CHECK(!log || rename("db-log", "moved-log") == 0);
    if (*replacement != '\0')
        CHECK(rename("replacement", "db") == 0);
    code = minidb_open("db", 0, &new);
    CHECK(code == MINIDB_OK || code == MINIDB_BUSY || code == MINIDB_CORRUPT);
    fill(old, "b=2");
    if (code == MINIDB_OK)
        fill(new, "d=4");
    minidb_close(old);
    if (code == MINIDB_OK)
        CHECK(exists("db-log"));
    else
        new = open_file("db", 0);
    fill(new, "e=5");
    CHECK(strstr(listing(new), "e=5") != NULL);
    OK(minidb_check(new));
    minidb_close(new);
    old = open_file("moved", 0);
    CHECK(strstr(listing(old), "b=2") != NULL);
    OK(minidb_check(old));
    minidb_close(old);
}

static void a_log_is_not_shared_by_a_file_and_its_replacement(void)
{
    int log;

    for (log = 0; log <= 1; log++) {
        replace("a=1", "", log);
        replace("a=1", "c=3", log);
        replace("", "", log);
        replace("", "c=3", log);
    }
}

static void fill_and_die(void *path)
{
    fill(open_file(path, 0), "d=4");
    _exit(0);
}

/* A file is opened and not written to yet when another one takes its place and dies. */
static void the_log_of_a_file_in_its_place_stays(void)
{
    minidb_t *old, *new;

    remove_all();
    old = open_file("db", 0);
    fill(old, "a=1");
    minidb_close(old);
    old = open_file("db", 0);
    new = open_file("replacement", 0);
    fill(new, "c=3");
    minidb_close(new);
    CHECK(rename("replacement", "db") == 0);
    in_child(fill_and_die, "db");
    CHECK(exists("db-log"));
    GIVES(MINIDB_IO, minidb_put(old, "b", 1, "2", 1, NULL, NULL));
    HOLDS(old, "a=1");
    minidb_close(old);
    stays("db", "c=3 d=4");
}

static minidb_t *with_data(void)
{
    static char big[20000];
    minidb_t *db;

    remove_all();
    memset(big, 'b', sizeof big);
    db = open_file("db", 0);
    OK(minidb_put(db, "big", 3, big, sizeof big, NULL, NULL));
    OK(minidb_checkpoint(db));
    fill(db, "a=1");
    return db;
}

static void what_is_cut_off_is_missed_and_not_invented(void)
{
    static const long lens[] = {0, 1, 4096, 8192, 10000, 20000};
    char *value;
    size_t i, len;

    for (i = 0; i < 2 * sizeof lens / sizeof *lens; i++) {
        minidb_t *db = with_data();
        int code, of_log = i % 2 != 0;

        CHECK(truncate(of_log ? "db-log" : "db", lens[i / 2]) == 0);
        code = minidb_check(db);
        CHECK(code == MINIDB_CORRUPT || code == MINIDB_IO ||
              (of_log && lens[i / 2] > 8192 && code == MINIDB_OK));
        OK(minidb_get(db, "big", 3, &value, &len));
        CHECK(len == 20000 && value[19999] == 'b');
        minidb_free(value);
        code = minidb_put(db, "z", 1, "26", 2, NULL, NULL);
        CHECK(code == MINIDB_OK || code == MINIDB_IO);
        code = minidb_checkpoint(db);
        CHECK(code == MINIDB_OK || code == MINIDB_IO);
        minidb_close(db);
        code = minidb_open("db", MINIDB_OPEN_EXISTING, &db);
        if (code != MINIDB_OK) {
            CHECK(code == MINIDB_CORRUPT || code == MINIDB_FORMAT);
            CHECK(!of_log); /* all is in the file by now */
            continue;
        }
        OK(minidb_check(db));
        OK(minidb_get(db, "big", 3, NULL, &len));
        CHECK(len == 20000);
        minidb_close(db);
    }
}

static void nothing_is_written_elsewhere(void)
{
    minidb_t *db;

    remove_all();
    CHECK(mkdir("folder", 0700) == 0 && mkdir("elsewhere", 0700) == 0);
    CHECK(setenv("TMPDIR", "/nonexistent", 1) == 0);
    CHECK(chdir("elsewhere") == 0);
    db = open_file("../folder/db", 0);
    fill(db, "a=1");
    OK(minidb_checkpoint(db));
    OK(minidb_backup(db, "../folder/backup"));
    CHECK(names_in("../folder") == 3 && names_in(".") == 0);
    /* Where the host goes meanwhile does not matter. */
    CHECK(chdir("/") == 0);
    fill(db, "b=2");
    OK(minidb_checkpoint(db));
    minidb_close(db);
    CHECK(chdir("..") == 0);
}

int main(int argc, char **argv)
{
    work_in_folder(argc, argv);
    work_on_own_disk("size=64m"); /* if it can, to be quicker */
    RUN(a_path_must_lead_to_an_ordinary_file);
    RUN(an_empty_file_is_an_empty_database);
    RUN(a_backup_needs_a_path_where_nothing_lies);
    RUN(a_read_only_open_writes_nothing);
    RUN(reading_needs_no_right_to_write);
    RUN(a_folder_need_not_be_listed);
    RUN(reading_works_on_a_read_only_disk);
    RUN(a_file_that_is_removed_lives_until_it_is_closed);
    RUN(a_log_is_not_shared_by_a_file_and_its_replacement);
    RUN(the_log_of_a_file_in_its_place_stays);
    RUN(what_is_cut_off_is_missed_and_not_invented);
    RUN(nothing_is_written_elsewhere);
    return passed("paths");
}
