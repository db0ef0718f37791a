/* Trellis kernel for x86-64 with AVX2: sixteen weights at a time, four rows of a tile. */
#include "kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define ALWAYS static inline __attribute__((always_inline))
#define ROWS 4
#define N 16 /* weights */

enum { LOOKUP_16, LOOKUP_64, LOOKUP_ANY }; /* tables of so many int8, or any */

/* Four rows of a tile, in lanes of 16 bits. A lane's state begins in byte b at bit s, and lies in that
 * byte and the two behind it. */
typedef struct quarter {
    size_t bytes[2];     /* where the bytes of eight lanes begin in a tile; in what follows b is counted from there */
    __m256i first;       /* b and b + 1 of each lane, for a shuffle */
    __m256i next;        /* b + 1 and b + 2 */
    __m256i factors;     /* 2^(8 - s) */
    __m256i multipliers; /* times 2^(16 - state_bits) */
    __m128i fold, table_shift;
    __m256i mask;
} quarter;

AVX2 static quarter load_quarter(const ec_trellis_plan *plan, size_t row) {
    quarter q;
    uint8_t first[2 * N], next[2 * N];
    uint16_t factors[N], multipliers[N];
    const uint16_t *bits = plan->bits + row * EC_STRIP_COLUMNS;
    for (size_t i = 0; i < N; i++) {
        q.bytes[i / 8] = bits[i / 8 * 8] >> 3;
        uint32_t b = (uint32_t)(bits[i] >> 3) - (uint32_t)q.bytes[i / 8];
        for (uint32_t j = 0; j < 2; j++) {
            first[2 * i + j] = (uint8_t)(b + j);
            next[2 * i + j] = (uint8_t)(b + j + 1);
        }
        factors[i] = (uint16_t)(256u >> (bits[i] & 7));
        multipliers[i] = (uint16_t)(plan->multipliers[i % 2] >> 16);
    }
    q.first = _mm256_loadu_si256((const __m256i *)(const void *)first);
    q.next = _mm256_loadu_si256((const __m256i *)(const void *)next);
    q.factors = _mm256_loadu_si256((const __m256i *)(const void *)factors);
    q.multipliers = _mm256_loadu_si256((const __m256i *)(const void *)multipliers);
    q.fold = _mm_cvtsi32_si128((int)plan->fold);
    q.table_shift = _mm_cvtsi32_si128(16 - (int)plan->table_bits);
    q.mask = _mm256_set1_epi16((short)((UINT32_C(1) << plan->state_bits) - 1));
    return q;
}

/* Places in the table. States of 8 bits lie in two bytes. */
AVX2 ALWAYS __m256i find_places(const quarter *q, const uint8_t *tile, int narrow) {
    __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(tile + q->bytes[0]));
    __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(tile + q->bytes[1]));
    __m256i bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    __m256i state = _mm256_shuffle_epi8(bytes, q->first);
    if (narrow) {
        state = _mm256_srli_epi16(_mm256_mullo_epi16(state, q->factors), 8);
    } else {
        __m256i next = _mm256_mullo_epi16(_mm256_shuffle_epi8(bytes, q->next), q->factors);
        state = _mm256_and_si256(state, _mm256_set1_epi16(0xFF));
        state = _mm256_or_si256(_mm256_srli_epi16(_mm256_mullo_epi16(state, q->factors), 8), next);
        state = _mm256_and_si256(state, q->mask);
    }
    __m256i folded = _mm256_xor_si256(state, _mm256_srl_epi16(state, q->fold));
    return _mm256_srl_epi16(_mm256_mullo_epi16(folded, q->multipliers), q->table_shift);
}

/* Eight entries: gathers the aligned four bytes that hold each, never past the table. */
AVX2 ALWAYS __m256i gather(const ec_trellis_plan *plan, __m256i place) {
    const int *table = (const int *)(const void *)plan->table;
    if (plan->wide) {
        __m256i words = _mm256_i32gather_epi32(table, _mm256_srli_epi32(place, 1), 4);
        __m256i lower = _mm256_andnot_si256(place, _mm256_set1_epi32(1));
        return _mm256_srai_epi32(_mm256_sllv_epi32(words, _mm256_slli_epi32(lower, 4)), 16);
    }
    __m256i words = _mm256_i32gather_epi32(table, _mm256_srli_epi32(place, 2), 4);
    __m256i lower = _mm256_andnot_si256(place, _mm256_set1_epi32(3));
    return _mm256_srai_epi32(_mm256_sllv_epi32(words, _mm256_slli_epi32(lower, 3)), 24);
}

