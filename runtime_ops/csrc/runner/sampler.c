/* Chooses the next token: runtime_ops.reference.sampling. Tokens that stay in the choice are found by a bound on
 * their keys, so that nothing is sorted, and all sums run by ascending token in float64. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runner/exp.h"
#include "runner/heap.h"
#include "runner/why.h"

struct ec_sampler {
    ec_sampling sampling;
    uint32_t n_vocab;
    uint64_t state;      /* of SplitMix64 */
    uint64_t *heap;      /* [n_vocab] */
    uint32_t *tokens;    /* [n_vocab]: those in the choice, */
    float *weights;      /* [n_vocab]: and how likely each is, the likeliest of all 1 */
};

/* Numbers whose order is that of the floats, -0 before 0, none of them NaN. */
static uint32_t order_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits & UINT32_C(0x80000000) ? ~bits : bits | UINT32_C(0x80000000);
}

/* Larger for the larger value, and of equal ones for the lower index. */
static uint64_t key_of(float value, uint32_t index) {
    return (uint64_t)order_of(value + 0.0f) << 32 | (UINT32_MAX - index); /* + 0: there is one zero */
}

static const char *wrong_setting(const ec_sampling *s) {
    if (!(s->temperature >= 0.0f && s->temperature <= 3.4e38f)) return "temperature: expected at least 0";
    if (!(s->top_p >= 0.0f && s->top_p <= 1.0f)) return "top_p: expected 0 to 1";
    if (!(s->min_p >= 0.0f && s->min_p <= 1.0f)) return "min_p: expected 0 to 1";
    return NULL;
}

ec_sampler *ec_sampler_new(const ec_sampling *sampling, uint32_t n_vocab, ec_message *why) {
    const char *wrong = wrong_setting(sampling);
    if (wrong != NULL || n_vocab == 0) {
        ec_why(why, "", "%s", wrong != NULL ? wrong : "a vocabulary without tokens");
        return NULL;
    }
    ec_sampler *s = calloc(1, sizeof *s);
    if (s != NULL) {
        s->sampling = *sampling;
        s->n_vocab = n_vocab;
        s->state = sampling->seed;
        s->heap = calloc(n_vocab, sizeof *s->heap);
        s->tokens = calloc(n_vocab, sizeof *s->tokens);
        s->weights = calloc(n_vocab, sizeof *s->weights);
        if (s->heap != NULL && s->tokens != NULL && s->weights != NULL) return s;
    }
    ec_sampler_free(s);
    ec_why(why, "", "no memory for a sampler of %lu tokens", (unsigned long)n_vocab);
    return NULL;
}

void ec_sampler_free(ec_sampler *s) {
    if (s == NULL) return;
    free(s->heap);
    free(s->tokens);
    free(s->weights);
    free(s);
}

/* SplitMix64 (Steele, Lea, Flood, 2014): 53 bits, as a number of 0 to 1, 1 excluded. */
static double draw_uniform(ec_sampler *s) {
    uint64_t z = s->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

/* The first of the largest; EC_NO_TOKEN when one is NaN. */
static uint32_t largest(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (logits[i] != logits[i]) return EC_NO_TOKEN;
        if (logits[i] > logits[best]) best = i;
    }
    return best;
}

/* The key of the k-th largest logit; the heap keeps the k largest so far. */
static uint64_t bound_of_top_k(const ec_sampler *s, const float *logits, uint32_t k) {
    for (uint32_t i = 0; i < k; i++) s->heap[i] = key_of(logits[i], i);
    ec_heap_make(s->heap, k);
    for (uint32_t i = k; i < s->n_vocab; i++) {
        uint64_t key = key_of(logits[i], i);
        if (key <= s->heap[0]) continue;
        s->heap[0] = key;
        ec_heap_sift(s->heap, k, 0);
    }
    return s->heap[0];
}

/* Tokens in the choice after top_k and min_p: their number. */
static uint32_t choose(ec_sampler *s, const float *logits, float most) {
    uint32_t n = 0, k = s->sampling.top_k;
    uint64_t bound = k > 0 && k < s->n_vocab ? bound_of_top_k(s, logits, k) : 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (bound > 0 && key_of(logits[i], i) < bound) continue;
        float weight = ec_expf((logits[i] - most) / s->sampling.temperature);
        if (!(weight > 0.0f && weight >= s->sampling.min_p)) continue;
        s->tokens[n] = i;
        s->weights[n++] = weight;
    }
    return n;
}

static double sum_of(const float *weights, uint32_t n) {
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) sum += (double)weights[i];
    return sum;
}

/* Keeps the likeliest, until they have top_p of the sum together: their number. */
static uint32_t keep_top_p(ec_sampler *s, uint32_t n) {
    double least = (double)s->sampling.top_p * sum_of(s->weights, n), sum = 0.0;
    uint64_t bound = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) s->heap[i] = ~key_of(s->weights[i], i);
    ec_heap_make(s->heap, n);
    for (uint32_t left = n; left > 0; left--) {
        bound = ~ec_heap_take(s->heap, left);
        sum += (double)s->weights[UINT32_MAX - (uint32_t)bound];
        if (sum >= least) break;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (key_of(s->weights[i], i) < bound) continue;
        s->tokens[kept] = s->tokens[i];
        s->weights[kept++] = s->weights[i];
    }
    return kept;
}

uint32_t ec_sampler_next(ec_sampler *s, const float *logits) {
    uint32_t best = largest(logits, s->n_vocab);
    if (best == EC_NO_TOKEN || s->sampling.temperature == 0.0f || isinf(logits[best])) return best;
    uint32_t n = choose(s, logits, logits[best]);
    if (s->sampling.top_p < 1.0f) n = keep_top_p(s, n);
    double place = draw_uniform(s) * sum_of(s->weights, n), sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)s->weights[i];
        if (sum > place) return s->tokens[i];
    }
    return s->tokens[n - 1]; /* the place was rounded up to the sum of all */
}
