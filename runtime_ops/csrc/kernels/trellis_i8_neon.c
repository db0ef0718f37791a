/* Trellises with int8 tables for aarch64 and ARMv7. */
#include "kernels/neon.h"

#if defined(EC_NEON)
/* A row's sum is that of two lanes; of tiles that are added alone one in the first vector. */
typedef struct isums {
    int32x4_t halves[2];
} isums;

ALWAYS isums no_sums(void) {
    isums sums = {{vdupq_n_s32(0), vdupq_n_s32(0)}};
    return sums;
}

ALWAYS void settle(const isums *sums, int alone) {
    NEED(sums->halves[0]);
    if (!alone) NEED(sums->halves[1]);
}

/* A sum of two products fits 16 bits: magnitudes are at most 128 and 127. */
ALWAYS void add_products(isums *sums, const int8x16_t *entries, int8x8_t x) {
    int8x16_t first = vreinterpretq_s8_s32(vdupq_lane_s32(vreinterpret_s32_s8(x), 0));
    int8x16_t second = vreinterpretq_s8_s32(vdupq_lane_s32(vreinterpret_s32_s8(x), 1));
    int16x8_t low = vmull_s8(vget_low_s8(entries[0]), vget_low_s8(first));
    int16x8_t high = high_products(entries[0], first);
    low = vmlal_s8(low, vget_low_s8(entries[1]), vget_low_s8(second));
    high = add_high_products(high, entries[1], second);
    sums->halves[0] = vpadalq_s16(sums->halves[0], low);
    sums->halves[1] = vpadalq_s16(sums->halves[1], high);
}

ALWAYS void add_products_alone(isums *sums, int8x16_t entries, int8x8_t x, int last) {
    int32x2_t columns = vreinterpret_s32_s8(x);
    int8x16_t repeated = vreinterpretq_s8_s32(last ? vdupq_lane_s32(columns, 1) : vdupq_lane_s32(columns, 0));
    int16x8_t low = vmull_s8(vget_low_s8(entries), vget_low_s8(repeated)), high = high_products(entries, repeated);
    sums->halves[0] = vpadalq_s16(sums->halves[0], pair_sums_s16(low, high));
}

ALWAYS int32x4_t total(const isums *sums, int alone) {
    return alone ? sums->halves[0] : pair_sums(sums->halves[0], sums->halves[1]);
}

#include "kernels/trellis_i8_cases.h"

/* Some tiles, and where their entries go. */
typedef struct task {
    const uint8_t *codes;
    size_t tile_bytes, n;
    int8_t *out;
} task;

ALWAYS void decode_tiles(const ec_trellis_plan *plan, task task, int way, int lookup) {
    const reader r = make_reader(plan, lookup);
    for (size_t t = 0; t < task.n; t += 2, task.codes += 2 * task.tile_bytes, task.out += 2 * EC_TILE_WEIGHTS) {
        codes first = load_codes(task.codes, way), second = first;
        int alone = t + 1 == task.n;
        if (!takes_pairs(way) && !alone) second = load_codes(task.codes + task.tile_bytes, way);
        for (int q = 0; q < QUARTERS; q++) {
            int8x16_t entries[2];
            find_pair(&r, &first, &second, q, way, lookup, entries);
            vst1q_s8(task.out + q * QUARTER, entries[0]);
            if (!alone) vst1q_s8(task.out + EC_TILE_WEIGHTS + q * QUARTER, entries[1]);
        }
    }
}

ALWAYS void decode_quarters(const ec_trellis_plan *plan, task task, int way, int lookup) {
    const reader r = make_reader(plan, lookup);
    for (size_t i = 0; i < QUARTERS; i++) {
        const quarter q = make_quarter(plan, way, i);
        const uint8_t *tile = task.codes;
        for (size_t t = 0; t < task.n; t++, tile += task.tile_bytes) {
            vst1q_s8(task.out + t * EC_TILE_WEIGHTS + i * QUARTER, find_quarter(&r, &q, tile, way, lookup));
        }
    }
}

ALWAYS void decode(const ec_trellis_plan *plan, task task, int way, int lookup) {
    if (takes_tiles(way)) {
        decode_tiles(plan, task, way, lookup);
    } else {
        decode_quarters(plan, task, way, lookup);
    }
}

void EC_NEON_NAME(decode_i8_tr)(const ec_trellis_plan *plan, const uint8_t *codes, size_t n, int8_t *out) {
    task task = {codes, (size_t)plan->tile_bytes, n, out};
    switch (choose_case(plan)) {
#define CASE(name, way, lookup) \
    case CASE_##name: decode(plan, task, way, lookup); break;
        EC_TRELLIS_CASES
#undef CASE
    }
}

void EC_NEON_NAME(gemv_i8_tr)(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band,
                              size_t n_bands) {
    multiply_bands(plan, codes, band, n_bands, EC_NEON_NAME(dots_i8));
}
#endif
