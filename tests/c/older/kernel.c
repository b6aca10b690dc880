/*
 * A kernel without what only newer Linux has. The linker puts the functions below in the
 * place of the real ones (--wrap), for the library inside a program, too.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <sys/mman.h>

int __real_madvise(void *start, size_t len, int advice);
int __wrap_madvise(void *start, size_t len, int advice);
int __wrap_renameat2(int from_folder, const char *from, int to_folder,
                     const char *to, unsigned int flags);

/* No huge pages, nothing is touched beforehand, and no memory is emptied at a fork. */
int __wrap_madvise(void *start, size_t len, int advice)
{
    if (advice == MADV_DONTNEED)
        return __real_madvise(start, len, advice);
    errno = EINVAL;
    return -1;
}

/* A file is renamed only over any other. */
int __wrap_renameat2(int from_folder, const char *from, int to_folder,
                     const char *to, unsigned int flags)
{
    (void)from_folder, (void)from, (void)to_folder, (void)to, (void)flags;
    errno = ENOSYS;
    return -1;
}
