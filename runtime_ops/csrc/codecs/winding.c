/* Decoding of a winding: unpack a tile of indices, hand it to the kernel, go on. */
#include "codecs/matrix.h"
#include "codecs/tensor.h"

/* 2^(-i/16) in float32; a group's factor is step[j % 16] / 2^(j / 16) with j = 255 - its byte. */
static const float step[16] = {
    0x1p+0f,        0x1.ea4afap-1f, 0x1.d5818ep-1f, 0x1.c199bep-1f, 0x1.ae89fap-1f, 0x1.9c4918p-1f,
    0x1.8ace54p-1f, 0x1.7a1148p-1f, 0x1.6a09e6p-1f, 0x1.5ab07ep-1f, 0x1.4bfdaep-1f, 0x1.3dea64p-1f,
    0x1.306fep-1f,  0x1.2387a6p-1f, 0x1.172b84p-1f, 0x1.0b5586p-1f,
};

float ec_winding_factor(uint8_t byte) {
    if (byte == 0) return 0.0f;
    uint32_t j = 255u - byte;
    return step[j % 16] / (float)(UINT32_C(1) << (j / 16));
}

/* Indices first .. first + n - 1 of a bit-packed stream: little-endian, low bits first. */
static void unpack_bits(const ec_matrix *m, const ec_winding_plan *plan, uint64_t first, size_t n, uint32_t *out) {
    uint32_t mask = (UINT32_C(1) << plan->index_bits) - 1;
    uint64_t bit = first * plan->index_bits;
    for (size_t i = 0; i < n; i++, bit += plan->index_bits) {
        uint64_t byte = bit >> 3;
        uint64_t word = 0;
        if (byte + 8 <= m->codes_bytes) {
            word = ec_load_u64(m->codes + byte);
        } else {
            for (uint64_t j = 0; byte + j < m->codes_bytes; j++) word |= (uint64_t)m->codes[byte + j] << (8 * j);
        }
        out[i] = (uint32_t)(word >> (bit & 7)) & mask;
    }
}

/* Indices first .. first + n - 1 of a radix-packed stream: each 64-bit word is a fraction whose
 * next digit in base radix is the integer part of its product with the radix. */
static void unpack_radix(const ec_matrix *m, const ec_winding_plan *plan, uint64_t first, size_t n, uint32_t *out) {
    uint64_t radix = plan->radix;
    const uint8_t *word = m->codes + first / plan->digits * 8;
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

void ec_winding_start(const ec_matrix *m, ec_winding_plan *plan) {
    const ec_winding *w = &m->winding;
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
        plan->centre_point[d] = ec_load_f32(m->params + 4 * d);
    }
}

/* Sets the scales of all classes for the group that weight `first` is in. */
static void enter_group(const ec_decoder *decoder, uint64_t first, ec_winding_plan *plan) {
    const ec_matrix *m = decoder->matrix;
    const ec_winding *w = &m->winding;
    float factor = w->group != 0 ? ec_winding_factor(m->scales[first / w->group]) : 1.0f;
    for (uint32_t j = 0; j < w->classes; j++) {
        plan->class_scale[j] = decoder->unscaled ? 1.0f : ec_load_f32(m->params + 4 * (w->dim + j)) * factor;
    }
}

void ec_winding_decode(ec_decoder *decoder, uint64_t first, uint64_t count, float *out) {
    const ec_matrix *m = decoder->matrix;
    const ec_winding *w = &m->winding;
    ec_winding_plan *plan = &decoder->winding;
    uint32_t indices[EC_TILE_INDICES];
    float tile[EC_RUN_WEIGHTS];
    while (count > 0) {
        /* A step ends at the next group (which has another scale) or with the tile. */
        uint64_t index = first / w->dim;
        size_t lead = (size_t)(first % w->dim);
        uint64_t weights = EC_TILE_INDICES * w->dim - lead;
        if (w->group != 0 && w->group - first % w->group < weights) weights = w->group - first % w->group;
        if (count < weights) weights = count;
        size_t n = (size_t)((lead + weights + w->dim - 1) / w->dim);

        enter_group(decoder, first, plan);
        if (plan->digits != 0) {
            unpack_radix(m, plan, index, n, indices);
        } else {
            unpack_bits(m, plan, index, n, indices);
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
