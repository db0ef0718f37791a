/* What the kernels for NEON share. Included where EC_NEON says that there is NEON, which is in every aarch64 and on
 * request in ARMv7. */
#ifndef EC_NEON_H
#define EC_NEON_H

#include "kernels/kernels.h"

#if defined(EC_ARCH_AARCH64) || defined(EC_HAVE_NEON_ARMV7)
#define EC_NEON 1
#if !defined(__ARM_NEON)
#pragma GCC target("fpu=neon")
#endif
#include <arm_neon.h>

/* Attributes of functions with more instructions than the build's: empty but in the files that say otherwise. */
#if !defined(EC_TARGET)
#define EC_TARGET
#endif
#define ALWAYS EC_TARGET static inline __attribute__((always_inline))

#if defined(EC_ARCH_AARCH64)
#define EC_NEON_NAME(operation) ec_##operation##_neon
#else
#define EC_NEON_NAME(operation) ec_##operation##_neon_armv7
#endif

/* Nothing for the processor. Compilers must have a vector that is needed here, know nothing more of what is hidden,
 * and leave such places in order: else they mix instructions of steps for which there are too few registers. */
#define NEED(vector) __asm__ volatile("" : : "w"(vector))
#define HIDE(vector) __asm__ volatile("" : "+w"(vector))
#define HIDE_POINTERS(first, second) __asm__ volatile("" : "+r"(first), "+r"(second))

/* Sums of neighbours: two of a, then two of b. */
ALWAYS int32x4_t pair_sums(int32x4_t a, int32x4_t b) {
#if defined(EC_ARCH_AARCH64)
    return vpaddq_s32(a, b);
#else
    return vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)), vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
#endif
}

ALWAYS int16x8_t pair_sums_s16(int16x8_t a, int16x8_t b) {
#if defined(EC_ARCH_AARCH64)
    return vpaddq_s16(a, b);
#else
    return vcombine_s16(vpadd_s16(vget_low_s16(a), vget_high_s16(a)), vpadd_s16(vget_low_s16(b), vget_high_s16(b)));
#endif
}

/* Products of the second halves: without copies of these. */
ALWAYS int16x8_t high_products(int8x16_t a, int8x16_t b) {
#if defined(EC_ARCH_AARCH64)
    return vmull_high_s8(a, b);
#else
    return vmull_s8(vget_high_s8(a), vget_high_s8(b));
#endif
}

/* The first halves of two vectors, or the second ones. */
ALWAYS int8x16_t join_low(int8x16_t a, int8x16_t b) {
#if defined(EC_ARCH_AARCH64)
    return vreinterpretq_s8_s64(vzip1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
#else
    return vcombine_s8(vget_low_s8(a), vget_low_s8(b));
#endif
}

ALWAYS int8x16_t join_high(int8x16_t a, int8x16_t b) {
#if defined(EC_ARCH_AARCH64)
    return vreinterpretq_s8_s64(vzip2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
#else
    return vcombine_s8(vget_high_s8(a), vget_high_s8(b));
#endif
}

ALWAYS int16x8_t add_high_products(int16x8_t sums, int8x16_t a, int8x16_t b) {
#if defined(EC_ARCH_AARCH64)
    return vmlal_high_s8(sums, a, b);
#else
    return vmlal_s8(sums, vget_high_s8(a), vget_high_s8(b));
#endif
}

/* Four columns' activations, once for each of four rows. */
ALWAYS int8x16_t load_columns(const int8_t *x) {
    return vreinterpretq_s8_u32(vdupq_n_u32(ec_load_u32((const uint8_t *)x)));
}

/* Adds the sums of some rows' blocks, times their scale. */
ALWAYS float32x4_t add_scaled(float32x4_t sums, int32x4_t isums, float32x4_t scales) {
    return vaddq_f32(sums, vmulq_f32(vcvtq_f32_s32(isums), scales));
}
#endif
#endif
