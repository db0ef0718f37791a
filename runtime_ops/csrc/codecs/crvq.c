/* Decoding of a crvq matrix: unpack the codes of a tile of groups, hand them to the kernel, go on. */
#include "codecs/matrix.h"
#include "codecs/tensor.h"

#define TILE_GROUPS 128

void ec_crvq_start(const ec_matrix *m, ec_crvq_plan *plan) {
    const ec_crvq *c = &m->crvq;
    size_t codebook_bytes = (size_t)(c->dim << c->code_bits) * (c->wide ? 2 : 1);
    memset(plan, 0, sizeof *plan);
    plan->dim = c->dim;
    while (UINT32_C(1) << plan->dim_bits < c->dim) plan->dim_bits++;
    plan->code_bits = c->code_bits;
    plan->stages = c->stages;
    plan->wide = c->wide;
    const uint8_t *extended = m->extended;
    for (uint32_t k = 0; k < c->stages; k++) {
        plan->groups[k] = k == 0 ? ec_crvq_groups(c, m->columns) : c->critical_groups[k];
        plan->row_bytes[k] = (plan->groups[k] * c->code_bits + 7) / 8;
        plan->planes[k] = k == 0 ? m->codes : extended;
        plan->shifts[k] = c->shifts[k];
        plan->codebooks[k] = c->codebooks + k * codebook_bytes;
        if (k > 0) extended += m->rows * plan->row_bytes[k];
    }
}

/* Codes first .. first + n - 1 of a row, low bits first, each to a byte. */
static void unpack_codes(const uint8_t *row, uint32_t code_bits, uint64_t first, size_t n, uint8_t *out) {
    uint32_t mask = (UINT32_C(1) << code_bits) - 1;
    uint64_t bit = first * code_bits;
    for (size_t i = 0; i < n; i++, bit += code_bits) {
        const uint8_t *byte = row + (bit >> 3);
        uint32_t offset = (uint32_t)(bit & 7), word = byte[0];
        if (offset + code_bits > 8) word |= (uint32_t)byte[1] << 8;
        out[i] = (uint8_t)(word >> offset & mask);
    }
}

/* Groups first .. first + n - 1 of a row, n <= TILE_GROUPS, which the first n_stages stages cover. */
static void decode_groups(const ec_decoder *decoder, uint32_t n_stages, uint64_t row, uint64_t first, size_t n,
                          float *out) {
    const ec_crvq_plan *plan = &decoder->crvq;
    uint8_t unpacked[EC_MAX_STAGES][TILE_GROUPS];
    const uint8_t *codes[EC_MAX_STAGES];
    for (uint32_t k = 0; k < n_stages; k++) {
        const uint8_t *packed = plan->planes[k] + row * plan->row_bytes[k];
        codes[k] = packed + first;
        if (plan->code_bits == 8) continue;
        unpack_codes(packed, plan->code_bits, first, n, unpacked[k]);
        codes[k] = unpacked[k];
    }
    decoder->kernels.decode_f32_cb(plan, codes, n_stages, n, ec_decoder_scale(decoder, row), out);
}

void ec_crvq_decode(const ec_decoder *decoder, uint64_t first, uint64_t count, float *out) {
    const ec_crvq_plan *plan = &decoder->crvq;
    uint64_t columns = decoder->matrix->columns, row = first / columns, column = first % columns;
    uint64_t most = EC_RUN_WEIGHTS >> plan->dim_bits;
    if (most > TILE_GROUPS) most = TILE_GROUPS;
    float tile[EC_RUN_WEIGHTS];
    while (count > 0) {
        /* A step ends with the last stage that covers its groups (stage 0: with the row), or with the tile. */
        uint64_t group = column >> plan->dim_bits, lead = column & (plan->dim - 1);
        uint32_t n_stages = ec_crvq_group_stages(plan, group);
        uint64_t end = plan->groups[n_stages - 1];
        uint64_t n = end - group < most ? end - group : most;
        uint64_t weights = (n << plan->dim_bits) - lead;
        if (columns - column < weights) weights = columns - column;
        if (count < weights) weights = count;
        n = (lead + weights + plan->dim - 1) >> plan->dim_bits;
        if (lead == 0 && n << plan->dim_bits == weights) {
            decode_groups(decoder, n_stages, row, group, (size_t)n, out);
        } else {
            decode_groups(decoder, n_stages, row, group, (size_t)n, tile);
            memcpy(out, tile + lead, (size_t)weights * sizeof *out);
        }
        out += weights;
        count -= weights;
        column += weights;
        if (column == columns) {
            column = 0;
            row++;
        }
    }
}
