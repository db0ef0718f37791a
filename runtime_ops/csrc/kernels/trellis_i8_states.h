/* States of trellises for NEON, and the table's entries for them, sixteen weights at a time: four rows of a tile, a
 * quarter. Angles and states are counted from their highest bit on, so that what lies above a state vanishes when
 * it is multiplied. */
#ifndef EC_TRELLIS_I8_STATES_H
#define EC_TRELLIS_I8_STATES_H

#include "kernels/neon.h"

#if defined(EC_NEON)
#define QUARTERS 4
#define QUARTER 16  /* weights */
#define GROUP 64    /* bytes of a table that an instruction looks up in */

/* How states are read. In tiles whose steps share bytes (TrellisFormat.order) neighbours' states begin in
 * neighbouring bytes: states of 8 bits, and of up to 12 in words, with 1, 2 or 4 bits a step. Else by look-ups of
 * their bytes: states of 8 bits, and all. */
enum { BYTES_1, BYTES_2, BYTES_4, WORDS_1, WORDS_2, WORDS_4, WORDS_4_FOLD, BYTES_ANY, WORDS_PAIRS, WORDS_3, WORDS_ANY };
/* Where entries are looked up: in registers that hold 64 or 256, repeated if there are fewer, by the state itself;
 * or in memory. */
enum { TABLE_64, TABLE_256, BY_STATE, TABLE_LARGE };

/* What look-ups need. */
typedef struct reader {
    uint8x16x4_t values[4];
    uint8x16_t multipliers;       /* times 2^(8 - state_bits) */
    uint16x8_t word_multipliers;  /* times 2^(16 - state_bits) */
    uint16x8_t mask;              /* of a state */
    int16x8_t fold, table_shift;  /* to the right, negative */
    int32x4_t to_odd;             /* of WORDS_ANY: from a step's state to that of the next, if it were in bit 16 */
    uint8x16_t group;             /* GROUP, in one register */
    const uint8_t *table;
} reader;

/* Where the states of a quarter begin. */
typedef struct quarter {
    size_t bytes[2];      /* of a tile: where its halves begin; but for WORDS_ANY the first one has all within 16 */
    uint8x16_t first[2];  /* bytes that are looked up from there on */
    int8x16_t right;      /* bits of the first byte that come before the state, negative: BYTES_ANY */
    int32x4_t rights[2];  /* of every second weight: WORDS_* */
} quarter;

static void load_values(const ec_trellis_plan *plan, int lookup, reader *r) {
    uint8_t spread[EC_STATES];
    const uint8_t *values = spread;
    uint32_t bits = lookup == TABLE_64 ? 6 : 8;
    if (lookup == TABLE_LARGE) return;
    if (lookup == BY_STATE) {
        values = (const uint8_t *)plan->by_state[0];
    } else if (bits == plan->table_bits) {
        values = plan->table;
    } else {
        for (uint32_t i = 0; i < UINT32_C(1) << bits; i++) spread[i] = plan->table[i >> (bits - plan->table_bits)];
    }
    for (uint32_t i = 0; i < UINT32_C(1) << bits; i += QUARTER) {
        r->values[i / GROUP].val[i / QUARTER % 4] = vld1q_u8(values + i);
    }
}

static reader make_reader(const ec_trellis_plan *plan, int lookup) {
    uint16_t multipliers[8];
    reader r;
    memset(&r, 0, sizeof r);
    load_values(plan, lookup, &r);
    for (size_t i = 0; i < 8; i++) multipliers[i] = (uint16_t)(plan->multipliers[i % 2] >> 16);
    r.word_multipliers = vld1q_u16(multipliers);
    r.multipliers = vreinterpretq_u8_u16(vdupq_n_u16((uint16_t)(multipliers[0] >> 8 | (multipliers[1] & 0xFF00))));
    r.mask = vdupq_n_u16((uint16_t)((UINT32_C(1) << plan->state_bits) - 1));
    r.fold = vdupq_n_s16((int16_t)-(int)plan->fold);
    r.table_shift = vdupq_n_s16((int16_t)((int)plan->table_bits - 16));
    r.to_odd = vdupq_n_s32(16 - (plan->bits[1] - plan->bits[0]));
    r.group = vdupq_n_u8(GROUP);
    HIDE(r.group); /* or multiples of it are constants in registers, of which there are few */
    r.table = plan->table;
    return r;
}

