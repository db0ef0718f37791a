/* Norms: runtime_ops.reference.llama. */
#ifndef EC_NORM_H
#define EC_NORM_H

#include <stddef.h>

/* y = (x / sqrt(mean of x^2 + epsilon)) * weight for n numbers; y may be x. */
void ec_rms_norm(const float *x, const float *weight, size_t n, float epsilon, float *y);

#endif
