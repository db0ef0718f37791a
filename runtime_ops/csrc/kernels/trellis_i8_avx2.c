/* Trellises with int8 tables for x86-64 with AVX2: half of a tile's weights at a time, 32 bytes. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define ALWAYS static inline __attribute__((always_inline))
#define HALF (EC_TILE_WEIGHTS / 2)
#define N 16            /* states at a time, of 16 bits; entries in a register's half */
#define GROUPS (EC_TILE_WEIGHTS / N)
#define PANEL_BLOCKS 8  /* decoded at a time to be multiplied: 4 KiB */

/* Cases that are compiled apart. Either states are bytes of which 8, 16 or 32 lie side by side, shifted alike,
 * and the table has their values; or they are found as words, and table entries by registers of 16. */
enum { BYTES_8, BYTES_16, BYTES_32, WORDS_1, WORDS_4, WORDS_16, WORDS_MANY };

/* Sixteen words: two rows in each half, which is cut from the bytes that begin at bytes[half]. An even word is
 * the low part of a dword shifted right, an odd one the high part of one shifted left. */
typedef struct group {
    size_t bytes[2];
    __m256i even, odd;   /* the dwords' bytes, for a shuffle */
    __m256i right, left; /* bits */
} group;

typedef struct reader {
    int lookup;
    __m256i right[2], left[2]; /* of qwords of bytes, for each half of a tile */
    group groups[GROUPS];
    __m256i multipliers, fold_mask;
    __m128i fold, table_shift;
    const uint8_t *table;
    uint8_t values[EC_STATES]; /* table entries, each as often as makes 16, 64 or 256 of them; or by state */
} reader;

AVX2 ALWAYS __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

AVX2 static group make_group(const ec_trellis_plan *plan, size_t row) {
    group g;
    uint8_t even[2 * N] = {0}, odd[2 * N] = {0};
    uint32_t right[N / 2], left[N / 2];
    for (uint32_t i = 0; i < N; i++) {
        const uint16_t *bits = plan->bits + (row + i / 8 * 4) * EC_STRIP_COLUMNS;
        uint32_t bit = bits[i % 8], first = bits[0] >> 3;
        uint8_t *bytes = (i % 2 == 0 ? even : odd) + i / 2 * 4;
        g.bytes[i / 8] = first;
        for (uint32_t j = 0; j < 3; j++) bytes[j] = (uint8_t)((bit >> 3) - first + j);
        if (i % 2 == 0) right[i / 2] = bit & 7;
        if (i % 2 == 1) left[i / 2] = 16 - (bit & 7);
    }
    g.even = load(even);
    g.odd = load(odd);
    g.right = load(right);
    g.left = load(left);
    return g;
}

/* Shifts of the four qwords of each half. */
AVX2 static void start_bytes(const ec_trellis_plan *plan, reader *r) {
    for (int half = 0; half < 2; half++) {
        const uint16_t *bits = plan->bits + half * HALF;
        uint64_t right[4], left[4];
        for (int i = 0; i < 4; i++) {
            right[i] = bits[8 * i] & 7;
            left[i] = 8 - right[i];
        }
        r->right[half] = load(right);
        r->left[half] = load(left);
    }
    memcpy(r->values, plan->by_state[0], EC_STATES);
}

AVX2 static void start_words(const ec_trellis_plan *plan, reader *r) {
    for (size_t g = 0; g < GROUPS; g++) r->groups[g] = make_group(plan, g / 2 * 8 + g % 2 * 2);
    uint32_t odd_factor = plan->multipliers[1] & UINT32_C(0xFFFF0000);
    r->multipliers = _mm256_set1_epi32((int)(plan->multipliers[0] >> 16 | odd_factor));
    r->fold = _mm_cvtsi32_si128((int)plan->fold);
    r->fold_mask = _mm256_set1_epi16((short)(((UINT32_C(1) << plan->state_bits) - 1) >> plan->fold));
    r->table_shift = _mm_cvtsi32_si128(16 - (int)plan->table_bits);
    r->table = plan->table;
    if (r->lookup == WORDS_MANY) return;
    uint32_t bits = r->lookup == WORDS_1 ? 4 : r->lookup == WORDS_4 ? 6 : 8;
    for (uint32_t i = 0; i < 1u << bits; i++) r->values[i] = plan->table[i >> (bits - plan->table_bits)];
}

