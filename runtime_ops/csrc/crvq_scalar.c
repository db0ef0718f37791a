/* Codebook kernels in plain C, for every machine; the other instruction sets do the same steps. */
#include "kernels.h"

#define MAX_DIM 16
#define ROWS 8 /* rows that are looked up at a time: chains of additions that do not wait for each other */

static int32_t entry(const ec_crvq_plan *plan, uint32_t stage, size_t i) {
    const uint8_t *codebook = plan->codebooks[stage];
    int32_t value = plan->wide ? (int16_t)ec_load_u16(codebook + 2 * i) : (int8_t)codebook[i];
    return value * (int32_t)(UINT32_C(1) << plan->shifts[stage]);
}

void ec_decode_f32_cb_scalar(const ec_crvq_plan *plan, const uint8_t *const *codes, uint32_t n_stages, size_t n,
                             float scale, float *out) {
    for (size_t i = 0; i < n; i++, out += plan->dim) {
        int32_t sums[MAX_DIM] = {0};
        for (uint32_t k = 0; k < n_stages; k++) {
            size_t codeword = (size_t)codes[k][i] * plan->dim;
            for (uint32_t d = 0; d < plan->dim; d++) sums[d] += entry(plan, k, codeword + d);
        }
        for (uint32_t d = 0; d < plan->dim; d++) out[d] = scale * (float)sums[d];
    }
}

void ec_table_f32_cb_scalar(const float *codewords, const float *x, float *table) {
    for (size_t c = 0; c < EC_TABLE_SIZE; c++) {
        float sum = x[0] * codewords[c];
        for (size_t d = 1; d < EC_TABLE_DIM; d++) sum += x[d] * codewords[d * EC_TABLE_SIZE + c];
        table[c] = sum;
    }
}

/* Eight codes of each of ROWS rows. */
static inline void add_eight(const float *tables, const uint8_t *codes, size_t stride, float *sums) {
    uint64_t words[ROWS];
    for (size_t r = 0; r < ROWS; r++) words[r] = ec_load_u64(codes + r * stride);
    for (size_t j = 0; j < 8; j++) {
        for (size_t r = 0; r < ROWS; r++) sums[r] += tables[j * EC_TABLE_SIZE + (words[r] >> (8 * j) & 0xFF)];
    }
}

void ec_lookup_f32_cb_scalar(const float *tables, size_t n, const uint8_t *codes, size_t stride, size_t n_rows,
                             float *y) {
    size_t row = 0;
    for (; row + ROWS <= n_rows; row += ROWS, codes += ROWS * stride) {
        float sums[ROWS];
        size_t j = 0;
        memcpy(sums, y + row, sizeof sums);
        for (; j + 8 <= n; j += 8) add_eight(tables + j * EC_TABLE_SIZE, codes + j, stride, sums);
        for (; j < n; j++) {
            for (size_t r = 0; r < ROWS; r++) sums[r] += tables[j * EC_TABLE_SIZE + codes[r * stride + j]];
        }
        memcpy(y + row, sums, sizeof sums);
    }
    for (; row < n_rows; row++, codes += stride) {
        for (size_t j = 0; j < n; j++) y[row] += tables[j * EC_TABLE_SIZE + codes[j]];
    }
}
