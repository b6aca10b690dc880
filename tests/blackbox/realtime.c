/*
 * A real-time thread beside an ordinary one, both on one processor, use the same keys. A
 * real-time thread that waits without sleeping would keep the other from ever leaving what
 * is waited for.
 */
#define _GNU_SOURCE

#include "files.h"

#include <pthread.h>
#include <sched.h>

enum { CALLS = 1000, KEYS = 4 };

static minidb_t *db;
static int ended;

struct load {
    int puts, changes_length;
};

static void call(const struct load *load, int n)
{
    char key[2] = { 'k', (char)('0' + n % KEYS) }, value[100] = "";
    size_t length = load->changes_length ? 10 + (size_t)n % 80 : 20;

    if (load->puts)
        OK(minidb_put(db, key, 2, value, length, NULL, NULL));
    else
        OK(minidb_get_into(db, key, 2, value, sizeof value, &length));
}

static void *run_ordinary(void *load)
{
    int n;

    for (n = 0; !__atomic_load_n(&ended, __ATOMIC_SEQ_CST); n++)
        call(load, n);
    return NULL;
}

static void *run_real_time(void *load)
{
    struct timespec time = { 0, 200000 };
    int n;

    for (n = 0; n < CALLS; n++) {
        time.tv_nsec = 200000 + n * 7919 % 50000;
        CHECK(nanosleep(&time, NULL) == 0);
        call(load, n);
    }
    return NULL;
}

static int make_real_time(pthread_t *thread, struct load *load)
{
    struct sched_param priority;
    pthread_attr_t attributes;
    int code;

    memset(&priority, 0, sizeof priority);
    priority.sched_priority = 50;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED) == 0);
    CHECK(pthread_attr_setschedpolicy(&attributes, SCHED_FIFO) == 0);
    CHECK(pthread_attr_setschedparam(&attributes, &priority) == 0);
    code = pthread_create(thread, &attributes, run_real_time, load);
    CHECK(code == 0 || code == EPERM);
    CHECK(pthread_attr_destroy(&attributes) == 0);
    return code == 0;
}

static void a_real_time_thread_waits_asleep(void)
{
    int file, mode;

    for (file = 0; file < 2; file++)
        for (mode = 0; mode < 8; mode++) {
            struct load loads[2] = { { mode & 1, mode & 4 }, { mode & 2, mode & 4 } };
            pthread_t ordinary, real_time;
            int made;

            remove_all();
            OK(minidb_open(file ? "db" : NULL, file ? MINIDB_OPEN_NOSYNC : 0, &db));
            fill(db, "k0=0 k1=1 k2=2 k3=3");
            ended = 0;
            CHECK(pthread_create(&ordinary, NULL, run_ordinary, &loads[0]) == 0);
            made = make_real_time(&real_time, &loads[1]);
            if (made)
                CHECK(pthread_join(real_time, NULL) == 0);
            __atomic_store_n(&ended, 1, __ATOMIC_SEQ_CST);
            CHECK(pthread_join(ordinary, NULL) == 0);
            OK(minidb_check(db));
            minidb_close(db);
            if (!made) {
                printf("skipped: no right to real-time threads\n");
                return;
            }
        }
}

int main(int argc, char **argv)
{
    cpu_set_t one;
    int cpu;

    work_in_folder(argc, argv);
    CHECK(sched_getaffinity(0, sizeof one, &one) == 0);
    for (cpu = 0; !CPU_ISSET(cpu, &one); cpu++)
        ;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    alarm(120); /* a wait that does not sleep takes hours */
    RUN(a_real_time_thread_waits_asleep);
    return passed("realtime");
}
