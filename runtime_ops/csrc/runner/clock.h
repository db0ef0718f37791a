#ifndef EC_CLOCK_H
#define EC_CLOCK_H

#include <stdint.h>

/* Nanoseconds of a clock that only goes forward. */
uint64_t ec_clock_ns(void);

#endif
