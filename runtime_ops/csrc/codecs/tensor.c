/* Checks of a tensor before anything is decoded; every limit of docs/format.md for a codec. */
#include "codecs/tensor.h"

#include "kernels/kernels.h"

#define MAX_POINTS (UINT32_C(1) << 24)
#define MAX_LEVELS (UINT32_C(1) << 16)
#define MAX_GROUP (UINT32_C(1) << 16)
#define MAX_CODE_BITS 8
#define MAX_SHIFT 7
#define MAX_STEP_BITS 8
#define MIN_TABLE_BITS 4
#define MAX_TABLE_BITS 12
#define MAX_PERMUTED (UINT32_C(1) << 16)
#define TABLE_ROWS 256 /* chosen by benchmarks/crvq_decode.py */
#define MIN_SCALE 0x1p-64f
#define MAX_SCALE 0x1p+64f

const char *ec_status_text(ec_status status) {
    switch (status) {
        case EC_OK: return "ok";
        case EC_TRUNCATED: return "the file ends before something it declares";
        case EC_BAD_MAGIC: return "not a GGUF file";
        case EC_BAD_VERSION: return "a GGUF or container version that is not known";
        case EC_BAD_METADATA: return "metadata that is missing, doubled, of the wrong type or out of range";
        case EC_BAD_TENSOR: return "a tensor whose name, type, shape, size or offset is not the expected one";
        case EC_BAD_FORMAT: return "an unknown codec, or parameters outside its limits";
        case EC_BAD_ARGUMENT: return "an argument outside the tensor or the container";
        case EC_UNSUPPORTED: return "an instruction set that this machine or build does not have";
    }
    return "an unknown status";
}

uint32_t ec_winding_codes(const ec_winding *w) { return w->points + w->centre; }

uint32_t ec_winding_radix(const ec_winding *w) { return ec_winding_codes(w) * w->classes; }

uint32_t ec_winding_index_bits(const ec_winding *w) {
    uint32_t last = ec_winding_radix(w) - 1, bits = 0;
    while (last >> bits != 0) bits++;
    return bits;
}

uint32_t ec_winding_digits(const ec_winding *w) {
    uint64_t radix = ec_winding_radix(w), product = 1;
    uint32_t n = 0;
    while (product <= UINT64_MAX / radix) {
        product *= radix;
        n++;
    }
    /* radix^(n+1) may still be exactly 2^64, which does not fit */
    if (product == UINT64_MAX / radix + 1 && UINT64_MAX % radix == radix - 1) n++;
    return n;
}

uint64_t ec_winding_codes_bytes(const ec_winding *w, uint64_t n_weights) {
    uint64_t n_indices = (n_weights + w->dim - 1) / w->dim;
    if (!w->radix_packed) return (n_indices * ec_winding_index_bits(w) + 7) / 8;
    uint32_t digits = ec_winding_digits(w);
    return (n_indices + digits - 1) / digits * 8;
}

static int is_winding(const ec_winding *w) {
    if (w->dim < 1 || w->dim > EC_MAX_DIM || w->points < 2 || w->points > MAX_POINTS) return 0;
    for (uint32_t d = 0; d < w->dim; d++) {
        if (w->generator[d] == 0) return 0;
    }
    if (w->levels < 2 || w->levels > MAX_LEVELS || w->offset > 1 || w->centre > 1) return 0;
    if (w->classes < 1 || w->classes > EC_MAX_CLASSES || w->radix_packed > 1) return 0;
    if (w->group > MAX_GROUP || w->group % w->dim != 0) return 0;
    if (w->table == NULL) return 1;
    if ((w->levels & (w->levels - 1)) != 0) return 0;
    for (uint32_t i = 1; i < w->levels; i++) {
        if ((int16_t)ec_load_u16(w->table + 2 * i) < (int16_t)ec_load_u16(w->table + 2 * i - 2)) return 0;
    }
    return 1;
}

ec_status ec_winding_check(const ec_winding *w) { return is_winding(w) ? EC_OK : EC_BAD_FORMAT; }

static int is_scale(float value) { /* false for NaN */
    float magnitude = value < 0 ? -value : value;
    return magnitude == 0 || (magnitude >= MIN_SCALE && magnitude <= MAX_SCALE);
}

static ec_status check_winding_parts(const ec_matrix *m, uint64_t n_weights) {
    const ec_winding *w = &m->winding;
    if (!is_winding(w)) return EC_BAD_FORMAT;
    uint64_t codes_bytes = ec_winding_codes_bytes(w, n_weights);
    uint64_t scales_bytes = w->group ? (n_weights + w->group - 1) / w->group : 0;
    uint64_t n_params = w->dim + w->classes;
    if (m->codes == NULL || m->codes_bytes != codes_bytes || m->scales_bytes != scales_bytes) return EC_BAD_TENSOR;
    if ((w->group && m->scales == NULL) || m->params == NULL || m->params_bytes != 4 * n_params) return EC_BAD_TENSOR;
    for (uint64_t i = 0; i < n_params; i++) {
        float value = ec_load_f32(m->params + 4 * i);
        if (!is_scale(value) || (i >= w->dim && value < 0)) return EC_BAD_FORMAT;
    }
    return EC_OK;
}

