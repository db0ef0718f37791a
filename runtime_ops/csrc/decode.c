/* Decoding a range of a tensor, and the product with a vector: unpack a tile of indices, hand it to
 * the kernel, go on. Tensors were checked before (ec_tensor_check), so nothing is checked in here
 * but the range that the caller asks for. */
#include "kernels.h"
#include "tensor.h"

#define TILE_WEIGHTS (EC_TILE_INDICES * EC_MAX_DIM) /* a multiple of EC_LANES */

/* 2^(-i/16) in float32; a group's factor is step[j % 16] / 2^(j / 16) with j = 255 - its byte. */
static const float step[16] = {
    0x1p+0f,        0x1.ea4afap-1f, 0x1.d5818ep-1f, 0x1.c199bep-1f, 0x1.ae89fap-1f, 0x1.9c4918p-1f,
    0x1.8ace54p-1f, 0x1.7a1148p-1f, 0x1.6a09e6p-1f, 0x1.5ab07ep-1f, 0x1.4bfdaep-1f, 0x1.3dea64p-1f,
    0x1.306fep-1f,  0x1.2387a6p-1f, 0x1.172b84p-1f, 0x1.0b5586p-1f,
};

static float group_factor(uint8_t byte) {
    if (byte == 0) return 0.0f;
    uint32_t j = 255u - byte;
    return step[j % 16] / (float)(UINT32_C(1) << (j / 16));
}

/* Indices first .. first + n - 1 of a bit-packed stream: little-endian, low bits first. */
static void unpack_bits(const ec_tensor *t, const ec_winding_plan *plan, uint64_t first, size_t n, uint32_t *out) {
    uint32_t mask = (UINT32_C(1) << plan->index_bits) - 1;
    uint64_t bit = first * plan->index_bits;
    for (size_t i = 0; i < n; i++, bit += plan->index_bits) {
        uint64_t byte = bit >> 3;
        uint64_t word = 0;
        if (byte + 8 <= t->codes_bytes) {
            word = ec_load_u64(t->codes + byte);
        } else {
            for (uint64_t j = 0; byte + j < t->codes_bytes; j++) word |= (uint64_t)t->codes[byte + j] << (8 * j);
        }
        out[i] = (uint32_t)(word >> (bit & 7)) & mask;
    }
}

/* Indices first .. first + n - 1 of a radix-packed stream: each 64-bit word is a fraction whose
 * next digit in base radix is the integer part of its product with the radix. */
static void unpack_radix(const ec_tensor *t, const ec_winding_plan *plan, uint64_t first, size_t n, uint32_t *out) {
    uint64_t radix = plan->radix;
    const uint8_t *word = t->codes + first / plan->digits * 8;
    uint32_t skip = (uint32_t)(first % plan->digits);
    uint64_t fraction = ec_load_u64(word);
    for (uint32_t j = 0; j < skip; j++) fraction *= radix;
    for (size_t i = 0; i < n; i++) {
        if (skip == plan->digits) {
            word += 8;
            fraction = ec_load_u64(word);
            skip = 0;
        }
        uint64_t low = (fraction & UINT32_MAX) * radix;
        out[i] = (uint32_t)(((fraction >> 32) * radix + (low >> 32)) >> 32);
        fraction *= radix;
        skip++;
    }
}

