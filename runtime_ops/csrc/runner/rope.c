/* Rotary position embeddings (Su et al. 2021) with the scalings of Hugging Face's checkpoints. */
#include "runner/rope.h"

#include <math.h>

#define PI 3.141592653589793

/* Llama 3.1: long waves are stretched, short ones are not, those between a mixture. */
static double llama3(const ec_rope_settings *s, double frequency) {
    double wave = 2 * PI / frequency;
    if (wave < s->original_context / s->high_factor) return frequency;
    if (wave > s->original_context / s->low_factor) return frequency / s->factor;
    double smooth = (s->original_context / wave - s->low_factor) / (s->high_factor - s->low_factor);
    return (1 - smooth) * frequency / s->factor + smooth * frequency;
}

/* The pair that turns so many times within the original context. */
static double yarn_pair(const ec_rope_settings *s, size_t n, double turns) {
    return (double)n * log(s->original_context / (turns * 2 * PI)) / log(s->base);
}

/* YaRN (Peng et al. 2023): as llama3, by the number of the pair. */
static double yarn(const ec_rope_settings *s, size_t n, size_t pair, double frequency) {
    double low = floor(yarn_pair(s, n, s->beta_fast)), high = ceil(yarn_pair(s, n, s->beta_slow));
    if (!(low > 0)) low = 0;
    if (!(high < (double)(2 * n - 1))) high = (double)(2 * n - 1);
    if (high == low) high += 0.001;
    double ramp = ((double)pair - low) / (high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return frequency / s->factor * ramp + frequency * (1 - ramp);
}

void ec_rope_frequencies(const ec_rope_settings *s, size_t n, float *frequencies) {
    for (size_t i = 0; i < n; i++) {
        double frequency = 1.0 / pow(s->base, (double)i / (double)n);
        if (s->scaling == EC_ROPE_LINEAR) frequency /= s->factor;
        if (s->scaling == EC_ROPE_LLAMA3) frequency = llama3(s, frequency);
        if (s->scaling == EC_ROPE_YARN) frequency = yarn(s, n, i, frequency);
        frequencies[i] = (float)frequency;
    }
}

double ec_rope_magnitude(const ec_rope_settings *s) {
    if (s->scaling != EC_ROPE_YARN) return 1;
    if (s->attention_factor > 0) return s->attention_factor;
    return s->factor <= 1 ? 1 : 0.1 * log(s->factor) + 1;
}

void ec_rope_angles(const float *frequencies, size_t n, uint32_t position, double magnitude, float *cosines,
                    float *sines) {
    for (size_t i = 0; i < n; i++) {
        float angle = (float)position * frequencies[i];
        cosines[i] = (float)(cos((double)angle) * magnitude);
        sines[i] = (float)(sin((double)angle) * magnitude);
    }
}

void ec_rope_rotate(float *x, size_t n, int interleaved, const float *cosines, const float *sines) {
    size_t step = interleaved ? 2 : 1, partner = interleaved ? 1 : n;
    for (size_t i = 0; i < n; i++) {
        float *pair = x + i * step, a = pair[0], b = pair[partner];
        pair[0] = a * cosines[i] - b * sines[i];
        pair[partner] = b * cosines[i] + a * sines[i];
    }
}
