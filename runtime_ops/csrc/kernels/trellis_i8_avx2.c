/* Trellises with int8 tables for x86-64 with AVX2: half of a tile's weights at a time, 32 bytes. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define ALWAYS static inline __attribute__((always_inline))
#define HALF (EC_TILE_WEIGHTS / 2)
#define PANEL_BLOCKS 8  /* decoded at a time to be multiplied: 4 KiB */

/* Cases that are compiled apart. How states are found: 8, 16 or 32 lie in bytes side by side and are shifted
 * alike, or each is on its own. Where values are: by states of 8 bits, in a table of 16, 64 or 256 entries, or
 * in a larger one. */
enum { BYTES_8, BYTES_16, BYTES_32, WORDS };
enum { BY_STATE, TABLE_16, TABLE_64, TABLE_256, TABLE_LARGE };

/* Eight rows, four cut from the bytes that begin at bytes[0], four from bytes[1] on. A dword holds the states of
 * columns 0 and 1 of a row, another one those of 2 and 3. */
typedef struct rows {
    size_t bytes[2];
    __m256i dwords[2];            /* their bytes, for a shuffle */
    __m256i right[2], left[2];    /* bits that bring column i to the low part, column 2 + i to the high one */
} rows;

typedef struct reader {
    int cut, lookup;
    size_t start[2];           /* first bytes of the halves of a tile, where states lie in bytes */
    __m256i right[2], left[2]; /* and the shifts of their qwords */
    rows rows[2];              /* of the halves, where not */
    __m256i multipliers[2], fold_factor, fold_mask;
    __m128i table_shift;
    const uint8_t *table;
    uint8_t values[EC_STATES]; /* table entries, each as often as makes 16, 64 or 256 of them; or by state */
} reader;

AVX2 ALWAYS __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

AVX2 static void start_rows(const ec_trellis_plan *plan, size_t first_row, rows *r) {
    uint8_t bytes[2][32];
    uint32_t right[2][8], left[2][8];
    for (uint32_t i = 0; i < 8; i++) {
        const uint16_t *bits = plan->bits + (first_row + i) * EC_STRIP_COLUMNS;
        if (i % 4 == 0) r->bytes[i / 4] = bits[0] >> 3;
        for (uint32_t j = 0; j < 2; j++) {
            uint32_t first = bits[2 * j] >> 3;
            for (uint32_t n = 0; n < 4; n++) bytes[j][4 * i + n] = (uint8_t)(first - r->bytes[i / 4] + n);
            right[j][i] = bits[j] - (bits[0] & ~7u);
            left[j][i] = 16 - (bits[2 + j] - (bits[2] & ~7u));
        }
    }
    for (int j = 0; j < 2; j++) {
        r->dwords[j] = load(bytes[j]);
        r->right[j] = load(right[j]);
        r->left[j] = load(left[j]);
    }
}

AVX2 static void start_bytes(const ec_trellis_plan *plan, reader *r) {
    for (int half = 0; half < 2; half++) {
        const uint16_t *bits = plan->bits + half * HALF;
        uint64_t right[4], left[4];
        for (int i = 0; i < 4; i++) {
            right[i] = bits[8 * i] & 7;
            left[i] = 8 - right[i];
        }
        r->start[half] = bits[0] >> 3;
        r->right[half] = load(right);
        r->left[half] = load(left);
    }
}

static void fill_values(const ec_trellis_plan *plan, reader *r) {
    if (r->lookup == TABLE_LARGE) return;
    uint32_t bits = r->lookup == TABLE_16 ? 4 : r->lookup == TABLE_64 ? 6 : 8, more = bits - plan->table_bits;
    if (r->lookup == BY_STATE) {
        memcpy(r->values, plan->by_state[0], EC_STATES);
    } else if (more == 0) {
        memcpy(r->values, plan->table, (size_t)1 << bits);
    } else {
        for (uint32_t i = 0; i < 1u << bits; i++) r->values[i] = plan->table[i >> more];
    }
}

AVX2 static void start(const ec_trellis_plan *plan, reader *r) {
    uint32_t bits = plan->table_bits, k = plan->step_bits;
    r->lookup = bits <= 4 ? TABLE_16 : bits <= 6 ? TABLE_64 : bits <= 8 ? TABLE_256 : TABLE_LARGE;
    if (plan->dim == 1 && 8 % k == 0) {
        r->cut = k == 1 ? BYTES_8 : k == 2 ? BYTES_16 : BYTES_32;
        if (plan->state_bits == 8 && r->lookup == TABLE_256) r->lookup = BY_STATE;
        start_bytes(plan, r);
    } else {
        r->cut = WORDS;
        for (size_t half = 0; half < 2; half++) start_rows(plan, half * 8, &r->rows[half]);
    }
    for (int i = 0; i < 2; i++) r->multipliers[i] = _mm256_set1_epi16((short)(plan->multipliers[i] >> 16));
    uint32_t factor = plan->fold < 16 ? UINT32_C(1) << (16 - plan->fold) : 0;
    r->fold_factor = _mm256_set1_epi16((short)factor);
    r->fold_mask = _mm256_set1_epi16((short)(((UINT32_C(1) << plan->state_bits) - 1) >> plan->fold));
    r->table_shift = _mm_cvtsi32_si128(16 - (int)bits);
    r->table = plan->table;
    fill_values(plan, r);
}

