/* Causal attention of a batch of tokens over all keys so far, with grouped heads. */
#ifndef EC_ATTENTION_H
#define EC_ATTENTION_H

#include "runner/steps.h"
#include "runner/kv_cache.h"

typedef struct ec_attention {
    const ec_kv_cache *cache;
    const ec_steps *steps;
    ec_kernels kernels;
    uint32_t n_heads, group; /* heads of queries, and how many of them share a head of keys */
    uint32_t most_parts;     /* of a call, each of which has memory of its own: */
    float *work;             /* [most_parts][floats of a part] */
    uint64_t part_floats;
} ec_attention;

/* Takes the memory; all fields above `work` are filled in. 0 when there is none. */
int ec_attention_take(ec_attention *attention, ec_memory *memory);

/* Tokens past .. past + n_tokens - 1, whose keys and values are in the cache: queries float32 [n_tokens]
 * [n_heads][d_head], out likewise. */
typedef struct ec_attention_call {
    const ec_attention *attention;
    uint32_t layer, past, n_tokens;
    const float *queries;
    float *out;
} ec_attention_call;

void ec_attention_run(ec_attention_call *call, ec_pool *pool);

#endif