ec_status ec_crvq_check(const ec_crvq *c) {
    if (c->dim < 1 || c->dim > 16 || (c->dim & (c->dim - 1)) != 0) return EC_BAD_FORMAT;
    if (c->code_bits < 1 || c->code_bits > MAX_CODE_BITS || c->wide > 1) return EC_BAD_FORMAT;
    if (c->stages < 1 || c->stages > EC_MAX_STAGES) return EC_BAD_FORMAT;
    for (uint32_t k = 0; k < c->stages; k++) {
        if (c->shifts[k] > MAX_SHIFT) return EC_BAD_FORMAT;
    }
    for (uint32_t k = 0; k < EC_MAX_STAGES; k++) {
        uint32_t n = c->critical_groups[k];
        int extended = k > 0 && k < c->stages;
        if ((n > 0 && !extended) || (k > 1 && n > c->critical_groups[k - 1])) return EC_BAD_FORMAT;
    }
    return EC_OK;
}

uint64_t ec_crvq_groups(const ec_crvq *c, uint64_t columns) { return (columns + c->dim - 1) / c->dim; }

int ec_crvq_fits(const ec_crvq *c, uint64_t columns) { return c->critical_groups[1] <= ec_crvq_groups(c, columns); }

uint64_t ec_crvq_codes_bytes(const ec_crvq *c, uint64_t rows, uint64_t columns) {
    return rows * ((ec_crvq_groups(c, columns) * c->code_bits + 7) / 8);
}

uint64_t ec_crvq_extended_bytes(const ec_crvq *c, uint64_t rows) {
    uint64_t bytes = 0;
    for (uint32_t k = 1; k < c->stages; k++) bytes += rows * (((uint64_t)c->critical_groups[k] * c->code_bits + 7) / 8);
    return bytes;
}

int ec_crvq_uses_table(const ec_crvq *c, uint64_t rows) {
    return c->dim == EC_TABLE_DIM && 1u << c->code_bits == EC_TABLE_SIZE && rows >= TABLE_ROWS;
}

/* 0, or positive, normal and finite. */
static int is_row_scale(uint16_t half) { return (half & 0x7FFFu) == 0 || (half >= 0x0400u && half < 0x7C00u); }

/* Checks n scales in float16 and their factor. */
static ec_status check_row_scales(const ec_matrix *m, uint64_t n) {
    if (m->scales == NULL || m->params == NULL) return EC_BAD_TENSOR;
    if (m->scales_bytes != 2 * n || m->params_bytes != 4) return EC_BAD_TENSOR;
    for (uint64_t i = 0; i < n; i++) {
        if (!is_row_scale(ec_load_u16(m->scales + 2 * i))) return EC_BAD_FORMAT;
    }
    float factor = ec_load_f32(m->params);
    return is_scale(factor) && !(factor < 0) ? EC_OK : EC_BAD_FORMAT;
}

static ec_status check_crvq_parts(const ec_matrix *m) {
    const ec_crvq *c = &m->crvq;
    ec_status status = ec_crvq_check(c);
    if (status != EC_OK) return status;
    if (c->codebooks == NULL || !ec_crvq_fits(c, m->columns)) return EC_BAD_FORMAT;
    if (m->codes == NULL || m->codes_bytes != ec_crvq_codes_bytes(c, m->rows, m->columns)) return EC_BAD_TENSOR;
    if (m->extended_bytes != ec_crvq_extended_bytes(c, m->rows)) return EC_BAD_TENSOR;
    if (m->extended_bytes != 0 && m->extended == NULL) return EC_BAD_TENSOR;
    return check_row_scales(m, m->rows);
}

ec_status ec_trellis_check(const ec_trellis *t) {
    uint32_t state_bits = t->state_bits;
    if (state_bits != 8 && state_bits != 10 && state_bits != 12 && state_bits != 16) return EC_BAD_FORMAT;
    if (t->step_bits < 1 || t->step_bits > MAX_STEP_BITS || t->step_bits >= state_bits) return EC_BAD_FORMAT;
    if (t->dim < 1 || t->dim > 2 || (t->dim == 1 && t->multipliers[1] != 0)) return EC_BAD_FORMAT;
    for (uint32_t d = 0; d < t->dim; d++) {
        if (t->multipliers[d] % 2 == 0 || t->multipliers[d] >> state_bits != 0) return EC_BAD_FORMAT;
    }
    if (t->fold >= state_bits) return EC_BAD_FORMAT;
    if (t->table_bits < MIN_TABLE_BITS || t->table_bits > MAX_TABLE_BITS) return EC_BAD_FORMAT;
    if (t->table_bits > state_bits || t->wide > 1) return EC_BAD_FORMAT;
    if (t->rotation == 0) return t->seed == 0 ? EC_OK : EC_BAD_FORMAT;
    int power = (t->rotation & (t->rotation - 1)) == 0;
    return power && t->rotation >= 2 && t->rotation <= EC_MAX_ROTATION ? EC_OK : EC_BAD_FORMAT;
}

