/* The forward pass: runtime_ops.reference.llama. */
#include "runner/clock.h"
#include "runner/model.h"
#include "runner/norm.h"

/* Tokens of a step that is shared out by tokens. */
typedef struct span { uint32_t first, end; } span;

static span span_of(uint32_t n, uint32_t part, uint32_t n_parts) {
    span s = {(uint32_t)((uint64_t)n * part / n_parts), (uint32_t)((uint64_t)n * (part + 1) / n_parts)};
    return s;
}

static void by_tokens(ec_model *m, uint32_t n_tokens, ec_task_fn *task, void *work) {
    uint32_t threads = ec_pool_threads(m->pool);
    ec_pool_run(m->pool, n_tokens < threads ? n_tokens : threads, task, work);
}

static uint64_t add_time(ec_model *m, ec_part part, uint64_t start) {
    uint64_t now = ec_clock_ns();
    m->ns[part] += now - start;
    return now;
}

/* x = x + added (unless NULL), then normed = norm of x. */
typedef struct norm_work {
    ec_model *model;
    const float *weight, *added;
    uint32_t n_tokens;
} norm_work;

static void norm_part(void *shared, uint32_t part, uint32_t n_parts) {
    const norm_work *w = shared;
    const ec_model *m = w->model;
    size_t n = m->hyper.d_model;
    span s = span_of(w->n_tokens, part, n_parts);
    for (uint32_t t = s.first; t < s.end; t++) {
        float *x = m->buffers.x + t * n;
        for (size_t j = 0; w->added != NULL && j < n; j++) x[j] += w->added[t * n + j];
        ec_rms_norm(x, w->weight, n, m->hyper.epsilon, m->buffers.normed + t * n);
    }
}

static void norm(ec_model *m, const float *weight, const float *added, uint32_t n_tokens) {
    norm_work work = {m, weight, added, n_tokens};
    by_tokens(m, n_tokens, norm_part, &work);
}

/* Runs some matrices of the same inputs; all time is the part's but that for the inputs. */
static void multiply(ec_model *m, ec_part part, ec_linears *work) {
    work->isa = m->isa;
    work->quantised = m->buffers.quantised;
    uint64_t start = ec_clock_ns();
    ec_linears_run(work, m->pool);
    add_time(m, part, start + work->preparing_ns);
    m->ns[EC_PART_OTHER] += work->preparing_ns;
}

/* Norms of heads, rotation, and storing of keys and values. */
typedef struct head_work {
    ec_model *model;
    uint32_t layer, n_tokens;
    float *q, *k, *v;
} head_work;

static void rotate_heads(const ec_model *m, const float *weight, uint32_t token, uint32_t n_heads, float *x) {
    const ec_hyper *h = &m->hyper;
    size_t pairs = h->d_head / 2;
    for (uint32_t i = 0; i < n_heads; i++, x += h->d_head) {
        if (weight != NULL) ec_rms_norm(x, weight, h->d_head, h->epsilon, x);
        ec_rope_rotate(x, pairs, h->rope.interleaved, m->buffers.cosines + token * pairs,
                       m->buffers.sines + token * pairs);
    }
}

static void head_part(void *shared, uint32_t part, uint32_t n_parts) {
    const head_work *w = shared;
    const ec_model *m = w->model;
    const ec_hyper *h = &m->hyper;
    const ec_layer *layer = &m->layers[w->layer];
    size_t d_q = (size_t)h->n_heads * h->d_head, d_kv = (size_t)h->n_kv_heads * h->d_head;
    span s = span_of(w->n_tokens, part, n_parts);
    for (uint32_t t = s.first; t < s.end; t++) {
        rotate_heads(m, layer->q_norm, t, h->n_heads, w->q + t * d_q);
        rotate_heads(m, layer->k_norm, t, h->n_kv_heads, w->k + t * d_kv);
        for (uint32_t i = 0; i < h->n_kv_heads; i++) {
            ec_kv_head keys = ec_kv_head_of(&m->cache, EC_KEYS, w->layer, i);
            ec_kv_head values = ec_kv_head_of(&m->cache, EC_VALUES, w->layer, i);
            ec_kv_store(&keys, m->past + t, w->k + t * d_kv + (size_t)i * h->d_head, &m->kernels);
            ec_kv_store(&values, m->past + t, w->v + t * d_kv + (size_t)i * h->d_head, &m->kernels);
        }
    }
}

