/* Packing indices; the inverse of unpack_bits and unpack_radix in runtime_ops/csrc/decode.c. */
#include "encoder.h"

void ec_pack_bits(const uint32_t *indices, size_t n, uint32_t bits, uint8_t *out) {
    uint64_t bit = 0;
    for (size_t i = 0; i < n; i++, bit += bits) {
        uint64_t word = (uint64_t)indices[i] << (bit & 7);
        for (uint8_t *byte = out + (bit >> 3); word != 0; word >>= 8) *byte++ |= (uint8_t)word;
    }
}

/* ceil(number * 2^64 / power) for number < power, by long division; power 0 stands for 2^64. */
static uint64_t fraction_of(uint64_t number, uint64_t power) {
    if (power == 0) return number;
    uint64_t quotient = 0, rest = number;
    for (int i = 0; i < 64; i++) {
        int carry = (int)(rest >> 63);
        rest <<= 1;
        quotient <<= 1;
        if (carry || rest >= power) {
            rest -= power;
            quotient |= 1;
        }
    }
    return quotient + (rest != 0);
}

void ec_pack_radix(const uint32_t *indices, size_t n, uint32_t radix, uint32_t digits, uint64_t *out) {
    uint64_t power = 1;
    for (uint32_t j = 0; j < digits; j++) power *= radix; /* 0 when it is 2^64 */
    for (size_t i = 0; i < n; i += digits) {
        uint64_t number = 0;
        for (size_t j = i; j < i + digits; j++) number = number * radix + (j < n ? indices[j] : 0);
        *out++ = fraction_of(number, power);
    }
}