AVX2 ALWAYS __m128i pack(__m256i places) {
    return _mm_packus_epi16(_mm256_castsi256_si128(places), _mm256_extracti128_si256(places, 1));
}

/* Entries of a table of int8, of which registers hold 16 each. */
AVX2 ALWAYS __m128i look_up(const __m128i *table, __m128i place, int lookup) {
    __m128i found = _mm_shuffle_epi8(table[0], place);
    if (lookup == LOOKUP_16) return found;
    __m128i odd = _mm_slli_epi16(place, 3), upper = _mm_slli_epi16(place, 2); /* bits 4 and 5 to the top */
    __m128i low = _mm_blendv_epi8(found, _mm_shuffle_epi8(table[1], place), odd);
    __m128i high = _mm_blendv_epi8(_mm_shuffle_epi8(table[2], place), _mm_shuffle_epi8(table[3], place), odd);
    return _mm_blendv_epi8(low, high, upper);
}

AVX2 ALWAYS void store(__m256i values, __m256 scales, float *out, size_t stride) {
    __m256 weights = _mm256_mul_ps(scales, _mm256_cvtepi32_ps(values));
    _mm_storeu_ps(out, _mm256_castps256_ps128(weights));
    _mm_storeu_ps(out + stride, _mm256_extractf128_ps(weights, 1));
}

/* Inlined once per case. */
AVX2 ALWAYS void decode(const ec_trellis_plan *plan, const uint8_t *tiles, size_t n, const float *scales, float *out,
                        size_t stride, int narrow, int lookup) {
    __m128i table[4] = {_mm_setzero_si128()};
    size_t registers = lookup == LOOKUP_ANY ? 0 : lookup == LOOKUP_16 ? 1 : 4;
    for (size_t i = 0; i < registers; i++) table[i] = _mm_loadu_si128((const __m128i *)(const void *)(plan->table + N * i));
    for (size_t row = 0; row < EC_BAND_ROWS; row += ROWS) {
        const quarter q = load_quarter(plan, row);
        __m256 upper = _mm256_set_m128(_mm_set1_ps(scales[row + 1]), _mm_set1_ps(scales[row]));
        __m256 lower = _mm256_set_m128(_mm_set1_ps(scales[row + 3]), _mm_set1_ps(scales[row + 2]));
        const uint8_t *tile = tiles;
        float *to = out + row * stride;
        for (size_t t = 0; t < n; t++, tile += plan->tile_bytes, to += EC_STRIP_COLUMNS) {
            __m256i places = find_places(&q, tile, narrow), first, second;
            if (lookup == LOOKUP_ANY) {
                first = gather(plan, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(places)));
                second = gather(plan, _mm256_cvtepu16_epi32(_mm256_extracti128_si256(places, 1)));
            } else {
                __m128i values = look_up(table, pack(places), lookup);
                first = _mm256_cvtepi8_epi32(values);
                second = _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(values, values));
            }
            store(first, upper, to, stride);
            store(second, lower, to + 2 * stride, stride);
        }
    }
}

AVX2 void ec_decode_f32_tr_avx2(const ec_trellis_plan *plan, const uint8_t *tiles, size_t n, const float *scales,
                                float *out, size_t stride) {
    int narrow = plan->state_bits == 8;
    int lookup = plan->wide ? LOOKUP_ANY : plan->table_bits == 4 ? LOOKUP_16 : plan->table_bits == 6 ? LOOKUP_64 : LOOKUP_ANY;
    switch (2 * lookup + narrow) {
        case 2 * LOOKUP_16: decode(plan, tiles, n, scales, out, stride, 0, LOOKUP_16); break;
        case 2 * LOOKUP_16 + 1: decode(plan, tiles, n, scales, out, stride, 1, LOOKUP_16); break;
        case 2 * LOOKUP_64: decode(plan, tiles, n, scales, out, stride, 0, LOOKUP_64); break;
        case 2 * LOOKUP_64 + 1: decode(plan, tiles, n, scales, out, stride, 1, LOOKUP_64); break;
        case 2 * LOOKUP_ANY: decode(plan, tiles, n, scales, out, stride, 0, LOOKUP_ANY); break;
        default: decode(plan, tiles, n, scales, out, stride, 1, LOOKUP_ANY); break;
    }
}
#endif
