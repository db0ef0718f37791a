/* The median of measurements, which sorts them. */
#ifndef RUN_MEDIAN_H
#define RUN_MEDIAN_H

#include <stddef.h>

static inline double median(double *values, size_t n) {
    for (size_t i = 1; i < n; i++) {
        double own = values[i];
        size_t at = i;
        for (; at > 0 && values[at - 1] > own; at--) values[at] = values[at - 1];
        values[at] = own;
    }
    return n % 2 != 0 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

#endif