AVX2 static void start(const ec_trellis_plan *plan, reader *r) {
    uint32_t bits = plan->table_bits;
    r->lookup = bits <= 4 ? WORDS_1 : bits <= 6 ? WORDS_4 : bits <= 8 ? WORDS_16 : WORDS_MANY;
    int in_line = plan->dim == 1 && 8 % plan->step_bits == 0;
    if (plan->state_bits == 8 && in_line && r->lookup == WORDS_16) {
        r->lookup = plan->step_bits == 1 ? BYTES_8 : plan->step_bits == 2 ? BYTES_16 : BYTES_32;
        start_bytes(plan, r);
    } else {
        start_words(plan, r);
    }
}

/* Half a tile's states of 8 bits. */
AVX2 ALWAYS __m256i find_bytes(const reader *r, const uint8_t *tile, int half, int lookup) {
    __m256i bytes[2]; /* and the ones behind them */
    for (int i = 0; i < 2; i++) {
        if (lookup == BYTES_8) bytes[i] = _mm256_set1_epi64x((int64_t)ec_load_u64(tile + i));
        if (lookup == BYTES_16) {
            bytes[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(tile + i)));
        }
        if (lookup == BYTES_32) bytes[i] = load(tile + i);
    }
    __m256i low = _mm256_srlv_epi64(bytes[0], r->right[half]);
    return _mm256_or_si256(low, _mm256_sllv_epi64(bytes[1], r->left[half]));
}

/* Angles of 16 weights. */
AVX2 ALWAYS __m256i find_words(const reader *r, const uint8_t *tile, const group *g) {
    __m128i first = _mm_loadu_si128((const __m128i *)(const void *)(tile + g->bytes[0]));
    __m128i second = _mm_loadu_si128((const __m128i *)(const void *)(tile + g->bytes[1]));
    __m256i bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
    __m256i even = _mm256_srlv_epi32(_mm256_shuffle_epi8(bytes, g->even), g->right);
    __m256i odd = _mm256_sllv_epi32(_mm256_shuffle_epi8(bytes, g->odd), g->left);
    __m256i states = _mm256_blend_epi16(even, odd, 0xAA); /* with bits above them */
    __m256i folded = _mm256_and_si256(_mm256_srl_epi16(states, r->fold), r->fold_mask);
    return _mm256_mullo_epi16(_mm256_xor_si256(states, folded), r->multipliers);
}

AVX2 ALWAYS __m256i entries_of(const uint8_t *table, __m256i low) {
    __m128i entries = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), low);
}

/* Entries of a table of n times 16, n up to 4: bits 0 to 3 of a place choose in each 16, then bit by bit the
 * others among those. */
AVX2 ALWAYS __m256i look_up_4(const uint8_t *table, __m256i places, __m256i low, size_t n) {
    if (n == 1) return entries_of(table, low);
    __m256i bit_4 = _mm256_slli_epi16(places, 3), bit_5 = _mm256_slli_epi16(places, 2);
    __m256i first = _mm256_blendv_epi8(entries_of(table, low), entries_of(table + 16, low), bit_4);
    __m256i second = _mm256_blendv_epi8(entries_of(table + 32, low), entries_of(table + 48, low), bit_4);
    return _mm256_blendv_epi8(first, second, bit_5);
}

AVX2 ALWAYS __m256i look_up(const uint8_t *table, __m256i places, size_t n) {
    __m256i low = _mm256_and_si256(places, _mm256_set1_epi8(15)), found[2];
    if (n < 16) return look_up_4(table, places, low, n);
    __m256i bit_6 = _mm256_slli_epi16(places, 1);
    for (size_t i = 0; i < 2; i++, table += 128) {
        found[i] = _mm256_blendv_epi8(look_up_4(table, places, low, 4), look_up_4(table + 64, places, low, 4), bit_6);
    }
    return _mm256_blendv_epi8(found[0], found[1], places);
}

