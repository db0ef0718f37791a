/* Opens models, and what a caller does with them. */
#include "runner/model.h"

#include <stdlib.h>

#include "runner/why.h"

#define DEFAULT_CONTEXT 4096
#define MAX_CONTEXT (UINT32_C(1) << 20)
#define DEFAULT_BATCH 128
#define MAX_BATCH 512

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

static int check_options(const ec_model_options *o, ec_message *why) {
    if (o->n_context > MAX_CONTEXT) {
        ec_why(why, "ask for a shorter context", "context of %u tokens, expected at most %u", o->n_context, MAX_CONTEXT);
    } else if (o->n_batch > MAX_BATCH) {
        ec_why(why, "ask for a smaller batch", "batch of %u tokens, expected at most %d", o->n_batch, MAX_BATCH);
    } else if (o->n_threads > EC_MAX_THREADS) {
        ec_why(why, "ask for fewer threads", "%u threads, expected at most %d", o->n_threads, EC_MAX_THREADS);
    } else if (o->kv != EC_KV_F16 && o->kv != EC_KV_I8) {
        ec_why(why, "", "kind of the cache is %d, expected float16 or int8", (int)o->kv);
    } else {
        return 1;
    }
    return 0;
}

static int set_context(ec_model *m, uint32_t asked, ec_message *why) {
    const ec_hyper *h = &m->hyper;
    uint32_t n = h->n_context_made < DEFAULT_CONTEXT ? h->n_context_made : DEFAULT_CONTEXT;
    m->cache.n_context = asked != 0 ? asked : n < h->window ? n : h->window;
    if (m->cache.n_context <= h->window) return 1;
    ec_why(why, "ask for a context no longer than that",
           "context of %u tokens: the model attends to the last %u only, which cannot be run", m->cache.n_context,
           h->window);
    return 0;
}

static uint64_t quantised_bytes(const ec_model *m) {
    uint64_t most = ec_linear_quantised_bytes(&m->head, 1);
    for (uint32_t i = 0; i < m->hyper.n_layers; i++) {
        for (int k = 0; k < EC_LINEARS; k++) {
            uint64_t bytes = ec_linear_quantised_bytes(&m->layers[i].linears[k], m->n_batch);
            if (bytes > most) most = bytes;
        }
    }
    return most;
}

/* n floats for each token of a batch; remembers in `all` whether there is memory. */
static float *floats(ec_model *m, uint64_t n, int *all) {
    float *memory = ec_memory_take(&m->memory, n * m->n_batch * sizeof *memory);
    *all = *all && memory != NULL;
    return memory;
}

static int take_buffers(ec_model *m, ec_message *why) {
    const ec_hyper *h = &m->hyper;
    uint32_t d_q = h->n_heads * h->d_head, d_kv = h->n_kv_heads * h->d_head, wide = larger(h->d_model, d_q);
    ec_buffers *b = &m->buffers;
    int all = 1;
    b->x = floats(m, h->d_model, &all);
    b->normed = floats(m, wide, &all);
    b->prepared = floats(m, wide, &all);
    b->gate = floats(m, larger(wide, h->d_ff), &all);
    b->up = floats(m, larger(2 * d_kv, h->d_ff), &all);
    b->cosines = floats(m, h->d_head / 2, &all);
    b->sines = floats(m, h->d_head / 2, &all);
    b->quantised = ec_memory_take(&m->memory, quantised_bytes(m));
    m->frequencies = ec_memory_take(&m->memory, h->d_head / 2 * sizeof(float));
    ec_attention *a = &m->attention;
    a->cache = &m->cache;
    a->kernels = m->kernels;
    a->steps = &ec_steps_plain;
#if defined(EC_ARCH_X86)
    if (m->isa == EC_ISA_AVX2 || m->isa == EC_ISA_AVX512) a->steps = &ec_steps_avx2;
#endif
    a->n_heads = h->n_heads;
    a->group = h->n_heads / h->n_kv_heads;
    a->most_parts = ec_pool_threads(m->pool) == 1 ? 1 : 2 * ec_pool_threads(m->pool);
    if (all && b->quantised != NULL && m->frequencies != NULL && ec_attention_take(a, &m->memory)) return 1;
    ec_why(why, "ask for a shorter context or a smaller batch", "no memory for batches of %u tokens", m->n_batch);
    return 0;
}

static int take_cache(ec_model *m, ec_kv kind, ec_message *why) {
    m->cache.kind = kind;
    m->cache.n_layers = m->hyper.n_layers;
    m->cache.n_heads = m->hyper.n_kv_heads;
    m->cache.d_head = m->hyper.d_head;
    if (ec_kv_cache_take(&m->cache, &m->memory)) return 1;
    ec_why(why, "ask for a shorter context, or for keys and values as int8",
           "no memory for the keys and values of %u tokens", m->cache.n_context);
    return 0;
}

