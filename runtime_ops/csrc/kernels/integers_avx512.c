/* Products with int8 activations for x86-64 with AVX-512: a band's 16 rows are the dwords of a register. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")))
#define ALWAYS static inline __attribute__((always_inline))
#define BIAS 128        /* vpdpbusd wants unsigned weights: they are made so much larger */
#define TOKENS 4        /* multiplied at a time: with 8 or 12, compilers run out of registers for addresses */
#define WIDE_TOKENS 8   /* with int16 weights, two registers a token for a block */
#define NOT_FINITE 0x7F800000
#define LEAST 0x21800000 /* 2^-60 */

/* Adds a block's sums, times its scales, to the rows'. */
AVX512 ALWAYS __m512 add_block(const ec_band_i8 *band, size_t token, size_t b, __m512i isums, __m512 sums) {
    __m512 scales = _mm512_set1_ps(band->x_scales[token * band->scale_stride + b]);
    if (band->w_scales != NULL) scales = _mm512_mul_ps(scales, _mm512_loadu_ps(band->w_scales + b * EC_BAND_ROWS));
    return _mm512_add_ps(sums, _mm512_mul_ps(_mm512_cvtepi32_ps(isums), scales));
}

/* n tokens, a constant, so that all sums stay in registers. */
AVX512 ALWAYS void multiply(const ec_band_i8 *band, size_t token, size_t n) {
    const __m512i bias = _mm512_set1_epi8((char)BIAS);
    __m512 sums[TOKENS];
    for (size_t t = 0; t < n; t++) sums[t] = _mm512_loadu_ps(band->sums + (token + t) * EC_BAND_ROWS);
    for (size_t b = 0; b < band->n_blocks; b++) {
        const int8_t *w = band->w + b * EC_BLOCK_WEIGHTS, *x = band->x + token * band->x_stride + b * EC_BLOCK;
        __m512i isums[TOKENS];
        for (size_t t = 0; t < n; t++) {
            isums[t] = _mm512_set1_epi32(-BIAS * band->x_sums[(token + t) * band->scale_stride + b]);
        }
        for (size_t i = 0; i < EC_BLOCK_TILES; i++) {
            __m512i weights = _mm512_xor_si512(_mm512_loadu_si512(w + i * EC_TILE_WEIGHTS), bias);
            for (size_t t = 0; t < n; t++) {
                const uint8_t *inputs = (const uint8_t *)x + t * band->x_stride + i * EC_STRIP_COLUMNS;
                isums[t] = _mm512_dpbusd_epi32(isums[t], weights, _mm512_set1_epi32((int)ec_load_u32(inputs)));
            }
        }
        for (size_t t = 0; t < n; t++) sums[t] = add_block(band, token + t, b, isums[t], sums[t]);
    }
    for (size_t t = 0; t < n; t++) _mm512_storeu_ps(band->sums + (token + t) * EC_BAND_ROWS, sums[t]);
}

AVX512 void ec_dots_i8_avx512(const ec_band_i8 *band) {
    size_t token = 0;
    for (; token + TOKENS <= band->n_tokens; token += TOKENS) multiply(band, token, TOKENS);
    for (; token + 2 <= band->n_tokens; token += 2) multiply(band, token, 2);
    for (; token < band->n_tokens; token++) multiply(band, token, 1);
}

