/* Products of panels of int8 weights for aarch64 with products of small matrices: two rows of eight weights with two
 * tokens at a time. */
#include "kernels/kernels.h"

#if defined(EC_HAVE_NEON_I8MM)
#define EC_TARGET __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))
#include "kernels/neon.h"

#define PAIRS 4    /* of rows, at a time */
#define TOKENS 4
#define BLOCKS 16  /* whose weights are laid out at a time: 8 KiB */

/* Weights of BLOCKS blocks: for each pair of rows four vectors, with eight columns of the one, then of the other. */
typedef int8_t paired[BLOCKS][EC_BAND_ROWS / 2][4][16];

EC_TARGET static void lay_out(const int8_t *w, size_t n_blocks, int8_t (*out)[EC_BAND_ROWS / 2][4][16]) {
    for (size_t b = 0; b < n_blocks; b++) {
        for (size_t i = 0; i < 4; i++, w += 2 * EC_TILE_WEIGHTS) {
            for (size_t q = 0; q < 4; q++) {
                int32x4_t first = vreinterpretq_s32_s8(vld1q_s8(w + 16 * q));
                int32x4_t second = vreinterpretq_s32_s8(vld1q_s8(w + EC_TILE_WEIGHTS + 16 * q));
                vst1q_s8(out[b][2 * q][i], vreinterpretq_s8_s32(vzip1q_s32(first, second)));
                vst1q_s8(out[b][2 * q + 1][i], vreinterpretq_s8_s32(vzip2q_s32(first, second)));
            }
        }
    }
}

/* Scales of two rows for two tokens: those of the one token, then of the other. */
ALWAYS float32x4_t load_scales(const ec_band_i8 *band, const float *x_scales, const float *w_scales) {
    float32x4_t scales = vcombine_f32(vdup_n_f32(x_scales[0]), vdup_n_f32(x_scales[band->scale_stride]));
    if (w_scales == NULL) return scales;
    float32x2_t rows = vld1_f32(w_scales);
    return vmulq_f32(scales, vcombine_f32(rows, rows));
}

/* 2 * PAIRS rows of n_tokens, 2 or TOKENS; inlined for both, so that sums stay in registers. */
ALWAYS void multiply(const ec_band_i8 *band, int8_t (*w)[EC_BAND_ROWS / 2][4][16], size_t pair, size_t token,
                     size_t n_tokens) {
    float32x4_t sums[TOKENS / 2][PAIRS];
    float *out = band->sums + token * EC_BAND_ROWS + 2 * pair;
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t p = 0; p < PAIRS; p += 2) {
            float32x4_t rows = vld1q_f32(out + t * EC_BAND_ROWS + 2 * p);
            for (size_t i = 0; i < 2; i++) {
                float32x2_t two = i == 0 ? vget_low_f32(rows) : vget_high_f32(rows);
                float32x4_t *sum = &sums[t / 2][p + i];
                *sum = t % 2 == 0 ? vcombine_f32(two, two) : vcombine_f32(vget_low_f32(*sum), two);
            }
        }
    }
    for (size_t b = 0; b < band->n_blocks; b++) {
        const int8_t *inputs = band->x + token * band->x_stride + b * EC_BLOCK;
        int32x4_t isums[TOKENS / 2][PAIRS];
        for (size_t t = 0; t < n_tokens / 2; t++) {
            for (size_t p = 0; p < PAIRS; p++) isums[t][p] = vdupq_n_s32(0);
        }
        for (size_t i = 0; i < 4; i++) {
            int8x16_t x[TOKENS / 2];
            for (size_t t = 0; t < n_tokens / 2; t++) {
                const int8_t *columns = inputs + 2 * t * band->x_stride + 8 * i;
                x[t] = vcombine_s8(vld1_s8(columns), vld1_s8(columns + band->x_stride));
            }
            for (size_t p = 0; p < PAIRS; p++) {
                int8x16_t weights = vld1q_s8(w[b][pair + p][i]);
                for (size_t t = 0; t < n_tokens / 2; t++) isums[t][p] = vmmlaq_s32(isums[t][p], x[t], weights);
            }
        }
        for (size_t t = 0; t < n_tokens / 2; t++) {
            const float *x_scales = band->x_scales + (token + 2 * t) * band->scale_stride + b;
            for (size_t p = 0; p < PAIRS; p++) {
                const float *w_scales = band->w_scales;
                if (w_scales != NULL) w_scales += b * EC_BAND_ROWS + 2 * (pair + p);
                sums[t][p] = add_scaled(sums[t][p], isums[t][p], load_scales(band, x_scales, w_scales));
            }
        }
    }
    for (size_t t = 0; t < n_tokens / 2; t++) {
        for (size_t p = 0; p < PAIRS; p++) {
            vst1_f32(out + 2 * t * EC_BAND_ROWS + 2 * p, vget_low_f32(sums[t][p]));
            vst1_f32(out + (2 * t + 1) * EC_BAND_ROWS + 2 * p, vget_high_f32(sums[t][p]));
        }
    }
}

/* At most BLOCKS blocks. */
EC_TARGET static void multiply_blocks(const ec_band_i8 *band) {
    paired w;
    size_t token = 0;
    lay_out(band->w, band->n_blocks, w);
    for (; token + TOKENS <= band->n_tokens; token += TOKENS) {
        for (size_t pair = 0; pair < EC_BAND_ROWS / 2; pair += PAIRS) multiply(band, w, pair, token, TOKENS);
    }
    if (token + 2 <= band->n_tokens) {
        for (size_t pair = 0; pair < EC_BAND_ROWS / 2; pair += PAIRS) multiply(band, w, pair, token, 2);
    }
}

/* A last token alone. */
void ec_dots_i8_neon_i8mm(const ec_band_i8 *band) {
    size_t even = band->n_tokens - band->n_tokens % 2;
    ec_band_i8 part = *band;
    part.n_tokens = even;
    for (size_t b = 0; b < band->n_blocks && even > 0; b += BLOCKS) {
        part.n_blocks = band->n_blocks - b < BLOCKS ? band->n_blocks - b : BLOCKS;
        part.w = band->w + b * EC_BLOCK_WEIGHTS;
        part.x = band->x + b * EC_BLOCK;
        part.x_scales = band->x_scales + b;
        part.w_scales = band->w_scales == NULL ? NULL : band->w_scales + b * EC_BAND_ROWS;
        multiply_blocks(&part);
    }
    if (even == band->n_tokens) return;
    ec_band_i8 last = *band;
    last.n_tokens = 1;
    last.x += even * band->x_stride;
    last.x_scales += even * band->scale_stride;
    last.sums += even * EC_BAND_ROWS;
    ec_dots_i8_neon_dotprod(&last);
}
#endif
