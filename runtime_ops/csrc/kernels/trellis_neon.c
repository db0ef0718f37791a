/* Trellis kernel for NEON, aarch64 and ARMv7: sixteen weights at a time, four rows of a tile. Weights are 0
 * or normal, so flushing subnormals, as ARMv7 does, changes nothing. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_AARCH64) || defined(EC_HAVE_NEON_ARMV7)
#if !defined(__ARM_NEON)
#pragma GCC target("fpu=neon")
#endif
#include <arm_neon.h>

#if defined(EC_ARCH_AARCH64)
#define NAME(operation) ec_##operation##_neon
#else
#define NAME(operation) ec_##operation##_neon_armv7
#endif
#define ALWAYS static inline __attribute__((always_inline))
#define ROWS 4
#define N 16 /* weights */

#if defined(EC_ARCH_AARCH64)
#define MAX_REGISTERS 16 /* of 16 entries of a table */
#else
#define MAX_REGISTERS 4 /* there are no more registers than 16 */
#endif

/* Bytes of 16 at the places, which are below 16. */
ALWAYS uint8x16_t pick(uint8x16_t bytes, uint8x16_t places) {
#if defined(EC_ARCH_AARCH64)
    return vqtbl1q_u8(bytes, places);
#else
    uint8x8x2_t pair = {{vget_low_u8(bytes), vget_high_u8(bytes)}};
    return vcombine_u8(vtbl2_u8(pair, vget_low_u8(places)), vtbl2_u8(pair, vget_high_u8(places)));
#endif
}

/* Entries of a table of n times 16 bytes, n 1 or divisible by 4. Places beyond what an instruction has leave
 * what was found before. */
ALWAYS uint8x16_t look_up(const uint8x16x4_t *table, uint8x16_t places, size_t n) {
    if (n == 1) return pick(table[0].val[0], places);
#if defined(EC_ARCH_AARCH64)
    uint8x16_t found = vdupq_n_u8(0);
    for (size_t i = 0; i < n; i += 4) {
        found = vqtbx4q_u8(found, table[i / 4], vsubq_u8(places, vdupq_n_u8((uint8_t)(N * i))));
    }
    return found;
#else
    uint8x8_t found[2] = {vdup_n_u8(0), vdup_n_u8(0)}, halves[2] = {vget_low_u8(places), vget_high_u8(places)};
    for (size_t i = 0; i < n; i += 2) {
        uint8x16_t low = table[0].val[i], high = table[0].val[i + 1];
        uint8x8x4_t four = {{vget_low_u8(low), vget_high_u8(low), vget_low_u8(high), vget_high_u8(high)}};
        uint8x8_t first = vdup_n_u8((uint8_t)(N * i));
        for (int half = 0; half < 2; half++) found[half] = vtbx4_u8(found[half], four, vsub_u8(halves[half], first));
    }
    return vcombine_u8(found[0], found[1]);
#endif
}

/* Four rows of a tile, in lanes of 16 bits. A lane's state begins in byte b at bit s, and lies in that byte
 * and the two behind it. */
typedef struct quarter {
    size_t bytes[2];        /* where the bytes of eight lanes begin in a tile; b is counted from there */
    uint8x16_t pairs[2];    /* b and b + 1 of eight lanes */
    int16x8_t right[2];     /* -s */
    uint16x8_t multipliers; /* times 2^(16 - state_bits) */
    int16x8_t fold, table_shift;
    uint16x8_t mask;
} quarter;

