/*
 * Failing file calls: of a life of a database, and of a recovery, the first
 * call fails, then the second, and so on, in all ways that there are.
 */
#define _GNU_SOURCE

#include "files.h"

#include "faults.h"
#include "heap.h"

enum what { PUT, BATCH, DELETE, SWAP, CLEAR, CHECKPOINT, SYNC, BACKUP, VERIFY };

struct step {
    enum what what;
    const char *key;
    size_t len; /* of the value */
};

/* Each step that changes anything changes the number of bytes. */
static const struct step steps[] = {
    {PUT, "a", 10}, {PUT, "big", 9000}, {BATCH, "bc", 30}, {DELETE, "a", 0},
    {CHECKPOINT, NULL, 0}, {VERIFY, NULL, 0}, {SWAP, "swapped", 50},
    {CLEAR, "big", 0}, {SYNC, NULL, 0}, {BACKUP, NULL, 0},
    {PUT, "large", 70000}, {CHECKPOINT, NULL, 0}, {PUT, "b", 1}
};
static const struct step last_step = {PUT, "last", 1};

/* In which ways calls fail. */
static const struct way {
    int error;
    enum fault_mode mode;
} ways[] = {
    {EIO, ONCE}, {EIO, FOR_EVER}, {ENOSPC, ONCE}, {ENOSPC, FOR_EVER},
    {EDQUOT, ONCE}, {EDQUOT, FOR_EVER}, {EROFS, ONCE}, {EROFS, FOR_EVER},
    {EMFILE, ONCE}, {EMFILE, FOR_EVER}, {EINTR, ONCE}, {EINTR, EVERY_OTHER},
    {0, SHORT}, {ENOSPC, SHORT}, {EDQUOT, SHORT}
};

static const struct way *way;
static const char *struck; /* the call that was hit in this round */
static struct entries model;
static const struct step *uncertain; /* whether it was taken */
static char bytes[70000];

static long at;
static int often; /* how many calls failed again and again */
static uint32_t flags;

/* Says which round failed. */
static void tell_round(void)
{
    if (struck == NULL)
        struck = faults_hit();
    if (way != NULL)
        fprintf(stderr, "call %ld (%s) failed with %s, mode %d, flags %u\n",
                at, struck ? struck : "none", strerror(way->error),
                (int)way->mode, (unsigned)flags);
}

static void calm(void)
{
    if (struck == NULL)
        struck = faults_hit();
    faults_plan(0, 0, ONCE);
}

static int lacks_space(void)
{
    return way->error == ENOSPC || way->error == EDQUOT;
}

/* A result that the header gives for what happened in this call. */
static void fits(int code, const char *hit_before)
{
    const char *hit = faults_hit();
    int now = hit_before == NULL && hit != NULL;

    if (now && strstr(hit, "sync") != NULL && way->error != EINTR)
        CHECK(code != MINIDB_OK);
    if (code == MINIDB_OK)
        return;
    CHECK(hit != NULL);
    CHECK(way->error != EINTR && way->error != 0);
    CHECK(code == MINIDB_IO || code == MINIDB_FULL);
    CHECK(code != MINIDB_FULL || lacks_space());
    CHECK(code == MINIDB_FULL || way->mode != SHORT);
}

static size_t pack(char *packed, const struct step *step)
{
    size_t used = 0;
    const char *key;

    for (key = step->key; *key != '\0'; key++) {
        uint32_t lens[2] = {1, 0};

        lens[1] = (uint32_t)step->len;
        memcpy(packed + used, lens, sizeof lens);
        packed[used + sizeof lens] = *key;
        memcpy(packed + used + sizeof lens + 1, bytes, step->len);
        used += sizeof lens + 1 + step->len;
    }
    return used;
}

static int take(minidb_t *db, const struct step *step)
{
    size_t key_len = step->key ? strlen(step->key) : 0;
    char packed[1000];

    switch (step->what) {
    case PUT:
        return minidb_put(db, step->key, key_len, bytes, step->len, NULL, NULL);
    case BATCH:
        return minidb_write(db, packed, pack(packed, step));
    case DELETE:
        return minidb_delete(db, step->key, key_len, NULL, NULL);
    case SWAP:
        return minidb_cas(db, step->key, key_len, NULL, 0, bytes, step->len);
    case CLEAR:
        return minidb_clear(db, step->key, key_len, "bigger", 6);
    case CHECKPOINT:
        return minidb_checkpoint(db);
    case SYNC:
        return minidb_sync(db);
    case BACKUP:
        return minidb_backup(db, "backup");
    default:
        return minidb_check(db);
    }
}

static void take_on_model(const struct step *step)
{
    size_t key_len = step->key ? strlen(step->key) : 0, i;

    switch (step->what) {
    case PUT: case SWAP:
        add(&model, step->key, key_len, bytes, step->len);
        break;
    case BATCH:
        for (i = 0; i < key_len; i++)
            add(&model, step->key + i, 1, bytes, step->len);
        break;
    case DELETE: case CLEAR:
        i = place_of(&model, step->key, key_len);
        cut(&model, i, i + 1);
        break;
    default:
        break;
    }
}

