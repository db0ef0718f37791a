/* Copies of a matrix, so many that they lie in memory and in no cache. */
#ifndef RUN_MEASURE_COPIES_H
#define RUN_MEASURE_COPIES_H

#include "edgecomp.h"
#include "runner/memory.h"

typedef struct copies {
    const ec_tensor *tensor;
    uint8_t *memory;
    uint64_t stride, n;      /* bytes from one copy to the next; copies */
} copies;

/* Bytes of codes, scales and parameters: what a product reads. */
uint64_t tensor_bytes(const ec_tensor *tensor);

/* The matrix as often below itself: one as tall as those of models are, its rows in memory that is taken from
 * `memory`. The matrix itself where that makes no matrix of its format, or when there is no memory. */
ec_tensor taller(const ec_tensor *tensor, uint64_t times, ec_memory *memory);

/* Fills memory (aligned to 64 bytes) with as many copies as fit into so many bytes: codes and scales, but not
 * parameters, tables and permutations, which matrices share. None, where not even one fits. */
void copies_begin(copies *c, const ec_tensor *tensor, uint8_t *memory, uint64_t bytes);

/* Copy i, which points into the memory. */
ec_tensor copies_at(const copies *c, uint64_t i);

#endif