static quarter make_quarter(const ec_trellis_plan *plan, int way, size_t number) {
    const uint16_t *bits = plan->bits + number * QUARTER;
    uint8_t first[2][16];
    int8_t right[16];
    int32_t rights[2][4];
    quarter q;
    q.bytes[0] = bits[0] >> 3;
    q.bytes[1] = bits[8] >> 3;
    for (size_t i = 0; i < 16; i++) {
        right[i] = (int8_t)-(bits[i] & 7);
        rights[i / 8][i % 8 / 2] = -(bits[i & 14] & 7);
        for (size_t half = 0; half < 2; half++) {
            size_t from = q.bytes[way == WORDS_ANY ? half : 0];
            size_t byte = way == BYTES_ANY ? (bits[i] >> 3) + half : (bits[8 * half + i / 4 * 2] >> 3) + i % 4;
            first[half][i] = (uint8_t)(byte - from);
        }
    }
    q.right = vld1q_s8(right);
    for (size_t half = 0; half < 2; half++) {
        q.first[half] = vld1q_u8(first[half]);
        q.rights[half] = vld1q_s32(rights[half]);
    }
    return q;
}

/* Bytes of 16 at the places, which are below 16. */
ALWAYS uint8x16_t pick(uint8x16_t bytes, uint8x16_t places) {
#if defined(EC_ARCH_AARCH64)
    return vqtbl1q_u8(bytes, places);
#else
    uint8x8x2_t pair = {{vget_low_u8(bytes), vget_high_u8(bytes)}};
    return vcombine_u8(vtbl2_u8(pair, vget_low_u8(places)), vtbl2_u8(pair, vget_high_u8(places)));
#endif
}

#if defined(EC_ARCH_AARCH64)
ALWAYS uint8x16_t look_up_64(const reader *r, uint8x16_t places) { return vqtbl4q_u8(r->values[0], places); }

/* Places beyond what an instruction has leave what was found before. */
ALWAYS uint8x16_t look_up_256(const reader *r, uint8x16_t places) {
    uint8x16_t found = vqtbl4q_u8(r->values[0], places);
    for (int i = 1; i < 4; i++) {
        places = vsubq_u8(places, r->group);
        found = vqtbx4q_u8(found, r->values[i], places);
    }
    return found;
}
#else
/* Entries at the places, of 64 times n_groups. */
ALWAYS uint8x16_t look_up_groups(const uint8x16x4_t *values, uint8x16_t places, int n_groups) {
    uint8x8_t found[2] = {vdup_n_u8(0), vdup_n_u8(0)}, halves[2] = {vget_low_u8(places), vget_high_u8(places)};
    for (int i = 0; i < 2 * n_groups; i++) {
        uint8x16_t low = values[i / 2].val[i % 2 * 2], high = values[i / 2].val[i % 2 * 2 + 1];
        uint8x8x4_t four = {{vget_low_u8(low), vget_high_u8(low), vget_low_u8(high), vget_high_u8(high)}};
        uint8x8_t start = vdup_n_u8((uint8_t)(GROUP / 2 * i));
        for (int half = 0; half < 2; half++) found[half] = vtbx4_u8(found[half], four, vsub_u8(halves[half], start));
    }
    return vcombine_u8(found[0], found[1]);
}

ALWAYS uint8x16_t look_up_64(const reader *r, uint8x16_t places) { return look_up_groups(r->values, places, 1); }

