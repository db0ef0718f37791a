/* Winding kernels for NEON, aarch64 and ARMv7: four indices at a time. */
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

static inline int32x4_t table_lookup(const uint8_t *table, uint32x4_t x) {
    uint32_t at[4];
    int32_t value[4];
    vst1q_u32(at, x);
    for (int i = 0; i < 4; i++) value[i] = (int16_t)ec_load_u16(table + 2 * (size_t)at[i]);
    return vld1q_s32(value);
}

/* Scales of four indices by class; leaves the codes in *code. */
static inline float32x4_t class_scales(const ec_winding_plan *plan, uint32x4_t *code) {
    if (plan->classes == 1) return vdupq_n_f32(plan->class_scale[0]);
    uint32x4_t codes = vdupq_n_u32(plan->codes);
    uint32x4_t class_index = vdupq_n_u32(0);
    for (uint32_t j = 1; j < plan->classes; j++) {
        uint32x4_t more = vcgeq_u32(*code, codes);
        class_index = vsubq_u32(class_index, more);
        *code = vsubq_u32(*code, vandq_u32(more, codes));
    }
    uint32_t at[4];
    float scale[4];
    vst1q_u32(at, class_index);
    for (int i = 0; i < 4; i++) scale[i] = plan->class_scale[at[i]];
    return vld1q_f32(scale);
}

static inline int32x4_t point_values(const ec_winding_plan *plan, uint32x4_t k, uint32_t d) {
    uint32x4_t angle = vmlaq_n_u32(vdupq_n_u32(plan->shift[d]), k, plan->generator[d]);
    if (plan->table != NULL) {
        return table_lookup(plan->table, vshlq_u32(angle, vdupq_n_s32(-(int32_t)plan->table_shift)));
    }
    uint32x2_t low = vshrn_n_u64(vmull_n_u32(vget_low_u32(angle), plan->levels), 32);
    uint32x2_t high = vshrn_n_u64(vmull_n_u32(vget_high_u32(angle), plan->levels), 32);
    int32x4_t x = vreinterpretq_s32_u32(vcombine_u32(low, high));
    return vaddq_s32(vshlq_n_s32(x, 1), vdupq_n_s32(plan->bias));
}

static inline void store_interleaved(const float32x4_t *w, uint32_t dim, float *out) {
    if (dim == 1) {
        vst1q_f32(out, w[0]);
    } else if (dim == 2) {
        float32x4x2_t pair = {{w[0], w[1]}};
        vst2q_f32(out, pair);
    } else if (dim == 3) {
        float32x4x3_t triple = {{w[0], w[1], w[2]}};
        vst3q_f32(out, triple);
    } else {
        float32x4x4_t quad = {{w[0], w[1], w[2], w[3]}};
        vst4q_f32(out, quad);
    }
}

/* Inlined once per dim, so that the loops over dimensions unroll. */
static inline __attribute__((always_inline)) size_t decode_blocks(
    const ec_winding_plan *plan, const uint32_t *indices, size_t n, uint32_t dim, float *out) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint32x4_t code = vld1q_u32(indices + i);
        float32x4_t scale = class_scales(plan, &code);
        uint32x4_t centre = vdupq_n_u32(plan->centre);
        uint32x4_t k = vsubq_u32(code, centre);
        /* all ones where the code is the centre node: centre = 1 and code = 0 */
        uint32x4_t at_centre = vcltq_u32(code, centre);
        float32x4_t w[EC_MAX_DIM];
        for (uint32_t d = 0; d < dim; d++) {
            int32x4_t v = vbicq_s32(point_values(plan, k, d), vreinterpretq_s32_u32(at_centre));
            w[d] = vaddq_f32(vdupq_n_f32(plan->centre_point[d]), vmulq_f32(scale, vcvtq_f32_s32(v)));
        }
        store_interleaved(w, dim, out + i * dim);
    }
    return i;
}

void NAME(decode_f32_wd)(const ec_winding_plan *plan, const uint32_t *indices, size_t n, float *out) {
    size_t done = 0;
    switch (plan->dim) {
        case 1: done = decode_blocks(plan, indices, n, 1, out); break;
        case 2: done = decode_blocks(plan, indices, n, 2, out); break;
        case 3: done = decode_blocks(plan, indices, n, 3, out); break;
        case 4: done = decode_blocks(plan, indices, n, 4, out); break;
        default: break;
    }
    ec_decode_f32_wd_scalar(plan, indices + done, n - done, out + done * plan->dim);
}
#endif
