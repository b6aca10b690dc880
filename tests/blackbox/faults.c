/*
 * All file calls that the library makes, in the place of the system's: they
 * fail when told to. Linked into a program, or loaded before the library, these
 * functions come before those of libc; a test compares their names with what
 * the library imports.
 *
 * Nothing waits for the disk: what is not tested here is a loss of power.
 */
#define _GNU_SOURCE

#include "faults.h"
#include "heap.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

static struct {
    long at, calls;
    int error, on;
    enum fault_mode mode;
    const char *hit;
} plan;

void faults_plan(long at, int error, enum fault_mode mode)
{
    memset(&plan, 0, sizeof plan);
    plan.at = at;
    plan.error = error;
    plan.mode = mode;
}

void faults_on(void)
{
    plan.on = 1;
}

void faults_off(void)
{
    plan.on = 0;
}

long faults_calls(void)
{
    return plan.calls;
}

const char *faults_hit(void)
{
    return plan.hit;
}

/* A call that no database may make. */
static void forbidden(const char *call, const char *why)
{
    fprintf(stderr, "%s: %s\n", call, why);
    abort();
}

enum kind { TAKES_NOTHING, TAKES_SPACE };

/*
 * Whether this call is to fail; it may have its length cut, if it has one.
 */
static int fails(const char *call, enum kind kind, size_t *len)
{
    long since;

    if (!plan.on)
        return 0;
    since = ++plan.calls - plan.at;
    if (since < 0)
        return 0;
    switch (plan.mode) {
    case ONCE:
        if (since > 0)
            return 0;
        break;
    case FOR_EVER:
        break;
    case EVERY_OTHER:
        if (since % 2 != 0)
            return 0;
        break;
    case SHORT:
        if (since == 0 && len != NULL && *len > 1) {
            plan.hit = call;
            *len /= 2;
        }
        if (since == 0 || plan.hit == NULL || kind == TAKES_NOTHING)
            return 0;
    }
    if (plan.error == 0)
        return 0;
    if (plan.hit == NULL)
        plan.hit = call;
    errno = plan.error;
    return 1;
}

