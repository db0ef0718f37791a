/* Trellises for NEON: which ways to read states are compiled apart, and products with one token in these ways. A file
 * that includes this says how the products of a quarter's rows with eight columns, in two tiles, are summed: type
 * isums, no_sums, add_products, add_products_alone for one of the tiles, settle, which needs all that is in the sums
 * (`alone`: of tiles that were added alone), and total. */
#ifndef EC_TRELLIS_I8_CASES_H
#define EC_TRELLIS_I8_CASES_H

#include "kernels/trellis_i8_states.h"

#if defined(EC_NEON)
/* Each is compiled apart: CASE(name, way, lookup). The last one does all. */
#define EC_TRELLIS_CASES                            \
    CASE(k1_l8_t256, BYTES_1, BY_STATE)             \
    CASE(k2_l8_t64, BYTES_2, TABLE_64)              \
    CASE(k2_l8_t256, BYTES_2, BY_STATE)             \
    CASE(k4_l8_t64, BYTES_4, TABLE_64)              \
    CASE(k4_l8_t256, BYTES_4, BY_STATE)             \
    CASE(k1_l12_t64, WORDS_1, TABLE_64)             \
    CASE(k1_l12_t256, WORDS_1, TABLE_256)           \
    CASE(k2_l12_t64, WORDS_2, TABLE_64)             \
    CASE(k2_l12_t256, WORDS_2, TABLE_256)           \
    CASE(k4_l12_t64, WORDS_4, TABLE_64)             \
    CASE(k4_l12_t256, WORDS_4, TABLE_256)           \
    CASE(k4_l12_fold_t64, WORDS_4_FOLD, TABLE_64)   \
    CASE(k4_l12_fold_t256, WORDS_4_FOLD, TABLE_256) \
    CASE(any_l8_t64, BYTES_ANY, TABLE_64)           \
    CASE(any_l8_t256, BYTES_ANY, TABLE_256)         \
    CASE(any_l8_by_state, BYTES_ANY, BY_STATE)      \
    CASE(pairs_t64, WORDS_PAIRS, TABLE_64)          \
    CASE(pairs_t256, WORDS_PAIRS, TABLE_256)        \
    CASE(k3_l12_t64, WORDS_3, TABLE_64)             \
    CASE(k3_l12_t256, WORDS_3, TABLE_256)           \
    CASE(any_t64, WORDS_ANY, TABLE_64)              \
    CASE(any_t256, WORDS_ANY, TABLE_256)            \
    CASE(any_large, WORDS_ANY, TABLE_LARGE)

enum {
#define CASE(name, way, lookup) CASE_##name,
    EC_TRELLIS_CASES
#undef CASE
};

static int choose_way(const ec_trellis_plan *plan) {
    int folded = plan->fold < plan->state_bits;
    uint32_t step = plan->step_bits;
    if (plan->dim == 2) return folded ? WORDS_ANY : plan->state_bits == 8 ? BYTES_ANY : WORDS_PAIRS;
    if (plan->state_bits == 8) return step == 1 ? BYTES_1 : step == 2 ? BYTES_2 : step == 4 ? BYTES_4 : BYTES_ANY;
    if (plan->state_bits > 12 || plan->table_bits > 8) return WORDS_ANY;
    if (step == 4) return folded ? WORDS_4_FOLD : WORDS_4;
    return step == 1 ? WORDS_1 : step == 2 ? WORDS_2 : step == 3 ? WORDS_3 : WORDS_ANY;
}

static int choose_lookup(const ec_trellis_plan *plan, int way) {
    int bytes = way == BYTES_1 || way == BYTES_2 || way == BYTES_4 || (way == BYTES_ANY && plan->dim == 1);
    int small = plan->table_bits <= 6;
    if (bytes) return small && plan->fold >= plan->state_bits && way != BYTES_1 ? TABLE_64 : BY_STATE;
    return small ? TABLE_64 : plan->table_bits <= 8 ? TABLE_256 : TABLE_LARGE;
}

static int choose_case(const ec_trellis_plan *plan) {
    int way = choose_way(plan), lookup = choose_lookup(plan, way);
#define CASE(name, own_way, own_lookup) \
    if (way == own_way && lookup == own_lookup) return CASE_##name;
    EC_TRELLIS_CASES
#undef CASE
    return CASE_any_large;
}

ALWAYS int takes_tiles(int way) { return way < BYTES_ANY; }

ALWAYS int takes_pairs(int way) { return way == BYTES_1 || way == WORDS_1; }

ALWAYS int sums_alone(int way, int lookup) { return takes_tiles(way) && !takes_pairs(way) && lookup != TABLE_64; }