/* Not inlined, for its size: the table fills all registers. */
static __attribute__((noinline)) uint8x16_t look_up_256(const reader *r, uint8x16_t places) {
    return look_up_groups(r->values, places, 4);
}
#endif

ALWAYS int8x16_t look_up(const reader *r, uint8x16_t places, int lookup) {
    if (lookup == TABLE_64) return vreinterpretq_s8_u8(look_up_64(r, vshrq_n_u8(places, 2)));
    return vreinterpretq_s8_u8(look_up_256(r, places));
}

/* Entries by states of 8 bits. */
ALWAYS int8x16_t find_by_bytes(const reader *r, uint8x16_t states, int lookup) {
    return look_up(r, lookup == BY_STATE ? states : vmulq_u8(states, r->multipliers), lookup);
}

/* Angles by states that may have bits above them. */
ALWAYS uint16x8_t find_angles(const reader *r, uint16x8_t states, int folded) {
    if (folded) states = veorq_u16(states, vshlq_u16(vandq_u16(states, r->mask), r->fold));
    return vmulq_u16(states, r->word_multipliers);
}

/* Entries by the states of weights 0, 2, 4 .. and of 1, 3, 5 .. of a quarter. */
ALWAYS int8x16_t find_by_words(const reader *r, uint16x8_t even, uint16x8_t odd, int folded, int lookup) {
    uint8x16_t low = vreinterpretq_u8_u16(find_angles(r, even, folded));
    uint8x16_t high = vreinterpretq_u8_u16(find_angles(r, odd, folded));
#if defined(EC_ARCH_AARCH64)
    return look_up(r, vtrn2q_u8(low, high), lookup);
#else
    return look_up(r, vtrnq_u8(low, high).val[1], lookup);
#endif
}

/* Eight bits from bit `from` of 16 on. */
ALWAYS uint8x16_t shift_bytes(uint8x16_t bytes, uint8x16_t next, int from) {
    switch (from) { /* shifts are part of instructions */
        case 1: return vsliq_n_u8(vshrq_n_u8(bytes, 1), next, 7);
        case 2: return vsliq_n_u8(vshrq_n_u8(bytes, 2), next, 6);
        case 3: return vsliq_n_u8(vshrq_n_u8(bytes, 3), next, 5);
        case 4: return vsliq_n_u8(vshrq_n_u8(bytes, 4), next, 4);
        case 5: return vsliq_n_u8(vshrq_n_u8(bytes, 5), next, 3);
        case 6: return vsliq_n_u8(vshrq_n_u8(bytes, 6), next, 2);
        case 7: return vsliq_n_u8(vshrq_n_u8(bytes, 7), next, 1);
        default: return bytes;
    }
}

/* Twelve bits, and others above, from bit `from` of 32 on. */
ALWAYS uint16x8_t shift_words(uint8x16_t bytes, uint8x16_t behind, int from) {
    uint16x8_t words = vreinterpretq_u16_u8(bytes), next = vreinterpretq_u16_u8(behind);
    switch (from) {
        case 1: return vshrq_n_u16(words, 1);
        case 2: return vshrq_n_u16(words, 2);
        case 3: return vshrq_n_u16(words, 3);
        case 4: return vshrq_n_u16(words, 4);
        case 5: return vsliq_n_u16(vshrq_n_u16(words, 5), next, 11);
        case 6: return vsliq_n_u16(vshrq_n_u16(words, 6), next, 10);
        case 7: return vsliq_n_u16(vshrq_n_u16(words, 7), next, 9);
        default: return words;
    }
}

/* 16 bytes from the first byte of a tile on, from the second and so on; with 4 bits a step of each half. */
typedef struct codes {
    uint8x16_t from[4];
} codes;

