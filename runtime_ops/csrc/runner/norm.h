/* Sums in eight lanes, norms, and the network's other element-wise steps: runtime_ops.reference.llama. */
#ifndef EC_NORM_H
#define EC_NORM_H

#include <stddef.h>

#include "kernels/kernels.h"

/* ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7)) */
static inline float ec_sum_lanes(const float lanes[EC_LANES]) {
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/* y = (x / sqrt(mean of x^2 + epsilon)) * weight for n numbers; y may be x. */
void ec_rms_norm(const float *x, const float *weight, size_t n, float epsilon, float *y);

/* gate = (gate / (1 + exp(-gate))) * up for n numbers. */
void ec_swiglu(float *gate, const float *up, size_t n);

#endif
