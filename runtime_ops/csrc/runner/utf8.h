/* Characters of UTF-8. */
#ifndef EC_UTF8_H
#define EC_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define EC_REPLACEMENT UINT32_C(0xFFFD)

/* The character at the start of n > 0 bytes, and how many it takes. Bytes that begin none are EC_REPLACEMENT, as
 * many of them as could have begun one (Unicode 15, 3.9, U+FFFD substitution of maximal subparts). */
static inline size_t ec_utf8_next(const uint8_t *p, size_t n, uint32_t *character) {
    uint8_t lead = p[0], low = 0x80, high = 0xBF;
    size_t more = lead < 0xC2 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : lead < 0xF5 ? 3 : 0;
    *character = lead < 0x80 ? lead : EC_REPLACEMENT;
    if (more == 0) return 1;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
    uint32_t value = lead & (0x3Fu >> more);
    for (size_t i = 1; i <= more; i++) {
        if (i >= n || p[i] < low || p[i] > high) return i;
        value = value << 6 | (p[i] & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    *character = value;
    return more + 1;
}

/* Writes a character; returns its bytes, at most 4. */
static inline size_t ec_utf8_put(uint32_t c, uint8_t *out) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

#endif
