/* Products of panels of int8 weights for aarch64 with dot products of bytes. */
#include "kernels/kernels.h"

#if defined(EC_HAVE_NEON_DOTPROD)
#define EC_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#include "kernels/neon.h"

#define ROWS 8    /* at a time, two vectors of a tile */
#define TOKENS 4

/* The products of a tile's eight rows with some tokens' activations, four columns in lane `tile` of each. */
#define ADD_TILE(tile)                                                                                         \
    for (size_t i = 0; i < 2; i++) {                                                                           \
        int8x16_t weights = vld1q_s8(w + (tile) * EC_TILE_WEIGHTS + 16 * i);                                   \
        for (size_t t = 0; t < n_tokens; t++) isums[t][i] = vdotq_laneq_s32(isums[t][i], weights, x[t], tile); \
    }

/* ROWS rows of n_tokens, at most TOKENS; inlined for each number, so that sums stay in registers. */
ALWAYS void multiply(const ec_band_i8 *band, size_t row, size_t token, size_t n_tokens) {
    float32x4_t sums[TOKENS][2];
    float *out = band->sums + token * EC_BAND_ROWS + row;
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t i = 0; i < 2; i++) sums[t][i] = vld1q_f32(out + t * EC_BAND_ROWS + 4 * i);
    }
    for (size_t b = 0; b < band->n_blocks; b++) {
        const int8_t *inputs = band->x + token * band->x_stride + b * EC_BLOCK;
        const float *scales = band->x_scales + token * band->scale_stride + b;
        int32x4_t isums[TOKENS][2];
        int8x16_t x[TOKENS];
        for (size_t t = 0; t < n_tokens; t++) isums[t][0] = isums[t][1] = vdupq_n_s32(0);
        for (size_t half = 0; half < 2; half++) {
            const int8_t *w = band->w + b * EC_BLOCK_WEIGHTS + half * 4 * EC_TILE_WEIGHTS + row * EC_STRIP_COLUMNS;
            for (size_t t = 0; t < n_tokens; t++) x[t] = vld1q_s8(inputs + t * band->x_stride + 16 * half);
            ADD_TILE(0)
            ADD_TILE(1)
            ADD_TILE(2)
            ADD_TILE(3)
        }
        for (size_t t = 0; t < n_tokens; t++) {
            for (size_t i = 0; i < 2; i++) {
                float32x4_t scale = vdupq_n_f32(scales[t * band->scale_stride]);
                if (band->w_scales != NULL) {
                    scale = vmulq_f32(scale, vld1q_f32(band->w_scales + b * EC_BAND_ROWS + row + 4 * i));
                }
                sums[t][i] = add_scaled(sums[t][i], isums[t][i], scale);
            }
        }
    }
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t i = 0; i < 2; i++) vst1q_f32(out + t * EC_BAND_ROWS + 4 * i, sums[t][i]);
    }
}

EC_TARGET void ec_dots_i8_neon_dotprod(const ec_band_i8 *band) {
    for (size_t row = 0; row < EC_BAND_ROWS; row += ROWS) {
        size_t token = 0;
        for (; token + TOKENS <= band->n_tokens; token += TOKENS) multiply(band, row, token, TOKENS);
        switch (band->n_tokens - token) {
            case 3: multiply(band, row, token, 3); break;
            case 2: multiply(band, row, token, 2); break;
            case 1: multiply(band, row, token, 1); break;
            default: break;
        }
    }
}
#endif