AVX2 ALWAYS __m256i load_bytes(const uint8_t *bytes, int cut) {
    if (cut == BYTES_8) return _mm256_set1_epi64x((int64_t)ec_load_u64(bytes));
    if (cut == BYTES_16) return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)bytes));
    return load(bytes);
}

/* Eight bits from each byte on, and the bits of the next one. */
AVX2 ALWAYS __m256i cut_bytes(const reader *r, int half, __m256i bytes, __m256i next) {
    return _mm256_or_si256(_mm256_srlv_epi64(bytes, r->right[half]), _mm256_sllv_epi64(next, r->left[half]));
}

AVX2 ALWAYS void cut_words(const rows *r, const uint8_t *tile, __m256i states[2]) {
    __m128i first = _mm_loadu_si128((const __m128i *)(const void *)(tile + r->bytes[0]));
    __m128i second = _mm_loadu_si128((const __m128i *)(const void *)(tile + r->bytes[1]));
    __m256i bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
    __m256i even = _mm256_shuffle_epi8(bytes, r->dwords[0]), odd = _mm256_shuffle_epi8(bytes, r->dwords[1]);
    for (int i = 0; i < 2; i++) {
        __m256i low = _mm256_srlv_epi32(even, r->right[i]), high = _mm256_sllv_epi32(odd, r->left[i]);
        states[i] = _mm256_blend_epi16(low, high, 0xAA);
    }
}

/* The table's angles of half a tile: columns 0 and 2 of each row in angles[0], 1 and 3 in angles[1]. */
AVX2 ALWAYS void find_angles(const reader *r, const uint8_t *tile, int half, int cut, __m256i angles[2]) {
    __m256i states[2]; /* with bits above them */
    if (cut == WORDS) {
        cut_words(&r->rows[half], tile, states);
    } else {
        /* A row's four states begin in four bytes side by side: the eight bits from a byte on and those from the
         * next one are a state. */
        const uint8_t *bytes = tile + r->start[half];
        __m256i next = load_bytes(bytes + 1, cut);
        states[0] = cut_bytes(r, half, load_bytes(bytes, cut), next);
        states[1] = cut_bytes(r, half, next, load_bytes(bytes + 2, cut));
    }
    for (int i = 0; i < 2; i++) {
        /* Multiplying shifts too, and elsewhere than all the other shifts and shuffles. */
        __m256i folded = _mm256_and_si256(_mm256_mulhi_epu16(states[i], r->fold_factor), r->fold_mask);
        angles[i] = _mm256_mullo_epi16(_mm256_xor_si256(states[i], folded), r->multipliers[i]);
    }
}

AVX2 ALWAYS __m256i entries_of(const uint8_t *table, __m256i low) {
    __m128i entries = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), low);
}

/* Entries of a table of 64: `low` chooses in each 16, the top bits of `bit_0` and `bit_1` among those. */
AVX2 ALWAYS __m256i look_up_64(const uint8_t *table, __m256i low, __m256i bit_0, __m256i bit_1) {
    __m256i first = _mm256_blendv_epi8(entries_of(table, low), entries_of(table + 16, low), bit_0);
    __m256i second = _mm256_blendv_epi8(entries_of(table + 32, low), entries_of(table + 48, low), bit_0);
    return _mm256_blendv_epi8(first, second, bit_1);
}

/* Entries of a table, at places in the top bits of bytes. */
AVX2 ALWAYS __m256i look_up(const uint8_t *table, __m256i places, int lookup) {
    const __m256i fifteen = _mm256_set1_epi8(15);
    if (lookup == TABLE_16) return entries_of(table, _mm256_and_si256(_mm256_srli_epi16(places, 4), fifteen));
    __m256i bit_6 = _mm256_add_epi8(places, places);
    if (lookup == TABLE_64) {
        return look_up_64(table, _mm256_and_si256(_mm256_srli_epi16(places, 2), fifteen), bit_6, places);
    }
    __m256i bit_5 = _mm256_add_epi8(bit_6, bit_6), bit_4 = _mm256_add_epi8(bit_5, bit_5), found[2];
    __m256i low = _mm256_and_si256(places, fifteen);
    for (int i = 0; i < 2; i++, table += 128) {
        __m256i first = look_up_64(table, low, bit_4, bit_5), second = look_up_64(table + 64, low, bit_4, bit_5);
        found[i] = _mm256_blendv_epi8(first, second, bit_6);
    }
    return _mm256_blendv_epi8(found[0], found[1], places);
}

