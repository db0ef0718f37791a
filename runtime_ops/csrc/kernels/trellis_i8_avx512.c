/* Trellises with int8 tables for x86-64 with AVX-512: a tile's 64 weights are the bytes of one register, a row
 * in each dword. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")))
#define ALWAYS static inline __attribute__((always_inline))
#define N EC_TILE_WEIGHTS
#define BIAS 0x80          /* vpdpbusd wants unsigned weights: these are 128 larger */
#define GROUP 512          /* entries of a large table that are looked up at a time */

/* Cases that are compiled apart: how a state becomes an entry, and which bytes of a tile are loaded. */
enum { BY_STATE, BY_STATE_PAIRS, TABLE_64, TABLE_256, TABLE_LARGE };
enum { LOAD_16, LOAD_32, LOAD_48, LOAD_64, LOAD_TWICE };

/* Where the states of a tile are. Eight bytes of the tile are chosen for each qword, and windows of bits cut
 * out of them. States of 8 bits give 64 bytes, in dword j those of row order[j]; others give twice 32 words, of
 * the rows 0, 1, 4, 5, 8, 9, 12, 13 and of those between. */
typedef struct reader {
    __m512i bytes[2], windows[2];
    __m512i multipliers, fold_factor, fold_mask;
    __m512i values[4], odd_values[4]; /* of the table, each as often as makes 64 or 256 of them; or by_state */
    __m512i order, places;   /* row order[j] is dword j, row r is dword places[r] */
    __m128i table_shift;
    size_t start[2];         /* byte of the tile that is loaded first */
    int lookup, load;
    const uint8_t *table;    /* of a large one */
    size_t entries;
    __m512i bias;
} reader;

AVX512 ALWAYS __m512i load(const void *p) { return _mm512_loadu_si512(p); }

/* Where 32 elements begin, counted from the first byte of the rows that come first in their qwords, and those
 * bytes. */
AVX512 ALWAYS void find_windows(const ec_trellis_plan *plan, __m512i elements, __m512i heads, __m512i *windows,
                                __m512i *bytes) {
    __m512i low = load(plan->bits), high = load(plan->bits + N / 2);
    *bytes = _mm512_srli_epi16(_mm512_permutex2var_epi16(low, heads, high), 3);
    __m512i bits = _mm512_permutex2var_epi16(low, elements, high);
    *windows = _mm512_sub_epi16(bits, _mm512_slli_epi16(*bytes, 3));
}

AVX512 ALWAYS __m512i join(__m512i low, __m512i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(low)), _mm512_cvtepi16_epi8(high), 1);
}

/* Two rows a qword. Rows that lie in the same bytes come together, so that eight bytes hold their windows. */
AVX512 static void lay_out_bytes(const ec_trellis_plan *plan, reader *r) {
    static const uint16_t within[] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,
                                      0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
    uint32_t together = plan->dim == 1 && 8 % plan->step_bits == 0 ? 8 / plan->step_bits : 1;
    uint16_t elements[N], heads[N];
    uint32_t order[EC_BAND_ROWS], places[EC_BAND_ROWS], apart = EC_BAND_ROWS / together, j = 0;
    for (uint32_t i = 0; i < apart; i++) {
        for (uint32_t row = i; row < EC_BAND_ROWS; row += apart) {
            order[j] = row;
            places[row] = j++;
        }
    }
    r->order = load(order);
    r->places = load(places);
    for (uint32_t i = 0; i < N; i++) {
        elements[i] = (uint16_t)(4 * order[i / 4]);
        heads[i] = (uint16_t)(4 * order[i / 8 * 2]);
    }
    __m512i windows[2], bytes[2], columns = load(within);
    for (int half = 0; half < 2; half++) {
        __m512i first = _mm512_add_epi16(load(elements + half * 32), columns);
        find_windows(plan, first, load(heads + half * 32), &windows[half], &bytes[half]);
    }
    r->windows[0] = join(windows[0], windows[1]);
    r->bytes[0] = _mm512_add_epi8(join(bytes[0], bytes[1]), _mm512_set1_epi64(INT64_C(0x0706050403020100)));
}