ALWAYS codes load_codes(const uint8_t *tile, int way) {
    codes c;
    int halves = way == BYTES_4 || way == WORDS_4 || way == WORDS_4_FOLD;
    c.from[0] = vld1q_u8(tile);
    c.from[1] = vld1q_u8(tile + 1);
    c.from[2] = halves ? vld1q_u8(tile + 16) : vld1q_u8(tile + 2);
    c.from[3] = halves ? vld1q_u8(tile + 17) : vld1q_u8(tile + 3);
    return c;
}

/* One quarter of a tile, or with 1 bit a step two of eight rows of two tiles: first 8 weights of the one, then 8 of
 * the other. With large tables one after the other, which are as many as there are registers for. */
ALWAYS int8x16_t find_part(const reader *r, codes *c, int part, int way, int lookup) {
    int first = 0, from = part;
    int8x16_t entries;
    if (way == BYTES_2 || way == WORDS_2) from = 2 * part;
    if (way == BYTES_4 || way == WORDS_4 || way == WORDS_4_FOLD) {
        first = part % 2 * 2;
        from = part / 2 * 4;
    }
    HIDE(c->from[first]);
    uint8x16_t even = c->from[first], odd = c->from[first + 1];
    if (way == BYTES_1 || way == BYTES_2 || way == BYTES_4) {
        entries = find_by_bytes(r, shift_bytes(even, odd, from), lookup);
    } else {
        uint16x8_t low = shift_words(even, c->from[2], from), high = shift_words(odd, c->from[3], from);
        entries = find_by_words(r, low, high, way != WORDS_4, lookup);
    }
    if (lookup != TABLE_64) NEED(entries);
    return entries;
}

/* Angles of half a quarter: two states in a dword. */
ALWAYS uint16x8_t find_half(const reader *r, const quarter *q, const uint8_t *tile, int half, int way) {
    uint8x16_t bytes = vld1q_u8(tile + q->bytes[way == WORDS_ANY ? half : 0]);
    uint32x4_t states = vreinterpretq_u32_u8(pick(bytes, q->first[half]));
    states = vshlq_u32(states, q->rights[half]);
    if (way == WORDS_PAIRS) {
        states = vsliq_n_u32(states, states, 16);
    } else if (way == WORDS_3) {
        states = vsliq_n_u32(states, states, 13); /* 13 bits of the first state are left */
    } else {
        states = vbslq_u32(vdupq_n_u32(0xFFFF), states, vshlq_u32(states, r->to_odd));
    }
    return find_angles(r, vreinterpretq_u16_u32(states), way != WORDS_PAIRS);
}

ALWAYS int8x16_t load_entries(const reader *r, uint16x8_t low, uint16x8_t high) {
    uint16_t places[QUARTER];
    int8_t entries[QUARTER];
    vst1q_u16(places, vshlq_u16(low, r->table_shift));
    vst1q_u16(places + 8, vshlq_u16(high, r->table_shift));
    for (size_t i = 0; i < QUARTER; i++) entries[i] = (int8_t)r->table[places[i]];
    return vld1q_s8(entries);
}

/* One quarter of a tile. */
ALWAYS int8x16_t find_quarter(const reader *r, const quarter *q, const uint8_t *tile, int way, int lookup) {
    if (way == BYTES_ANY) {
        uint8x16_t bytes = vld1q_u8(tile + q->bytes[0]);
        uint8x16_t states = vshlq_u8(pick(bytes, q->first[0]), q->right);
        uint8x16_t next = vshlq_u8(pick(bytes, q->first[1]), vaddq_s8(q->right, vdupq_n_s8(8)));
        return find_by_bytes(r, vorrq_u8(states, next), lookup);
    }
    uint16x8_t low = find_half(r, q, tile, 0, way), high = find_half(r, q, tile, 1, way);
    if (lookup == TABLE_LARGE) return load_entries(r, low, high);
#if defined(EC_ARCH_AARCH64)
    uint8x16_t places = vuzp2q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
#else
    uint8x16_t places = vuzpq_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high)).val[1];
#endif
    return look_up(r, places, lookup);
}
#endif
#endif
