/*
 * Kill -9: processes work on one file, each until it is killed.
 *
 * Two threads of a process each change keys of their own, step by step, as
 * chance has it; the seed and the number of a step tell what it is, so whoever
 * opens the file next knows what it should hold: what all steps that were
 * acknowledged have left, and perhaps the one more that was under way. Beside
 * them a third thread makes checkpoints and backups, and all of them count
 * together, in one key, up from what they read there.
 */
#define _GNU_SOURCE

#include "files.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

enum { WRITERS = 2, KEYS = 40, MAX_STEPS = 1 << 22, MAX_VALUE = 40000 };

enum phase { STARTING, OPENING, WORKING, CLOSING, PHASES };

/* What processes tell, in memory that outlives them. */
struct report {
    int phase;
    uint64_t lives;
    uint64_t count_tried, count_done, count_seen;
    struct {
        /* The step that was begun last, and the last one whose fate is known. */
        uint32_t begun, settled;
        unsigned char applied[MAX_STEPS];
    } writers[WRITERS];
};

static struct report *report;
static uint64_t seed;

/* What the keys of a writer should hold after so many steps. */
static struct entries models[WRITERS];
static uint32_t modelled[WRITERS];

static minidb_t *db;
static int stop;

#define TELL(field, value) __atomic_store_n(&(field), value, __ATOMIC_SEQ_CST)
#define ASK(field) __atomic_load_n(&(field), __ATOMIC_SEQ_CST)