int ec_trellis_fits(const ec_trellis *t, uint64_t columns) { return t->rotation == 0 || columns % t->rotation == 0; }

uint64_t ec_trellis_tile_bytes(const ec_trellis *t) { return EC_TILE_WEIGHTS / t->dim * t->step_bits / 8; }

uint64_t ec_trellis_band_bytes(const ec_trellis *t, uint64_t columns) {
    uint64_t tiles = (columns + EC_STRIP_COLUMNS - 1) / EC_STRIP_COLUMNS;
    return tiles * ec_trellis_tile_bytes(t) + (t->state_bits - t->step_bits + 7) / 8;
}

uint64_t ec_trellis_codes_bytes(const ec_trellis *t, uint64_t rows, uint64_t columns) {
    return (rows + EC_BAND_ROWS - 1) / EC_BAND_ROWS * ec_trellis_band_bytes(t, columns);
}

static ec_status check_trellis_parts(const ec_matrix *m) {
    const ec_trellis *t = &m->trellis;
    ec_status status = ec_trellis_check(t);
    if (status != EC_OK) return status;
    if (t->table == NULL || !ec_trellis_fits(t, m->columns)) return EC_BAD_FORMAT;
    if (m->codes == NULL || m->codes_bytes != ec_trellis_codes_bytes(t, m->rows, m->columns)) return EC_BAD_TENSOR;
    return check_row_scales(m, m->rows);
}

static ec_status check_uniform_parts(const ec_matrix *m) {
    const ec_uniform *u = &m->uniform;
    ec_status status = ec_uniform_check(u);
    if (status != EC_OK) return status;
    if (m->codes == NULL || m->codes_bytes != ec_uniform_codes_bytes(u, m->rows, m->columns)) return EC_BAD_TENSOR;
    uint64_t n = ec_uniform_scales(u, m->rows, m->columns);
    status = check_row_scales(m, n);
    if (status != EC_OK || m->rows % EC_BAND_ROWS == 0) return status;
    for (uint64_t i = n - ec_uniform_groups(u, m->columns) * EC_BAND_ROWS; i < n; i++) { /* of rows beyond the matrix */
        int padding = i % EC_BAND_ROWS >= m->rows % EC_BAND_ROWS;
        if (padding && (ec_load_u16(m->scales + 2 * i) & 0x7FFFu) != 0) return EC_BAD_FORMAT;
    }
    return EC_OK;
}

ec_status ec_permutation_check(const uint8_t *order, uint64_t columns) {
    uint8_t seen[MAX_PERMUTED / 8];
    if (order == NULL || columns < 1 || columns > MAX_PERMUTED) return EC_BAD_FORMAT;
    memset(seen, 0, sizeof seen);
    for (uint64_t j = 0; j < columns; j++) {
        uint32_t column = ec_load_u16(order + 2 * j);
        uint8_t bit = (uint8_t)(1u << (column & 7));
        if (column >= columns || (seen[column >> 3] & bit) != 0) return EC_BAD_FORMAT;
        seen[column >> 3] |= bit;
    }
    return EC_OK;
}

static ec_status check_matrix(ec_matrix *m, uint64_t rows, uint64_t columns) {
    uint64_t n_weights = rows * columns;
    m->rows = rows;
    m->columns = columns;
    switch (m->codec) {
        case EC_CODEC_RAW_F32:
            return m->codes != NULL && m->codes_bytes == 4 * n_weights ? EC_OK : EC_BAD_TENSOR;
        case EC_CODEC_RAW_F16:
            return m->codes != NULL && m->codes_bytes == 2 * n_weights ? EC_OK : EC_BAD_TENSOR;
        case EC_CODEC_WINDING:
            return check_winding_parts(m, n_weights);
        case EC_CODEC_CRVQ:
            return check_crvq_parts(m);
        case EC_CODEC_TRELLIS:
            return check_trellis_parts(m);
        case EC_CODEC_UNIFORM:
            return check_uniform_parts(m);
    }
    return EC_BAD_FORMAT;
}

ec_status ec_tensor_check(ec_tensor *t) {
    if (t == NULL) return EC_BAD_ARGUMENT;
    if (t->n_dims > EC_MAX_DIMS) return EC_BAD_TENSOR;
    t->n_weights = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        if (t->shape[i] == 0 || t->shape[i] > EC_MAX_WEIGHTS / t->n_weights) return EC_BAD_TENSOR;
        t->n_weights *= t->shape[i];
    }
    uint64_t rows = t->n_dims == 0 ? 1 : t->shape[0];
    uint64_t columns = t->n_weights / rows;
    if (t->n_critical >= columns) return EC_BAD_FORMAT;
    if (t->permutation != NULL) {
        if (t->permutation_bytes != 2 * columns) return EC_BAD_FORMAT;
        if (ec_permutation_check(t->permutation, columns) != EC_OK) return EC_BAD_FORMAT;
    }
    ec_status status = t->n_critical != 0 ? check_matrix(&t->critical, rows, t->n_critical) : EC_OK;
    return status == EC_OK ? check_matrix(&t->rest, rows, columns - t->n_critical) : status;
}
