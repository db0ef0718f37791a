/* Activations as int8, and products of panels of integers, for aarch64 and ARMv7. Floats are zero or normal, but for
 * activations that count as zero, so flushing subnormals, as ARMv7 does, changes nothing. */
#include "kernels/neon.h"

#if defined(EC_NEON)
#define LEAST 0x1p-60f /* as of integers_scalar.c */
#define NOT_FINITE UINT32_C(0x7F800000)
#define VECTORS (EC_BLOCK / 4)

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* To the nearest integers, of equally near ones to the even one: |x| is far below 2^22. */
ALWAYS int32x4_t nearest(float32x4_t x) {
    float32x4_t shifted = vaddq_f32(x, vdupq_n_f32(0x1.8p+23f));
    return vsubq_s32(vreinterpretq_s32_f32(shifted), vdupq_n_s32(0x4B400000));
}

/* The largest magnitude's bits: magnitudes are ordered as their bits are, NaN above all. */
ALWAYS uint32_t find_largest(const float32x4_t *x) {
    uint32x4_t largest = vdupq_n_u32(0), magnitude = vdupq_n_u32(0x7FFFFFFF);
    for (int i = 0; i < VECTORS; i++) {
        largest = vmaxq_u32(largest, vandq_u32(vreinterpretq_u32_f32(x[i]), magnitude));
    }
    uint32x2_t two = vmax_u32(vget_low_u32(largest), vget_high_u32(largest));
    return vget_lane_u32(vpmax_u32(two, two), 0);
}

/* A whole block. */
static void quantise_block(const float *from, int8_t *values, float *scale, int32_t *sum) {
    float32x4_t x[VECTORS];
    for (int i = 0; i < VECTORS; i++) x[i] = vld1q_f32(from + 4 * i);
    uint32_t largest = find_largest(x);
    float magnitude = float_of(largest);
    *scale = largest >= NOT_FINITE ? float_of(UINT32_C(0x7FC00000)) : 0.0f;
    *sum = 0;
    if (largest >= NOT_FINITE || magnitude < LEAST) {
        memset(values, 0, EC_BLOCK);
        return;
    }
    *scale = magnitude / 127.0f;
    float32x4_t inverse = vdupq_n_f32(127.0f / magnitude);
    int32x4_t sums = vdupq_n_s32(0);
    for (int i = 0; i < VECTORS; i += 2) {
        int32x4_t low = nearest(vmulq_f32(x[i], inverse)), high = nearest(vmulq_f32(x[i + 1], inverse));
        sums = vaddq_s32(sums, vaddq_s32(low, high));
        vst1_s8(values + 4 * i, vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
    }
    int32x2_t two = vadd_s32(vget_low_s32(sums), vget_high_s32(sums));
    *sum = vget_lane_s32(vpadd_s32(two, two), 0);
}

void EC_NEON_NAME(quantise_i8)(const float *x, size_t n, int8_t *values, float *scales, int32_t *sums) {
    size_t whole = n / EC_BLOCK, left = n % EC_BLOCK;
    for (size_t b = 0; b < whole; b++) quantise_block(x + b * EC_BLOCK, values + b * EC_BLOCK, scales + b, sums + b);
    if (left == 0) return;
    float last[EC_BLOCK] = {0};
    memcpy(last, x + whole * EC_BLOCK, left * sizeof *x);
    quantise_block(last, values + whole * EC_BLOCK, scales + whole, sums + whole);
}

#define DOT_ROWS 8 /* at a time, two vectors of a tile */

/* The scales of four rows of a block. */
ALWAYS float32x4_t load_scales(const ec_band_i8 *band, size_t token, size_t b, size_t row) {
    float32x4_t scales = vdupq_n_f32(band->x_scales[token * band->scale_stride + b]);
    if (band->w_scales == NULL) return scales;
    return vmulq_f32(scales, vld1q_f32(band->w_scales + b * EC_BAND_ROWS + row));
}

/* DOT_ROWS rows of some tokens, one or two; inlined for each, so that sums stay in registers. Products of two
 * tiles are summed in 16 bits, which they fit: magnitudes are at most 128 and 127. */
ALWAYS void multiply_bytes(const ec_band_i8 *band, size_t row, size_t token, size_t n_tokens) {
    float32x4_t sums[2][2];
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t i = 0; i < 2; i++) sums[t][i] = vld1q_f32(band->sums + (token + t) * EC_BAND_ROWS + row + 4 * i);
    }
    for (size_t b = 0; b < band->n_blocks; b++) {
        const int8_t *w = band->w + b * EC_BLOCK_WEIGHTS + row * EC_STRIP_COLUMNS;
        int32x4_t isums[2][4]; /* a row in two lanes each */
        for (size_t t = 0; t < n_tokens; t++) {
            for (size_t i = 0; i < 4; i++) isums[t][i] = vdupq_n_s32(0);
        }
        for (size_t tile = 0; tile < EC_BLOCK_TILES; tile += 2, w += 2 * EC_TILE_WEIGHTS) {
            for (size_t t = 0; t < n_tokens; t++) {
                const int8_t *x = band->x + (token + t) * band->x_stride + b * EC_BLOCK + tile * EC_STRIP_COLUMNS;
                int8x8_t first = vget_low_s8(load_columns(x)), second = vget_low_s8(load_columns(x + EC_STRIP_COLUMNS));
                for (size_t i = 0; i < 4; i++) {
                    int16x8_t products = vmull_s8(vld1_s8(w + 8 * i), first);
                    products = vmlal_s8(products, vld1_s8(w + EC_TILE_WEIGHTS + 8 * i), second);
                    isums[t][i] = vpadalq_s16(isums[t][i], products);
                }
            }
        }
        for (size_t t = 0; t < n_tokens; t++) {
            for (size_t i = 0; i < 2; i++) {
                int32x4_t rows = pair_sums(isums[t][2 * i], isums[t][2 * i + 1]);
                sums[t][i] = add_scaled(sums[t][i], rows, load_scales(band, token + t, b, row + 4 * i));
            }
        }
    }
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t i = 0; i < 2; i++) vst1q_f32(band->sums + (token + t) * EC_BAND_ROWS + row + 4 * i, sums[t][i]);
    }
}