/* Declares `real`: what the next library has under this name. */
#define REAL(name) \
    static __typeof__(name) *real; \
    if (real == NULL) \
        *(void **)&real = dlsym(RTLD_NEXT, #name)

/* A database makes files beside it only, and never waits for what it opens. */
static void look_at_open(const char *path, int flags)
{
    char here[PATH_MAX];

    if (!plan.on)
        return;
    if (!(flags & O_CLOEXEC))
        forbidden(path, "opened to be passed on");
    if ((flags & O_ACCMODE) == O_RDONLY)
        return;
    if (getcwd(here, sizeof here) == NULL || strncmp(path, here, strlen(here)))
        forbidden(path, "opened to be written");
    if (flags & O_TRUNC)
        forbidden(path, "emptied when opened");
}

#define OPEN(name, given) \
    { \
        va_list rest; \
        mode_t mode = 0; \
        REAL(name); \
        if (flags & (O_CREAT | __O_TMPFILE)) { \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        look_at_open(path, flags); \
        return fails(#name, flags & O_CREAT ? TAKES_SPACE : TAKES_NOTHING, NULL) \
            ? -1 : real given; \
    }

int open(const char *path, int flags, ...)
OPEN(open, (path, flags, mode))

int open64(const char *path, int flags, ...)
OPEN(open64, (path, flags, mode))

int openat(int at, const char *path, int flags, ...)
OPEN(openat, (at, path, flags, mode))

int openat64(int at, const char *path, int flags, ...)
OPEN(openat64, (at, path, flags, mode))

#define CALL(type, name, params, given, kind) \
    type name params \
    { \
        REAL(name); \
        return fails(#name, kind, NULL) ? (type)-1 : real given; \
    }

/* As on a full disk, what is there already can be written again. */
static enum kind kind_of_write(int file, size_t len, off64_t at)
{
    struct stat found;
    int within = fstat(file, &found) == 0 && at + (off64_t)len <= found.st_size;

    return within ? TAKES_NOTHING : TAKES_SPACE;
}

#define READ(name, offset) \
    ssize_t name(int file, void *bytes, size_t len, offset at) \
    { \
        REAL(name); \
        return fails(#name, TAKES_NOTHING, &len) ? -1 \
                                                 : real(file, bytes, len, at); \
    }

#define WRITE(name, offset) \
    ssize_t name(int file, const void *bytes, size_t len, offset at) \
    { \
        REAL(name); \
        return fails(#name, kind_of_write(file, len, at), &len) \
            ? -1 : real(file, bytes, len, at); \
    }

READ(pread, off_t)
READ(pread64, off64_t)
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)

CALL(int, ftruncate, (int file, off_t len), (file, len), TAKES_SPACE)
CALL(int, ftruncate64, (int file, off64_t len), (file, len), TAKES_SPACE)
CALL(int, fchmod, (int file, mode_t mode), (file, mode), TAKES_NOTHING)
CALL(int, fchown, (int file, uid_t owner, gid_t group), (file, owner, group),
     TAKES_NOTHING)
CALL(int, flock, (int file, int operation), (file, operation), TAKES_NOTHING)
CALL(int, unlink, (const char *path), (path), TAKES_NOTHING)
CALL(int, rename, (const char *from, const char *to), (from, to), TAKES_SPACE)
CALL(int, renameat2,
     (int at, const char *from, int to_at, const char *to, unsigned flags),
     (at, from, to_at, to, flags), TAKES_SPACE)
CALL(int, linkat,
     (int at, const char *from, int to_at, const char *to, int flags),
     (at, from, to_at, to, flags), TAKES_SPACE)
CALL(int, stat64, (const char *path, struct stat64 *found), (path, found),
     TAKES_NOTHING)
CALL(int, lstat64, (const char *path, struct stat64 *found), (path, found),
     TAKES_NOTHING)
CALL(int, fstat64, (int file, struct stat64 *found), (file, found), TAKES_NOTHING)
CALL(int, statx,
     (int at, const char *path, int flags, unsigned mask, struct statx *found),
     (at, path, flags, mask, found), TAKES_NOTHING)
CALL(int, fstatvfs, (int file, struct statvfs *found), (file, found), TAKES_NOTHING)
CALL(ssize_t, readlink, (const char *path, char *target, size_t size),
     (path, target, size), TAKES_NOTHING)

static int remote;

void faults_remote(int on)
{
    remote = on;
}

int statfs(const char *path, struct statfs *found)
{
    int code;

    REAL(statfs);
    code = fails("statfs", TAKES_NOTHING, NULL) ? -1 : real(path, found);
    if (code == 0 && remote)
        found->f_type = 0x6969; /* NFS */
    return code;
}

char *realpath(const char *path, char *resolved)
{
    REAL(realpath);
    return fails("realpath", TAKES_NOTHING, NULL) ? NULL : real(path, resolved);
}

/* Syncs that are held: how many wait, and how many may go on. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int on, waiting, released, error;
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, 0};

void faults_hold_syncs(int on)
{
    pthread_mutex_lock(&gate.lock);
    gate.on = on;
    pthread_mutex_unlock(&gate.lock);
}

void faults_wait_for_sync(void)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.waiting == 0)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

void faults_release_sync(int error)
{
    pthread_mutex_lock(&gate.lock);
    gate.waiting--;
    gate.released++;
    gate.error = error;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

/* Waits if syncs are held, and returns the error that this one has then. */
static int pass_gate(void)
{
    int error = 0;

    pthread_mutex_lock(&gate.lock);
    if (gate.on) {
        gate.waiting++;
        pthread_cond_broadcast(&gate.changed);
        while (gate.released == 0)
            pthread_cond_wait(&gate.changed, &gate.lock);
        gate.released--;
        error = gate.error;
    }
    pthread_mutex_unlock(&gate.lock);
    return error;
}

int fdatasync(int file)
{
    int error = pass_gate();

    (void)file;
    if (error != 0) {
        errno = error;
        return -1;
    }
    return fails("fdatasync", TAKES_NOTHING, NULL) ? -1 : 0;
}

int syncfs(int file)
{
    (void)file;
    return fails("syncfs", TAKES_NOTHING, NULL) ? -1 : 0;
}

int fsync(int file)
{
    (void)file;
    return fails("fsync", TAKES_NOTHING, NULL) ? -1 : 0;
}

int fcntl(int file, int command, ...)
{
    va_list rest;
    void *given;
    REAL(fcntl);

    va_start(rest, command);
    given = va_arg(rest, void *);
    va_end(rest);
    return fails("fcntl", TAKES_NOTHING, NULL) ? -1 : real(file, command, given);
}

/* Not used on files; std has them for its streams. */

#define STREAM(type, name, params, given) \
    type name params \
    { \
        REAL(name); \
        if (plan.on && file > 2) \
            forbidden(#name, "used on a file"); \
        return real given; \
    }

STREAM(ssize_t, read, (int file, void *bytes, size_t len), (file, bytes, len))
STREAM(ssize_t, write, (int file, const void *bytes, size_t len),
       (file, bytes, len))
STREAM(ssize_t, writev, (int file, const struct iovec *parts, int count),
       (file, parts, count))
STREAM(off64_t, lseek64, (int file, off64_t at, int whence),
       (file, at, whence))

#define MAP(name, offset) \
    void *name(void *at, size_t len, int access, int flags, int file, \
               offset start) \
    { \
        void *mapped; \
        REAL(name); \
        if (plan.on && file != -1) \
            forbidden(#name, "maps a file"); \
        mapped = real(at, len, access, flags, file, start); \
        if (mapped != MAP_FAILED) \
            heap_mapped(len); \
        return mapped; \
    }

MAP(mmap, off_t)
MAP(mmap64, off64_t)

/* That no file call comes this way. */
long syscall(long number, ...)
{
    va_list rest;
    long given[6];
    int i;
    REAL(syscall);

    va_start(rest, number);
    for (i = 0; i < 6; i++)
        given[i] = va_arg(rest, long);
    va_end(rest);
    if (number != SYS_futex && number != SYS_gettid)
        forbidden("syscall", "of an unknown number");
    return real(number, given[0], given[1], given[2], given[3], given[4],
                given[5]);
}
