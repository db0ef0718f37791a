/* Products of a tensor with one vector or several, straight from the codes. */
#include "products/product.h"
#include "codecs/tensor.h"

/* Multiplies both matrices of a tensor; tables only if `tables`. The rest comes first, since its sums
 * then lie in y, without room of their own; addition does not mind. */
static ec_status multiply(const ec_tensor *t, ec_product *p, int tables, ec_isa isa) {
    ec_decoder decoder;
    uint64_t n_critical = t->n_critical;
    const float *x = p->x;
    const ec_matrix *matrices[2] = {&t->rest, &t->critical};
    for (int i = 0; i < (n_critical != 0 ? 2 : 1); i++) {
        const ec_matrix *m = matrices[i];
        ec_status status = ec_decoder_start(m, isa, &decoder);
        if (status != EC_OK) return status;
        p->decoder = &decoder;
        p->x = i == 0 ? x + n_critical : x;
        p->adds = i;
        if (tables && m->codec == EC_CODEC_CRVQ && ec_crvq_uses_table(&m->crvq, m->rows)) {
            ec_product_table(p);
        } else {
            ec_product_direct(p);
        }
    }
    return EC_OK;
}

ec_status ec_gemv(const ec_tensor *t, uint64_t first_row, uint64_t n_rows, const float *x, float *y, ec_isa isa) {
    uint64_t columns;
    ec_status status = ec_row_range(t, first_row, n_rows, &columns);
    if (status != EC_OK) return status;
    if (x == NULL || (y == NULL && n_rows != 0) || n_rows > SIZE_MAX / sizeof *y) return EC_BAD_ARGUMENT;
    ec_product product = {NULL, x, columns, 1, first_row, n_rows, y, 0};
    return multiply(t, &product, 1, isa);
}

ec_status ec_gemm(const ec_tensor *t, uint64_t first_row, uint64_t n_rows, const float *x, uint64_t n_tokens, float *y,
                  ec_isa isa) {
    uint64_t columns;
    ec_status status = ec_row_range(t, first_row, n_rows, &columns);
    if (status != EC_OK) return status;
    if (n_tokens == 0) return EC_OK;
    uint64_t most = SIZE_MAX / sizeof *x / n_tokens; /* columns or rows that so many tokens can have */
    if (columns > most || n_rows > most) return EC_BAD_ARGUMENT;
    if (x == NULL || (y == NULL && n_rows != 0)) return EC_BAD_ARGUMENT;
    ec_product product = {NULL, x, columns, n_tokens, first_row, n_rows, y, 0};
    return multiply(t, &product, 0, isa);
}