static void a_backup_is_whole(void)
{
    minidb_t *backup = open_file("backup", MINIDB_OPEN_READONLY);

    holds_all(backup, &model);
    minidb_close(backup);
}

/* After a failed backup: nothing of it is there, or all. */
static void try_backup_again(minidb_t *db)
{
    /* Without the lock on the file of that name it might be another backup's. */
    if (way->mode != FOR_EVER && strcmp(struck, "unlink") != 0 &&
        strcmp(struck, "flock") != 0 && strcmp(struck, "statx") != 0)
        CHECK(!exists("backup-unfinished"));
    if (exists("backup"))
        a_backup_is_whole();
    else
        OK(minidb_backup(db, "backup"));
}

static uint64_t bytes_of_model(void)
{
    uint64_t sum = 0;
    size_t i;

    for (i = 0; i < model.count; i++)
        sum += model.list[i].key_len + model.list[i].value_len;
    return sum;
}

/* It holds what it should, be it with the step that is not certain. */
static void settle(minidb_t *db)
{
    if (uncertain && number(db, MINIDB_STAT_DATA_BYTES) != bytes_of_model())
        take_on_model(uncertain);
    uncertain = NULL;
    holds_all(db, &model);
}

/* What would be found if the process ended now. */
static void survives_a_crash(void)
{
    minidb_t *db;

    copy_file("db", "crashed");
    if (exists("db-log")) /* it was made */
        copy_file("db-log", "crashed-log");
    db = open_file("crashed", MINIDB_OPEN_READONLY);
    if (uncertain == NULL || number(db, MINIDB_STAT_DATA_BYTES) ==
                                 bytes_of_model())
        holds_all(db, &model);
    OK(minidb_check(db));
    minidb_close(db);
    CHECK(unlink("crashed") == 0);
    unlink("crashed-log");
}

/* Takes a step. Returns whether the database can be written on. */
static int try(minidb_t *db, const struct step *step)
{
    int changes = step->what <= CLEAR, code;
    const char *hit_before = faults_hit();

    faults_on();
    code = take(db, step);
    faults_off();
    fits(code, hit_before);
    if (code != MINIDB_OK) {
        calm();
        holds_all(db, &model);
        if (code == MINIDB_IO && (changes || step->what == SYNC)) {
            uncertain = changes ? step : NULL;
            GIVES(MINIDB_IO, minidb_put(db, "no", 2, "", 0, NULL, NULL));
            GIVES(MINIDB_IO, minidb_sync(db));
            holds_all(db, &model);
            survives_a_crash();
            return 0;
        }
        survives_a_crash();
        if (step->what == BACKUP)
            try_backup_again(db);
        else
            OK(take(db, step));
    }
    take_on_model(step);
    if (step->what == BACKUP)
        a_backup_is_whole();
    return 1;
}

static minidb_t *try_open(uint32_t more)
{
    int before = descriptors(), code;
    const char *hit_before = faults_hit();
    minidb_t *db;

    faults_on();
    code = minidb_open("db", flags | more, &db);
    faults_off();
    fits(code, hit_before);
    if (code != MINIDB_OK) {
        CHECK(db == NULL && descriptors() == before && is_alone());
        calm();
        OK(minidb_open("db", flags | more, &db));
    }
    settle(db);
    return db;
}

static void try_close(minidb_t *db)
{
    faults_on();
    minidb_close(db);
    faults_off();
    CHECK(is_alone());
}

/* What a process has of its system. */
struct held {
    long blocks, bytes;
    int descriptors;
};

static struct held held(void)
{
    struct held now;

    now.blocks = heap_blocks();
    now.bytes = heap_bytes();
    now.descriptors = descriptors();
    return now;
}

static int holds_no_more_than(struct held before)
{
    struct held now = held();
    long rounded = 16 * before.blocks; /* by libc, to this or to that */

    return now.blocks <= before.blocks && now.bytes <= before.bytes + rounded &&
           now.descriptors == before.descriptors;
}

/* What a crash has left, and what is to be found there. */
static char crashed[2][2 << 20];
static size_t crashed_len[2];

static void make_crashed(void)
{
    minidb_t *db;

    remove_all();
    db = open_file("db", 0);
    OK(take(db, &steps[0]));
    OK(take(db, &steps[1]));
    OK(minidb_checkpoint(db));
    OK(take(db, &steps[2]));
    OK(minidb_sync(db));
    crashed_len[0] = read_file("db", crashed[0], sizeof crashed[0]);
    crashed_len[1] = read_file("db-log", crashed[1], sizeof crashed[1]);
    minidb_close(db);
}

static void write_file(const char *path, const char *content, size_t len)
{
    FILE *file = fopen(path, "wb");

    CHECK(file != NULL && fwrite(content, 1, len, file) == len);
    fclose(file);
}