/* A quarter of two tiles that lie one behind the other. */
ALWAYS void find_pair(const reader *r, codes *first, codes *second, int q, int way, int lookup,
                      int8x16_t entries[2]) {
    if (takes_pairs(way)) {
        int8x16_t low = find_part(r, first, 2 * q, way, lookup), high = find_part(r, first, 2 * q + 1, way, lookup);
        entries[0] = join_low(low, high);
        entries[1] = join_high(low, high);
    } else {
        entries[0] = find_part(r, first, q, way, lookup);
        entries[1] = find_part(r, second, q, way, lookup);
    }
    NEED(entries[0]);
    NEED(entries[1]);
}

/* Two tiles' codes and activations. */
typedef struct pair {
    codes first, second;
    int8x8_t x;
} pair;

ALWAYS void add_quarter(const reader *r, pair *p, int q, int way, int lookup, isums *sums) {
    int8x16_t entries[2];
    find_pair(r, &p->first, &p->second, q, way, lookup, entries);
    add_products(sums, entries, p->x);
    if (lookup != TABLE_64) settle(sums, 0);
}

/* One tile's quarter, with the first or last four columns. */
ALWAYS void add_alone(const reader *r, codes *c, int8x8_t x, int last, int q, int way, int lookup, isums *sums) {
    add_products_alone(sums, find_part(r, c, q, way, lookup), x, last);
    settle(sums, 1);
}

/* Adds the products of two tiles with eight columns. They are loaded when earlier sums are known. With a large table
 * there are registers for one tile at a time. */
ALWAYS void add_pair(const reader *r, const uint8_t *tile, size_t tile_bytes, const int8_t *x, int way, int lookup,
                     isums *sums) {
    pair p;
    for (int q = 0; q < QUARTERS; q++) settle(sums + q, sums_alone(way, lookup));
    HIDE_POINTERS(tile, x);
    p.x = vld1_s8(x);
    p.first = p.second = load_codes(tile, way);
    if (!sums_alone(way, lookup)) {
        if (!takes_pairs(way)) p.second = load_codes(tile + tile_bytes, way);
        add_quarter(r, &p, 0, way, lookup, sums);
        add_quarter(r, &p, 1, way, lookup, sums + 1);
        add_quarter(r, &p, 2, way, lookup, sums + 2);
        add_quarter(r, &p, 3, way, lookup, sums + 3);
        return;
    }
    add_alone(r, &p.first, p.x, 0, 0, way, lookup, sums);
    add_alone(r, &p.first, p.x, 0, 1, way, lookup, sums + 1);
    add_alone(r, &p.first, p.x, 0, 2, way, lookup, sums + 2);
    add_alone(r, &p.first, p.x, 0, 3, way, lookup, sums + 3);
    HIDE_POINTERS(tile, x);
    p.second = load_codes(tile + tile_bytes, way);
    add_alone(r, &p.second, p.x, 1, 0, way, lookup, sums);
    add_alone(r, &p.second, p.x, 1, 1, way, lookup, sums + 1);
    add_alone(r, &p.second, p.x, 1, 2, way, lookup, sums + 2);
    add_alone(r, &p.second, p.x, 1, 3, way, lookup, sums + 3);
}

ALWAYS float32x4_t add_block(const ec_band_i8 *band, size_t b, const isums *sums, int alone, float32x4_t rows) {
    return add_scaled(rows, total(sums, alone), vdupq_n_f32(band->x_scales[b]));
}

ALWAYS void load_rows(const ec_band_i8 *band, float32x4_t *rows) {
    for (int q = 0; q < QUARTERS; q++) rows[q] = vld1q_f32(band->sums + 4 * q);
}

ALWAYS void store_rows(const ec_band_i8 *band, const float32x4_t *rows) {
    for (int q = 0; q < QUARTERS; q++) vst1q_f32(band->sums + 4 * q, rows[q]);
}

/* All of a band's blocks; tiles' quarters are read together. */
ALWAYS void multiply_tiles(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band, int way,
                           int lookup) {
    const reader r = make_reader(plan, lookup);
    const int alone = sums_alone(way, lookup);
    const int in_registers = lookup == TABLE_64; /* the rows' sums: a larger table leaves no room */
    size_t tile_bytes = (size_t)plan->tile_bytes, both = 2 * tile_bytes;
    const int8_t *x = band->x;
    float32x4_t rows[QUARTERS];
    load_rows(band, rows);
    for (size_t b = 0; b < band->n_blocks; b++, codes += 4 * both, x += EC_BLOCK) {
        isums sums[QUARTERS] = {no_sums(), no_sums(), no_sums(), no_sums()};
        add_pair(&r, codes, tile_bytes, x, way, lookup, sums);
        add_pair(&r, codes + both, tile_bytes, x + 8, way, lookup, sums);
        add_pair(&r, codes + 2 * both, tile_bytes, x + 16, way, lookup, sums);
        add_pair(&r, codes + 3 * both, tile_bytes, x + 24, way, lookup, sums);
        if (!in_registers) load_rows(band, rows);
        rows[0] = add_block(band, b, sums, alone, rows[0]);
        rows[1] = add_block(band, b, sums + 1, alone, rows[1]);
        rows[2] = add_block(band, b, sums + 2, alone, rows[2]);
        rows[3] = add_block(band, b, sums + 3, alone, rows[3]);
        if (!in_registers) store_rows(band, rows);
    }
    store_rows(band, rows);
}

