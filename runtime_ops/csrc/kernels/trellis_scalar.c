/* Trellis kernel in plain C, for every machine; the other instruction sets do the same steps. */
#include "kernels/kernels.h"

/* Inlined once per type of table. */
static inline __attribute__((always_inline)) void decode(const ec_tiles *tiles, int wide) {
    const ec_trellis_plan *plan = tiles->plan;
    const uint8_t *tile = tiles->codes;
    uint32_t shift = 32 - plan->table_bits, mask = (UINT32_C(1) << plan->state_bits) - 1;
    for (size_t t = 0; t < tiles->n; t++, tile += plan->tile_bytes) {
        float *out = tiles->out + t * EC_STRIP_COLUMNS;
        for (size_t i = 0; i < EC_TILE_WEIGHTS; i++) {
            uint32_t state = ec_load_u32(tile + (plan->bits[i] >> 3)) >> (plan->bits[i] & 7) & mask;
            uint32_t place = (state ^ state >> plan->fold) * plan->multipliers[i % 2] >> shift;
            int32_t value = wide ? (int16_t)ec_load_u16(plan->table + 2 * place) : (int8_t)plan->table[place];
            size_t row = i / EC_STRIP_COLUMNS;
            out[row * tiles->stride + i % EC_STRIP_COLUMNS] = tiles->scales[row] * (float)value;
        }
    }
}

void ec_decode_f32_tr_scalar(const ec_tiles *tiles) {
    if (tiles->plan->wide) {
        decode(tiles, 1);
    } else {
        decode(tiles, 0);
    }
}