AVX2 ALWAYS void look_up_large(const reader *r, const __m256i *angles, int8_t *out) {
    uint16_t places[2][HALF / 2];
    for (int i = 0; i < 2; i++) {
        __m256i words = _mm256_srl_epi16(angles[i], r->table_shift);
        _mm256_storeu_si256((__m256i *)(void *)places[i], words);
    }
    for (size_t i = 0; i < HALF; i++) out[i] = (int8_t)r->table[places[i % 2][i / 2]];
}

/* Some tiles. */
typedef struct task {
    const uint8_t *codes;
    size_t tile_bytes, n;
    int8_t *out;
} task;

AVX2 ALWAYS void decode(const reader *r, const task *task, int cut, int lookup) {
    const __m256i odd = _mm256_set1_epi16((short)0xFF00);
    const uint8_t *tile = task->codes;
    int8_t *out = task->out;
    for (size_t t = 0; t < 2 * task->n; t++, out += HALF) {
        int half = t % 2;
        __m256i angles[2], places;
        if (lookup == BY_STATE) {
            places = cut_bytes(r, half, load_bytes(tile, cut), load_bytes(tile + 1, cut));
        } else {
            find_angles(r, tile, half, cut, angles);
            places = _mm256_blendv_epi8(_mm256_srli_epi16(angles[0], 8), angles[1], odd);
        }
        if (lookup == TABLE_LARGE) {
            look_up_large(r, angles, out);
        } else {
            _mm256_storeu_si256((__m256i *)(void *)out, look_up(r->values, places, lookup));
        }
        if (half) tile += task->tile_bytes;
    }
}

/* Inlined once per way to find states, with a case for each way to look up. */
AVX2 ALWAYS void run_cut(const reader *r, const task *task, int cut) {
    switch (r->lookup) {
        case BY_STATE: decode(r, task, cut == WORDS ? BYTES_32 : cut, BY_STATE); break;
        case TABLE_16: decode(r, task, cut, TABLE_16); break;
        case TABLE_64: decode(r, task, cut, TABLE_64); break;
        case TABLE_256: decode(r, task, cut, TABLE_256); break;
        default: decode(r, task, cut, TABLE_LARGE);
    }
}

AVX2 static void run(const reader *r, const task *task) {
    switch (r->cut) {
        case BYTES_8: run_cut(r, task, BYTES_8); break;
        case BYTES_16: run_cut(r, task, BYTES_16); break;
        case BYTES_32: run_cut(r, task, BYTES_32); break;
        default: run_cut(r, task, WORDS);
    }
}

AVX2 void ec_decode_i8_tr_avx2(const ec_trellis_plan *plan, const uint8_t *codes, size_t n, int8_t *out) {
    reader r;
    start(plan, &r);
    task task = {codes, (size_t)plan->tile_bytes, n, out};
    run(&r, &task);
}

/* Looking up takes most of the time: weights may as well go through memory. */
AVX2 static void multiply_band(const reader *r, task task, const ec_band_i8 *band) {
    int8_t w[PANEL_BLOCKS * EC_BLOCK_WEIGHTS];
    task.out = w;
    ec_band_i8 panel = *band;
    panel.w = w;
    for (size_t left = band->n_blocks; left > 0; left -= panel.n_blocks) {
        panel.n_blocks = left < PANEL_BLOCKS ? left : PANEL_BLOCKS;
        task.n = panel.n_blocks * EC_BLOCK_TILES;
        run(r, &task);
        ec_dots_i8_avx2(&panel);
        task.codes += task.n * task.tile_bytes;
        panel.x += panel.n_blocks * EC_BLOCK;
        panel.x_scales += panel.n_blocks;
        panel.x_sums += panel.n_blocks;
        if (panel.w_scales != NULL) panel.w_scales += panel.n_blocks * EC_BAND_ROWS;
    }
}

AVX2 void ec_gemv_i8_tr_avx2(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band,
                             size_t n_bands) {
    reader r;
    start(plan, &r);
    ec_band_i8 one = *band;
    task task = {codes, (size_t)plan->tile_bytes, 0, NULL};
    for (size_t i = 0; i < n_bands; i++, task.codes += plan->band_bytes, one.sums += EC_BAND_ROWS) {
        multiply_band(&r, task, &one);
    }
}
#endif
