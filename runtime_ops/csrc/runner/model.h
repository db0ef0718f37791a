/* A model that is open: its tensors, its memory, and where it stands. */
#ifndef EC_MODEL_H
#define EC_MODEL_H

#include "runner/attention.h"
#include "runner/hyper.h"
#include "runner/linear.h"

enum { EC_Q = 0, EC_K, EC_V, EC_O, EC_GATE, EC_UP, EC_DOWN, EC_LINEARS };

typedef struct ec_layer {
    const float *attention_norm, *feed_forward_norm; /* [d_model] */
    const float *q_norm, *k_norm;                    /* [d_head], or NULL */
    ec_linear linears[EC_LINEARS];
} ec_layer;

/* Memory between two steps, for n_batch tokens. */
typedef struct ec_buffers {
    float *x;                /* [d_model] for each token: what every layer adds to */
    float *normed;           /* [max(d_model, d_q)]: inputs of matrices, output of attention and of the layer */
    float *prepared;         /* likewise: inputs as matrices take them */
    float *gate;             /* [max(d_model, d_q, d_ff)]: queries, output of attention's last matrix, gate */
    float *up;               /* [max(2 d_kv, d_ff)]: keys and values, up, then inputs of down, prepared */
    void *quantised;
    float *cosines, *sines;  /* [d_head / 2] */
} ec_buffers;

struct ec_model {
    ec_container container;
    ec_hyper hyper;
    ec_isa isa;
    uint32_t n_batch, past;
    ec_memory memory;
    ec_pool *pool;
    ec_kernels kernels;
    ec_tensor embedding;
    ec_layer *layers;        /* [n_layers] */
    const float *norm;       /* [d_model] */
    ec_linear head;
    float *frequencies;      /* [d_head / 2] */
    double magnitude;
    ec_kv_cache cache;
    ec_attention attention;
    ec_buffers buffers;
    uint64_t n_weights, token_bytes;
    uint64_t ns[EC_PART_COUNT];
};

/* Finds and checks all tensors; 0 with a message when one is missing or has another shape. */
int ec_model_find_tensors(ec_model *model, ec_message *why);

/* Evaluates at most n_batch tokens, which are in the vocabulary and fit into the cache; logits of the last. */
void ec_model_eval_batch(ec_model *model, const uint32_t *tokens, uint32_t n, float *logits);

#endif
