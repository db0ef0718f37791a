/* Memory that is given back all at once. */
#ifndef EC_MEMORY_H
#define EC_MEMORY_H

#include <stdint.h>

typedef struct ec_memory {
    void *last;
    uint64_t bytes; /* taken so far */
} ec_memory;

/* Zeros, aligned to 64 bytes; NULL when there are not so many. Pages that are never written stay unused. */
void *ec_memory_take(ec_memory *memory, uint64_t bytes);
void ec_memory_free(ec_memory *memory);

#endif
