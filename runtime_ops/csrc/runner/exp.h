/* Exponentials in float32 that are the same on every machine: runtime_ops.reference.elementary. */
#ifndef EC_EXP_H
#define EC_EXP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define EC_EXP_MOST 88.0f   /* beyond: infinity */
#define EC_EXP_LEAST -87.0f /* below: 0, so that no result is subnormal */

/* exp(x), off by at most 1 unit in the last place. x = n ln 2 + r, |r| <= ln(2) / 2; ln 2 is taken off in two
 * parts, the first of which has few bits; exp(r) is a polynomial (Cephes, expf). No branches, so that compilers
 * can take several at a time; no conversion of a float to an integer, which NaN has none of. */
static inline float ec_expf(float x) {
    float inside = x > EC_EXP_MOST ? EC_EXP_MOST : x;
    inside = inside < EC_EXP_LEAST ? EC_EXP_LEAST : inside;
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
    uint32_t bits;
    float power;
    memcpy(&bits, &shifted, 4);
    bits = (bits - UINT32_C(0x4B400000) + 127) << 23;
    memcpy(&power, &bits, 4);
    p = p * power;
    p = x > EC_EXP_MOST ? INFINITY : p;
    return x < EC_EXP_LEAST ? 0.0f : p;
}

#endif
