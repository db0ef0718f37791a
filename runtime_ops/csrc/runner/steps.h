/* The runner's inner loops, written once and compiled for each instruction set that is worth it. Compilers take
 * several numbers at a time, which changes no result: every sum has a stated order. */
#ifndef EC_STEPS_H
#define EC_STEPS_H

#include "kernels/kernels.h"
#include "runner/exp.h"

typedef struct ec_steps {
    /* n float16 as float32. */
    void (*halves)(const uint16_t *x, size_t n, float *out);
    /* n int8 times a scale. */
    void (*bytes)(const int8_t *x, float scale, size_t n, float *out);
    /* Turns n scores into exp(score - largest), and returns their sum in eight lanes. */
    float (*soften)(float *scores, size_t n);
    /* Adds p[t] * v[t][d] to out[d] (float32 [d_head]), t = 0 .. n - 1 ascending. */
    void (*add_values)(const float *p, const float *v, size_t n, size_t d_head, float *out);
    /* gate = (gate / (1 + exp(-gate))) * up for n numbers. */
    void (*swiglu)(float *gate, const float *up, size_t n);
} ec_steps;

extern const ec_steps ec_steps_plain;
#if defined(EC_ARCH_X86)
extern const ec_steps ec_steps_avx2;
#endif

#define EC_STEP static inline __attribute__((always_inline))
#define EC_VALUE_COLUMNS 32 /* whose sums stay in registers */

/* ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7)) */
static inline float ec_sum_lanes(const float lanes[EC_LANES]) {
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/* Exponent and fraction move into place; a product sets the exponent right. Subnormal ones are below 0.5 by
 * what the fraction counts, so that no float32 here is subnormal. */
EC_STEP void ec_halves_step(const uint16_t *restrict x, size_t n, float *restrict out) {
    for (size_t i = 0; i < n; i++) {
        uint32_t twice = (uint32_t)x[i] << 17, sign = ((uint32_t)x[i] & 0x8000) << 16;
        float normal = ec_bits_float((twice >> 4) + (UINT32_C(0xE0) << 23)) * 0x1p-112f;
        float small = ec_bits_float((twice >> 17) | (UINT32_C(126) << 23)) - 0.5f;
        uint32_t is_small = 0 - (uint32_t)(twice < UINT32_C(1) << 27);
        out[i] = ec_bits_float((ec_float_bits(small) & is_small) | (ec_float_bits(normal) & ~is_small) | sign);
    }
}

EC_STEP void ec_bytes_step(const int8_t *restrict x, float scale, size_t n, float *restrict out) {
    for (size_t i = 0; i < n; i++) out[i] = (float)x[i] * scale;
}

/* Numbers that are ordered as floats are; NaN lies outside of all others. */
EC_STEP int32_t ec_order(int32_t bits) { return bits ^ (bits >> 31 & 0x7FFFFFFF); }

EC_STEP float ec_largest_step(const float *x, size_t n) {
    int32_t largest = INT32_MIN;
    for (size_t i = 0; i < n; i++) {
        int32_t order = ec_order((int32_t)ec_float_bits(x[i]));
        largest = order > largest ? order : largest;
    }
    return ec_bits_float((uint32_t)ec_order(largest));
}

EC_STEP float ec_soften_step(float *scores, size_t n) {
    float largest = ec_largest_step(scores, n), lanes[EC_LANES] = {0};
    size_t whole = n - n % EC_LANES;
    for (size_t t = 0; t < n; t++) scores[t] = ec_expf(scores[t] - largest);
    for (size_t t = 0; t < whole; t += EC_LANES) {
        for (size_t lane = 0; lane < EC_LANES; lane++) lanes[lane] += scores[t + lane];
    }
    for (size_t t = whole; t < n; t++) lanes[t - whole] += scores[t];
    return ec_sum_lanes(lanes);
}

EC_STEP void ec_add_values_step(const float *p, const float *v, size_t n, size_t d_head, float *out) {
    size_t whole = d_head - d_head % EC_VALUE_COLUMNS;
    for (size_t d = 0; d < whole; d += EC_VALUE_COLUMNS) {
        float sums[EC_VALUE_COLUMNS];
        memcpy(sums, out + d, sizeof sums);
        for (size_t t = 0; t < n; t++) {
            const float *row = v + t * d_head + d;
            for (size_t i = 0; i < EC_VALUE_COLUMNS; i++) sums[i] += p[t] * row[i];
        }
        memcpy(out + d, sums, sizeof sums);
    }
    for (size_t t = 0; t < n; t++) {
        for (size_t d = whole; d < d_head; d++) out[d] += p[t] * v[t * d_head + d];
    }
}

EC_STEP void ec_swiglu_step(float *restrict gate, const float *restrict up, size_t n) {
    for (size_t j = 0; j < n; j++) gate[j] = gate[j] / (1.0f + ec_expf(-gate[j])) * up[j];
}

#endif