static void tell_at_least(uint64_t *field, uint64_t value)
{
    uint64_t old = ASK(*field);

    while (old < value &&
           !__atomic_compare_exchange_n(field, &old, value, 0,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
}

static uint32_t roll(uint64_t *dice, uint32_t limit)
{
    *dice += 0x9e3779b97f4a7c15;
    return (uint32_t)((*dice ^ *dice >> 31) * 0xbf58476d1ce4e5b9 >> 33) % limit;
}

static size_t make_key(char *key, int writer, uint32_t number)
{
    return (size_t)sprintf(key, "%c%02u", 'A' + writer, number);
}

/* A value that tells which step wrote it, mostly short. */
static size_t make_value(char *value, uint64_t *dice, int writer, uint32_t step)
{
    static const uint32_t limits[] = {1, 40, 40, 40, 300, 300, 3000, MAX_VALUE};
    size_t head = (size_t)sprintf(value, "%d %u ", writer, step);
    size_t len = roll(dice, limits[roll(dice, 8)]);

    if (len <= head)
        return head;
    memset(value + head, 'a' + (int)(step % 26), len - head);
    return len;
}

static void put_one(struct entries *model, int writer, uint32_t step,
                    uint64_t *dice)
{
    char key[8], value[MAX_VALUE + 24];
    size_t key_len = make_key(key, writer, roll(dice, KEYS));
    size_t len = make_value(value, dice, writer, step);

    if (db != NULL)
        OK(minidb_put(db, key, key_len, value, len, NULL, NULL));
    add(model, key, key_len, value, len);
}

static void put_many(struct entries *model, int writer, uint32_t step,
                     uint64_t *dice)
{
    static __thread char packed[12 * (MAX_VALUE + 40)];
    uint32_t count = 2 + roll(dice, 10), lens[2];
    size_t used = 0;
    char *key, *value;

    while (count-- > 0) {
        key = packed + used + sizeof lens;
        lens[0] = (uint32_t)make_key(key, writer, roll(dice, KEYS));
        value = key + lens[0];
        lens[1] = (uint32_t)make_value(value, dice, writer, step);
        memcpy(packed + used, lens, sizeof lens);
        used += sizeof lens + lens[0] + lens[1];
        add(model, key, lens[0], value, lens[1]);
    }
    if (db != NULL)
        OK(minidb_write(db, packed, used));
}

static void remove_one(struct entries *model, int writer, uint64_t *dice)
{
    char key[8];
    size_t key_len = make_key(key, writer, roll(dice, KEYS));
    int there = find(model, key, key_len) != NULL;
    size_t place = place_of(model, key, key_len);

    if (db != NULL)
        GIVES(there ? MINIDB_OK : MINIDB_NOTFOUND,
              minidb_delete(db, key, key_len, NULL, NULL));
    cut(model, place, place + (size_t)there);
}

static void swap_one(struct entries *model, int writer, uint32_t step,
                     uint64_t *dice)
{
    char key[8], value[MAX_VALUE + 24];
    size_t key_len = make_key(key, writer, roll(dice, KEYS));
    size_t len = make_value(value, dice, writer, step);
    struct entry *old = find(model, key, key_len);
    size_t place = place_of(model, key, key_len);
    int removes = old != NULL && roll(dice, 4) == 0;

    if (db != NULL)
        OK(minidb_cas(db, key, key_len, old ? old->value : NULL,
                      old ? old->value_len : 0, removes ? NULL : value,
                      removes ? 0 : len));
    if (removes)
        cut(model, place, place + 1);
    else
        add(model, key, key_len, value, len);
}

static void clear_some(struct entries *model, int writer, uint64_t *dice)
{
    char from[8], to[8];
    uint32_t first = roll(dice, KEYS);
    size_t from_len = make_key(from, writer, first);
    size_t to_len = make_key(to, writer, first + roll(dice, 6));

    if (db != NULL)
        OK(minidb_clear(db, from, from_len, to, to_len));
    cut(model, place_of(model, from, from_len), place_of(model, to, to_len));
}

/* Takes a step, on the model alone if no database is open. */
static void take_step(int writer, uint32_t step)
{
    struct entries *model = &models[writer];
    uint64_t dice = seed + (uint64_t)writer * 0x100000000 + step;

    switch (roll(&dice, 12)) {
    case 0: case 1: case 2: case 3: case 4:
        put_one(model, writer, step, &dice);
        break;
    case 5: case 6:
        put_many(model, writer, step, &dice);
        break;
    case 7: case 8:
        remove_one(model, writer, &dice);
        break;
    case 9: case 10:
        swap_one(model, writer, step, &dice);
        break;
    default:
        clear_some(model, writer, &dice);
    }
}

/* Counts up by one, unless another thread comes first. */
static void count_up(void)
{
    uint64_t old = 0, new;
    size_t len;
    int code = minidb_get_into(db, "count", 5, &old, sizeof old, &len);

    CHECK(code == MINIDB_OK ? len == sizeof old : code == MINIDB_NOTFOUND);
    tell_at_least(&report->count_seen, old);
    new = old + 1;
    tell_at_least(&report->count_tried, new);
    code = minidb_cas(db, "count", 5, code == MINIDB_OK ? &old : NULL,
                      code == MINIDB_OK ? sizeof old : 0, &new, sizeof new);
    CHECK(code == MINIDB_OK || code == MINIDB_CONFLICT);
    if (code == MINIDB_OK)
        tell_at_least(&report->count_done, new);
}

static void *write_on(void *arg)
{
    int writer = (int)(intptr_t)arg;

    while (!ASK(stop)) {
        uint32_t step = report->writers[writer].begun + 1;

        CHECK(step < MAX_STEPS);
        TELL(report->writers[writer].begun, step);
        take_step(writer, step);
        TELL(report->writers[writer].applied[step], 1);
        TELL(report->writers[writer].settled, step);
        modelled[writer] = step;
        if (step % 4 == 0)
            count_up();
    }
    return NULL;
}

static void *maintain(void *arg)
{
    uint64_t dice = seed + report->lives;

    (void)arg;
    while (!ASK(stop)) {
        OK(minidb_checkpoint(db));
        if (roll(&dice, 4) == 0)
            OK(minidb_sync(db));
        if (roll(&dice, 8) == 0) {
            unlink("backup");
            OK(minidb_backup(db, "backup"));
        }
        count_up();
        usleep(roll(&dice, 2000));
    }
    return NULL;
}

/* The database holds just what a model does, of the keys of its writer. */
static int is_as(const minidb_t *db, int writer)
{
    const struct entries *model = &models[writer];
    char prefix = (char)('A' + writer);
    minidb_cursor_t *cursor;
    size_t i, key_len, len;
    int same = 1;

    OK(minidb_scan_prefix(db, &prefix, 1, &cursor));
    for (i = 0; same && i < model->count; i++) {
        const struct entry *entry = &model->list[i];
        const char *key, *value;

        if (minidb_cursor_next(cursor) != MINIDB_OK)
            break;
        key = minidb_cursor_key(cursor, &key_len);
        value = minidb_cursor_value(cursor, &len);
        same = order(key, key_len, entry->key, entry->key_len) == 0 &&
               order(value, len, entry->value, entry->value_len) == 0;
    }
    same = same && i == model->count &&
           minidb_cursor_next(cursor) == MINIDB_NOTFOUND;
    minidb_cursor_close(cursor);
    return same;
}

/* Finds out whether the step that was under way is there, for good. */
static void settle(minidb_t *found)
{
    uint64_t count = 0;
    int writer;

    for (writer = 0; writer < WRITERS; writer++) {
        uint32_t begun = report->writers[writer].begun;
        int there = 0;

        while (modelled[writer] < report->writers[writer].settled)
            if (report->writers[writer].applied[++modelled[writer]])
                take_step(writer, modelled[writer]);
        if (!is_as(found, writer)) {
            CHECK(modelled[writer] < begun);
            take_step(writer, begun);
            CHECK(is_as(found, writer));
            there = 1;
        }
        if (modelled[writer] < begun) {
            TELL(report->writers[writer].applied[begun], there);
            TELL(report->writers[writer].settled, begun);
            modelled[writer] = begun;
        }
    }
    minidb_get_into(found, "count", 5, &count, sizeof count, NULL);
    CHECK(count >= report->count_done);
    CHECK(count >= report->count_seen);
    CHECK(count <= report->count_tried);
    report->count_done = count;
}

/* Opens, works and closes, until it is killed. */
static void live(void *arg)
{
    uint64_t dice = seed + ++report->lives;

    (void)arg;
    for (;;) {
        pthread_t threads[WRITERS + 1];
        uint32_t flags = roll(&dice, 2) ? MINIDB_OPEN_NOSYNC : 0;
        minidb_t *opened;
        intptr_t i;

        TELL(report->phase, OPENING);
        opened = open_file("db", flags);
        TELL(report->phase, WORKING);
        settle(opened);
        db = opened;
        TELL(stop, 0);
        for (i = 0; i <= WRITERS; i++)
            CHECK(pthread_create(&threads[i], NULL,
                                 i < WRITERS ? write_on : maintain,
                                 (void *)i) == 0);
        usleep(roll(&dice, 20000));
        TELL(stop, 1);
        for (i = 0; i <= WRITERS; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        TELL(report->phase, CLOSING);
        db = NULL;
        minidb_close(opened);
    }
}

/* Opens what a killed process has left, to be read only at times. */
static void look(int only_reads)
{
    minidb_t *found = open_file("db", only_reads ? MINIDB_OPEN_READONLY : 0);

    settle(found);
    OK(minidb_check(found));
    minidb_close(found);
    if (exists("backup")) {
        found = open_file("backup", MINIDB_OPEN_READONLY);
        OK(minidb_check(found));
        minidb_close(found);
    }
}

static int all_hit(const int *hits)
{
    return hits[OPENING] > 0 && hits[WORKING] > 0 && hits[CLOSING] > 0;
}

static void kill_again_and_again(int kills)
{
    enum { MORE_KILLS = 1000 };
    /* How long a process is left in each phase at most, in microseconds. */
    static const uint32_t longest[PHASES] = {1, 15000, 20000, 6000};
    int hits[PHASES] = {0}, done, i;
    uint64_t dice = seed, steps = 0;

    /* And until each has been hit: how soon depends on the machine. */
    for (done = 0; done < kills || (done < kills + MORE_KILLS && !all_hit(hits));
         done++) {
        int wanted = OPENING + done % (PHASES - OPENING);
        pid_t child;

        TELL(report->phase, STARTING);
        child = start_child(live, NULL);
        while (ASK(report->phase) != wanted &&
               waitpid(child, NULL, WNOHANG) == 0)
            usleep(20);
        if (roll(&dice, 2) == 0) /* else at once, however short the phase */
            usleep(roll(&dice, 1 + roll(&dice, longest[wanted])));
        kill_child(child);
        hits[report->phase]++;
        if (roll(&dice, 3) == 0)
            look(exists("db") && roll(&dice, 2)); /* the first may not have made it */
    }
    look(1);
    look(0);
    CHECK(!exists("db-log"));
    for (i = 0; i < WRITERS; i++) {
        steps += report->writers[i].settled;
        discard(&models[i]);
    }
    printf("kill9: %d kills: %d while opening, %d while working, %d while "
           "closing; %" PRIu64 " steps\n", done, hits[OPENING], hits[WORKING],
           hits[CLOSING], steps);
    CHECK(all_hit(hits));
}

/* Makes a file and removes it, until it is killed. */
static void create(void *arg)
{
    (void)arg;
    for (;;) {
        minidb_t *made = open_file("new", MINIDB_OPEN_NEW);

        fill(made, "a=1");
        minidb_close(made);
        CHECK(unlink("new") == 0);
    }
}

static void kill_while_creating(int kills)
{
    uint64_t dice = seed;
    int i;

    for (i = 0; i < kills; i++) {
        pid_t child = start_child(create, NULL);
        minidb_t *found;

        usleep(roll(&dice, 15000));
        kill_child(child);
        found = open_file("new", 0);
        CHECK(strcmp(listing(found), "") == 0 ||
              strcmp(listing(found), "a=1") == 0);
        OK(minidb_check(found));
        minidb_close(found);
        CHECK(unlink("new") == 0);
    }
}

int main(int argc, char **argv)
{
    const char *kills = getenv("MINIDB_KILLS");

    work_in_folder(argc, argv);
    seed = (uint64_t)any_number() << 32;
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(report != MAP_FAILED);
    kill_again_and_again(kills ? atoi(kills) : thorough() ? 500 : 30);
    kill_while_creating(thorough() ? 200 : 20);
    munmap(report, sizeof *report);
    return 0;
}
