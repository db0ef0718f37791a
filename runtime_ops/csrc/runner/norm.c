/* RMSNorm (Zhang and Sennrich 2019). */
#include "runner/norm.h"

#include <math.h>

#include "runner/steps.h"

void ec_rms_norm(const float *x, const float *weight, size_t n, float epsilon, float *y) {
    float lanes[EC_LANES] = {0};
    size_t whole = n - n % EC_LANES;
    for (size_t j = 0; j < whole; j += EC_LANES) {
        for (size_t lane = 0; lane < EC_LANES; lane++) lanes[lane] += x[j + lane] * x[j + lane];
    }
    for (size_t j = whole; j < n; j++) lanes[j - whole] += x[j] * x[j];
    float factor = 1.0f / sqrtf(ec_sum_lanes(lanes) / (float)n + epsilon);
    for (size_t j = 0; j < n; j++) y[j] = x[j] * factor * weight[j];
}
