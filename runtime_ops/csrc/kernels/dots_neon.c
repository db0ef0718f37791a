/* Products of decoded weights for aarch64 and ARMv7. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_AARCH64)
#include <arm_neon.h>

#define ROWS 4
#define TOKENS 2

/* Some rows and tokens of `all`, at most ROWS and TOKENS: as many sums that do not wait for each other.
 * Inlined once per case, so that they stay in registers. */
static inline __attribute__((always_inline)) void multiply(
    const ec_dots *all, size_t row, size_t token, size_t n_rows, size_t n_tokens) {
    const float *w = all->w + row * all->w_stride, *x = all->x + token * all->x_stride;
    size_t whole = all->n - all->n % EC_LANES;
    float32x4_t low[ROWS][TOKENS], high[ROWS][TOKENS];
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t t = 0; t < n_tokens; t++) {
            low[r][t] = vld1q_f32(all->lanes[(row + r) * all->n_tokens + token + t]);
            high[r][t] = vld1q_f32(all->lanes[(row + r) * all->n_tokens + token + t] + 4);
        }
    }
    for (size_t j = 0; j < whole; j += EC_LANES) {
        for (size_t r = 0; r < n_rows; r++) {
            const float *weights = w + r * all->w_stride + j;
            float32x4_t w_low = vld1q_f32(weights), w_high = vld1q_f32(weights + 4);
            for (size_t t = 0; t < n_tokens; t++) {
                const float *inputs = x + t * all->x_stride + j;
                low[r][t] = vaddq_f32(low[r][t], vmulq_f32(w_low, vld1q_f32(inputs)));
                high[r][t] = vaddq_f32(high[r][t], vmulq_f32(w_high, vld1q_f32(inputs + 4)));
            }
        }
    }
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t t = 0; t < n_tokens; t++) {
            float *lanes = all->lanes[(row + r) * all->n_tokens + token + t];
            vst1q_f32(lanes, low[r][t]);
            vst1q_f32(lanes + 4, high[r][t]);
            for (size_t j = whole; j < all->n; j++) {
                lanes[j - whole] += w[r * all->w_stride + j] * x[t * all->x_stride + j];
            }
        }
    }
}

void ec_dots_f32_f32_neon(const ec_dots *d) {
    size_t row = 0;
    for (; row + ROWS <= d->n_rows; row += ROWS) {
        size_t token = 0;
        for (; token + TOKENS <= d->n_tokens; token += TOKENS) multiply(d, row, token, ROWS, TOKENS);
        for (; token < d->n_tokens; token++) multiply(d, row, token, ROWS, 1);
    }
    for (; row < d->n_rows; row++) {
        for (size_t token = 0; token < d->n_tokens; token++) multiply(d, row, token, 1, 1);
    }
}
#elif defined(EC_HAVE_NEON_ARMV7)
/* ARMv7 NEON flushes subnormals to zero, and activations may be that small: the sums run on VFP,
 * whose eight independent chains keep it busy. */
static void dot(const float *w, const float *x, size_t n, float *lanes) {
    float s0 = lanes[0], s1 = lanes[1], s2 = lanes[2], s3 = lanes[3];
    float s4 = lanes[4], s5 = lanes[5], s6 = lanes[6], s7 = lanes[7];
    size_t whole = n - n % EC_LANES;
    for (size_t j = 0; j < whole; j += EC_LANES) {
        s0 += w[j] * x[j];         s1 += w[j + 1] * x[j + 1];
        s2 += w[j + 2] * x[j + 2]; s3 += w[j + 3] * x[j + 3];
        s4 += w[j + 4] * x[j + 4]; s5 += w[j + 5] * x[j + 5];
        s6 += w[j + 6] * x[j + 6]; s7 += w[j + 7] * x[j + 7];
    }
    lanes[0] = s0; lanes[1] = s1; lanes[2] = s2; lanes[3] = s3;
    lanes[4] = s4; lanes[5] = s5; lanes[6] = s6; lanes[7] = s7;
    for (size_t j = whole; j < n; j++) lanes[j - whole] += w[j] * x[j];
}

void ec_dots_f32_f32_neon_armv7(const ec_dots *d) {
    for (size_t r = 0; r < d->n_rows; r++) {
        for (size_t t = 0; t < d->n_tokens; t++) {
            dot(d->w + r * d->w_stride, d->x + t * d->x_stride, d->n, d->lanes[r * d->n_tokens + t]);
        }
    }
}
#endif
