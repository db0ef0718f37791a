/* Trellis kernel in plain C, for every machine; the other instruction sets do the same steps. */
#include "kernels.h"

/* Inlined once per type of table. */
static inline __attribute__((always_inline)) void decode_tile(
    const ec_trellis_plan *plan, const uint8_t *tile, const float *scales, int wide, float *out, size_t stride) {
    uint32_t shift = 32 - plan->table_bits, mask = (UINT32_C(1) << plan->state_bits) - 1;
    for (size_t i = 0; i < EC_TILE_WEIGHTS; i++) {
        uint32_t window = ec_load_u32(tile + (plan->bits[i] >> 3)) >> (plan->bits[i] & 7);
        uint32_t state = window & mask;
        uint32_t place = (state ^ state >> plan->fold) * plan->multipliers[i % 2] >> shift;
        int32_t value = wide ? (int16_t)ec_load_u16(plan->table + 2 * place) : (int8_t)plan->table[place];
        size_t row = i / EC_STRIP_COLUMNS;
        out[row * stride + i % EC_STRIP_COLUMNS] = scales[row] * (float)value;
    }
}

void ec_decode_f32_tr_scalar(const ec_trellis_plan *plan, const uint8_t *tiles, size_t n, const float *scales,
                             float *out, size_t stride) {
    for (size_t t = 0; t < n; t++, tiles += plan->tile_bytes, out += EC_STRIP_COLUMNS) {
        if (plan->wide) {
            decode_tile(plan, tiles, scales, 1, out, stride);
        } else {
            decode_tile(plan, tiles, scales, 0, out, stride);
        }
    }
}
