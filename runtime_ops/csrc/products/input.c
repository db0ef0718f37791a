/* Inputs of products in the order of the stored columns, rotated as the matrices are. */
#include "codecs/matrix.h"
#include "codecs/tensor.h"

static int is_ready(const ec_tensor *t) {
    int rotated = ec_rotation(&t->rest) != 0 || (t->n_critical != 0 && ec_rotation(&t->critical) != 0);
    return t->permutation == NULL && !rotated;
}

static uint64_t row_columns(const ec_tensor *t) { return t->n_critical + t->rest.columns; }

uint64_t ec_input_floats(const ec_tensor *t, uint64_t n_tokens) {
    if (t == NULL || n_tokens == 0 || is_ready(t)) return 0;
    return row_columns(t) <= UINT64_MAX / n_tokens ? row_columns(t) * n_tokens : UINT64_MAX;
}

static void permute(const uint8_t *order, const float *x, uint64_t columns, float *out) {
    if (order == NULL) {
        memcpy(out, x, (size_t)columns * sizeof *out);
        return;
    }
    for (uint64_t j = 0; j < columns; j++) out[j] = x[ec_load_u16(order + 2 * j)];
}

/* Rotates the columns of a matrix in every token. */
static void rotate(const ec_matrix *m, const ec_kernels *kernels, float *x, uint64_t x_stride, uint64_t n_tokens) {
    size_t n = ec_rotation(m);
    if (n == 0) return;
    for (uint64_t block = 0; block < m->columns; block += n) {
        uint8_t signs[EC_MAX_ROTATION];
        ec_rotation_signs(m, block, n, signs);
        for (uint64_t t = 0; t < n_tokens; t++) {
            ec_flip(x + t * x_stride + block, n, signs);
            kernels->hadamard_f32(x + t * x_stride + block, n);
        }
    }
}

ec_status ec_input_prepare(const ec_tensor *t, const float *x, uint64_t n_tokens, float *prepared, ec_isa isa) {
    ec_kernels kernels;
    if (t == NULL) return EC_BAD_ARGUMENT;
    if (n_tokens == 0) return EC_OK;
    uint64_t columns = row_columns(t);
    if (x == NULL || prepared == NULL || columns > SIZE_MAX / sizeof *x / n_tokens) return EC_BAD_ARGUMENT;
    if (!ec_kernels_for(isa, &kernels)) return EC_UNSUPPORTED;
    for (uint64_t i = 0; i < n_tokens; i++) permute(t->permutation, x + i * columns, columns, prepared + i * columns);
    if (t->n_critical != 0) rotate(&t->critical, &kernels, prepared, columns, n_tokens);
    rotate(&t->rest, &kernels, prepared + t->n_critical, columns, n_tokens);
    return EC_OK;
}
