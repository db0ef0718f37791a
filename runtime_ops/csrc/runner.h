/* edgecomp runner: Llama-family language models straight from a container.
 *
 * C99, libc, libm and pthreads. Unlike edgecomp.h this part allocates memory and starts threads; it does
 * not print or exit. A model, a tokenizer and a sampler belong to one caller at a time. What they compute
 * is specified by runtime_ops/reference and does not depend on the number of threads.
 */
#ifndef EDGECOMP_RUNNER_H
#define EDGECOMP_RUNNER_H

#include "edgecomp.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Why a call failed: one line, and what may help; both terminated, the hint maybe empty. */
#define EC_MESSAGE_BYTES 256
typedef struct ec_message { char text[EC_MESSAGE_BYTES], hint[EC_MESSAGE_BYTES]; } ec_message;

/* ---- threads ---------------------------------------------------------------------------------- */

#define EC_MAX_THREADS 64

/* Threads that share loops. They spin for a moment when there is nothing to do, then sleep. */
typedef struct ec_pool ec_pool;

/* n_threads, the caller's among them; 0: one for each core that this process may use. `pin`: each stays on a
 * core of its own. NULL when memory or threads cannot be had. */
EC_API ec_pool *ec_pool_new(uint32_t n_threads, int pin, ec_message *why);
EC_API uint32_t ec_pool_threads(const ec_pool *pool);

/* Calls task(work, part, n_parts) for every part of 0 .. n_parts - 1, each by some thread, and returns when all
 * are done. */
typedef void ec_task_fn(void *work, uint32_t part, uint32_t n_parts);
EC_API void ec_pool_run(ec_pool *pool, uint32_t n_parts, ec_task_fn *task, void *work);
EC_API void ec_pool_free(ec_pool *pool); /* as all that free: NULL is left alone */

/* ---- model ------------------------------------------------------------------------------------ */

typedef enum ec_kv { EC_KV_F16 = 0, EC_KV_I8 = 1 } ec_kv; /* how keys and values are kept */

typedef struct ec_model_options {
    uint32_t n_context;  /* tokens that the KV cache holds; 0: as many as the model was made for, at most 4096 */
    uint32_t n_threads;  /* 0: one for each core that this process may use */
    uint32_t pin;        /* 1: each thread stays on a core */
    uint32_t n_batch;    /* tokens that are evaluated together, 1..512; 0: 128 */
    ec_kv kv;
    ec_isa isa;          /* EC_ISA_BEST, or a slower one to compare with */
} ec_model_options;

typedef struct ec_model_info {
    uint32_t n_layers, d_model, n_heads, n_kv_heads, d_head, d_ff, n_vocab;
    uint32_t n_context;      /* of this model's cache; */
    uint32_t n_context_made; /* what the model was made for */
    uint32_t n_threads;
    uint64_t n_weights;      /* of all tensors */
    uint64_t token_bytes;    /* of weights that are read for a token: all but the embedding's other rows */
    uint64_t kv_bytes, work_bytes; /* allocated */
} ec_model_info;

typedef struct ec_model ec_model;

/* Opens the model of a container that lies in memory (a mapped file, say), which must outlive it. NULL, with a
 * message, when it is no container, no model that can be run, or memory runs out. Weights stay where they are. */
EC_API ec_model *ec_model_open(const void *data, size_t size, const ec_model_options *options, ec_message *why);
EC_API void ec_model_info_get(const ec_model *model, ec_model_info *info);

/* Evaluates n tokens behind those that are in the cache; logits (float32 [n_vocab]) of the last one, unless
 * NULL. 1, or 0 with a message: a token outside the vocabulary, a full cache. Then nothing was added. */
EC_API int ec_model_eval(ec_model *model, const uint32_t *tokens, uint32_t n, float *logits, ec_message *why);

EC_API uint32_t ec_model_past(const ec_model *model);            /* tokens in the cache */
EC_API void ec_model_rewind(ec_model *model, uint32_t n_past);  /* keeps the first n_past of them */
EC_API void ec_model_free(ec_model *model);

/* Where the time went, in nanoseconds since the last reset, by kind of work. */
typedef enum ec_part {
    EC_PART_ATTENTION_PROJECTIONS = 0, /* q, k, v, o */
    EC_PART_FEED_FORWARD,              /* gate, up, down */
    EC_PART_HEAD,
    EC_PART_ATTENTION,                 /* scores, softmax, values */
    EC_PART_OTHER,                     /* norms, RoPE, embedding, rotation and quantisation of activations */
    EC_PART_COUNT
} ec_part;
EC_API const char *ec_part_name(ec_part part);
EC_API void ec_model_profile(const ec_model *model, uint64_t nanoseconds[EC_PART_COUNT]);
EC_API void ec_model_profile_reset(ec_model *model);

/* ---- tokenizer -------------------------------------------------------------------------------- */

typedef struct ec_tokenizer ec_tokenizer;
#define EC_NO_TOKEN UINT32_C(0xFFFFFFFF)

/* The tokenizer of a container's keys tokenizer.ggml.*: byte-level BPE ("gpt2") or SentencePiece's BPE ("llama").
 * The container must outlive it. */
EC_API ec_tokenizer *ec_tokenizer_open(const void *data, size_t size, ec_message *why);
EC_API uint32_t ec_tokenizer_size(const ec_tokenizer *tokenizer);
EC_API uint32_t ec_tokenizer_bos(const ec_tokenizer *tokenizer);  /* EC_NO_TOKEN when there is none, */
EC_API uint32_t ec_tokenizer_eos(const ec_tokenizer *tokenizer);  /* as here */
EC_API int ec_tokenizer_is_end(const ec_tokenizer *tokenizer, uint32_t token); /* eos, or an end of turn */

/* Tokens of a text (UTF-8, n_bytes; bytes that are not UTF-8 are taken as U+FFFD): the number of them; at most
 * `room` are written. `special`: tokens like <|im_start|> are taken for what they are; `begin`: bos comes first
 * if the model wants one. SIZE_MAX when memory runs out, or for a text of 2^28 bytes or more. */
EC_API size_t ec_tokenizer_encode(const ec_tokenizer *tokenizer, const char *text, size_t n_bytes, int begin,
                                  int special, uint32_t *tokens, size_t room);

/* The bytes that a token stands for, maybe a part of a character: their number, at most `room` written. Control
 * tokens stand for none unless `special`. `first`: it is the first of a text, where SentencePiece drops a space. */
EC_API size_t ec_tokenizer_piece(const ec_tokenizer *tokenizer, uint32_t token, int first, int special, char *bytes,
                                 size_t room);
EC_API void ec_tokenizer_free(ec_tokenizer *tokenizer);

/* ---- sampling --------------------------------------------------------------------------------- */

typedef struct ec_sampling {
    float temperature;   /* 0: always the likeliest token, the first one of equals */
    uint32_t top_k;      /* 0: all */
    float top_p;         /* 1: all */
    float min_p;         /* 0: all */
    uint64_t seed;
} ec_sampling;

typedef struct ec_sampler ec_sampler;
EC_API ec_sampler *ec_sampler_new(const ec_sampling *sampling, uint32_t n_vocab, ec_message *why);

/* The next token by its logits (float32 [n_vocab], not changed); EC_NO_TOKEN when they hold NaN. */
EC_API uint32_t ec_sampler_next(ec_sampler *sampler, const float *logits);
EC_API void ec_sampler_free(ec_sampler *sampler);

#ifdef __cplusplus
}
#endif
#endif
