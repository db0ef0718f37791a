/* How fast memory can be read: what a model's weights cannot come faster than. */
#ifndef RUN_BANDWIDTH_H
#define RUN_BANDWIDTH_H

#include "runner/map.h"

/* Some bytes that the threads of a pool read together, over and over. */
typedef struct reading {
    ec_pool *pool;
    const uint64_t *words;   /* [n] */
    uint64_t n, piece, n_pieces; /* words; those that a thread takes at a time; pieces of one time over all */
    uint32_t times;          /* that a call goes over them */
    uint64_t sum;            /* keeps the compiler from leaving it all out */
} reading;

/* `data` begins with a multiple of 8; a call reads all of it, and so often that it comes to `least` bytes, but not
 * more than 256 times. */
void reading_begin(reading *r, ec_pool *pool, const void *data, uint64_t bytes, uint64_t least);
void reading_call(void *self);                 /* of a reading */
uint64_t reading_bytes(const reading *r);      /* of a call */

/* Bytes a second that the pool's threads read of a file together, over and over; the median of some passes. What
 * fits into a cache is read from there, as a model would. 0 when memory for the pool runs out. */
double read_bandwidth(const ec_map *map, uint32_t n_threads, int pin);

#endif