/* One life, or two, with one fault. Returns whether it has left no memory. */
static int live(int recovers)
{
    struct held before = held();
    size_t i;
    minidb_t *db;

    remove_all();
    if (recovers) {
        write_file("db", crashed[0], crashed_len[0]);
        write_file("db-log", crashed[1], crashed_len[1]);
        /* As its next log is to be, too. */
        CHECK(chmod("db", 0600) == 0);
        CHECK(geteuid() != 0 || chown("db", 65534, 65534) == 0);
        for (i = 0; i < 3; i++)
            take_on_model(&steps[i]);
    }
    db = try_open(0);
    for (i = recovers ? 3 : 0; i < sizeof steps / sizeof *steps; i++)
        if (!try(db, &steps[i]))
            break;
    try_close(db);
    db = try_open(0);
    try(db, &last_step);
    try_close(db);
    calm();
    db = try_open(MINIDB_OPEN_EXISTING | MINIDB_OPEN_NOSYNC);
    minidb_close(db);
    discard(&model);
    CHECK(is_alone() && descriptors() == before.descriptors);
    CHECK(exists("backup") + 1 == names_in("."));
    return holds_no_more_than(before);
}

static void live_with_faults(uint32_t with, int recovers)
{
    size_t count = sizeof ways / sizeof *ways, i;
    long calls = 0, rounds = 0;

    flags = with;
    for (i = 0; i < count; i++) {
        way = &ways[i];
        at = thorough() ? 1 : 1 + (long)i;
        do {
            int lives = 0;

            do {
                CHECK(lives++ < 3); /* the first may leave what is made once */
                struck = NULL;
                faults_plan(at, way->error, way->mode);
            } while (!live(recovers));
            calls = at > calls ? at : calls;
            rounds++;
            at += thorough() ? 1 : (long)count;
        } while (struck != NULL);
    }
    printf("faulty: %ld rounds with flags %u, %s: up to %ld calls\n", rounds,
           (unsigned)flags, recovers ? "recovering" : "new", calls);
}

static void files_that_are_new(void)
{
    live_with_faults(0, 0);
    live_with_faults(MINIDB_OPEN_NOSYNC, 0);
}

static void files_that_a_crash_has_left(void)
{
    live_with_faults(0, 1);
    live_with_faults(MINIDB_OPEN_NOSYNC, 1);
}

/* Makes a call fail a hundred times, and says whether that leaves nothing. */
static int leaves_nothing(int (*call)(void *arg), void *arg, const struct way *with)
{
    struct held before = held();
    int i;

    for (i = 0; i < 100; i++) {
        faults_plan(at, with->error, with->mode);
        faults_on();
        call(arg);
        faults_off();
        if (faults_hit() == NULL)
            return 1;
    }
    return holds_no_more_than(before);
}

/* Each of its file calls fails. A buffer may be kept, or a thread have begun. */
static void fail_often(int (*call)(void *arg), void *arg, const struct way *with)
{
    int tries;

    way = with;
    at = 0;
    do {
        at++;
        for (tries = 0; !leaves_nothing(call, arg, with); tries++)
            CHECK(tries < 5);
        often += faults_hit() != NULL;
    } while (at <= faults_calls());
}

static const struct step *failing;

static int take_failing(void *db)
{
    return take(db, failing);
}

static int open_and_close(void *none)
{
    minidb_t *db;
    int code = minidb_open("db", 0, &db);

    (void)none;
    minidb_close(db);
    return code;
}

static void calls_that_fail_leave_nothing(void)
{
    static const struct way full = {ENOSPC, SHORT}, broken = {EIO, FOR_EVER};
    size_t i;

    remove_all();
    for (i = 0; i < sizeof steps / sizeof *steps; i++) {
        minidb_t *db = open_file("db", 0);

        failing = &steps[i];
        OK(take(db, &steps[1]));
        fail_often(take_failing, db, &full);
        fail_often(take_failing, db, &broken);
        minidb_close(db);
        CHECK(is_alone());
    }
    fail_often(open_and_close, NULL, &broken);
    CHECK(is_alone());
    printf("faulty: %d file calls failed often\n", often);
}

static void files_of_other_machines_are_only_read(void)
{
    minidb_t *db;

    remove_all();
    db = open_file("db", 0);
    fill(db, "a=1");
    OK(minidb_checkpoint(db));
    faults_remote(1);
    GIVES(MINIDB_IO, minidb_backup(db, "backup"));
    faults_remote(0);
    minidb_close(db);
    faults_remote(1);
    refuses(MINIDB_IO, "db", 0);
    refuses(MINIDB_IO, "new", 0);
    CHECK(strstr(minidb_strerror(MINIDB_IO), "network") != NULL);
    db = open_file("db", MINIDB_OPEN_READONLY);
    HOLDS(db, "a=1");
    minidb_close(db);
    faults_remote(0);
    CHECK(names_in(".") == 1);
}

int main(int argc, char **argv)
{
    work_in_folder(argc, argv);
    work_on_own_disk("size=64m"); /* if it can, to be quicker */
    memset(bytes, 'v', sizeof bytes);
    atexit(tell_round);
    make_crashed();
    RUN(files_of_other_machines_are_only_read);
    RUN(calls_that_fail_leave_nothing);
    RUN(files_that_are_new);
    RUN(files_that_a_crash_has_left);
    way = NULL;
    return passed("faulty");
}
