/*
 * bank: threads move money between accounts, each transfer in a transaction
 * that is done again if another one was faster; meanwhile an auditor looks on.
 * No money is ever made or lost.
 *
 *     bank [file]     in memory, unless there is a file
 */
#define _POSIX_C_SOURCE 200809L

#include <minidb.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ACCOUNTS = 20, BALANCE = 1000, TELLERS = 4, TRANSFERS = 1000 };

struct teller {
    minidb_t *db;
    pthread_t thread;
    unsigned long random;
    long conflicts;
};

struct auditor {
    minidb_t *db;
    pthread_t thread;
    pthread_mutex_t lock;
    int closing;
    long looks, wrong;
};

/* Passes an answer on, be it "no"; ends the program after a failure. */
static int check(int code)
{
    if (code < 0) {
        fprintf(stderr, "bank: %s\n", minidb_strerror(code));
        exit(EXIT_FAILURE);
    }
    return code;
}

/* For the functions of pthread, which return an error number. */
static void must(int error)
{
    if (error != 0) {
        fprintf(stderr, "bank: error %d from pthread\n", error);
        exit(EXIT_FAILURE);
    }
}

static size_t key_of(char *key, int account)
{
    return (size_t)sprintf(key, "account/%02d", account);
}

static long balance(const minidb_t *view, int account)
{
    char key[32], *value;
    long amount;

    if (check(minidb_get(view, key, key_of(key, account), &value, NULL)))
        return 0;
    amount = strtol(value, NULL, 10);
    minidb_free(value);
    return amount;
}

static void set_balance(minidb_t *view, int account, long amount)
{
    char key[32], value[32];
    size_t len = (size_t)sprintf(value, "%ld", amount);

    check(minidb_put(view, key, key_of(key, account), value, len, NULL, NULL));
}

/* What all accounts hold at one moment: a cursor shows no later change. */
static long sum(const minidb_t *view)
{
    minidb_cursor_t *cursor;
    long total = 0;

    check(minidb_scan_prefix(view, "account/", MINIDB_STR, &cursor));
    while (check(minidb_cursor_next(cursor)) == MINIDB_OK)
        total += strtol(minidb_cursor_value(cursor, NULL), NULL, 10);
    minidb_cursor_close(cursor);
    return total;
}

/* Returns how often it was overtaken. */
static long transfer(minidb_t *txn, int from, int to, long amount)
{
    long there, conflicts = 0;

    for (;; conflicts++) {
        there = balance(txn, from);
        if (amount > there)
            amount = there; /* nobody gets into debt */
        set_balance(txn, from, there - amount);
        set_balance(txn, to, balance(txn, to) + amount);
        if (check(minidb_commit(txn)) == MINIDB_OK)
            return conflicts;
        /* Nothing was done, and it has begun anew with what there is now. */
    }
}

static int any_below(struct teller *teller, int limit)
{
    teller->random = (teller->random * 1103515245 + 12345) & 0x7fffffff;
    return (int)(teller->random >> 8) % limit;
}

static void *serve(void *arg)
{
    struct teller *teller = arg;
    minidb_t *txn;
    int i;

    check(minidb_begin(teller->db, &txn)); /* used again and again */
    for (i = 0; i < TRANSFERS; i++) {
        int from = any_below(teller, ACCOUNTS);
        int to = (from + 1 + any_below(teller, ACCOUNTS - 1)) % ACCOUNTS;

        teller->conflicts += transfer(txn, from, to, any_below(teller, 100));
    }
    minidb_close(txn);
    return NULL;
}

static void *audit(void *arg)
{
    struct auditor *auditor = arg;
    int closing;

    do {
        must(pthread_mutex_lock(&auditor->lock));
        closing = auditor->closing;
        must(pthread_mutex_unlock(&auditor->lock));
        auditor->looks++;
        auditor->wrong += sum(auditor->db) != ACCOUNTS * BALANCE;
    } while (!closing);
    return NULL;
}

static void open_accounts(minidb_t *db)
{
    minidb_t *txn;
    int i;

    check(minidb_begin(db, &txn));
    for (i = 0; i < ACCOUNTS; i++)
        set_balance(txn, i, BALANCE);
    check(minidb_commit(txn)); /* it has read nothing, so it is never overtaken */
    minidb_close(txn);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static struct teller tellers[TELLERS];
    static struct auditor auditor;
    minidb_t *db;
    long conflicts = 0;
    double begun;
    int i;

    check(minidb_open(argc > 1 ? argv[1] : NULL, 0, &db));
    open_accounts(db);
    printf("%d accounts with %d each\n", ACCOUNTS, BALANCE);
    auditor.db = db;
    must(pthread_mutex_init(&auditor.lock, NULL));
    must(pthread_create(&auditor.thread, NULL, audit, &auditor));
    begun = seconds();
    for (i = 0; i < TELLERS; i++) {
        tellers[i].db = db;
        tellers[i].random = (unsigned long)i;
        must(pthread_create(&tellers[i].thread, NULL, serve, &tellers[i]));
    }
    for (i = 0; i < TELLERS; i++) {
        must(pthread_join(tellers[i].thread, NULL));
        conflicts += tellers[i].conflicts;
    }
    begun = seconds() - begun;
    must(pthread_mutex_lock(&auditor.lock));
    auditor.closing = 1;
    must(pthread_mutex_unlock(&auditor.lock));
    must(pthread_join(auditor.thread, NULL));
    must(pthread_mutex_destroy(&auditor.lock));

    printf("%d transfers by %d threads\n", TELLERS * TRANSFERS, TELLERS);
    printf("%ld in all accounts; %ld looks meanwhile have found another sum\n",
           sum(db), auditor.wrong);
    fprintf(stderr, "%ld conflicts, %.0f transfers a second, %ld looks\n",
            conflicts, TELLERS * TRANSFERS / begun, auditor.looks);
    i = auditor.wrong == 0 && sum(db) == ACCOUNTS * BALANCE;
    minidb_close(db);
    if (ferror(stdout) || fclose(stdout) != 0) {
        perror("bank: stdout");
        return EXIT_FAILURE;
    }
    return i ? EXIT_SUCCESS : EXIT_FAILURE;
}
