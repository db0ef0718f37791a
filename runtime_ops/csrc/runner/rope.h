/* Rotary position embeddings: runtime_ops.reference.rope. */
#ifndef EC_ROPE_H
#define EC_ROPE_H

#include <stddef.h>
#include <stdint.h>

typedef enum ec_rope_scaling {
    EC_ROPE_PLAIN = 0, EC_ROPE_LINEAR, EC_ROPE_LLAMA3, EC_ROPE_YARN
} ec_rope_scaling;

typedef struct ec_rope_settings {
    ec_rope_scaling scaling;
    int interleaved;         /* 1: neighbours are rotated together, 0: the halves of a head */
    double base, factor, original_context;
    double low_factor, high_factor;               /* llama3 */
    double beta_fast, beta_slow, attention_factor; /* yarn */
} ec_rope_settings;

/* Writes the angle per position of each pair of a head, n of them. */
void ec_rope_frequencies(const ec_rope_settings *settings, size_t n, float *frequencies);

/* What cosines and sines are multiplied with. */
double ec_rope_magnitude(const ec_rope_settings *settings);

/* Writes cosine and sine of each pair's angle (float32 [n] each) at a position. */
void ec_rope_angles(const float *frequencies, size_t n, uint32_t position, double magnitude, float *cosines,
                    float *sines);

/* Rotates the n pairs of a head x (float32 [2 n]). */
void ec_rope_rotate(float *x, size_t n, int interleaved, const float *cosines, const float *sines);

#endif
