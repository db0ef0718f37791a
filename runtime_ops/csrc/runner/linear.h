/* Products of one or several matrices with the same inputs, shared among threads. */
#ifndef EC_LINEAR_H
#define EC_LINEAR_H

#include "runner.h"

#define EC_MOST_TOGETHER 3 /* matrices of one product: q, k and v */

typedef struct ec_linear {
    ec_tensor tensor;
    uint32_t rows, columns;
    int is_integer;          /* goes by ec_matmul_i8, not by ec_gemm */
    const float *bias;       /* [rows], or NULL */
} ec_linear;

/* Whether both can take the same prepared, and quantised, inputs. */
int ec_linear_shares_input(const ec_linear *a, const ec_linear *b);

/* Bytes of n_tokens quantised inputs; 0 for one that takes none. */
uint64_t ec_linear_quantised_bytes(const ec_linear *linear, uint64_t n_tokens);

/* y = W x + bias for each of some matrices: x float32 [n_tokens][columns], y[i] float32 [n_tokens][rows of i]. */
typedef struct ec_linears {
    const ec_linear *all[EC_MOST_TOGETHER];
    float *y[EC_MOST_TOGETHER];
    uint32_t n;
    const float *x;
    uint32_t n_tokens;
    float *prepared;         /* [n_tokens][columns], elsewhere than x and y */
    void *quantised;         /* ec_linear_quantised_bytes of each */
    ec_isa isa;
    uint64_t preparing_ns;   /* what of the time went into inputs; added to */
} ec_linears;

void ec_linears_run(ec_linears *work, ec_pool *pool);

#endif
