/* Products of some rows of one matrix with int8 activations. */
#ifndef EC_INTEGERS_H
#define EC_INTEGERS_H

#include "codecs/matrix.h"

#define EC_ALIGNMENT 64   /* bytes: a cache line */
#define EC_TABLE_ROWS 256 /* rows that are worth tables of their own */

/* The quantised inputs of one matrix; arrays of all tokens one behind the other. */
typedef struct ec_quantised {
    uint64_t columns, n_blocks, stride, scale_stride; /* of a token */
    int8_t *values;
    float *scales;
    int32_t *sums;
} ec_quantised;

/* Lays out n_tokens inputs of both matrices of a tensor in memory of ec_quantised_bytes: [0] those of the critical
 * columns, if there are any, [1] those of the rest. */
void ec_quantised_lay_out(const ec_tensor *tensor, uint64_t n_tokens, void *memory, ec_quantised both[2]);

typedef struct ec_integer_product {
    ec_decoder decoder;      /* unscaled */
    const ec_quantised *x;
    uint64_t first_row, n_rows, n_tokens;
    float *y;                /* [n_tokens][y_stride] */
    uint64_t y_stride;
    int adds;                /* 1: y = product + y, 0: y = product */
} ec_integer_product;

/* One token, and a matrix that ec_crvq_uses_table. */
void ec_integer_product_table(const ec_integer_product *product);

#endif
