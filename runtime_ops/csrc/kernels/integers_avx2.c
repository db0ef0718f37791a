/* Products with int8 activations for x86-64 with AVX2: eight of a band's rows are the dwords of a register. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define ALWAYS static inline __attribute__((always_inline))
#define ROWS 8
#define TOKENS 4        /* multiplied at a time: sums of a block that stay in registers */
#define WIDE_TOKENS 2   /* with int16 weights, which take twice as many */
#define NOT_FINITE 0x7F800000
#define LEAST 0x21800000 /* 2^-60 */

AVX2 ALWAYS __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

/* Adds a block's sums of eight rows, times their scales, to the rows'. */
AVX2 ALWAYS void add_block(const ec_band_i8 *band, size_t token, size_t b, size_t row, __m256i isums) {
    __m256 scales = _mm256_set1_ps(band->x_scales[token * band->scale_stride + b]);
    if (band->w_scales != NULL) {
        scales = _mm256_mul_ps(scales, _mm256_loadu_ps(band->w_scales + b * EC_BAND_ROWS + row));
    }
    float *sums = band->sums + token * EC_BAND_ROWS + row;
    _mm256_storeu_ps(sums, _mm256_add_ps(_mm256_loadu_ps(sums), _mm256_mul_ps(_mm256_cvtepi32_ps(isums), scales)));
}

/* A block of n tokens, a constant. Magnitudes of weights, up to 128, are the unsigned side; their signs go to
 * the inputs. Pairs of products, up to 2 * 128 * 127, fit 16 bits. */
AVX2 ALWAYS void multiply(const ec_band_i8 *band, size_t token, size_t b, size_t n) {
    const __m256i ones = _mm256_set1_epi16(1);
    const uint8_t *x = (const uint8_t *)band->x + token * band->x_stride + b * EC_BLOCK;
    for (size_t row = 0; row < EC_BAND_ROWS; row += ROWS) {
        const int8_t *w = band->w + b * EC_BLOCK_WEIGHTS + row * EC_STRIP_COLUMNS;
        __m256i isums[TOKENS];
        for (size_t t = 0; t < n; t++) isums[t] = _mm256_setzero_si256();
        for (size_t i = 0; i < EC_BLOCK_TILES; i++) {
            __m256i weights = load(w + i * EC_TILE_WEIGHTS), magnitudes = _mm256_abs_epi8(weights);
            for (size_t t = 0; t < n; t++) {
                uint32_t four = ec_load_u32(x + t * band->x_stride + i * EC_STRIP_COLUMNS);
                __m256i inputs = _mm256_sign_epi8(_mm256_set1_epi32((int)four), weights);
                __m256i pairs = _mm256_maddubs_epi16(magnitudes, inputs);
                isums[t] = _mm256_add_epi32(isums[t], _mm256_madd_epi16(pairs, ones));
            }
        }
        for (size_t t = 0; t < n; t++) add_block(band, token + t, b, row, isums[t]);
    }
}

AVX2 void ec_dots_i8_avx2(const ec_band_i8 *band) {
    size_t token = 0;
    for (; token + TOKENS <= band->n_tokens; token += TOKENS) {
        for (size_t b = 0; b < band->n_blocks; b++) multiply(band, token, b, TOKENS);
    }
    for (; token < band->n_tokens; token++) {
        for (size_t b = 0; b < band->n_blocks; b++) multiply(band, token, b, 1);
    }
}