static quarter load_quarter(const ec_trellis_plan *plan, size_t row) {
    quarter q;
    const uint16_t *bits = plan->bits + row * EC_STRIP_COLUMNS;
    uint16_t multipliers[8];
    for (size_t half = 0; half < 2; half++, bits += 8) {
        uint8_t pairs[N];
        int16_t right[8];
        q.bytes[half] = bits[0] >> 3;
        for (size_t i = 0; i < 8; i++) {
            pairs[2 * i] = (uint8_t)((bits[i] >> 3) - (int)q.bytes[half]);
            pairs[2 * i + 1] = (uint8_t)(pairs[2 * i] + 1);
            right[i] = (int16_t)-(bits[i] & 7);
            multipliers[i] = (uint16_t)(plan->multipliers[i % 2] >> 16);
        }
        q.pairs[half] = vld1q_u8(pairs);
        q.right[half] = vld1q_s16(right);
    }
    q.multipliers = vld1q_u16(multipliers);
    q.fold = vdupq_n_s16((int16_t)-(int)plan->fold);
    q.table_shift = vdupq_n_s16((int16_t)((int)plan->table_bits - 16));
    q.mask = vdupq_n_u16((uint16_t)((UINT32_C(1) << plan->state_bits) - 1));
    return q;
}

/* Places in the table of eight lanes, two rows. */
ALWAYS uint16x8_t find_places(const quarter *q, const uint8_t *tile, int half) {
    uint8x16_t bytes = vld1q_u8(tile + q->bytes[half]);
    uint16x8_t state = vreinterpretq_u16_u8(pick(bytes, q->pairs[half]));
    uint16x8_t next = vreinterpretq_u16_u8(pick(bytes, vaddq_u8(q->pairs[half], vdupq_n_u8(1))));
    state = vshlq_u16(state, q->right[half]);
    state = vorrq_u16(state, vshlq_u16(next, vaddq_s16(q->right[half], vdupq_n_s16(8))));
    state = vandq_u16(state, q->mask);
    state = veorq_u16(state, vshlq_u16(state, q->fold));
    return vshlq_u16(vmulq_u16(state, q->multipliers), q->table_shift);
}

/* The same for states of 8 bits, in lanes of 8. */
typedef struct bytes_quarter {
    size_t byte;
    int in_line;        /* 1: b is 0, 1, .. 15 */
    uint8x16_t first;   /* b */
    int8x16_t right;    /* -s */
    uint8x16_t multipliers;
    int8x16_t fold, table_shift;
} bytes_quarter;

static bytes_quarter load_bytes_quarter(const ec_trellis_plan *plan, size_t row) {
    bytes_quarter q;
    const uint16_t *bits = plan->bits + row * EC_STRIP_COLUMNS;
    uint8_t first[N], multipliers[N];
    int8_t right[N];
    q.byte = bits[0] >> 3;
    q.in_line = (bits[N - 1] >> 3) - (int)q.byte == N - 1;
    for (size_t i = 0; i < N; i++) {
        first[i] = (uint8_t)((bits[i] >> 3) - (int)q.byte);
        right[i] = (int8_t)-(bits[i] & 7);
        multipliers[i] = (uint8_t)(plan->multipliers[i % 2] >> 24);
    }
    q.first = vld1q_u8(first);
    q.right = vld1q_s8(right);
    q.multipliers = vld1q_u8(multipliers);
    q.fold = vdupq_n_s8((int8_t)-(int)plan->fold);
    q.table_shift = vdupq_n_s8((int8_t)((int)plan->table_bits - 8));
    return q;
}

ALWAYS uint8x16_t find_bytes_places(const bytes_quarter *q, const uint8_t *tile) {
    uint8x16_t state = vld1q_u8(tile + q->byte), next;
    if (q->in_line) {
        next = vld1q_u8(tile + q->byte + 1);
    } else {
        next = pick(state, vaddq_u8(q->first, vdupq_n_u8(1))); /* of 16 bytes, since b is at most 14 */
        state = pick(state, q->first);
    }
    state = vorrq_u8(vshlq_u8(state, q->right), vshlq_u8(next, vaddq_s8(q->right, vdupq_n_s8(8))));
    state = veorq_u8(state, vshlq_u8(state, q->fold));
    return vshlq_u8(vmulq_u8(state, q->multipliers), q->table_shift);
}

