/* How fast a core runs: what the figures of a machine that changes its clock or throttles must be read with. */
#ifndef RUN_MEASURE_CLOCK_H
#define RUN_MEASURE_CLOCK_H

#include <stdint.h>

/* Cycles a second of the core that the calling thread runs on: the fastest of several moments within so many
 * nanoseconds, since others may have it for some of them. */
double clock_hz(uint64_t ns);

#endif
