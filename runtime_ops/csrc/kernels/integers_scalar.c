/* Products with int8 activations in plain C: what every machine runs, and the shortest reading of them. */
#include "kernels/kernels.h"

#define LEAST 0x1p-60f /* blocks below are zeros, so that all that comes of scales is normal */
#define NOT_FINITE UINT32_C(0x7F800000)

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* To the nearest integer, of equally near ones to the even one: |x| is far below 2^22. */
static int32_t nearest(float x) {
    float shifted = x + 0x1.8p+23f;
    int32_t bits;
    memcpy(&bits, &shifted, 4);
    return bits - 0x4B400000;
}

static void quantise_block(const float *x, size_t n, int8_t *values, float *scale, int32_t *sum) {
    uint32_t largest = 0; /* magnitudes are ordered as their bits are, NaN above all */
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7FFFFFFF;
        if (bits > largest) largest = bits;
    }
    memset(values, 0, EC_BLOCK);
    *sum = 0;
    float magnitude = float_of(largest);
    *scale = largest >= NOT_FINITE ? float_of(UINT32_C(0x7FC00000)) : 0.0f;
    if (largest >= NOT_FINITE || magnitude < LEAST) return;
    *scale = magnitude / 127.0f;
    float inverse = 127.0f / magnitude;
    for (size_t i = 0; i < n; i++) {
        values[i] = (int8_t)nearest(x[i] * inverse);
        *sum += values[i];
    }
}

void ec_quantise_i8_scalar(const float *x, size_t n, int8_t *values, float *scales, int32_t *sums) {
    for (size_t b = 0; b * EC_BLOCK < n; b++) {
        size_t left = n - b * EC_BLOCK;
        quantise_block(x + b * EC_BLOCK, left < EC_BLOCK ? left : EC_BLOCK, values + b * EC_BLOCK, scales + b, sums + b);
    }
}

void ec_decode_i8_tr_scalar(const ec_trellis_plan *plan, const uint8_t *codes, size_t n, int8_t *out) {
    uint32_t mask = (UINT32_C(1) << plan->state_bits) - 1, shift = 32 - plan->table_bits;
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < EC_TILE_WEIGHTS; i++) {
            const uint8_t *byte = codes + (plan->bits[i] >> 3);
            uint32_t window = byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16;
            uint32_t state = window >> (plan->bits[i] & 7) & mask;
            out[i] = (int8_t)plan->table[(state ^ state >> plan->fold) * plan->multipliers[i % 2] >> shift];
        }
        codes += plan->tile_bytes;
        out += EC_TILE_WEIGHTS;
    }
}

/* Adds a block's products to the rows' sums. */
static void add_block(const ec_band_i8 *band, size_t token, size_t b, const int32_t *isums) {
    float x_scale = band->x_scales[token * band->scale_stride + b];
    float *sums = band->sums + token * EC_BAND_ROWS;
    for (size_t r = 0; r < EC_BAND_ROWS; r++) {
        float scale = band->w_scales != NULL ? x_scale * band->w_scales[b * EC_BAND_ROWS + r] : x_scale;
        sums[r] += (float)isums[r] * scale;
    }
}

void ec_dots_i8_scalar(const ec_band_i8 *band) {
    for (size_t t = 0; t < band->n_tokens; t++) {
        for (size_t b = 0; b < band->n_blocks; b++) {
            const int8_t *w = band->w + b * EC_BLOCK_WEIGHTS, *x = band->x + t * band->x_stride + b * EC_BLOCK;
            int32_t isums[EC_BAND_ROWS] = {0};
            for (size_t i = 0; i < EC_BLOCK_WEIGHTS; i++) {
                isums[i / EC_STRIP_COLUMNS % EC_BAND_ROWS] +=
                    w[i] * x[i / EC_TILE_WEIGHTS * EC_STRIP_COLUMNS + i % EC_STRIP_COLUMNS];
            }
            add_block(band, t, b, isums);
        }
    }
}

void ec_dots_i16_scalar(const ec_band_i8 *band) {
    for (size_t t = 0; t < band->n_tokens; t++) {
        for (size_t b = 0; b < band->n_blocks; b++) {
            const int16_t *w = band->w16 + b * EC_BLOCK_WEIGHTS;
            const int8_t *x = band->x + t * band->x_stride + b * EC_BLOCK;
            int32_t isums[EC_BAND_ROWS] = {0};
            for (size_t i = 0; i < EC_BLOCK_WEIGHTS; i++) {
                isums[i / EC_STRIP_COLUMNS % EC_BAND_ROWS] +=
                    w[i] * x[i / EC_TILE_WEIGHTS * EC_STRIP_COLUMNS + i % EC_STRIP_COLUMNS];
            }
            add_block(band, t, b, isums);
        }
    }
}

static void multiply_band(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band) {
    int8_t w[EC_BLOCK_WEIGHTS];
    ec_band_i8 block = *band;
    block.w = w;
    block.n_blocks = 1;
    for (size_t b = 0; b < band->n_blocks; b++) {
        ec_decode_i8_tr_scalar(plan, codes, EC_BLOCK_TILES, w);
        ec_dots_i8_scalar(&block);
        codes += EC_BLOCK_TILES * plan->tile_bytes;
        block.x += EC_BLOCK;
        block.x_scales++;
        block.x_sums++;
        if (block.w_scales != NULL) block.w_scales += EC_BAND_ROWS;
    }
}

void ec_gemv_i8_tr_scalar(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band, size_t n_bands) {
    ec_band_i8 one = *band;
    for (size_t i = 0; i < n_bands; i++, one.sums += EC_BAND_ROWS) {
        multiply_band(plan, codes + i * plan->band_bytes, &one);
    }
}
