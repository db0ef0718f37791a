/* Hadamard matrices in plain C, for every machine. */
#include "kernels/kernels.h"

void ec_hadamard_f32_scalar(float *x, size_t n) {
    for (size_t h = 1; h < n; h *= 2) {
        for (size_t block = 0; block < n; block += 2 * h) {
            float *low = x + block, *high = low + h;
            for (size_t j = 0; j < h; j++) {
                float a = low[j], b = high[j];
                low[j] = a + b;
                high[j] = a - b;
            }
        }
    }
}