ALWAYS int16x8_t load_entries(const ec_trellis_plan *plan, uint16x8_t places) {
    uint16_t place[8];
    int16_t entries[8];
    vst1q_u16(place, places);
    for (size_t i = 0; i < 8; i++) {
        const uint8_t *entry = plan->table + ((size_t)place[i] << plan->wide);
        entries[i] = plan->wide ? (int16_t)ec_load_u16(entry) : (int8_t)*entry;
    }
    return vld1q_s16(entries);
}

ALWAYS void store_rows(int16x8_t values, float32x2_t scales, float *out, size_t stride) {
    vst1q_f32(out, vmulq_lane_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(values))), scales, 0));
    vst1q_f32(out + stride, vmulq_lane_f32(vcvtq_f32_s32(vmovl_s16(vget_high_s16(values))), scales, 1));
}

/* Inlined once per case. `narrow`: states of 8 bits; n_registers: of the table, 0 when it is not looked up in
 * registers. */
ALWAYS void decode(const ec_tiles *tiles, int narrow, size_t n_registers) {
    const ec_trellis_plan *plan = tiles->plan;
    size_t n = tiles->n, stride = tiles->stride;
    uint8x16x4_t table[MAX_REGISTERS / 4];
    for (size_t i = 0; i < n_registers; i++) table[i / 4].val[i % 4] = vld1q_u8(plan->table + N * i);
    for (size_t row = 0; row < EC_BAND_ROWS; row += ROWS) {
        const float *scales = tiles->scales + row;
        float *out = tiles->out + row * stride;
        const quarter q = load_quarter(plan, row);
        const bytes_quarter bytes = load_bytes_quarter(plan, row);
        float32x2_t first = vld1_f32(scales), last = vld1_f32(scales + 2);
        const uint8_t *tile = tiles->codes;
        for (size_t t = 0; t < n; t++, tile += plan->tile_bytes) {
            float *to = out + t * EC_STRIP_COLUMNS;
            uint16x8_t upper, lower;
            uint8x16_t places;
            if (narrow) {
                places = find_bytes_places(&bytes, tile);
                upper = vmovl_u8(vget_low_u8(places));
                lower = vmovl_u8(vget_high_u8(places));
            } else {
                upper = find_places(&q, tile, 0);
                lower = find_places(&q, tile, 1);
                places = vcombine_u8(vmovn_u16(upper), vmovn_u16(lower));
            }
            int16x8_t values[2];
            if (n_registers != 0) {
                int8x16_t entries = vreinterpretq_s8_u8(look_up(table, places, n_registers));
                values[0] = vmovl_s8(vget_low_s8(entries));
                values[1] = vmovl_s8(vget_high_s8(entries));
            } else {
                values[0] = load_entries(plan, upper);
                values[1] = load_entries(plan, lower);
            }
            store_rows(values[0], first, to, stride);
            store_rows(values[1], last, to + 2 * stride, stride);
        }
    }
}

void NAME(decode_f32_tr)(const ec_tiles *tiles) {
    const ec_trellis_plan *plan = tiles->plan;
    uint32_t entries = plan->wide ? 0 : UINT32_C(1) << plan->table_bits;
    int narrow = plan->state_bits == 8;
    switch (2 * entries + (uint32_t)narrow) {
        case 2 * 16: decode(tiles, 0, 1); break;
        case 2 * 16 + 1: decode(tiles, 1, 1); break;
        case 2 * 64: decode(tiles, 0, 4); break;
        case 2 * 64 + 1: decode(tiles, 1, 4); break;
#if MAX_REGISTERS == 16
        case 2 * 256: decode(tiles, 0, 16); break;
        case 2 * 256 + 1: decode(tiles, 1, 16); break;
#endif
        default:
            if (narrow) {
                decode(tiles, 1, 0);
            } else {
                decode(tiles, 0, 0);
            }
    }
}
#endif
