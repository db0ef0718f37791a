/* Attention's inner loops for every machine. */
#include "runner/attention_steps.h"

static void halves(const uint16_t *x, size_t n, float *out) { ec_halves_step(x, n, out); }

static void bytes(const int8_t *x, float scale, size_t n, float *out) { ec_bytes_step(x, scale, n, out); }

static void add_values(const float *p, const float *v, size_t n, size_t d_head, float *out) {
    ec_add_values_step(p, v, n, d_head, out);
}

const ec_attention_steps ec_attention_plain = {halves, bytes, add_values};
