/* What a Llama-family model is made of. */
#ifndef EC_HYPER_H
#define EC_HYPER_H

#include "runner.h"
#include "runner/rope.h"

#define EC_MAX_VOCAB (UINT32_C(1) << 24)

typedef struct ec_hyper {
    uint32_t n_layers, d_model, n_heads, n_kv_heads, d_head, d_ff;
    uint32_t n_vocab;        /* 0: as many as the embedding has rows */
    uint32_t n_context_made;
    uint32_t window;         /* tokens that attention looks back */
    float epsilon;
    ec_rope_settings rope;
} ec_hyper;

/* Reads and checks the keys; 0 with a message when they make no model that can be run. */
int ec_hyper_read(const ec_container *container, ec_hyper *hyper, ec_message *why);

#endif
