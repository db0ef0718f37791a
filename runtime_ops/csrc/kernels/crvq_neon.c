/* Codebook kernels for NEON, aarch64 and ARMv7: four weights at a time. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_AARCH64) || defined(EC_HAVE_NEON_ARMV7)
#if !defined(__ARM_NEON)
#pragma GCC target("fpu=neon")
#endif
#include <arm_neon.h>

#if defined(EC_ARCH_AARCH64)
#define NAME(operation) ec_##operation##_neon
#else
#define NAME(operation) ec_##operation##_neon_armv7
#endif

/* Four entries as int32. */
static inline __attribute__((always_inline)) int32x4_t four_entries(const uint8_t *p, int wide) {
    if (wide) return vmovl_s16(vreinterpret_s16_u8(vld1_u8(p)));
    int8x8_t bytes = vreinterpret_s8_u32(vdup_n_u32(ec_load_u32(p)));
    return vmovl_s16(vget_low_s16(vmovl_s8(bytes)));
}

/* Groups of 4, 8 or 16 weights. Inlined once per case. Weights are 0 or normal and activations are
 * not in here, so flushing subnormals, as ARMv7 does, changes nothing. */
static inline __attribute__((always_inline)) void decode_fours(
    const ec_crvq_plan *plan, const uint8_t *const *codes, uint32_t n_stages, size_t n, float scale, int wide,
    float *out) {
    float32x4_t scales = vdupq_n_f32(scale);
    size_t group_bytes = (size_t)plan->dim << wide;
    for (size_t i = 0; i < n; i++) {
        for (uint32_t d = 0; d < plan->dim; d += 4, out += 4) {
            int32x4_t sum = vdupq_n_s32(0);
            for (uint32_t k = 0; k < n_stages; k++) {
                const uint8_t *codeword = plan->codebooks[k] + codes[k][i] * group_bytes + ((size_t)d << wide);
                int32x4_t shift = vdupq_n_s32((int32_t)plan->shifts[k]);
                sum = vaddq_s32(sum, vshlq_s32(four_entries(codeword, wide), shift));
            }
            vst1q_f32(out, vmulq_f32(scales, vcvtq_f32_s32(sum)));
        }
    }
}

void NAME(decode_f32_cb)(const ec_crvq_plan *plan, const uint8_t *const *codes, uint32_t n_stages, size_t n,
                         float scale, float *out) {
    if (plan->dim < 4) {
        ec_decode_f32_cb_scalar(plan, codes, n_stages, n, scale, out);
    } else if (plan->wide) {
        decode_fours(plan, codes, n_stages, n, scale, 1, out);
    } else {
        decode_fours(plan, codes, n_stages, n, scale, 0, out);
    }
}

#if defined(EC_ARCH_AARCH64)
/* ARMv7 has no such kernel: its NEON flushes subnormals, which activations may be, so the scalar one
 * runs there, on VFP. */
void ec_table_f32_cb_neon(const float *codewords, const float *x, float *table) {
    float32x4_t factors[EC_TABLE_DIM];
    for (size_t d = 0; d < EC_TABLE_DIM; d++) factors[d] = vdupq_n_f32(x[d]);
    for (size_t c = 0; c < EC_TABLE_SIZE; c += 4) {
        float32x4_t sum = vmulq_f32(factors[0], vld1q_f32(codewords + c));
        for (size_t d = 1; d < EC_TABLE_DIM; d++) {
            sum = vaddq_f32(sum, vmulq_f32(factors[d], vld1q_f32(codewords + d * EC_TABLE_SIZE + c)));
        }
        vst1q_f32(table + c, sum);
    }
}
#endif
#endif
