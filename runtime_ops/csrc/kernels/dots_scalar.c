/* Products of decoded weights in plain C, for every machine. */
#include "kernels/kernels.h"

static void dot(const float *w, const float *x, size_t n, float *lanes) {
    float sums[EC_LANES]; /* nothing else points here, so they may stay in registers */
    size_t whole = n - n % EC_LANES;
    memcpy(sums, lanes, sizeof sums);
    for (size_t j = 0; j < whole; j += EC_LANES) {
        for (size_t lane = 0; lane < EC_LANES; lane++) sums[lane] += w[j + lane] * x[j + lane];
    }
    for (size_t j = whole; j < n; j++) sums[j - whole] += w[j] * x[j];
    memcpy(lanes, sums, sizeof sums);
}

void ec_dots_f32_f32_scalar(const ec_dots *d) {
    for (size_t r = 0; r < d->n_rows; r++) {
        for (size_t t = 0; t < d->n_tokens; t++) {
            dot(d->w + r * d->w_stride, d->x + t * d->x_stride, d->n, d->lanes[r * d->n_tokens + t]);
        }
    }
}
