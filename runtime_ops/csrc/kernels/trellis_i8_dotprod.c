/* Trellises with int8 tables for aarch64 with dot products of bytes. */
#include "kernels/kernels.h"

#if defined(EC_HAVE_NEON_DOTPROD)
#define EC_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#include "kernels/neon.h"

typedef struct isums {
    int32x4_t rows;
} isums;

ALWAYS isums no_sums(void) {
    isums sums = {vdupq_n_s32(0)};
    return sums;
}

ALWAYS void settle(const isums *sums, int alone) {
    (void)alone;
    NEED(sums->rows);
}

ALWAYS void add_products(isums *sums, const int8x16_t *entries, int8x8_t x) {
    sums->rows = vdotq_lane_s32(sums->rows, entries[0], x, 0);
    sums->rows = vdotq_lane_s32(sums->rows, entries[1], x, 1);
}

ALWAYS void add_products_alone(isums *sums, int8x16_t entries, int8x8_t x, int last) {
    sums->rows = last ? vdotq_lane_s32(sums->rows, entries, x, 1) : vdotq_lane_s32(sums->rows, entries, x, 0);
}

ALWAYS int32x4_t total(const isums *sums, int alone) {
    (void)alone;
    return sums->rows;
}

#include "kernels/trellis_i8_cases.h"

void ec_gemv_i8_tr_neon_dotprod(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band,
                               size_t n_bands) {
    multiply_bands(plan, codes, band, n_bands, ec_dots_i8_neon_dotprod);
}
#endif