static int open_model(ec_model *m, const void *data, size_t size, const ec_model_options *options, ec_message *why) {
    ec_status status = ec_container_open(data, size, &m->container);
    if (status != EC_OK) {
        ec_why(why, "expected a container that edgecomp compress wrote", "%s", ec_status_text(status));
        return 0;
    }
    m->isa = options->isa == EC_ISA_BEST ? ec_isa_best() : options->isa;
    if (!ec_kernels_for(m->isa, &m->kernels)) {
        ec_why(why, "leave the choice to edgecomp", "%s", ec_status_text(EC_UNSUPPORTED));
        return 0;
    }
    m->n_batch = options->n_batch != 0 ? options->n_batch : DEFAULT_BATCH;
    if (!ec_hyper_read(&m->container, &m->hyper, why) || !set_context(m, options->n_context, why)) return 0;
    if (m->n_batch > m->cache.n_context) m->n_batch = m->cache.n_context;
    if (!ec_model_find_tensors(m, why)) return 0;
    m->pool = ec_pool_new(options->n_threads, options->pin != 0, why);
    if (m->pool == NULL || !take_cache(m, options->kv, why) || !take_buffers(m, why)) return 0;
    ec_rope_frequencies(&m->hyper.rope, m->hyper.d_head / 2, m->frequencies);
    m->magnitude = ec_rope_magnitude(&m->hyper.rope);
    return 1;
}

ec_model *ec_model_open(const void *data, size_t size, const ec_model_options *options, ec_message *why) {
    static const ec_model_options defaults = {.isa = EC_ISA_BEST};
    if (options == NULL) options = &defaults;
    if (!check_options(options, why)) return NULL;
    ec_model *m = calloc(1, sizeof *m);
    if (m == NULL) {
        ec_why(why, "", "no memory for a model");
        return NULL;
    }
    if (open_model(m, data, size, options, why)) return m;
    ec_model_free(m);
    return NULL;
}

void ec_model_free(ec_model *m) {
    if (m == NULL) return;
    if (m->pool != NULL) ec_pool_free(m->pool);
    ec_memory_free(&m->memory);
    free(m);
}

void ec_model_info_get(const ec_model *m, ec_model_info *info) {
    const ec_hyper *h = &m->hyper;
    ec_model_info known = {
        .n_layers = h->n_layers, .d_model = h->d_model, .n_heads = h->n_heads, .n_kv_heads = h->n_kv_heads,
        .d_head = h->d_head, .d_ff = h->d_ff, .n_vocab = h->n_vocab, .n_context = m->cache.n_context,
        .n_context_made = h->n_context_made, .n_threads = ec_pool_threads(m->pool), .n_weights = m->n_weights,
        .token_bytes = m->token_bytes, .kv_bytes = ec_kv_cache_bytes(&m->cache),
    };
    *info = known;
    info->work_bytes = m->memory.bytes - info->kv_bytes;
}

int ec_model_eval(ec_model *m, const uint32_t *tokens, uint32_t n, float *logits, ec_message *why) {
    uint32_t room = m->cache.n_context - m->past;
    if (n == 0) {
        ec_why(why, "", "no tokens to evaluate, expected at least 1");
        return 0;
    }
    if (n > room) {
        ec_why(why, "open the model with a longer context", "%u tokens do not fit behind %u in a context of %u", n,
               m->past, m->cache.n_context);
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (tokens[i] < m->hyper.n_vocab) continue;
        ec_why(why, "the tokenizer does not fit the model", "token %u, expected less than %u", tokens[i],
               m->hyper.n_vocab);
        return 0;
    }
    for (uint32_t first = 0; first < n; first += m->n_batch) {
        uint32_t left = n - first, many = left < m->n_batch ? left : m->n_batch;
        ec_model_eval_batch(m, tokens + first, many, many == left ? logits : NULL);
    }
    return 1;
}

uint32_t ec_model_past(const ec_model *m) { return m->past; }

void ec_model_rewind(ec_model *m, uint32_t n_past) {
    if (n_past < m->past) m->past = n_past;
}

const char *ec_part_name(ec_part part) {
    switch (part) {
        case EC_PART_ATTENTION_PROJECTIONS: return "attention projections";
        case EC_PART_FEED_FORWARD: return "feed-forward";
        case EC_PART_HEAD: return "head";
        case EC_PART_ATTENTION: return "attention";
        case EC_PART_OTHER: return "other";
        case EC_PART_COUNT: break;
    }
    return "unknown";
}

void ec_model_profile(const ec_model *m, uint64_t nanoseconds[EC_PART_COUNT]) {
    memcpy(nanoseconds, m->ns, sizeof m->ns);
}

void ec_model_profile_reset(ec_model *m) { memset(m->ns, 0, sizeof m->ns); }
