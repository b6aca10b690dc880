/* minidb_open: its flags, the lock, and what it says when it refuses. */
#define _XOPEN_SOURCE 700

#include "file.h"

enum {
    READONLY = MINIDB_OPEN_READONLY,
    EXISTING = MINIDB_OPEN_EXISTING,
    NEW = MINIDB_OPEN_NEW,
    NOSYNC = MINIDB_OPEN_NOSYNC
};

#define REFUSED(code, path, flags, part) \
    (NO_RESULT(code, minidb_open(path, flags, &out.view)), \
     CHECK(text_has(code, part)))

static void a_file_is_created_if_need_be(void)
{
    minidb_t *db = opened("a", 0);

    FILES("a a-log");
    HOLDS(db, "");
    fill(db, "k=v");
    minidb_close(db);
    FILES("a");
    db = opened("a", 0);
    HOLDS(db, "k=v");
    minidb_close(db);
    file_holds("a", "k=v");
}

/* A database that is opened to be written is not written to before its first change. */
static void opening_writes_nothing(void)
{
    static const uint32_t flags[] = {0, NOSYNC, EXISTING};
    size_t i;

    make("a", "k=v m=w");
    for (i = 0; i < sizeof flags / sizeof *flags; i++) {
        struct stat before, after;
        minidb_t *db, *view;

        CHECK(stat("a", &before) == 0);
        db = opened("a", flags[i]);
        HOLDS(db, "k=v m=w");
        OK(minidb_snapshot(db, &view));
        HOLDS(view, "k=v m=w");
        minidb_close(view);
        OK(minidb_begin(db, &view));
        HOLDS(view, "k=v m=w");
        OK(minidb_commit(view));
        minidb_close(view);
        OK(minidb_sync(db));
        OK(minidb_checkpoint(db));
        OK(minidb_check(db));
        FILES("a");
        minidb_close(db);
        CHECK(stat("a", &after) == 0);
        CHECK(before.st_size == after.st_size);
        CHECK(before.st_mtim.tv_sec == after.st_mtim.tv_sec);
        CHECK(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
        CHECK(before.st_ctim.tv_sec == after.st_ctim.tv_sec);
        CHECK(before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
        db = opened("a", flags[i]);
        fill(db, "n=x");
        FILES("a a-log");
        OK(minidb_delete(db, "n", 1, NULL, NULL));
        minidb_close(db);
        FILES("a");
    }
}

/* What each combination does where there is a file, and where there is none. */
static void each_combination_of_flags_does_what_they_say(void)
{
    uint32_t flags;

    make("there", "k=v");
    for (flags = 0; flags < 64; flags++) {
        int invalid = flags >= 16 ||
                      ((flags & NEW) && (flags & (EXISTING | READONLY)));
        int there = invalid ? MINIDB_INVALID
                    : flags & NEW ? MINIDB_CONFLICT : MINIDB_OK;
        int absent = invalid ? MINIDB_INVALID
                     : flags & (EXISTING | READONLY) ? MINIDB_NOTFOUND
                                                     : MINIDB_OK;

        if (there == MINIDB_OK) {
            minidb_t *db = opened("there", flags);

            HOLDS(db, "k=v");
            GIVES(flags & READONLY ? MINIDB_READONLY : MINIDB_OK,
                  minidb_put(db, "k", 1, "v", 1, NULL, NULL));
            minidb_close(db);
        } else {
            NO_RESULT(there, minidb_open("there", flags, &out.view));
        }
        FILES("there");
        if (absent == MINIDB_OK) {
            minidb_close(opened("absent", flags));
            FILES("absent there");
            CHECK(remove("absent") == 0);
        } else {
            NO_RESULT(absent, minidb_open("absent", flags, &out.view));
            FILES("there");
        }
    }
    file_holds("there", "k=v");
}

static void unknown_flags_are_refused(void)
{
    uint32_t flag;

    for (flag = 16; flag != 0; flag <<= 1) {
        REFUSED(MINIDB_INVALID, "a", flag, "flag");
        REFUSED(MINIDB_INVALID, "a", flag | NEW | NOSYNC, "flag");
    }
    FILES("");
}

static void the_text_has_the_path(void)
{
    REFUSED(MINIDB_NOTFOUND, "absent", EXISTING, "/absent");
    REFUSED(MINIDB_NOTFOUND, "absent", READONLY, "/absent");
    REFUSED(MINIDB_NOTFOUND, "folder/absent", READONLY, "folder/absent");
    make("there", "");
    REFUSED(MINIDB_CONFLICT, "there", NEW, "/there");
    REFUSED(MINIDB_CONFLICT, "there", NEW | NOSYNC, folder_name);
}

static void the_text_has_the_systems_reason(void)
{
    char name[300];

    REFUSED(MINIDB_IO, "folder/absent", 0, strerror(ENOENT));
    CHECK(text_has(MINIDB_IO, "folder/absent"));
    write_file("file", "", 0);
    REFUSED(MINIDB_IO, "file/absent", 0, strerror(ENOTDIR));
    REFUSED(MINIDB_IO, "file/absent", READONLY, "file/absent");
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    REFUSED(MINIDB_IO, name, 0, strerror(ENAMETOOLONG));
    CHECK(symlink("round", "round") == 0);
    REFUSED(MINIDB_IO, "round", 0, strerror(ELOOP));
    FILES("file round");
}

static void a_log_that_has_no_place_is_an_error(void)
{
    char longest[256];

    CHECK(mkdir("a-log", 0700) == 0);
    REFUSED(MINIDB_FORMAT, "a", 0, "a-log");
    CHECK(mkfifo("b-log", 0600) == 0);
    REFUSED(MINIDB_FORMAT, "b", 0, "b-log");
    CHECK(symlink("nowhere", "c-log") == 0);
    REFUSED(MINIDB_FORMAT, "c", NEW, "c-log");
    make("d", "k=v");
    CHECK(mkdir("d-log", 0700) == 0);
    file_holds("d", "k=v"); /* who only reads needs none */
    REFUSED(MINIDB_FORMAT, "d", EXISTING, "d-log");
    memset(longest, 'l', 255);
    longest[255] = '\0';
    REFUSED(MINIDB_IO, longest, NEW, strerror(ENAMETOOLONG));
    REFUSED(MINIDB_IO, longest, NEW, strerror(ENAMETOOLONG));
    FILES("a-log b-log c-log d d-log"); /* no file was created in vain */
}

/* Where its log would go lies what is somebody else's. */
static void what_lies_where_the_log_goes_is_not_overwritten(void)
{
    static const char text[5000] = "minidb: a diary.\n";
    static const size_t lens[] = {1, 7, 9, 512, 4096, 5000};
    minidb_t *db;
    size_t i;

    make("a", "k=v");
    for (i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        write_file("a-log", text, lens[i]);
        REFUSED(MINIDB_FORMAT, "a", 0, "a-log");
        file_holds("a", "k=v");
        CHECK(is_content("a-log", text, lens[i]));
        CHECK(rename("a-log", "n-log") == 0);
        REFUSED(MINIDB_FORMAT, "n", 0, "n-log"); /* beside a database to be made */
        REFUSED(MINIDB_FORMAT, "n", NEW, "n-log");
        CHECK(is_content("n-log", text, lens[i]));
        CHECK(remove("n-log") == 0);
    }
    write_file("a-log", "", 0); /* nothing is lost with it */
    minidb_close(opened("a", 0));
    FILES("a");

    make("b-log", "k=w"); /* a database of that name */
    REFUSED(MINIDB_FORMAT, "b", 0, "b-log");
    REFUSED(MINIDB_FORMAT, "b", NEW, "b-log");
    file_holds("b-log", "k=w");
    FILES("a b-log");

    db = opened("c", 0); /* a log with commits that are nowhere else yet */
    fill(db, "k=x");
    copy_file("c-log", "d-log");
    copy_file("c", "e");
    minidb_close(db);
    make("f", "k=y");
    CHECK(rename("f", "d") == 0);
    REFUSED(MINIDB_CORRUPT, "d", 0, "d-log");
    file_holds("d", "k=y");
    CHECK(rename("d-log", "e-log") == 0);
    db = opened("e", 0);
    HOLDS(db, "k=x");
    minidb_close(db);
}

static mode_t mode_of(const char *path)
{
    struct stat file;

    CHECK(stat(path, &file) == 0);
    return file.st_mode & 0777;
}

/* What is in the log is nobody's business whose the file is not. */
static void the_log_is_for_those_whom_the_file_is_for(void)
{
    static const mode_t modes[] = {0600, 0640, 0660, 0666, 0600};
    mode_t before = umask(022);
    struct stat file;
    minidb_t *db;
    size_t i;

    make("a", "k=v");
    for (i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        CHECK(chmod("a", modes[i]) == 0);
        db = opened("a", 0);
        fill(db, "k=w");
        CHECK(mode_of("a-log") == modes[i]);
        minidb_close(db);
        CHECK(mode_of("a") == modes[i]);
    }
    if (geteuid() != 0) {
        puts("SKIPPED: the owner of a log, which only root may set");
    } else {
        CHECK(chown("a", 65534, 65534) == 0);
        db = opened("a", 0);
        fill(db, "k=x");
        CHECK(stat("a-log", &file) == 0);
        CHECK(file.st_uid == 65534 && file.st_gid == 65534);
        minidb_close(db);
    }
    umask(before);
}

/* A log is made under another name; what a crash leaves of that is in nobody's way. */
static void what_an_interruption_left_of_a_log_goes(void)
{
    static const char text[5000] = "A diary.\n";
    minidb_t *db;

    make("a", "k=v");
    write_file("a-log-unfinished", text, 4096);
    file_holds("a", "k=v");
    db = opened("a", 0);
    fill(db, "k=v");
    FILES("a a-log");
    minidb_close(db);
    FILES("a");
    write_file("a-log-unfinished", text, sizeof text); /* that is none */
    REFUSED(MINIDB_FORMAT, "a", 0, "a-log-unfinished");
    CHECK(is_content("a-log-unfinished", text, sizeof text));
    FILES("a a-log-unfinished");

    db = opened("b", 0);
    fill(db, "k=w");
    copy_file("b", "c"); /* as a crash leaves it, which is not written to either */
    copy_file("b-log", "c-log");
    minidb_close(db);
    copy_file("c", "d");
    copy_file("c-log", "d-log");
    write_file("c-log-unfinished", text, sizeof text);
    REFUSED(MINIDB_FORMAT, "c", 0, "c-log-unfinished");
    CHECK(same_content("c", "d") && same_content("c-log", "d-log"));
}

/* Nor is what a link at that name leads to anything to be written to. */
static void a_log_is_not_made_through_a_link(void)
{
    minidb_t *db;
    int hard;

    make("a", "k=v");
    write_file("theirs", "a text", 6);
    CHECK(chmod("theirs", 0604) == 0);
    for (hard = 0; hard < 2; hard++) {
        CHECK((hard ? link : symlink)("theirs", "a-log-unfinished") == 0);
        db = opened("a", 0);
        FILES("a a-log theirs");
        minidb_close(db);
        CHECK(is_content("theirs", "a text", 6) && mode_of("theirs") == 0604);
    }
    CHECK(symlink("nowhere", "a-log-unfinished") == 0);
    REFUSED(MINIDB_FORMAT, "a", 0, "a-log-unfinished");
    FILES("a a-log-unfinished theirs");
}

static void what_is_no_minidb_file_is_left_alone(void)
{
    static const char text[] = "There is something else in this file.\n";
    uint32_t flags;

    CHECK(mkdir("folder", 0700) == 0);
    CHECK(mkfifo("pipe", 0600) == 0);
    write_file("text", text, sizeof text);
    for (flags = 0; flags < 16; flags++) {
        if (flags & NEW)
            continue;
        REFUSED(MINIDB_FORMAT, "text", flags, "/text");
        REFUSED(MINIDB_FORMAT, "folder", flags, "folder");
        REFUSED(MINIDB_FORMAT, "pipe", flags, "pipe");
        REFUSED(MINIDB_FORMAT, "/dev/null", flags, "/dev/null");
    }
    REFUSED(MINIDB_CONFLICT, "text", NEW, "/text");
    REFUSED(MINIDB_CONFLICT, "folder", NEW, "folder");
    REFUSED(MINIDB_CONFLICT, "pipe", NEW, "pipe");
    FILES("folder pipe text");
    CHECK(is_content("text", text, sizeof text));
}

static void what_names_no_file_is_refused(void)
{
    static const char *const paths[] = {"", "..", "a/", "/"};
    size_t i;

    for (i = 0; i < sizeof paths / sizeof *paths; i++) {
        out = check_garbage;
        CHECK(minidb_open(paths[i], 0, &out.view) < 0 && out.view == NULL);
    }
    FILES("");
}

static void an_empty_file_is_an_empty_database(void)
{
    minidb_t *db;

    write_file("a", "", 0);
    db = opened("a", READONLY);
    HOLDS(db, "");
    OK(minidb_check(db));
    CHECK(number(db, MINIDB_STAT_COMMITS) == 0);
    FILES("a");
    minidb_close(db);
    CHECK(size_of("a") == 0);
    db = opened("a", EXISTING);
    HOLDS(db, "");
    fill(db, "k=v");
    minidb_close(db);
    file_holds("a", "k=v");
}

static void one_writer_or_many_readers_have_the_file(void)
{
    minidb_t *db, *other;

    make("a", "k=v");
    db = opened("a", 0);
    REFUSED(MINIDB_BUSY, "a", 0, "/a");
    REFUSED(MINIDB_BUSY, "a", EXISTING | NOSYNC, "/a");
    REFUSED(MINIDB_BUSY, "a", READONLY, "/a");
    REFUSED(MINIDB_CONFLICT, "a", NEW, "/a");
    minidb_close(db);

    db = opened("a", READONLY);
    other = opened("a", READONLY);
    REFUSED(MINIDB_BUSY, "a", 0, "/a");
    HOLDS(db, "k=v");
    HOLDS(other, "k=v");
    minidb_close(db);
    REFUSED(MINIDB_BUSY, "a", 0, "/a");
    HOLDS(other, "k=v");
    minidb_close(other);
    minidb_close(opened("a", 0));
}

static void a_file_is_busy_by_whatever_name_it_has(void)
{
    minidb_t *db = opened("a", 0);

    CHECK(link("a", "hard") == 0);
    CHECK(symlink("a", "soft") == 0);
    REFUSED(MINIDB_BUSY, "hard", 0, "/hard");
    REFUSED(MINIDB_BUSY, "soft", 0, "/a");
    REFUSED(MINIDB_BUSY, "./a", READONLY, "/a");
    minidb_close(db);
    CHECK(remove("hard") == 0);
}

/* The last handle of any kind keeps the file, also without the database's. */
static void the_last_handle_unlocks_the_file(void)
{
    minidb_t *db, *snapshot;
    minidb_cursor_t *cursor;
    int last;

    make("a", "k=v");
    for (last = 0; last < 3; last++) {
        db = opened("a", 0);
        fill(db, "k=v");
        snapshot = snapshot_of(db);
        cursor = cursor_on(db);
        CHECK(number(db, MINIDB_STAT_HANDLES) == 3);
        if (last != 0)
            minidb_close(db);
        if (last != 1)
            minidb_close(snapshot);
        if (last != 2)
            minidb_cursor_close(cursor);
        REFUSED(MINIDB_BUSY, "a", 0, "/a");
        FILES("a a-log");
        if (last == 0)
            minidb_close(db);
        if (last == 1) {
            HOLDS(snapshot, "k=v");
            CHECK(number(snapshot, MINIDB_STAT_HANDLES) == 1);
            CHECK(number(snapshot, MINIDB_STAT_FILE_BYTES) > 0);
            OK(minidb_check(snapshot));
            minidb_close(snapshot);
        }
        if (last == 2) {
            CHECK(strcmp(rest_of(cursor), "k=v") == 0);
            minidb_cursor_close(cursor);
        }
        FILES("a");
    }
    file_holds("a", "k=v");
}

static void a_refusal_leaves_no_lock_and_no_log_behind(void)
{
    write_file("a", "no database", 11);
    REFUSED(MINIDB_FORMAT, "a", 0, "/a");
    write_file("a", "", 0); /* the same file, emptied */
    FILES("a");
    minidb_close(opened("a", 0));
    FILES("a");
}

int main(void)
{
    RUN_ALONE(a_file_is_created_if_need_be);
    RUN_ALONE(opening_writes_nothing);
    RUN_ALONE(each_combination_of_flags_does_what_they_say);
    RUN_ALONE(unknown_flags_are_refused);
    RUN_ALONE(the_text_has_the_path);
    RUN_ALONE(the_text_has_the_systems_reason);
    RUN_ALONE(a_log_that_has_no_place_is_an_error);
    RUN_ALONE(what_lies_where_the_log_goes_is_not_overwritten);
    RUN_ALONE(what_an_interruption_left_of_a_log_goes);
    RUN_ALONE(the_log_is_for_those_whom_the_file_is_for);
    RUN_ALONE(a_log_is_not_made_through_a_link);
    RUN_ALONE(what_is_no_minidb_file_is_left_alone);
    RUN_ALONE(what_names_no_file_is_refused);
    RUN_ALONE(an_empty_file_is_an_empty_database);
    RUN_ALONE(one_writer_or_many_readers_have_the_file);
    RUN_ALONE(a_file_is_busy_by_whatever_name_it_has);
    RUN_ALONE(the_last_handle_unlocks_the_file);
    RUN_ALONE(a_refusal_leaves_no_lock_and_no_log_behind);
    return passed("flags");
}
