/* Products of one tensor, as a model multiplies them: what is measured of a kernel. */
#ifndef RUN_MEASURE_PRODUCT_H
#define RUN_MEASURE_PRODUCT_H

#include "edgecomp.h"
#include "runner/memory.h"

typedef struct product {
    ec_tensor tensor;
    uint64_t rows, columns, n_tokens;
    int is_integer;          /* goes by ec_matmul_i8, not by ec_gemm */
    const float *x;          /* [n_tokens][columns], prepared */
    const void *quantised;   /* the same, where it is_integer */
    uint64_t y_stride;       /* of the output's tokens: with several of them that of a large matrix */
    float *y;                /* [n_tokens][y_stride] */
} product;

/* Whether a tensor is a matrix, which alone have products that are worth a measurement. */
int is_matrix(const ec_tensor *tensor);

/* Makes inputs for so many tokens, in memory that is taken from `memory`: 1, or 0 when there is none. */
int product_begin(product *p, const ec_tensor *tensor, uint64_t n_tokens, ec_memory *memory);

/* Multiplies some rows of a tensor that is like the product's; `y` is where the first token's first row goes. */
void product_rows(const product *p, const ec_tensor *tensor, uint64_t first, uint64_t n, float *y);

/* Multiplies all of it; `self` is a product. */
void product_call(void *self);

/* The same as often as the output has room for: as a large matrix is multiplied, whose outputs are not in the first
 * cache when the next band writes to their lines. */
void product_fill(void *self);
uint64_t product_fill_weights(const product *p); /* that it multiplies */

#endif
