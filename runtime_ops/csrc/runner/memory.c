/* Blocks of memory, each of which begins with the address of the one before. */
#include "runner/memory.h"

#include <stdlib.h>

#define ALIGNMENT 64

void *ec_memory_take(ec_memory *memory, uint64_t bytes) {
    if (bytes > SIZE_MAX - 2 * ALIGNMENT) return NULL;
    void **block = calloc((size_t)bytes + 2 * ALIGNMENT, 1);
    if (block == NULL) return NULL;
    *block = memory->last;
    memory->last = block;
    memory->bytes += bytes;
    uintptr_t behind = (uintptr_t)(block + 1);
    return (void *)((behind + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

void ec_memory_free(ec_memory *memory) {
    while (memory->last != NULL) {
        void **block = memory->last;
        memory->last = *block;
        free(block);
    }
}
