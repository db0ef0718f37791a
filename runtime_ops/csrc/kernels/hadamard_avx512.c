/* Hadamard matrices for x86-64 with AVX-512: the first four rounds within sixteen numbers, then sixteen pairs
 * at a time, two rounds while they are in registers. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_X86)
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")))
#define ALWAYS static inline __attribute__((always_inline))
#define N 16

/* Where `minus` is set a - b, else a + b, with b the lane's own number and a the other one. */
AVX512 ALWAYS __m512 round_within(__m512 own, __m512 other, __mmask16 minus) {
    return _mm512_mask_sub_ps(_mm512_add_ps(own, other), minus, other, own);
}

AVX512 ALWAYS __m512 sixteen(__m512 x) {
    x = round_within(x, _mm512_permute_ps(x, 0xB1), 0xAAAA);
    x = round_within(x, _mm512_permute_ps(x, 0x4E), 0xCCCC);
    x = round_within(x, _mm512_shuffle_f32x4(x, x, 0xB1), 0xF0F0);
    return round_within(x, _mm512_shuffle_f32x4(x, x, 0x4E), 0xFF00);
}

/* The rounds of h and 2 h. */
AVX512 static void two_rounds(float *x, size_t n, size_t h) {
    for (size_t block = 0; block < n; block += 4 * h) {
        for (size_t j = block; j < block + h; j += N) {
            __m512 a = _mm512_loadu_ps(x + j), b = _mm512_loadu_ps(x + j + h);
            __m512 c = _mm512_loadu_ps(x + j + 2 * h), d = _mm512_loadu_ps(x + j + 3 * h);
            __m512 sums[2] = {_mm512_add_ps(a, b), _mm512_add_ps(c, d)};
            __m512 differences[2] = {_mm512_sub_ps(a, b), _mm512_sub_ps(c, d)};
            _mm512_storeu_ps(x + j, _mm512_add_ps(sums[0], sums[1]));
            _mm512_storeu_ps(x + j + h, _mm512_add_ps(differences[0], differences[1]));
            _mm512_storeu_ps(x + j + 2 * h, _mm512_sub_ps(sums[0], sums[1]));
            _mm512_storeu_ps(x + j + 3 * h, _mm512_sub_ps(differences[0], differences[1]));
        }
    }
}

AVX512 void ec_hadamard_f32_avx512(float *x, size_t n) {
    if (n < N) {
        ec_hadamard_f32_scalar(x, n);
        return;
    }
    for (size_t j = 0; j < n; j += N) _mm512_storeu_ps(x + j, sixteen(_mm512_loadu_ps(x + j)));
    size_t h = N;
    for (; 4 * h <= n; h *= 4) two_rounds(x, n, h);
    if (h == n) return;
    for (size_t j = 0; j < h; j += N) {
        __m512 a = _mm512_loadu_ps(x + j), b = _mm512_loadu_ps(x + j + h);
        _mm512_storeu_ps(x + j, _mm512_add_ps(a, b));
        _mm512_storeu_ps(x + j + h, _mm512_sub_ps(a, b));
    }
}
#endif
