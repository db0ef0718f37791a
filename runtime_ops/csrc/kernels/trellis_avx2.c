/* Trellis kernel for x86-64 with AVX2: sixteen weights at a time, four rows of a tile, and the entries of
 * two tiles. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define ALWAYS static inline __attribute__((always_inline))
#define ROWS 4
#define N 16 /* weights */

#define MAX_REGISTERS 16 /* of 16 entries of a table */

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

/* Entries of a table of n times 16 int8, n a power of two: the low four bits of a place choose in all n
 * registers, then bit by bit the others choose among those. */
AVX2 ALWAYS __m256i look_up(const uint8_t *table, __m256i places, size_t n) {
    __m256i found[MAX_REGISTERS], low = _mm256_and_si256(places, _mm256_set1_epi8(15));
    for (size_t i = 0; i < n; i++) {
        __m128i entries = _mm_loadu_si128((const __m128i *)(const void *)(table + N * i));
        found[i] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), low);
    }
    for (int bit = 4; n > 1; bit++, n /= 2) {
        __m256i upper = _mm256_slli_epi16(places, 7 - bit); /* the bit is on top of its byte */
        for (size_t i = 0; i < n / 2; i++) found[i] = _mm256_blendv_epi8(found[2 * i], found[2 * i + 1], upper);
    }
    return found[0];
}

AVX2 ALWAYS void store(__m256i values, __m256 scales, float *out, size_t stride) {
    __m256 weights = _mm256_mul_ps(scales, _mm256_cvtepi32_ps(values));
    _mm_storeu_ps(out, _mm256_castps256_ps128(weights));
    _mm_storeu_ps(out + stride, _mm256_extractf128_ps(weights, 1));
}

/* Two rows of each tile in values[0], the other two in values[1]. */
AVX2 ALWAYS void find_values(const ec_trellis_plan *plan, const __m256i *places, size_t n, __m256i values[2][2]) {
    if (n == 0) {
        for (int tile = 0; tile < 2; tile++) {
            values[0][tile] = gather(plan, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(places[tile])));
            values[1][tile] = gather(plan, _mm256_cvtepu16_epi32(_mm256_extracti128_si256(places[tile], 1)));
        }
        return;
    }
    __m256i entries = look_up(plan->table, _mm256_packus_epi16(places[0], places[1]), n);
    __m128i rows[2] = {_mm256_castsi256_si128(entries), _mm256_extracti128_si256(entries, 1)};
    for (int half = 0; half < 2; half++) {
        values[half][0] = _mm256_cvtepi8_epi32(rows[half]);
        values[half][1] = _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(rows[half], rows[half]));
    }
}

/* Inlined once per case. `narrow`: states of 8 bits; n_registers: of the table, 0 when it is not looked up in
 * registers. */
AVX2 ALWAYS void decode(const ec_tiles *tiles, int narrow, size_t n_registers) {
    const ec_trellis_plan *plan = tiles->plan;
    size_t n = tiles->n, stride = tiles->stride;
    for (size_t row = 0; row < EC_BAND_ROWS; row += ROWS) {
        const float *scales = tiles->scales + row;
        float *out = tiles->out + row * stride;
        const quarter q = load_quarter(plan, row);
        __m256 upper = _mm256_set_m128(_mm_set1_ps(scales[1]), _mm_set1_ps(scales[0]));
        __m256 lower = _mm256_set_m128(_mm_set1_ps(scales[3]), _mm_set1_ps(scales[2]));
        for (size_t t = 0; t < n; t += 2) {
            size_t second = t + 1 < n ? t + 1 : t; /* the last tile may be alone */
            __m256i places[2], values[2][2];
            places[0] = find_places(&q, tiles->codes + t * plan->tile_bytes, narrow);
            places[1] = find_places(&q, tiles->codes + second * plan->tile_bytes, narrow);
            find_values(plan, places, n_registers, values);
            float *to[2] = {out + t * EC_STRIP_COLUMNS, out + second * EC_STRIP_COLUMNS};
            for (int i = 0; i < 2; i++) {
                store(values[0][i], upper, to[i], stride);
                store(values[1][i], lower, to[i] + 2 * stride, stride);
            }
        }
    }
}

AVX2 void ec_decode_f32_tr_avx2(const ec_tiles *tiles) {
    const ec_trellis_plan *plan = tiles->plan;
    uint32_t entries = plan->wide ? 0 : UINT32_C(1) << plan->table_bits;
    int narrow = plan->state_bits == 8;
    switch (2 * entries + (uint32_t)narrow) {
        case 2 * 16: decode(tiles, 0, 1); break;
        case 2 * 16 + 1: decode(tiles, 1, 1); break;
        case 2 * 64: decode(tiles, 0, 4); break;
        case 2 * 64 + 1: decode(tiles, 1, 4); break;
        case 2 * 256: decode(tiles, 0, 16); break;
        case 2 * 256 + 1: decode(tiles, 1, 16); break;
        default:
            if (narrow) {
                decode(tiles, 1, 0);
            } else {
                decode(tiles, 0, 0);
            }
    }
}
#endif