/* Tables of more than 256 entries. */
AVX2 static void decode_many(const reader *r, const uint8_t *tile, int8_t *out) {
    uint16_t places[N];
    for (size_t g = 0; g < GROUPS; g++) {
        __m256i words = _mm256_srl_epi16(find_words(r, tile, r->groups + g), r->table_shift);
        _mm256_storeu_si256((__m256i *)(void *)places, words);
        for (size_t i = 0; i < N; i++) {
            out[g / 2 * HALF + g % 2 * 8 + i / 8 * 16 + i % 8] = (int8_t)r->table[places[i]];
        }
    }
}

AVX2 ALWAYS void decode(const reader *r, size_t tile_bytes, const uint8_t *codes, size_t n, int8_t *out, int lookup) {
    for (size_t t = 0; t < n; t++, codes += tile_bytes, out += EC_TILE_WEIGHTS) {
        if (lookup == WORDS_MANY) {
            decode_many(r, codes, out);
            continue;
        }
        for (int half = 0; half < 2; half++) {
            __m256i places;
            if (lookup <= BYTES_32) {
                places = find_bytes(r, codes, half, lookup);
            } else {
                const int shift = lookup == WORDS_1 ? 12 : lookup == WORDS_4 ? 10 : 8;
                __m256i first = _mm256_srli_epi16(find_words(r, codes, r->groups + 2 * half), shift);
                __m256i second = _mm256_srli_epi16(find_words(r, codes, r->groups + 2 * half + 1), shift);
                places = _mm256_packus_epi16(first, second);
            }
            __m256i found = look_up(r->values, places, lookup == WORDS_1 ? 1 : lookup == WORDS_4 ? 4 : 16);
            _mm256_storeu_si256((__m256i *)(void *)(out + half * HALF), found);
        }
    }
}

AVX2 static void run(const reader *r, size_t tile_bytes, const uint8_t *codes, size_t n, int8_t *out) {
    switch (r->lookup) {
        case BYTES_8: decode(r, tile_bytes, codes, n, out, BYTES_8); break;
        case BYTES_16: decode(r, tile_bytes, codes, n, out, BYTES_16); break;
        case BYTES_32: decode(r, tile_bytes, codes, n, out, BYTES_32); break;
        case WORDS_1: decode(r, tile_bytes, codes, n, out, WORDS_1); break;
        case WORDS_4: decode(r, tile_bytes, codes, n, out, WORDS_4); break;
        case WORDS_16: decode(r, tile_bytes, codes, n, out, WORDS_16); break;
        default: decode(r, tile_bytes, codes, n, out, WORDS_MANY);
    }
}

AVX2 void ec_decode_i8_tr_avx2(const ec_trellis_plan *plan, const uint8_t *codes, size_t n, int8_t *out) {
    reader r;
    start(plan, &r);
    run(&r, (size_t)plan->tile_bytes, codes, n, out);
}

/* Looking up takes most of the time: weights may as well go through memory. */
AVX2 void ec_gemv_i8_tr_avx2(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band) {
    int8_t w[PANEL_BLOCKS * EC_BLOCK_WEIGHTS];
    reader r;
    start(plan, &r);
    ec_band_i8 panel = *band;
    panel.w = w;
    for (size_t left = band->n_blocks; left > 0; left -= panel.n_blocks) {
        panel.n_blocks = left < PANEL_BLOCKS ? left : PANEL_BLOCKS;
        run(&r, (size_t)plan->tile_bytes, codes, panel.n_blocks * EC_BLOCK_TILES, w);
        ec_dots_i8_avx2(&panel);
        codes += panel.n_blocks * EC_BLOCK_TILES * (size_t)plan->tile_bytes;
        panel.x += panel.n_blocks * EC_BLOCK;
        panel.x_scales += panel.n_blocks;
        panel.x_sums += panel.n_blocks;
        if (panel.w_scales != NULL) panel.w_scales += panel.n_blocks * EC_BAND_ROWS;
    }
}
#endif