/* A block of n tokens, a constant. Weights of a tile are two registers of eight rows, two dwords a row. */
AVX512 ALWAYS void multiply_wide(const ec_band_i8 *band, size_t token, size_t b, size_t n) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const int8_t *x = band->x + token * band->x_stride + b * EC_BLOCK;
    const int16_t *w = band->w16 + b * EC_BLOCK_WEIGHTS;
    int16_t inputs[WIDE_TOKENS][EC_BLOCK];
    __m512i low[WIDE_TOKENS], high[WIDE_TOKENS];
    for (size_t t = 0; t < n; t++) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)(x + t * band->x_stride));
        _mm512_storeu_si512(inputs[t], _mm512_cvtepi8_epi16(bytes));
        low[t] = high[t] = _mm512_setzero_si512();
    }
    for (size_t i = 0; i < EC_BLOCK_TILES; i++) {
        __m512i first = _mm512_loadu_si512(w + i * EC_TILE_WEIGHTS);
        __m512i second = _mm512_loadu_si512(w + i * EC_TILE_WEIGHTS + EC_TILE_WEIGHTS / 2);
        for (size_t t = 0; t < n; t++) {
            uint64_t four = ec_load_u64((const uint8_t *)(inputs[t] + i * EC_STRIP_COLUMNS));
            low[t] = _mm512_dpwssd_epi32(low[t], first, _mm512_set1_epi64((int64_t)four));
            high[t] = _mm512_dpwssd_epi32(high[t], second, _mm512_set1_epi64((int64_t)four));
        }
    }
    for (size_t t = 0; t < n; t++) {
        float *to = band->sums + (token + t) * EC_BAND_ROWS;
        __m512i isums = _mm512_add_epi32(_mm512_permutex2var_epi32(low[t], even, high[t]),
                                         _mm512_permutex2var_epi32(low[t], odd, high[t]));
        _mm512_storeu_ps(to, add_block(band, token + t, b, isums, _mm512_loadu_ps(to)));
    }
}

AVX512 void ec_dots_i16_avx512(const ec_band_i8 *band) {
    for (size_t b = 0; b < band->n_blocks; b++) {
        size_t token = 0;
        for (; token + WIDE_TOKENS <= band->n_tokens; token += WIDE_TOKENS) multiply_wide(band, token, b, WIDE_TOKENS);
        for (; token + 2 <= band->n_tokens; token += 2) multiply_wide(band, token, b, 2);
        for (; token < band->n_tokens; token++) multiply_wide(band, token, b, 1);
    }
}

/* n numbers of a block, at most EC_BLOCK. */
AVX512 ALWAYS void quantise_block(const float *x, size_t n, int8_t *values, float *scale, int32_t *sum) {
    __mmask32 given = n < EC_BLOCK ? (UINT32_C(1) << n) - 1 : UINT32_MAX;
    __m512 first = _mm512_maskz_loadu_ps((__mmask16)given, x);
    __m512 second = _mm512_maskz_loadu_ps((__mmask16)(given >> 16), x + EC_BLOCK / 2);
    /* Magnitudes are ordered as their bits are, NaN above all. */
    __m512i bits[2] = {_mm512_castps_si512(_mm512_abs_ps(first)), _mm512_castps_si512(_mm512_abs_ps(second))};
    int32_t largest = _mm512_reduce_max_epi32(_mm512_max_epi32(bits[0], bits[1]));
    __m512i integers[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    uint32_t nan = UINT32_C(0x7FC00000);
    *scale = 0;
    if (largest >= NOT_FINITE) {
        memcpy(scale, &nan, sizeof nan);
    } else if (largest >= LEAST) {
        float magnitude;
        memcpy(&magnitude, &largest, sizeof magnitude);
        *scale = magnitude / 127.0f;
        __m512 inverse = _mm512_set1_ps(127.0f / magnitude);
        integers[0] = _mm512_cvtps_epi32(_mm512_mul_ps(first, inverse));
        integers[1] = _mm512_cvtps_epi32(_mm512_mul_ps(second, inverse));
    }
    _mm_storeu_si128((__m128i *)(void *)values, _mm512_cvtepi32_epi8(integers[0]));
    _mm_storeu_si128((__m128i *)(void *)(values + EC_BLOCK / 2), _mm512_cvtepi32_epi8(integers[1]));
    *sum = _mm512_reduce_add_epi32(_mm512_add_epi32(integers[0], integers[1]));
}

AVX512 void ec_quantise_i8_avx512(const float *x, size_t n, int8_t *values, float *scales, int32_t *sums) {
    for (size_t b = 0; b * EC_BLOCK < n; b++) {
        size_t left = n - b * EC_BLOCK;
        if (left > EC_BLOCK) left = EC_BLOCK;
        quantise_block(x + b * EC_BLOCK, left, values + b * EC_BLOCK, scales + b, sums + b);
    }
}
#endif
