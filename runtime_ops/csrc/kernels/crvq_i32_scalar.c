/* Tables of whole numbers for codebooks, in plain C. */
#include "kernels/kernels.h"

#define ROWS 4 /* that are looked up at a time: chains of additions that do not wait for each other */

void ec_table_i32_cb_scalar(const int8_t *codewords, uint32_t shift, const int8_t *x, int32_t *table) {
    int32_t factor = (int32_t)(UINT32_C(1) << shift);
    for (size_t c = 0; c < EC_TABLE_SIZE; c++) {
        int32_t sum = 0;
        for (size_t d = 0; d < EC_TABLE_DIM; d++) sum += codewords[c * EC_TABLE_DIM + d] * x[d];
        table[c] = sum * factor;
    }
}

static inline __attribute__((always_inline)) void look_up(const ec_lookup_i32 *w, const uint8_t *codes, float *y,
                                                          size_t n_rows) {
    size_t j = 0;
    for (size_t b = 0; b < w->n_blocks; b++) {
        int32_t isums[ROWS] = {0};
        for (; j < w->ends[b]; j++) {
            const int32_t *table = w->tables + j * EC_TABLE_SIZE;
            for (size_t r = 0; r < n_rows; r++) isums[r] += table[codes[r * w->stride + j]];
        }
        for (size_t r = 0; r < n_rows; r++) y[r] += (float)isums[r] * w->scales[b];
    }
}

/* Blocks of four codes each: those of a row are read at once. */
static inline __attribute__((always_inline)) void look_up_fours(const ec_lookup_i32 *w, const uint8_t *codes,
                                                                float *y) {
    float sums[ROWS];
    memcpy(sums, y, sizeof sums);
    for (size_t b = 0; b < w->n_blocks; b++) {
        const int32_t *table = w->tables + 4 * b * EC_TABLE_SIZE;
        for (size_t r = 0; r < ROWS; r++) {
            uint32_t word = ec_load_u32(codes + r * w->stride + 4 * b);
            int32_t isum = table[word & 0xFF] + table[EC_TABLE_SIZE + (word >> 8 & 0xFF)];
            isum += table[2 * EC_TABLE_SIZE + (word >> 16 & 0xFF)] + table[3 * EC_TABLE_SIZE + (word >> 24)];
            sums[r] += (float)isum * w->scales[b];
        }
    }
    memcpy(y, sums, sizeof sums);
}

void ec_lookup_i32_cb_scalar(const ec_lookup_i32 *w) {
    int fours = 1;
    for (size_t b = 0; b < w->n_blocks; b++) fours &= w->ends[b] == 4 * (b + 1);
    size_t row = 0;
    for (; row + ROWS <= w->n_rows; row += ROWS) {
        if (fours) {
            look_up_fours(w, w->codes + row * w->stride, w->y + row);
        } else {
            look_up(w, w->codes + row * w->stride, w->y + row, ROWS);
        }
    }
    for (; row < w->n_rows; row++) look_up(w, w->codes + row * w->stride, w->y + row, 1);
}
