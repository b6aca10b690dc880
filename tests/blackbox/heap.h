/* Counting the memory that is held; see heap.c. */
#ifndef HEAP_H
#define HEAP_H

#include <stddef.h>

/* Blocks that are allocated. */
long heap_blocks(void);

/* Their bytes, and those that are mapped. */
long heap_bytes(void);

/* More bytes are mapped. */
void heap_mapped(size_t len);

#endif /* HEAP_H */
