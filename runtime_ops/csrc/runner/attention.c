/* Attention in tiles of positions: a tile of keys or values is brought to float32 once for several queries. */
#include "runner/attention.h"

#include <math.h>

#define TILE 32    /* positions of a tile */
#define QUERIES 16 /* that share a tile, of several heads or tokens */

/* Memory of a part. */
typedef struct scratch {
    float *scores;           /* [QUERIES][n_context] */
    float *tile;             /* [TILE][d_head] */
    float *queries;          /* [QUERIES][d_head] */
} scratch;

/* Queries that share a head of keys and values. */
typedef struct unit {
    const ec_attention_call *call;
    scratch memory;
    ec_kv_head keys, values;
    uint32_t n, longest;
    uint32_t seen[QUERIES];  /* positions that a query sees */
    float *out[QUERIES];     /* [d_head] */
    float sums[QUERIES];     /* of its weights */
} unit;

static uint64_t score_stride(const ec_kv_cache *cache) { return ((uint64_t)cache->n_context + TILE - 1) / TILE * TILE; }

int ec_attention_take(ec_attention *a, ec_memory *memory) {
    a->part_floats = QUERIES * score_stride(a->cache) + (uint64_t)(TILE + QUERIES) * a->cache->d_head;
    a->work = ec_memory_take(memory, a->most_parts * a->part_floats * sizeof *a->work);
    return a->work != NULL;
}

static void load(const ec_attention *a, const ec_kv_head *head, uint32_t first, uint32_t n, float *out) {
    const ec_kv_cache *c = a->cache;
    uint64_t vector = head->first + first;
    if (c->kind == EC_KV_F16) {
        a->steps->halves((const uint16_t *)(void *)c->numbers[head->which] + vector * c->stride, (size_t)n * c->d_head, out);
        return;
    }
    for (uint32_t i = 0; i < n; i++, vector++) {
        const int8_t *values = (const int8_t *)c->numbers[head->which] + vector * c->stride;
        const float *scales = c->scales[head->which] + vector * c->n_blocks;
        for (uint32_t d = 0; d < c->d_head; d += EC_BLOCK) {
            uint32_t left = c->d_head - d;
            a->steps->bytes(values + d, scales[d / EC_BLOCK], left < EC_BLOCK ? left : EC_BLOCK, out + d);
        }
        out += c->d_head;
    }
}

/* scores = (key . query) / sqrt(d_head) for a tile of positions and all queries. */
static void score_tile(unit *u, uint32_t first, uint32_t n, float scale) {
    const ec_attention *a = u->call->attention;
    uint32_t d_head = a->cache->d_head;
    float lanes[TILE * QUERIES][EC_LANES];
    load(a, &u->keys, first, n, u->memory.tile);
    memset(lanes, 0, (size_t)n * u->n * sizeof lanes[0]);
    ec_dots dots = {.n = d_head, .w = u->memory.tile, .w_stride = d_head, .n_rows = n};
    dots.x = u->memory.queries;
    dots.x_stride = d_head;
    dots.n_tokens = u->n;
    dots.lanes = lanes;
    a->kernels.dots_f32_f32(&dots);
    for (uint32_t q = 0; q < u->n; q++) {
        float *scores = u->memory.scores + q * score_stride(a->cache) + first;
        for (uint32_t t = 0; t < n; t++) scores[t] = ec_sum_lanes(lanes[t * u->n + q]) * scale;
    }
}

static void attend(unit *u) {
    const ec_attention *a = u->call->attention;
    uint32_t d_head = a->cache->d_head;
    uint64_t stride = score_stride(a->cache);
    float scale = (float)(1.0 / sqrt((double)d_head));
    for (uint32_t first = 0; first < u->longest; first += TILE) {
        score_tile(u, first, u->longest - first < TILE ? u->longest - first : TILE, scale);
    }
    for (uint32_t q = 0; q < u->n; q++) {
        u->sums[q] = a->steps->soften(u->memory.scores + q * stride, u->seen[q]);
        memset(u->out[q], 0, d_head * sizeof(float));
    }
    for (uint32_t first = 0; first < u->longest; first += TILE) {
        uint32_t n = u->longest - first < TILE ? u->longest - first : TILE;
        load(a, &u->values, first, n, u->memory.tile);
        for (uint32_t q = 0; q < u->n; q++) {
            uint32_t left = u->seen[q] > first ? u->seen[q] - first : 0;
            const float *weights = u->memory.scores + q * stride + first;
            if (left > 0) a->steps->add_values(weights, u->memory.tile, left < n ? left : n, d_head, u->out[q]);
        }
    }
    for (uint32_t q = 0; q < u->n; q++) {
        for (uint32_t d = 0; d < d_head; d++) u->out[q][d] /= u->sums[q];
    }
}

/* Tokens that are attended to together, so that all heads of a group make up to QUERIES queries. */
static uint32_t tokens_together(const ec_attention *a) { return a->group < QUERIES ? QUERIES / a->group : 1; }

static void add_query(unit *u, uint32_t token, uint32_t head) {
    const ec_attention_call *call = u->call;
    uint32_t d_head = call->attention->cache->d_head;
    uint64_t at = ((uint64_t)token * call->attention->n_heads + head) * d_head;
    memcpy(u->memory.queries + (uint64_t)u->n * d_head, call->queries + at, d_head * sizeof(float));
    u->out[u->n] = call->out + at;
    u->seen[u->n] = u->longest = call->past + token + 1;
    u->n++;
}

/* All queries of some tokens that look at one head of keys. */
static void attend_head(unit *u, uint32_t first_token, uint32_t kv_head) {
    const ec_attention_call *call = u->call;
    const ec_attention *a = call->attention;
    uint32_t end = first_token + tokens_together(a);
    u->keys = ec_kv_head_of(a->cache, EC_KEYS, call->layer, kv_head);
    u->values = ec_kv_head_of(a->cache, EC_VALUES, call->layer, kv_head);
    u->n = 0;
    for (uint32_t token = first_token; token < end && token < call->n_tokens; token++) {
        for (uint32_t i = 0; i < a->group; i++) {
            if (u->n == QUERIES) {
                attend(u);
                u->n = 0;
            }
            add_query(u, token, kv_head * a->group + i);
        }
    }
    attend(u);
}

static uint32_t units_of(const ec_attention_call *call) {
    uint32_t together = tokens_together(call->attention);
    return (call->n_tokens + together - 1) / together * call->attention->cache->n_heads;
}

/* Units are dealt out one by one, since later tokens see more. */
static void attend_part(void *shared, uint32_t part, uint32_t n_parts) {
    const ec_attention_call *call = shared;
    const ec_attention *a = call->attention;
    uint32_t n_units = units_of(call), n_heads = a->cache->n_heads;
    unit u = {.call = call};
    u.memory.scores = a->work + part * a->part_floats;
    u.memory.tile = u.memory.scores + QUERIES * score_stride(a->cache);
    u.memory.queries = u.memory.tile + (uint64_t)TILE * a->cache->d_head;
    for (uint32_t i = part; i < n_units; i += n_parts) {
        attend_head(&u, i / n_heads * tokens_together(a), i % n_heads);
    }
}

void ec_attention_run(ec_attention_call *call, ec_pool *pool) {
    uint32_t n_units = units_of(call), most = call->attention->most_parts;
    ec_pool_run(pool, n_units < most ? n_units : most, attend_part, call);
}
