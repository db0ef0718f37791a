/* Hadamard matrices for aarch64: the first two rounds within four numbers, then four pairs at a time. ARMv7
 * has no such kernel: its NEON flushes subnormals, which activations may be. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_AARCH64)
#include <arm_neon.h>

static inline float32x4_t four(float32x4_t x) {
    float32x4_t even = vtrn1q_f32(x, x), odd = vtrn2q_f32(x, x); /* a a c c, b b d d */
    x = vtrn1q_f32(vaddq_f32(even, odd), vsubq_f32(even, odd));
    float32x4_t low = vcombine_f32(vget_low_f32(x), vget_low_f32(x));
    float32x4_t high = vcombine_f32(vget_high_f32(x), vget_high_f32(x));
    return vcombine_f32(vget_low_f32(vaddq_f32(low, high)), vget_low_f32(vsubq_f32(low, high)));
}

void ec_hadamard_f32_neon(float *x, size_t n) {
    if (n < 4) {
        ec_hadamard_f32_scalar(x, n);
        return;
    }
    for (size_t j = 0; j < n; j += 4) vst1q_f32(x + j, four(vld1q_f32(x + j)));
    for (size_t h = 4; h < n; h *= 2) {
        for (size_t block = 0; block < n; block += 2 * h) {
            float *low = x + block, *high = low + h;
            for (size_t j = 0; j < h; j += 4) {
                float32x4_t a = vld1q_f32(low + j), b = vld1q_f32(high + j);
                vst1q_f32(low + j, vaddq_f32(a, b));
                vst1q_f32(high + j, vsubq_f32(a, b));
            }
        }
    }
}
#endif
