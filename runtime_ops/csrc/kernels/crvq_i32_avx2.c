/* Tables of whole numbers for codebooks, for x86-64 with AVX2. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

/* Halves of the products of four codewords with x, which repeats itself. Sums of two products of |w| <= 128 and
 * |x| <= 127 fit 16 bits. */
AVX2 static inline __m256i halves(const int8_t *codewords, __m256i x) {
    __m256i w = _mm256_loadu_si256((const __m256i *)(const void *)codewords);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

AVX2 void ec_table_i32_cb_avx2(const int8_t *codewords, uint32_t shift, const int8_t *x, int32_t *table) {
    int64_t eight;
    memcpy(&eight, x, sizeof eight);
    __m256i inputs = _mm256_set1_epi64x(eight);
    __m128i by = _mm_cvtsi32_si128((int)shift);
    for (size_t c = 0; c < EC_TABLE_SIZE; c += 8, codewords += 8 * EC_TABLE_DIM) {
        __m256i sums = _mm256_hadd_epi32(halves(codewords, inputs), halves(codewords + 4 * EC_TABLE_DIM, inputs));
        sums = _mm256_permute4x64_epi64(sums, 0xD8); /* 0 1 4 5 2 3 6 7 */
        _mm256_storeu_si256((__m256i *)(void *)(table + c), _mm256_sll_epi32(sums, by));
    }
}
#endif