/* One row a qword, a state in two bytes. */
AVX512 static void lay_out_words(const ec_trellis_plan *plan, reader *r) {
    static const uint16_t elements[] = {0,  1,  2,  3,  4,  5,  6,  7,  16, 17, 18, 19, 20, 21, 22, 23,
                                        32, 33, 34, 35, 36, 37, 38, 39, 48, 49, 50, 51, 52, 53, 54, 55};
    for (int half = 0; half < 2; half++) {
        __m512i bytes, windows, first = _mm512_add_epi16(load(elements), _mm512_set1_epi16((short)(8 * half)));
        if (r->load == LOAD_TWICE) r->start[half] = plan->bits[8 * half] >> 3;
        find_windows(plan, first, _mm512_andnot_si512(_mm512_set1_epi16(3), first), &windows, &bytes);
        windows = _mm512_or_si512(windows, _mm512_slli_epi16(windows, 8));
        r->windows[half] = _mm512_add_epi8(windows, _mm512_set1_epi16(0x0800));
        bytes = _mm512_sub_epi16(bytes, _mm512_set1_epi16((short)r->start[half]));
        bytes = _mm512_or_si512(bytes, _mm512_slli_epi16(bytes, 8));
        r->bytes[half] = _mm512_add_epi8(bytes, _mm512_set1_epi64(INT64_C(0x0706050403020100)));
    }
    r->order = r->places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/* What look-ups in registers need. */
AVX512 static void load_values(const ec_trellis_plan *plan, reader *r) {
    uint8_t spread[EC_STATES];
    const void *even = plan->table, *odd = plan->table;
    uint32_t bits = r->lookup == TABLE_64 ? 6 : 8, more = bits - plan->table_bits;
    if (r->lookup == TABLE_LARGE) return;
    if (plan->state_bits == 8) {
        even = plan->by_state[0];
        odd = plan->by_state[1];
    } else if (more != 0) {
        for (uint32_t i = 0; i < 1u << bits; i++) spread[i] = plan->table[i >> more];
        even = odd = spread;
    }
    for (uint32_t i = 0; i < 1u << bits; i += N) {
        r->values[i / N] = _mm512_xor_si512(load((const uint8_t *)even + i), r->bias);
        r->odd_values[i / N] = _mm512_xor_si512(load((const uint8_t *)odd + i), r->bias);
    }
}

AVX512 static void start(const ec_trellis_plan *plan, uint8_t bias, reader *r) {
    size_t size = (size_t)plan->tile_bytes;
    memset(r, 0, sizeof *r);
    r->bias = _mm512_set1_epi8((char)bias);
    r->load = size < 16 ? LOAD_16 : size < 32 ? LOAD_32 : size < 48 ? LOAD_48 : LOAD_64;
    if (plan->state_bits == 8) {
        r->lookup = plan->dim == 1 ? BY_STATE : BY_STATE_PAIRS;
        lay_out_bytes(plan, r);
    } else {
        r->lookup = plan->table_bits <= 6 ? TABLE_64 : plan->table_bits <= 8 ? TABLE_256 : TABLE_LARGE;
        if (size == N) r->load = LOAD_TWICE;
        lay_out_words(plan, r);
    }
    load_values(plan, r);
    uint32_t odd_factor = plan->multipliers[1] & UINT32_C(0xFFFF0000);
    r->multipliers = _mm512_set1_epi32((int)(plan->multipliers[0] >> 16 | odd_factor));
    r->fold_factor = _mm512_set1_epi16((short)(plan->fold < 16 ? UINT32_C(1) << (16 - plan->fold) : 0));
    r->fold_mask = _mm512_set1_epi16((short)(((UINT32_C(1) << plan->state_bits) - 1) >> plan->fold));
    r->table_shift = _mm_cvtsi32_si128(16 - (int)plan->table_bits);
    r->table = plan->table;
    r->entries = (size_t)1 << plan->table_bits;
}

/* The bytes of a tile that count, none behind its slack. */
AVX512 ALWAYS __m512i load_bytes(const uint8_t *bytes, int width) {
    if (width == LOAD_16) return _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)bytes));
    if (width >= LOAD_64) return load(bytes);
    __m512i first = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)bytes));
    if (width == LOAD_32) return first;
    return _mm512_inserti32x4(first, _mm_loadu_si128((const __m128i *)(const void *)(bytes + 32)), 2);
}

