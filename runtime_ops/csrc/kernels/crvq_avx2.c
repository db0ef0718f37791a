/* Codebook kernels for x86-64 with AVX2: eight weights at a time. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

/* Eight entries from p on, or four from p and four from q on, as int32. */
AVX2 static inline __attribute__((always_inline)) __m256i load_entries(const uint8_t *p, const uint8_t *q, int wide) {
    if (wide) {
        __m128i low = _mm_loadl_epi64((const __m128i *)(const void *)p);
        __m128i high = _mm_loadl_epi64((const __m128i *)(const void *)q);
        return _mm256_cvtepi16_epi32(_mm_unpacklo_epi64(low, high));
    }
    __m128i low = _mm_cvtsi32_si128((int)ec_load_u32(p)), high = _mm_cvtsi32_si128((int)ec_load_u32(q));
    return _mm256_cvtepi8_epi32(_mm_unpacklo_epi32(low, high));
}

AVX2 static inline __attribute__((always_inline)) __m256i eight_entries(const uint8_t *p, int wide) {
    if (wide) return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

AVX2 static inline __m256i shifted(__m256i entries, uint32_t shift) {
    return _mm256_sll_epi32(entries, _mm_cvtsi32_si128((int)shift));
}

/* Groups of 8 weights that have one code. Inlined once per case, as below. */
AVX2 static inline __attribute__((always_inline)) void decode_single_eights(
    const ec_crvq_plan *plan, const uint8_t *codes, size_t n, __m256 scale, int wide, float *out) {
    const uint8_t *codebook = plan->codebooks[0];
    __m128i shift = _mm_cvtsi32_si128((int)plan->shifts[0]);
    for (size_t i = 0; i < n; i++, out += 8) {
        __m256i entries = _mm256_sll_epi32(eight_entries(codebook + ((size_t)codes[i] << (3 + wide)), wide), shift);
        _mm256_storeu_ps(out, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(entries)));
    }
}

/* Groups of 8 or 16 weights. */
AVX2 static inline __attribute__((always_inline)) void decode_eights(
    const ec_crvq_plan *plan, const uint8_t *const *codes, uint32_t n_stages, size_t n, __m256 scale, int wide,
    float *out) {
    size_t group_bytes = (size_t)plan->dim << wide;
    for (size_t i = 0; i < n; i++) {
        for (uint32_t d = 0; d < plan->dim; d += 8, out += 8) {
            __m256i sum = _mm256_setzero_si256();
            for (uint32_t k = 0; k < n_stages; k++) {
                const uint8_t *codeword = plan->codebooks[k] + codes[k][i] * group_bytes + ((size_t)d << wide);
                sum = _mm256_add_epi32(sum, shifted(eight_entries(codeword, wide), plan->shifts[k]));
            }
            _mm256_storeu_ps(out, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sum)));
        }
    }
}

/* Pairs of groups of 4 weights. */
AVX2 static inline __attribute__((always_inline)) void decode_fours(
    const ec_crvq_plan *plan, const uint8_t *const *codes, uint32_t n_stages, size_t n, __m256 scale, int wide,
    float *out) {
    for (size_t i = 0; i < n; i += 2, out += 8) {
        __m256i sum = _mm256_setzero_si256();
        for (uint32_t k = 0; k < n_stages; k++) {
            const uint8_t *p = plan->codebooks[k] + ((size_t)codes[k][i] << (2 + wide));
            const uint8_t *q = plan->codebooks[k] + ((size_t)codes[k][i + 1] << (2 + wide));
            sum = _mm256_add_epi32(sum, shifted(load_entries(p, q, wide), plan->shifts[k]));
        }
        _mm256_storeu_ps(out, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sum)));
    }
}

AVX2 void ec_decode_f32_cb_avx2(const ec_crvq_plan *plan, const uint8_t *const *codes, uint32_t n_stages, size_t n,
                                float scale, float *out) {
    __m256 scales = _mm256_set1_ps(scale);
    size_t done = 0;
    if (plan->dim == 8 && n_stages == 1) {
        done = n;
        if (plan->wide) {
            decode_single_eights(plan, codes[0], n, scales, 1, out);
        } else {
            decode_single_eights(plan, codes[0], n, scales, 0, out);
        }
    } else if (plan->dim >= 8) {
        done = n;
        if (plan->wide) {
            decode_eights(plan, codes, n_stages, n, scales, 1, out);
        } else {
            decode_eights(plan, codes, n_stages, n, scales, 0, out);
        }
    } else if (plan->dim == 4) {
        done = n - n % 2;
        if (plan->wide) {
            decode_fours(plan, codes, n_stages, done, scales, 1, out);
        } else {
            decode_fours(plan, codes, n_stages, done, scales, 0, out);
        }
    }
    if (done == n) return;
    const uint8_t *left[EC_MAX_STAGES];
    for (uint32_t k = 0; k < n_stages; k++) left[k] = codes[k] + done;
    ec_decode_f32_cb_scalar(plan, left, n_stages, n - done, scale, out + done * plan->dim);
}

AVX2 void ec_table_f32_cb_avx2(const float *codewords, const float *x, float *table) {
    __m256 factors[EC_TABLE_DIM];
    for (size_t d = 0; d < EC_TABLE_DIM; d++) factors[d] = _mm256_set1_ps(x[d]);
    for (size_t c = 0; c < EC_TABLE_SIZE; c += 8) {
        __m256 sum = _mm256_mul_ps(factors[0], _mm256_loadu_ps(codewords + c));
        for (size_t d = 1; d < EC_TABLE_DIM; d++) {
            __m256 column = _mm256_loadu_ps(codewords + d * EC_TABLE_SIZE + c);
            sum = _mm256_add_ps(sum, _mm256_mul_ps(factors[d], column));
        }
        _mm256_storeu_ps(table + c, sum);
    }
}
#endif
