/* Winding kernels for x86-64 with AVX2: eight indices at a time. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

/* High 32 bits of the eight products a * b. */
AVX2 static inline __m256i mulhi_u32(__m256i a, __m256i b) {
    __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(a, b), 32);
    __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), b);
    return _mm256_blend_epi32(even, odd, 0xAA);
}

/* table[x] of int16 entries: gathers the aligned pair that holds entry x, never past the table. */
AVX2 static inline __m256i table_lookup(const uint8_t *table, __m256i x) {
    __m256i pair = _mm256_i32gather_epi32((const int *)(const void *)table, _mm256_srli_epi32(x, 1), 4);
    __m256i is_low = _mm256_andnot_si256(x, _mm256_set1_epi32(1));
    return _mm256_srai_epi32(_mm256_sllv_epi32(pair, _mm256_slli_epi32(is_low, 4)), 16);
}

AVX2 static inline void store_interleaved(const __m256 *w, uint32_t dim, float *out) {
    if (dim == 1) {
        _mm256_storeu_ps(out, w[0]);
    } else if (dim == 2) {
        __m256 lo = _mm256_unpacklo_ps(w[0], w[1]);
        __m256 hi = _mm256_unpackhi_ps(w[0], w[1]);
        _mm256_storeu_ps(out, _mm256_permute2f128_ps(lo, hi, 0x20));
        _mm256_storeu_ps(out + 8, _mm256_permute2f128_ps(lo, hi, 0x31));
    } else if (dim == 3) {
        float lanes[3][8];
        for (int d = 0; d < 3; d++) _mm256_storeu_ps(lanes[d], w[d]);
        for (int i = 0; i < 8; i++) {
            for (int d = 0; d < 3; d++) out[3 * i + d] = lanes[d][i];
        }
    } else {
        __m256 lo01 = _mm256_unpacklo_ps(w[0], w[1]), hi01 = _mm256_unpackhi_ps(w[0], w[1]);
        __m256 lo23 = _mm256_unpacklo_ps(w[2], w[3]), hi23 = _mm256_unpackhi_ps(w[2], w[3]);
        __m256 r0 = _mm256_shuffle_ps(lo01, lo23, 0x44), r1 = _mm256_shuffle_ps(lo01, lo23, 0xEE);
        __m256 r2 = _mm256_shuffle_ps(hi01, hi23, 0x44), r3 = _mm256_shuffle_ps(hi01, hi23, 0xEE);
        _mm256_storeu_ps(out, _mm256_permute2f128_ps(r0, r1, 0x20));
        _mm256_storeu_ps(out + 8, _mm256_permute2f128_ps(r2, r3, 0x20));
        _mm256_storeu_ps(out + 16, _mm256_permute2f128_ps(r0, r1, 0x31));
        _mm256_storeu_ps(out + 24, _mm256_permute2f128_ps(r2, r3, 0x31));
    }
}

/* Scales of eight indices by class; leaves the codes in *code. */
AVX2 static inline __m256 class_scales(const ec_winding_plan *plan, __m256i *code) {
    if (plan->classes == 1) return _mm256_set1_ps(plan->class_scale[0]);
    __m256i codes = _mm256_set1_epi32((int)plan->codes);
    __m256i last = _mm256_set1_epi32((int)plan->codes - 1);
    __m256i class_index = _mm256_setzero_si256();
    for (uint32_t j = 1; j < plan->classes; j++) {
        __m256i more = _mm256_cmpgt_epi32(*code, last);
        class_index = _mm256_sub_epi32(class_index, more);
        *code = _mm256_sub_epi32(*code, _mm256_and_si256(more, codes));
    }
    return _mm256_i32gather_ps(plan->class_scale, class_index, 4);
}

AVX2 static inline __m256i point_values(const ec_winding_plan *plan, __m256i k, uint32_t d) {
    __m256i angle = _mm256_mullo_epi32(k, _mm256_set1_epi32((int)plan->generator[d]));
    angle = _mm256_add_epi32(angle, _mm256_set1_epi32((int)plan->shift[d]));
    if (plan->table != NULL) {
        return table_lookup(plan->table, _mm256_srl_epi32(angle, _mm_cvtsi32_si128((int)plan->table_shift)));
    }
    __m256i x = mulhi_u32(angle, _mm256_set1_epi32((int)plan->levels));
    return _mm256_add_epi32(_mm256_slli_epi32(x, 1), _mm256_set1_epi32(plan->bias));
}

/* Inlined once per dim, so that the loops over dimensions unroll. */
AVX2 static inline __attribute__((always_inline)) size_t decode_blocks(
    const ec_winding_plan *plan, const uint32_t *indices, size_t n, uint32_t dim, float *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i code = _mm256_loadu_si256((const __m256i *)(const void *)(indices + i));
        __m256 scale = class_scales(plan, &code);
        __m256i centre = _mm256_set1_epi32((int)plan->centre);
        __m256i k = _mm256_sub_epi32(code, centre);
        /* all ones where the code is the centre node: centre = 1 and code = 0 */
        __m256i at_centre = _mm256_cmpgt_epi32(centre, code);
        __m256 w[EC_MAX_DIM];
        for (uint32_t d = 0; d < dim; d++) {
            __m256i v = _mm256_andnot_si256(at_centre, point_values(plan, k, d));
            w[d] = _mm256_add_ps(_mm256_set1_ps(plan->centre_point[d]),
                                 _mm256_mul_ps(scale, _mm256_cvtepi32_ps(v)));
        }
        store_interleaved(w, dim, out + i * dim);
    }
    return i;
}

AVX2 void ec_decode_f32_wd_avx2(const ec_winding_plan *plan, const uint32_t *indices, size_t n, float *out) {
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
