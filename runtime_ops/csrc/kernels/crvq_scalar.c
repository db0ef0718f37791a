/* Codebook kernels in plain C, for every machine; the other instruction sets do the same steps. */
#include "kernels/kernels.h"

#define MAX_DIM 16
#define ROWS 4 /* rows that are looked up at a time: chains of additions that do not wait for each other */

static inline __attribute__((always_inline)) void add_codeword(
    const uint8_t *codeword, uint32_t shift, uint32_t dim, int wide, int32_t *sums) {
    int32_t factor = (int32_t)(UINT32_C(1) << shift);
    for (uint32_t d = 0; d < dim; d++) {
        int32_t value = wide ? (int16_t)ec_load_u16(codeword + 2 * d) : (int8_t)codeword[d];
        sums[d] += value * factor;
    }
}

/* Inlined once per dim, so that the loops over dimensions unroll. */
static inline __attribute__((always_inline)) void decode_groups(
    const ec_crvq_plan *plan, const uint8_t *const *codes, uint32_t n_stages, size_t n, float scale, float *out,
    uint32_t dim) {
    for (size_t i = 0; i < n; i++, out += dim) {
        int32_t sums[MAX_DIM] = {0};
        for (uint32_t k = 0; k < n_stages; k++) {
            size_t first = (size_t)codes[k][i] * dim;
            if (plan->wide) {
                add_codeword(plan->codebooks[k] + 2 * first, plan->shifts[k], dim, 1, sums);
            } else {
                add_codeword(plan->codebooks[k] + first, plan->shifts[k], dim, 0, sums);
            }
        }
        for (uint32_t d = 0; d < dim; d++) out[d] = scale * (float)sums[d];
    }
}

void ec_decode_f32_cb_scalar(const ec_crvq_plan *plan, const uint8_t *const *codes, uint32_t n_stages, size_t n,
                             float scale, float *out) {
    switch (plan->dim) {
        case 1: decode_groups(plan, codes, n_stages, n, scale, out, 1); break;
        case 2: decode_groups(plan, codes, n_stages, n, scale, out, 2); break;
        case 4: decode_groups(plan, codes, n_stages, n, scale, out, 4); break;
        case 8: decode_groups(plan, codes, n_stages, n, scale, out, 8); break;
        case 16: decode_groups(plan, codes, n_stages, n, scale, out, 16); break;
        default: break;
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
