/* Products of some rows of one matrix with one or several vectors. */
#ifndef EC_PRODUCT_H
#define EC_PRODUCT_H

#include "codecs/matrix.h"

typedef struct ec_product {
    ec_decoder *decoder;
    const float *x;             /* prepared, the matrix's part: [n_tokens][x_stride] */
    uint64_t x_stride, n_tokens;
    uint64_t first_row, n_rows;
    float *y;                   /* [n_tokens][n_rows] */
    int adds;                   /* 1: y = product + y, 0: y = product */
} ec_product;

/* Decodes the weights, a tile at a time, and sums in eight lanes: reference.gemv_f32. */
void ec_product_direct(const ec_product *product);

/* Sums entries of tables of all codewords' products with x, for one token and matrices that
 * ec_crvq_uses_table: reference.gemv_f32_crvq_table. */
void ec_product_table(const ec_product *product);

#endif