/* One quarter of two tiles. */
ALWAYS void add_quarters(const reader *r, const quarter *q, const uint8_t *tile, size_t tile_bytes, const int8_t *x,
                         int way, int lookup, isums *sums) {
    int8x16_t entries[2];
    settle(sums, 0);
    HIDE_POINTERS(tile, x);
    entries[0] = find_quarter(r, q, tile, way, lookup);
    entries[1] = find_quarter(r, q, tile + tile_bytes, way, lookup);
    add_products(sums, entries, vld1_s8(x));
}

/* The same; each quarter is read in all tiles of a block before the next one, so that what it needs stays in
 * registers. */
ALWAYS void multiply_quarters(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band, int way,
                              int lookup) {
    const reader r = make_reader(plan, lookup);
    quarter quarters[QUARTERS];
    for (size_t i = 0; i < QUARTERS; i++) quarters[i] = make_quarter(plan, way, i);
    size_t tile_bytes = (size_t)plan->tile_bytes;
    for (size_t b = 0; b < band->n_blocks; b++, codes += EC_BLOCK_TILES * tile_bytes) {
        for (size_t i = 0; i < QUARTERS; i++) {
            const quarter q = quarters[i];
            const uint8_t *tile = codes;
            const int8_t *x = band->x + b * EC_BLOCK;
            isums sums = no_sums();
            add_quarters(&r, &q, tile, tile_bytes, x, way, lookup, &sums);
            add_quarters(&r, &q, tile + 2 * tile_bytes, tile_bytes, x + 8, way, lookup, &sums);
            add_quarters(&r, &q, tile + 4 * tile_bytes, tile_bytes, x + 16, way, lookup, &sums);
            add_quarters(&r, &q, tile + 6 * tile_bytes, tile_bytes, x + 24, way, lookup, &sums);
            float *rows = band->sums + 4 * i;
            vst1q_f32(rows, add_block(band, b, &sums, 0, vld1q_f32(rows)));
        }
    }
}

ALWAYS void multiply(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band, int way, int lookup) {
    if (takes_tiles(way)) {
        multiply_tiles(plan, codes, band, way, lookup);
    } else {
        multiply_quarters(plan, codes, band, way, lookup);
    }
}

#define CASE(name, way, lookup)                                                                                     \
    EC_TARGET static __attribute__((noinline)) void multiply_##name(const ec_trellis_plan *plan,                    \
                                                                    const uint8_t *codes, const ec_band_i8 *band) { \
        multiply(plan, codes, band, way, lookup);                                                                   \
    }
EC_TRELLIS_CASES
#undef CASE

/* Blocks whose weights have scales of their own, which trellises do not have today, go by a panel. */
static void multiply_by_panel(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band,
                              ec_dots_i8_fn *dots) {
    int8_t w[EC_BLOCK_WEIGHTS];
    ec_band_i8 block = *band;
    block.w = w;
    block.n_blocks = 1;
    for (size_t b = 0; b < band->n_blocks; b++) {
        EC_NEON_NAME(decode_i8_tr)(plan, codes + b * EC_BLOCK_TILES * plan->tile_bytes, EC_BLOCK_TILES, w);
        block.x = band->x + b * EC_BLOCK;
        block.x_scales = band->x_scales + b;
        block.x_sums = band->x_sums + b;
        block.w_scales = band->w_scales + b * EC_BAND_ROWS;
        dots(&block);
    }
}

typedef void multiply_fn(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band);

static void multiply_bands(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *bands,
                           size_t n_bands, ec_dots_i8_fn *dots) {
    static multiply_fn *const cases[] = {
#define CASE(name, way, lookup) [CASE_##name] = multiply_##name,
        EC_TRELLIS_CASES
#undef CASE
    };
    multiply_fn *multiply = cases[choose_case(plan)];
    ec_band_i8 band = *bands;
    for (size_t i = 0; i < n_bands; i++, codes += plan->band_bytes, band.sums += EC_BAND_ROWS) {
        if (band.w_scales != NULL) {
            multiply_by_panel(plan, codes, &band, dots);
        } else {
            multiply(plan, codes, &band);
        }
    }
}
#endif
#endif
