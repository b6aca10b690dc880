/*
 * What the black-box tests share beside tests/c/check.h: files and processes.
 *
 * A program is given a folder of its own, which it works in, and the path of
 * the shared library.
 */
#ifndef FILES_H
#define FILES_H

#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *library;

static inline void work_in_folder(int argc, char **argv)
{
    CHECK(argc == 3);
    CHECK(chdir(argv[1]) == 0);
    library = argv[2];
    alarm(1200); /* what hangs fails */
    setvbuf(stdout, NULL, _IOLBF, 0);
}

/*
 * Puts a file system in memory where the process works, which goes with the
 * process. Only root can; else it returns false.
 */
static inline int work_on_own_disk(const char *size)
{
    char here[PATH_MAX];

    CHECK(getcwd(here, sizeof here) != NULL);
    return unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", here, "tmpfs", 0, size) == 0 && chdir(here) == 0;
}

/* Whether many rounds are wanted, or as many as take a moment. */
static inline int thorough(void)
{
    return getenv("MINIDB_FULL") != NULL;
}

static inline int exists(const char *path)
{
    struct stat found;

    return lstat(path, &found) == 0;
}

static inline long size_of(const char *path)
{
    struct stat found;

    CHECK(stat(path, &found) == 0);
    return (long)found.st_size;
}

/* The number of names in a folder. */
static inline int names_in(const char *path)
{
    DIR *folder = opendir(path);
    int names = -2; /* not . and .. */

    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        names++;
    closedir(folder);
    return names;
}

static inline int descriptors(void)
{
    return names_in("/proc/self/fd");
}

/* Only this thread is left; one that was joined may go a moment later. */
static inline int is_alone(void)
{
    int i;

    for (i = 0; i < 60000 && names_in("/proc/self/task") > 1; i++)
        usleep(1000);
    return i < 60000;
}

/* Removes all files in the folder worked in, and folders that are empty. */
static inline void remove_all(void)
{
    DIR *folder = opendir(".");
    struct dirent *entry;

    CHECK(folder != NULL);
    while ((entry = readdir(folder)) != NULL)
        if (unlink(entry->d_name) != 0)
            rmdir(entry->d_name);
    closedir(folder);
}

/* The whole of a small file. */
static inline size_t read_file(const char *path, char *bytes, size_t size)
{
    FILE *file = fopen(path, "rb");
    size_t len;

    CHECK(file != NULL);
    len = fread(bytes, 1, size, file);
    CHECK(len < size && ferror(file) == 0);
    fclose(file);
    return len;
}

static inline void copy_file(const char *from, const char *to)
{
    enum { SIZE = 4 << 20 };
    char *bytes = malloc(SIZE);
    FILE *file;
    size_t len;

    CHECK(bytes != NULL);
    len = read_file(from, bytes, SIZE);
    file = fopen(to, "wb");
    CHECK(file != NULL);
    CHECK(fwrite(bytes, 1, len, file) == len);
    CHECK(fclose(file) == 0);
    free(bytes);
}

static inline minidb_t *open_file(const char *path, uint32_t flags)
{
    minidb_t *db;

    OK(minidb_open(path, flags, &db));
    return db;
}

static inline void refuses(int code, const char *path, uint32_t flags)
{
    minidb_t *db;

    GIVES(code, minidb_open(path, flags, &db));
    CHECK(db == NULL);
}

static inline void stays(const char *path, const char *entries)
{
    minidb_t *db = open_file(path, MINIDB_OPEN_EXISTING);

    HOLDS(db, entries);
    OK(minidb_check(db));
    minidb_close(db);
}

static inline pid_t start_child(void (*work)(void *arg), void *arg)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        alarm(600); /* a child that hangs fails */
        work(arg);
        _exit(0);
    }
    return child;
}

static inline void finish_child(pid_t child)
{
    int status;

    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static inline void in_child(void (*work)(void *arg), void *arg)
{
    finish_child(start_child(work, arg));
}

static inline void kill_child(pid_t child)
{
    int status;

    CHECK(kill(child, SIGKILL) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/*
 * Waits until a thread sleeps, and not for a moment only. `id` is the system's,
 * 0 until the thread has set it.
 */
static inline void wait_until_asleep(const long *id)
{
    char path[64], text[1024];
    int asleep;

    for (asleep = 0; asleep < 5; usleep(1000)) {
        long now = __atomic_load_n(id, __ATOMIC_SEQ_CST);

        if (now == 0)
            continue;
        sprintf(path, "/proc/self/task/%ld/stat", now);
        text[read_file(path, text, sizeof text)] = '\0';
        asleep = strrchr(text, ')')[2] == 'S' ? asleep + 1 : 0;
    }
}

#endif /* FILES_H */