void EC_NEON_NAME(dots_i8)(const ec_band_i8 *band) {
    for (size_t row = 0; row < EC_BAND_ROWS; row += DOT_ROWS) {
        size_t token = 0;
        for (; token + 2 <= band->n_tokens; token += 2) multiply_bytes(band, row, token, 2);
        if (token < band->n_tokens) multiply_bytes(band, row, token, 1);
    }
}

/* Four rows of one token. */
static void multiply_words(const ec_band_i8 *band, size_t row, size_t token) {
    float *sums = band->sums + token * EC_BAND_ROWS + row;
    float32x4_t total = vld1q_f32(sums);
    for (size_t b = 0; b < band->n_blocks; b++) {
        const int16_t *w = band->w16 + b * EC_BLOCK_WEIGHTS + row * EC_STRIP_COLUMNS;
        const int8_t *x = band->x + token * band->x_stride + b * EC_BLOCK;
        int32x4_t isums[4]; /* one row's columns each */
        for (size_t i = 0; i < 4; i++) isums[i] = vdupq_n_s32(0);
        for (size_t tile = 0; tile < EC_BLOCK_TILES; tile += 2, w += 2 * EC_TILE_WEIGHTS) {
            int16x8_t columns = vmovl_s8(vld1_s8(x + tile * EC_STRIP_COLUMNS));
            for (size_t i = 0; i < 4; i++) {
                isums[i] = vmlal_s16(isums[i], vld1_s16(w + 4 * i), vget_low_s16(columns));
                isums[i] = vmlal_s16(isums[i], vld1_s16(w + EC_TILE_WEIGHTS + 4 * i), vget_high_s16(columns));
            }
        }
        int32x4_t rows = pair_sums(pair_sums(isums[0], isums[1]), pair_sums(isums[2], isums[3]));
        total = add_scaled(total, rows, load_scales(band, token, b, row));
    }
    vst1q_f32(sums, total);
}

void EC_NEON_NAME(dots_i16)(const ec_band_i8 *band) {
    for (size_t row = 0; row < EC_BAND_ROWS; row += 4) {
        for (size_t token = 0; token < band->n_tokens; token++) multiply_words(band, row, token);
    }
}
#endif