/* A block of n tokens, a constant. A register has four rows, two dwords for each. */
AVX2 ALWAYS void multiply_wide(const ec_band_i8 *band, size_t token, size_t b, size_t n) {
    const int8_t *x = band->x + token * band->x_stride + b * EC_BLOCK;
    int16_t inputs[WIDE_TOKENS][EC_BLOCK];
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < EC_BLOCK; i += 16) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(x + t * band->x_stride + i));
            _mm256_storeu_si256((__m256i *)(void *)(inputs[t] + i), _mm256_cvtepi8_epi16(bytes));
        }
    }
    for (size_t row = 0; row < EC_BAND_ROWS; row += ROWS) {
        const int16_t *w = band->w16 + b * EC_BLOCK_WEIGHTS + row * EC_STRIP_COLUMNS;
        __m256i isums[WIDE_TOKENS][2];
        for (size_t t = 0; t < n; t++) isums[t][0] = isums[t][1] = _mm256_setzero_si256();
        for (size_t i = 0; i < EC_BLOCK_TILES; i++) {
            __m256i upper = load(w + i * EC_TILE_WEIGHTS), lower = load(w + i * EC_TILE_WEIGHTS + 16);
            for (size_t t = 0; t < n; t++) {
                uint64_t four = ec_load_u64((const uint8_t *)(inputs[t] + i * EC_STRIP_COLUMNS));
                __m256i columns = _mm256_set1_epi64x((int64_t)four);
                isums[t][0] = _mm256_add_epi32(isums[t][0], _mm256_madd_epi16(upper, columns));
                isums[t][1] = _mm256_add_epi32(isums[t][1], _mm256_madd_epi16(lower, columns));
            }
        }
        for (size_t t = 0; t < n; t++) {
            __m256i mixed = _mm256_hadd_epi32(isums[t][0], isums[t][1]); /* rows 0, 1, 4, 5, 2, 3, 6, 7 */
            add_block(band, token + t, b, row, _mm256_permute4x64_epi64(mixed, 0xD8));
        }
    }
}

AVX2 void ec_dots_i16_avx2(const ec_band_i8 *band) {
    for (size_t b = 0; b < band->n_blocks; b++) {
        size_t token = 0;
        for (; token + WIDE_TOKENS <= band->n_tokens; token += WIDE_TOKENS) multiply_wide(band, token, b, WIDE_TOKENS);
        for (; token < band->n_tokens; token++) multiply_wide(band, token, b, 1);
    }
}

AVX2 ALWAYS int32_t reduce_max(__m256i x) {
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
}

AVX2 ALWAYS int32_t reduce_add(__m256i x) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
}

/* A whole block. */
AVX2 static void quantise_block(const float *x, int8_t *values, float *scale, int32_t *sum) {
    const __m256i magnitude_bits = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i integers[4], most = _mm256_setzero_si256();
    /* Magnitudes are ordered as their bits are, NaN above all. */
    for (int i = 0; i < 4; i++) most = _mm256_max_epi32(most, _mm256_and_si256(load(x + 8 * i), magnitude_bits));
    int32_t largest = reduce_max(most);
    uint32_t nan = UINT32_C(0x7FC00000);
    *scale = 0;
    *sum = 0;
    if (largest >= NOT_FINITE) memcpy(scale, &nan, sizeof nan);
    if (largest >= NOT_FINITE || largest < LEAST) {
        memset(values, 0, EC_BLOCK);
        return;
    }
    float magnitude;
    memcpy(&magnitude, &largest, sizeof magnitude);
    *scale = magnitude / 127.0f;
    __m256 inverse = _mm256_set1_ps(127.0f / magnitude);
    for (int i = 0; i < 4; i++) integers[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse));
    __m256i sums[2] = {_mm256_add_epi32(integers[0], integers[1]), _mm256_add_epi32(integers[2], integers[3])};
    *sum = reduce_add(_mm256_add_epi32(sums[0], sums[1]));
    __m256i low = _mm256_packs_epi32(integers[0], integers[1]), high = _mm256_packs_epi32(integers[2], integers[3]);
    __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), in_order);
    _mm256_storeu_si256((__m256i *)(void *)values, bytes);
}

AVX2 void ec_quantise_i8_avx2(const float *x, size_t n, int8_t *values, float *scales, int32_t *sums) {
    size_t b = 0;
    for (; (b + 1) * EC_BLOCK <= n; b++) quantise_block(x + b * EC_BLOCK, values + b * EC_BLOCK, scales + b, sums + b);
    if (b * EC_BLOCK == n) return;
    float last[EC_BLOCK] = {0};
    memcpy(last, x + b * EC_BLOCK, (n - b * EC_BLOCK) * sizeof *x);
    quantise_block(last, values + b * EC_BLOCK, scales + b, sums + b);
}
#endif
