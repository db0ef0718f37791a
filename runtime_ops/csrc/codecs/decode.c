/* Decoding a range of a tensor. Tensors were checked before (ec_tensor_check), so nothing is checked
 * in here but the range that the caller asks for. */
#include "codecs/matrix.h"
#include "codecs/tensor.h"

/* Tensors whose columns lie elsewhere than they belong, or in two matrices. */
static int is_plain(const ec_tensor *t) { return t->permutation == NULL && t->n_critical == 0; }

/* Weights of a matrix that lie one behind the other: the end of a row, whole rows, the start of a row. */
static void decode_stretch(ec_decoder *decoder, uint64_t first, uint64_t count, float *out) {
    uint64_t columns = decoder->matrix->columns;
    while (count > 0) {
        ec_region region = {first / columns, 1, first % columns, columns - first % columns};
        if (region.n_columns > count) region.n_columns = count;
        if (region.n_columns == columns) region.n_rows = count / columns;
        uint64_t n = region.n_rows * region.n_columns;
        ec_decoder_weights(decoder, &region, out, (size_t)columns);
        first += n;
        count -= n;
        out += n;
    }
}

/* Columns low .. high - 1 of a row, as far as they are in one matrix, which holds positions `offset` and
 * up of the row: decoded some at a time in the order that they are stored in. */
static void decode_columns(ec_decoder *decoder, const uint8_t *order, uint64_t row, uint64_t offset, uint64_t low,
                           uint64_t high, float *out) {
    uint64_t columns = decoder->matrix->columns, most = ec_rotation(decoder->matrix);
    float tile[EC_MAX_ROTATION];
    if (most < EC_RUN_WEIGHTS) most = EC_RUN_WEIGHTS; /* both are powers of two */
    for (uint64_t first = 0; first < columns; first += most) {
        uint64_t n = columns - first < most ? columns - first : most;
        ec_region region = {row, 1, first, n};
        ec_decoder_weights(decoder, &region, tile, (size_t)n);
        for (uint64_t j = 0; j < n; j++) {
            uint64_t position = offset + first + j;
            uint64_t column = order != NULL ? ec_load_u16(order + 2 * position) : position;
            if (column >= low && column < high) out[column - low] = tile[j];
        }
    }
}

static ec_status decode_range(const ec_tensor *t, uint64_t first, uint64_t count, float *out, ec_isa isa) {
    ec_decoder rest, critical;
    ec_status status = ec_decoder_start(&t->rest, isa, &rest);
    if (status == EC_OK && t->n_critical != 0) status = ec_decoder_start(&t->critical, isa, &critical);
    if (status != EC_OK || count == 0) return status;
    if (is_plain(t)) {
        decode_stretch(&rest, first, count, out);
        return EC_OK;
    }
    uint64_t columns = t->n_critical + t->rest.columns, row = first / columns, low = first % columns;
    while (count > 0) {
        uint64_t n = columns - low < count ? columns - low : count;
        if (t->n_critical != 0) decode_columns(&critical, t->permutation, row, 0, low, low + n, out);
        decode_columns(&rest, t->permutation, row, t->n_critical, low, low + n, out);
        out += n;
        count -= n;
        low = 0;
        row++;
    }
    return EC_OK;
}

ec_status ec_decode(const ec_tensor *t, uint64_t first, uint64_t count, float *out, ec_isa isa) {
    if (t == NULL || (out == NULL && count != 0)) return EC_BAD_ARGUMENT;
    if (first > t->n_weights || count > t->n_weights - first) return EC_BAD_ARGUMENT;
    if (count > SIZE_MAX / sizeof *out) return EC_BAD_ARGUMENT;
    return decode_range(t, first, count, out, isa);
}

ec_status ec_row_range(const ec_tensor *t, uint64_t first_row, uint64_t n_rows, uint64_t *columns) {
    if (t == NULL) return EC_BAD_ARGUMENT;
    uint64_t rows = t->n_dims == 0 ? 1 : t->shape[0];
    if (first_row > rows || n_rows > rows - first_row) return EC_BAD_ARGUMENT;
    *columns = t->n_weights / rows;
    return EC_OK;
}

ec_status ec_decode_rows(const ec_tensor *t, uint64_t first_row, uint64_t n_rows, float *out, ec_isa isa) {
    uint64_t columns;
    ec_status status = ec_row_range(t, first_row, n_rows, &columns);
    return status != EC_OK ? status : ec_decode(t, first_row * columns, n_rows * columns, out, isa);
}
