/* Hadamard matrices for x86-64 with AVX2: the first three rounds within eight numbers, then eight pairs at
 * a time. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

/* Where the lanes of `minus` are set a - b, else b + a, with b the lane's own number and a the other one. */
AVX2 static inline __m256 round_within(__m256 own, __m256 other, __m256 minus) {
    __m256 sums = _mm256_add_ps(own, other), differences = _mm256_sub_ps(other, own);
    return _mm256_blendv_ps(sums, differences, minus);
}

AVX2 static inline __m256 eight(__m256 x) {
    const __m256 one = _mm256_castsi256_ps(_mm256_setr_epi32(0, -1, 0, -1, 0, -1, 0, -1));
    const __m256 two = _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, -1, -1, 0, 0, -1, -1));
    const __m256 four = _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, 0, 0, -1, -1, -1, -1));
    x = round_within(x, _mm256_permute_ps(x, 0xB1), one);
    x = round_within(x, _mm256_permute_ps(x, 0x4E), two);
    return round_within(x, _mm256_permute2f128_ps(x, x, 1), four);
}

AVX2 void ec_hadamard_f32_avx2(float *x, size_t n) {
    if (n < 8) {
        ec_hadamard_f32_scalar(x, n);
        return;
    }
    for (size_t j = 0; j < n; j += 8) _mm256_storeu_ps(x + j, eight(_mm256_loadu_ps(x + j)));
    for (size_t h = 8; h < n; h *= 2) {
        for (size_t block = 0; block < n; block += 2 * h) {
            float *low = x + block, *high = low + h;
            for (size_t j = 0; j < h; j += 8) {
                __m256 a = _mm256_loadu_ps(low + j), b = _mm256_loadu_ps(high + j);
                _mm256_storeu_ps(low + j, _mm256_add_ps(a, b));
                _mm256_storeu_ps(high + j, _mm256_sub_ps(a, b));
            }
        }
    }
}
#endif
