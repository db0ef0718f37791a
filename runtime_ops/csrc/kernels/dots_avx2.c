/* Products of decoded weights for x86-64 with AVX2. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define ROWS 4
#define TOKENS 2

/* Some rows and tokens of `all`, at most ROWS and TOKENS: as many sums that do not wait for each other.
 * Inlined once per case, so that they stay in registers. */
AVX2 static inline __attribute__((always_inline)) void multiply(
    const ec_dots *all, size_t row, size_t token, size_t n_rows, size_t n_tokens) {
    const float *w = all->w + row * all->w_stride, *x = all->x + token * all->x_stride;
    size_t whole = all->n - all->n % EC_LANES;
    __m256 sums[ROWS][TOKENS];
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t t = 0; t < n_tokens; t++) sums[r][t] = _mm256_loadu_ps(all->lanes[(row + r) * all->n_tokens + token + t]);
    }
    for (size_t j = 0; j < whole; j += EC_LANES) {
        __m256 inputs[TOKENS];
        for (size_t t = 0; t < n_tokens; t++) inputs[t] = _mm256_loadu_ps(x + t * all->x_stride + j);
        for (size_t r = 0; r < n_rows; r++) {
            __m256 weights = _mm256_loadu_ps(w + r * all->w_stride + j);
            __asm__("" : "+x"(weights)); /* GCC would load it once per token: 34 products a ns, not 41, on Zen 5 */
            for (size_t t = 0; t < n_tokens; t++) {
                sums[r][t] = _mm256_add_ps(sums[r][t], _mm256_mul_ps(weights, inputs[t]));
            }
        }
    }
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t t = 0; t < n_tokens; t++) {
            float *lanes = all->lanes[(row + r) * all->n_tokens + token + t];
            _mm256_storeu_ps(lanes, sums[r][t]);
            for (size_t j = whole; j < all->n; j++) {
                lanes[j - whole] += w[r * all->w_stride + j] * x[t * all->x_stride + j];
            }
        }
    }
}

AVX2 void ec_dots_f32_f32_avx2(const ec_dots *d) {
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
#endif
