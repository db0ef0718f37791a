/* The same for x86-64 with AVX2. */
#include "runner/steps.h"

#if defined(EC_ARCH_X86)
#define AVX2 __attribute__((target("avx2")))

AVX2 static void halves(const uint16_t *x, size_t n, float *out) { ec_halves_step(x, n, out); }

AVX2 static void bytes(const int8_t *x, float scale, size_t n, float *out) { ec_bytes_step(x, scale, n, out); }

AVX2 static float soften(float *scores, size_t n) { return ec_soften_step(scores, n); }

AVX2 static void add_values(const float *p, const float *v, size_t n, size_t d_head, float *out) {
    ec_add_values_step(p, v, n, d_head, out);
}

AVX2 static void swiglu(float *gate, const float *up, size_t n) { ec_swiglu_step(gate, up, n); }

const ec_steps ec_steps_avx2 = {halves, bytes, soften, add_values, swiglu};
#endif
