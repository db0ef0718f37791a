/* Exponentials in float32 that are the same on every machine: runtime_ops.reference.elementary. */
#ifndef EC_EXP_H
#define EC_EXP_H

#include <stdint.h>
#include <string.h>

#define EC_EXP_MOST UINT32_C(0x42B00000)  /* bits of 88: beyond, infinity */
#define EC_EXP_LEAST UINT32_C(0xC2AE0000) /* bits of -87: below, 0, so that no result is subnormal */
#define EC_EXP_INFINITY UINT32_C(0x7F800000)

static inline uint32_t ec_float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

static inline float ec_bits_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* exp(x), off by at most 1 unit in the last place. x = n ln 2 + r, |r| <= ln(2) / 2; ln 2 is taken off in two
 * parts, the first of which has few bits; exp(r) is a polynomial (Cephes, expf). Limits are compared as bits and
 * nothing branches, so that compilers take several at a time; no float is converted to an integer, which NaN has
 * none of: it is within the limits and stays NaN. */
static inline float ec_expf(float x) {
    uint32_t bits = ec_float_bits(x);
    uint32_t over = 0 - (uint32_t)(bits - EC_EXP_MOST - 1 <= EC_EXP_INFINITY - EC_EXP_MOST - 1);
    uint32_t under = 0 - (uint32_t)(bits - EC_EXP_LEAST - 1 <= (EC_EXP_INFINITY | UINT32_C(1) << 31) - EC_EXP_LEAST - 1);
    float inside = ec_bits_float(bits & ~(over | under));
    float shifted = inside * 1.44269504f + 0x1.8p+23f, n = shifted - 0x1.8p+23f;
    float r = inside - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    p = p * ec_bits_float((ec_float_bits(shifted) - UINT32_C(0x4B400000) + 127) << 23);
    return ec_bits_float((ec_float_bits(p) & ~(over | under)) | (over & EC_EXP_INFINITY));
}

#endif
