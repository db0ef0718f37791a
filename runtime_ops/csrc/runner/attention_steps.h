/* The inner loops of attention, written once and compiled for each instruction set. */
#ifndef EC_ATTENTION_STEPS_H
#define EC_ATTENTION_STEPS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct ec_attention_steps {
    /* n float16 as float32. */
    void (*halves)(const uint16_t *x, size_t n, float *out);
    /* n int8 times a scale. */
    void (*bytes)(const int8_t *x, float scale, size_t n, float *out);
    /* Adds p[t] * v[t][d] to out[d] (float32 [d_head]), t = 0 .. n - 1 ascending. */
    void (*add_values)(const float *p, const float *v, size_t n, size_t d_head, float *out);
} ec_attention_steps;

extern const ec_attention_steps ec_attention_plain;
#if defined(__x86_64__)
extern const ec_attention_steps ec_attention_avx2;
#endif

#define EC_STEP static inline __attribute__((always_inline))
#define EC_VALUE_COLUMNS 32 /* whose sums stay in registers */

/* Exponent and fraction move into place; a product sets the exponent right. Subnormal ones are below 0.5 by
 * what the fraction counts, so that no float32 here is subnormal. */
EC_STEP void ec_halves_step(const uint16_t *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        uint32_t twice = (uint32_t)x[i] << 17, sign = ((uint32_t)x[i] & 0x8000) << 16;
        uint32_t shifted = (twice >> 4) + (UINT32_C(0xE0) << 23), small_bits = (twice >> 17) | (UINT32_C(126) << 23);
        float normal, small;
        memcpy(&normal, &shifted, 4);
        memcpy(&small, &small_bits, 4);
        normal *= 0x1p-112f;
        small -= 0.5f;
        uint32_t normal_bits, bits;
        memcpy(&normal_bits, &normal, 4);
        memcpy(&bits, &small, 4);
        bits = twice < UINT32_C(1) << 27 ? bits : normal_bits;
        bits |= sign;
        memcpy(out + i, &bits, 4);
    }
}

EC_STEP void ec_bytes_step(const int8_t *x, float scale, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = (float)x[i] * scale;
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

#endif