static float half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 0x1Fu, mantissa = half & 0x3FFu, bits;
    if (exponent == 31) {
        bits = sign | 0x7F800000u | mantissa << 13;
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else if (mantissa == 0) {
        bits = sign;
    } else { /* subnormal: normal in float32 */
        exponent = 113;
        while ((mantissa & 0x400u) == 0) {
            mantissa <<= 1;
            exponent--;
        }
        bits = sign | exponent << 23 | (mantissa & 0x3FFu) << 13;
    }
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static void plan_winding(const ec_tensor *t, ec_winding_plan *plan) {
    const ec_winding *w = &t->winding;
    memset(plan, 0, sizeof *plan);
    plan->dim = w->dim;
    plan->levels = w->levels;
    plan->bias = (int32_t)w->offset - (int32_t)w->levels;
    plan->table = w->table;
    plan->table_shift = 32;
    while (UINT32_C(1) << (32 - plan->table_shift) < w->levels) plan->table_shift--;
    plan->centre = w->centre;
    plan->classes = w->classes;
    plan->codes = ec_winding_codes(w);
    plan->radix = ec_winding_radix(w);
    plan->index_bits = ec_winding_index_bits(w);
    plan->digits = w->radix_packed ? ec_winding_digits(w) : 0;
    for (uint32_t d = 0; d < w->dim; d++) {
        plan->generator[d] = w->generator[d];
        plan->shift[d] = w->shift[d];
        plan->centre_point[d] = ec_load_f32(t->params + 4 * d);
    }
}

/* What is done once for a call: kernels chosen, parameters made ready. */
typedef struct ec_decoder {
    const ec_tensor *tensor;
    ec_kernels kernels;
    ec_winding_plan plan; /* of a winding */
} ec_decoder;

static ec_status start(const ec_tensor *t, ec_isa isa, ec_decoder *decoder) {
    decoder->tensor = t;
    if (!ec_kernels_for(isa, &decoder->kernels)) return EC_UNSUPPORTED;
    if (t->codec == EC_CODEC_WINDING) plan_winding(t, &decoder->plan);
    return EC_OK;
}

/* Sets the scales of all classes for the group that weight `first` is in. */
static void enter_group(const ec_tensor *t, uint64_t first, ec_winding_plan *plan) {
    const ec_winding *w = &t->winding;
    float factor = w->group != 0 ? group_factor(t->scales[first / w->group]) : 1.0f;
    for (uint32_t j = 0; j < w->classes; j++) {
        plan->class_scale[j] = ec_load_f32(t->params + 4 * (w->dim + j)) * factor;
    }
}

static void decode_winding(ec_decoder *decoder, uint64_t first, uint64_t count, float *out) {
    const ec_tensor *t = decoder->tensor;
    const ec_winding *w = &t->winding;
    ec_winding_plan *plan = &decoder->plan;
    uint32_t indices[EC_TILE_INDICES];
    float tile[TILE_WEIGHTS];
    while (count > 0) {
        /* A step ends at the next group (which has another scale) or with the tile. */
        uint64_t index = first / w->dim;
        size_t lead = (size_t)(first % w->dim);
        uint64_t weights = EC_TILE_INDICES * w->dim - lead;
        if (w->group != 0 && w->group - first % w->group < weights) weights = w->group - first % w->group;
        if (count < weights) weights = count;
        size_t n = (size_t)((lead + weights + w->dim - 1) / w->dim);

        enter_group(t, first, plan);
        if (plan->digits != 0) {
            unpack_radix(t, plan, index, n, indices);
        } else {
            unpack_bits(t, plan, index, n, indices);
        }
        if (lead == 0 && n * w->dim == weights) {
            decoder->kernels.decode_f32_wd(plan, indices, n, out);
        } else {
            decoder->kernels.decode_f32_wd(plan, indices, n, tile);
            memcpy(out, tile + lead, (size_t)weights * sizeof *out);
        }
        first += weights;
        count -= weights;
        out += weights;
    }
}

static void decode_range(ec_decoder *decoder, uint64_t first, uint64_t count, float *out) {
    const ec_tensor *t = decoder->tensor;
    switch (t->codec) {
        case EC_CODEC_RAW_F32:
            memcpy(out, t->codes + 4 * first, (size_t)count * sizeof *out);
            break;
        case EC_CODEC_RAW_F16:
            for (uint64_t i = 0; i < count; i++) out[i] = half_to_float(ec_load_u16(t->codes + 2 * (first + i)));
            break;
        case EC_CODEC_WINDING:
            decode_winding(decoder, first, count, out);
            break;
    }
}

ec_status ec_decode(const ec_tensor *t, uint64_t first, uint64_t count, float *out, ec_isa isa) {
    if (t == NULL || (out == NULL && count != 0)) return EC_BAD_ARGUMENT;
    if (first > t->n_weights || count > t->n_weights - first) return EC_BAD_ARGUMENT;
    if (count > SIZE_MAX / sizeof *out) return EC_BAD_ARGUMENT;
    ec_decoder decoder;
    ec_status status = start(t, isa, &decoder);
    if (status == EC_OK) decode_range(&decoder, first, count, out);
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
    if (status == EC_OK) status = start(t, isa, &decoder);
    if (status != EC_OK) return status;
    for (uint64_t row = 0; row < n_rows; row++) {
        float lanes[EC_LANES] = {0};
        float tile[TILE_WEIGHTS];
        for (uint64_t column = 0; column < columns; column += TILE_WEIGHTS) {
            uint64_t n = columns - column < TILE_WEIGHTS ? columns - column : TILE_WEIGHTS;
            decode_range(&decoder, (first_row + row) * columns + column, n, tile);
            decoder.kernels.dot_f32_f32(tile, x + column, (size_t)n, lanes);
        }
        float b0 = lanes[0] + lanes[4], b1 = lanes[1] + lanes[5];
        float b2 = lanes[2] + lanes[6], b3 = lanes[3] + lanes[7];
        y[row] = (b0 + b2) + (b1 + b3);
    }
    return EC_OK;
}
