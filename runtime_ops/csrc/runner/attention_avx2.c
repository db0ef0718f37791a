/* Attention's inner loops, compiled for x86-64 with AVX2. */
#include "runner/attention_steps.h"

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))

AVX2 static void halves(const uint16_t *x, size_t n, float *out) { ec_halves_step(x, n, out); }

AVX2 static void bytes(const int8_t *x, float scale, size_t n, float *out) { ec_bytes_step(x, scale, n, out); }

AVX2 static void add_values(const float *p, const float *v, size_t n, size_t d_head, float *out) {
    ec_add_values_step(p, v, n, d_head, out);
}

const ec_attention_steps ec_attention_avx2 = {halves, bytes, add_values};
#endif
