/* How fast memory can be read: what a model's weights cannot come faster than. */
#ifndef RUN_BANDWIDTH_H
#define RUN_BANDWIDTH_H

#include "runner/map.h"

/* Bytes a second that the pool's threads read of a file together, over and over; the median of some passes. What
 * fits into a cache is read from there, as a model would. 0 when memory for the pool runs out. */
double read_bandwidth(const ec_map *map, uint32_t n_threads, int pin);

#endif
