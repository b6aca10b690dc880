/*
 * Counts the memory that the process holds. These functions come before those
 * of libc, for the library and for libc itself, too.
 */
#define _GNU_SOURCE

#include "heap.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>

static long blocks, bytes;

long heap_blocks(void)
{
    return __sync_fetch_and_add(&blocks, 0);
}

long heap_bytes(void)
{
    return __sync_fetch_and_add(&bytes, 0);
}

void heap_mapped(size_t len)
{
    __sync_fetch_and_add(&bytes, (long)len);
}

static void *count(void *block)
{
    if (block != NULL) {
        __sync_fetch_and_add(&blocks, 1);
        __sync_fetch_and_add(&bytes, (long)malloc_usable_size(block));
    }
    return block;
}

static void discount(long count, size_t size)
{
    __sync_fetch_and_sub(&blocks, count);
    __sync_fetch_and_sub(&bytes, (long)size);
}

/* What libc calls its own. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *block);

void *malloc(size_t size)
{
    return count(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return count(__libc_calloc(n, size));
}

void *realloc(void *block, size_t size)
{
    size_t was = malloc_usable_size(block);
    void *moved = __libc_realloc(block, size);

    if (block != NULL && (moved != NULL || size == 0))
        discount(1, was);
    return count(moved);
}

int posix_memalign(void **block, size_t align, size_t size)
{
    *block = count(__libc_memalign(align, size));
    return *block == NULL ? ENOMEM : 0;
}

void free(void *block)
{
    if (block != NULL)
        discount(1, malloc_usable_size(block));
    __libc_free(block);
}

int munmap(void *start, size_t len)
{
    static int (*real)(void *, size_t);

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "munmap");
    discount(0, len);
    return real(start, len);
}
