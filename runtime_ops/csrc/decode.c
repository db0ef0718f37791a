/* Decoding a range of a tensor, and the product with a vector. Tensors were checked before
 * (ec_tensor_check), so nothing is checked in here but the range that the caller asks for. */
#include "matrix.h"

#define TILE_WEIGHTS (EC_TILE_INDICES * EC_MAX_DIM) /* a multiple of EC_LANES */

ec_status ec_decode(const ec_tensor *t, uint64_t first, uint64_t count, float *out, ec_isa isa) {
    if (t == NULL || (out == NULL && count != 0)) return EC_BAD_ARGUMENT;
    if (first > t->n_weights || count > t->n_weights - first) return EC_BAD_ARGUMENT;
    if (count > SIZE_MAX / sizeof *out) return EC_BAD_ARGUMENT;
    ec_decoder decoder;
    ec_status status = ec_decoder_start(&t->rest, isa, &decoder);
    if (status == EC_OK) ec_decoder_run(&decoder, first, count, out);
    return status;
}

/* Rows of the tensor seen as a matrix; a tensor without dimensions is one row. */
static ec_status row_range(const ec_tensor *t, uint64_t first_row, uint64_t n_rows, uint64_t *columns) {
    uint64_t rows = t->n_dims == 0 ? 1 : t->shape[0];
    if (first_row > rows || n_rows > rows - first_row) return EC_BAD_ARGUMENT;
    *columns = t->n_weights / rows;
    return EC_OK;
}

ec_status ec_decode_rows(const ec_tensor *t, uint64_t first_row, uint64_t n_rows, float *out, ec_isa isa) {
    uint64_t columns;
    if (t == NULL) return EC_BAD_ARGUMENT;
    ec_status status = row_range(t, first_row, n_rows, &columns);
    return status != EC_OK ? status : ec_decode(t, first_row * columns, n_rows * columns, out, isa);
}

ec_status ec_gemv(const ec_tensor *t, uint64_t first_row, uint64_t n_rows, const float *x, float *y, ec_isa isa) {
    uint64_t columns;
    if (t == NULL || x == NULL || (y == NULL && n_rows != 0)) return EC_BAD_ARGUMENT;
    ec_decoder decoder;
    ec_status status = row_range(t, first_row, n_rows, &columns);
    if (status == EC_OK) status = ec_decoder_start(&t->rest, isa, &decoder);
    if (status != EC_OK) return status;
    for (uint64_t row = 0; row < n_rows; row++) {
        float lanes[EC_LANES] = {0};
        float tile[TILE_WEIGHTS];
        for (uint64_t column = 0; column < columns; column += TILE_WEIGHTS) {
            uint64_t n = columns - column < TILE_WEIGHTS ? columns - column : TILE_WEIGHTS;
            ec_decoder_run(&decoder, (first_row + row) * columns + column, n, tile);
            decoder.kernels.dot_f32_f32(tile, x + column, (size_t)n, lanes);
        }
        float b0 = lanes[0] + lanes[4], b1 = lanes[1] + lanes[5];
        float b2 = lanes[2] + lanes[6], b3 = lanes[3] + lanes[7];
        y[row] = (b0 + b2) + (b1 + b3);
    }
    return EC_OK;
}