AVX512 ALWAYS __m512i look_up_256(const __m512i *values, __m512i places) {
    __m512i low = _mm512_permutex2var_epi8(values[0], places, values[1]);
    __m512i high = _mm512_permutex2var_epi8(values[2], places, values[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(places), low, high);
}

/* A table of 512 entries or more, in groups of 512; `low` and `high` are the bytes of the places. */
AVX512 ALWAYS __m512i look_up_large(const reader *r, __m512i low, __m512i high) {
    const __m512i one = _mm512_set1_epi8(1);
    __mmask64 second = _mm512_test_epi8_mask(high, one);
    __m512i entries = _mm512_setzero_si512(), group = _mm512_andnot_si512(one, high);
    for (size_t i = 0; i < r->entries; i += GROUP) {
        __m512i values[8];
        for (size_t j = 0; j < 8; j++) values[j] = load(r->table + i + N * j);
        __m512i found = _mm512_mask_blend_epi8(second, look_up_256(values, low), look_up_256(values + 4, low));
        __mmask64 in_group = _mm512_cmpeq_epi8_mask(group, _mm512_set1_epi8((char)(i / 256)));
        entries = _mm512_mask_blend_epi8(in_group, entries, found);
    }
    return _mm512_xor_si512(entries, r->bias);
}

/* Values by states of more than 8 bits. */
AVX512 ALWAYS __m512i find_wide(const reader *r, const uint8_t *tile, int lookup, int width) {
    /* Bytes 1, 3, 5 .. of 16 of the first operand of vpermi2b, then of 16 of the second: what vpackuswb does. */
    const __m512i odd = _mm512_add_epi8(
        _mm512_set4_epi64(INT64_C(0x4F4D4B4947454341), INT64_C(0x0F0D0B0907050301), INT64_C(0x4F4D4B4947454341),
                          INT64_C(0x0F0D0B0907050301)),
        _mm512_setr_epi64(0, 0, INT64_C(0x1010101010101010), INT64_C(0x1010101010101010), INT64_C(0x2020202020202020),
                          INT64_C(0x2020202020202020), INT64_C(0x3030303030303030), INT64_C(0x3030303030303030)));
    __m512i angles[2];
    for (int half = 0; half < 2; half++) {
        __m512i bytes = _mm512_permutexvar_epi8(r->bytes[half], load_bytes(tile + r->start[half], width));
        __m512i states = _mm512_multishift_epi64_epi8(r->windows[half], bytes); /* with bits above them */
        /* states ^ (states >> fold & fold_mask) */
        __m512i folded = _mm512_mulhi_epu16(states, r->fold_factor); /* elsewhere than shuffles and shifts */
        states = _mm512_ternarylogic_epi32(states, folded, r->fold_mask, 0x78);
        angles[half] = _mm512_mullo_epi16(states, r->multipliers);
    }
    if (lookup == TABLE_LARGE) {
        const __m512i even = _mm512_xor_si512(odd, _mm512_set1_epi8(1));
        __m512i first = _mm512_srl_epi16(angles[0], r->table_shift);
        __m512i second = _mm512_srl_epi16(angles[1], r->table_shift);
        __m512i low = _mm512_permutex2var_epi8(first, even, second);
        return look_up_large(r, low, _mm512_permutex2var_epi8(first, odd, second));
    }
    __m512i places = _mm512_permutex2var_epi8(angles[0], odd, angles[1]); /* the top eight bits */
    if (lookup == TABLE_256) return look_up_256(r->values, places);
    return _mm512_permutexvar_epi8(_mm512_srli_epi16(places, 2), r->values[0]); /* which ignores bits 6 and 7 */
}

/* A tile's values, rows in the reader's order. */
AVX512 ALWAYS __m512i find_values(const reader *r, const uint8_t *tile, int lookup, int width) {
    if (lookup != BY_STATE && lookup != BY_STATE_PAIRS) return find_wide(r, tile, lookup, width);
    __m512i bytes = _mm512_permutexvar_epi8(r->bytes[0], load_bytes(tile, width));
    __m512i states = _mm512_multishift_epi64_epi8(r->windows[0], bytes);
    __m512i found = look_up_256(r->values, states);
    if (lookup == BY_STATE) return found;
    return _mm512_mask_blend_epi8(UINT64_C(0xAAAAAAAAAAAAAAAA), found, look_up_256(r->odd_values, states));
}

/* Some tiles: to where they are decoded, or what they are multiplied with. */
typedef struct task {
    const uint8_t *codes;
    size_t tile_bytes, n;
    int8_t *out;
    const ec_band_i8 *band;
    size_t n_bands, band_bytes;
} task;

AVX512 ALWAYS void decode(const reader *made, const task *task, int lookup, int width) {
    const reader r = *made; /* its own, so that it stays in registers */
    const uint8_t *codes = task->codes;
    for (size_t t = 0; t < task->n; t++, codes += task->tile_bytes) {
        __m512i values = find_values(&r, codes, lookup, width);
        if (lookup == BY_STATE || lookup == BY_STATE_PAIRS) values = _mm512_permutexvar_epi32(r.places, values);
        _mm512_storeu_si512(task->out + t * N, values);
    }
}

/* One band's products with the token. */
AVX512 ALWAYS void multiply_band(const reader *r, const task *task, const uint8_t *codes, float *out, int lookup,
                                 int width) {
    const ec_band_i8 *band = task->band;
    const int8_t *x = band->x;
    __m512 sums = _mm512_permutexvar_ps(r->order, _mm512_loadu_ps(out));
    for (size_t b = 0; b < band->n_blocks; b++) {
        __m512i isums = _mm512_set1_epi32(-BIAS * band->x_sums[b]);
        for (size_t t = 0; t < EC_BLOCK_TILES; t++, codes += task->tile_bytes, x += EC_STRIP_COLUMNS) {
            __m512i inputs = _mm512_set1_epi32((int)ec_load_u32((const uint8_t *)x));
            isums = _mm512_dpbusd_epi32(isums, find_values(r, codes, lookup, width), inputs);
        }
        __m512 scales = _mm512_set1_ps(band->x_scales[b]);
        if (band->w_scales != NULL) {
            __m512 w_scales = _mm512_loadu_ps(band->w_scales + b * EC_BAND_ROWS);
            scales = _mm512_mul_ps(scales, _mm512_permutexvar_ps(r->order, w_scales));
        }
        sums = _mm512_add_ps(sums, _mm512_mul_ps(_mm512_cvtepi32_ps(isums), scales));
    }
    _mm512_storeu_ps(out, _mm512_permutexvar_ps(r->places, sums));
}

AVX512 ALWAYS void multiply(const reader *made, const task *task, int lookup, int width) {
    const reader r = *made;
    for (size_t i = 0; i < task->n_bands; i++) {
        float *sums = task->band->sums + i * EC_BAND_ROWS;
        multiply_band(&r, task, task->codes + i * task->band_bytes, sums, lookup, width);
    }
}

AVX512 ALWAYS void run(const reader *r, const task *task, int lookup, int width) {
    if (task->band != NULL) {
        multiply(r, task, lookup, width);
    } else {
        decode(r, task, lookup, width);
    }
}

/* Inlined once per way to look up, with a case for each width. */
AVX512 ALWAYS void run_width(const reader *r, const task *task, int lookup) {
    switch (r->load) {
        case LOAD_16: run(r, task, lookup, LOAD_16); break;
        case LOAD_32: run(r, task, lookup, LOAD_32); break;
        case LOAD_48: run(r, task, lookup, LOAD_48); break;
        case LOAD_64: run(r, task, lookup, LOAD_64); break;
        default: run(r, task, lookup, LOAD_TWICE);
    }
}

AVX512 static void run_lookup(const reader *r, const task *task) {
    switch (r->lookup) {
        case BY_STATE: run_width(r, task, BY_STATE); break;
        case BY_STATE_PAIRS: run_width(r, task, BY_STATE_PAIRS); break;
        case TABLE_64: run_width(r, task, TABLE_64); break;
        case TABLE_256: run_width(r, task, TABLE_256); break;
        default: run_width(r, task, TABLE_LARGE);
    }
}

AVX512 void ec_decode_i8_tr_avx512(const ec_trellis_plan *plan, const uint8_t *codes, size_t n, int8_t *out) {
    reader r;
    start(plan, 0, &r);
    task task = {codes, (size_t)plan->tile_bytes, n, out, NULL, 0, 0};
    run_lookup(&r, &task);
}

AVX512 void ec_gemv_i8_tr_avx512(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band,
                                 size_t n_bands) {
    reader r;
    start(plan, BIAS, &r);
    task task = {codes, (size_t)plan->tile_bytes, 0, NULL, band, n_bands, (size_t)plan->band_bytes};
    run_lookup(&r, &task);
}
#endif