static void attention_block(ec_model *m, uint32_t layer, uint32_t n_tokens) {
    const ec_linear *linears = m->layers[layer].linears;
    ec_buffers *b = &m->buffers;
    float *v = b->up + (size_t)n_tokens * linears[EC_K].rows;
    ec_linears qkv = {.all = {&linears[EC_Q], &linears[EC_K], &linears[EC_V]}, .y = {b->gate, b->up, v}, .n = 3};
    qkv.x = b->normed;
    qkv.n_tokens = n_tokens;
    qkv.prepared = b->prepared;
    multiply(m, EC_PART_ATTENTION_PROJECTIONS, &qkv);
    uint64_t start = ec_clock_ns();
    head_work heads = {m, layer, n_tokens, b->gate, b->up, v};
    by_tokens(m, n_tokens, head_part, &heads);
    start = add_time(m, EC_PART_OTHER, start);
    ec_attention_call call = {&m->attention, layer, m->past, n_tokens, b->gate, b->normed};
    ec_attention_run(&call, m->pool);
    add_time(m, EC_PART_ATTENTION, start);
    ec_linears out = {.all = {&linears[EC_O]}, .y = {b->gate}, .n = 1, .x = b->normed, .n_tokens = n_tokens};
    out.prepared = b->prepared;
    multiply(m, EC_PART_ATTENTION_PROJECTIONS, &out);
}

/* SwiGLU (Shazeer 2020). */
typedef struct swiglu_work {
    const ec_steps *steps;
    float *gate;
    const float *up;
    uint64_t n;
} swiglu_work;

static void swiglu_part(void *shared, uint32_t part, uint32_t n_parts) {
    const swiglu_work *w = shared;
    uint64_t first = w->n * part / n_parts, end = w->n * (part + 1) / n_parts;
    w->steps->swiglu(w->gate + first, w->up + first, (size_t)(end - first));
}

static void feed_forward_block(ec_model *m, uint32_t layer, uint32_t n_tokens) {
    const ec_linear *linears = m->layers[layer].linears;
    ec_buffers *b = &m->buffers;
    ec_linears both = {.all = {&linears[EC_GATE], &linears[EC_UP]}, .y = {b->gate, b->up}, .n = 2, .x = b->normed};
    both.n_tokens = n_tokens;
    both.prepared = b->prepared;
    multiply(m, EC_PART_FEED_FORWARD, &both);
    uint64_t start = ec_clock_ns();
    swiglu_work work = {m->attention.steps, b->gate, b->up, (uint64_t)n_tokens * m->hyper.d_ff};
    ec_pool_run(m->pool, ec_pool_threads(m->pool), swiglu_part, &work);
    add_time(m, EC_PART_OTHER, start);
    ec_linears down = {.all = {&linears[EC_DOWN]}, .y = {b->normed}, .n = 1, .x = b->gate, .n_tokens = n_tokens};
    down.prepared = b->up;
    multiply(m, EC_PART_FEED_FORWARD, &down);
}

static void embed(ec_model *m, const uint32_t *tokens, uint32_t n) {
    size_t d_model = m->hyper.d_model, pairs = m->hyper.d_head / 2;
    for (uint32_t t = 0; t < n; t++) {
        ec_decode_rows(&m->embedding, tokens[t], 1, m->buffers.x + t * d_model, m->isa);
        ec_rope_angles(m->frequencies, pairs, m->past + t, m->magnitude, m->buffers.cosines + t * pairs,
                       m->buffers.sines + t * pairs);
    }
}

/* Logits of the last of n tokens: the others' places take its norm. */
static void head(ec_model *m, uint32_t n, float *logits) {
    ec_buffers *b = &m->buffers;
    size_t d_model = m->hyper.d_model, last = (n - 1) * d_model;
    uint64_t start = ec_clock_ns();
    for (size_t j = 0; j < d_model; j++) b->x[last + j] += b->normed[last + j];
    ec_rms_norm(b->x + last, m->norm, d_model, m->hyper.epsilon, b->normed);
    add_time(m, EC_PART_OTHER, start);
    ec_linears work = {.all = {&m->head}, .y = {logits}, .n = 1, .x = b->normed, .n_tokens = 1};
    work.prepared = b->prepared;
    multiply(m, EC_PART_HEAD, &work);
}

void ec_model_eval_batch(ec_model *m, const uint32_t *tokens, uint32_t n, float *logits) {
    uint64_t start = ec_clock_ns();
    embed(m, tokens, n);
    for (uint32_t i = 0; i < m->hyper.n_layers; i++) {
        norm(m, m->layers[i].attention_norm, i > 0 ? m->buffers.normed : NULL, n);
        add_time(m, EC_PART_OTHER, start);
        attention_block(m, i, n);
        start = ec_clock_ns();
        norm(m, m->layers[i].feed_forward_norm, m->buffers.gate, n);
        add_time(m, EC_PART_OTHER, start);
        feed_forward_block(m, i, n);
        start = ec_clock_ns();
    }
    if (logits != NULL) head(m, n, logits);
    m->past += n;
}
