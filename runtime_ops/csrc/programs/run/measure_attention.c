/* Attention as a model runs it for a token, on one thread. */
#include "programs/run/measure_attention.h"

#include <stdio.h>

#include "programs/run/measure_steps.h"
#include "programs/run/model_options.h"

#define MOST_GROUP 64 /* queries that share a head of keys */
#define LAYERS 8      /* one after another, as in a model: keys and values are not those of the call before */

/* From these follows what loading, multiplying and the softmax of scores cost each. */
const attention_case attention_cases[N_ATTENTION_CASES] = {
    {EC_KV_F16, 64, 1}, {EC_KV_F16, 64, 4}, {EC_KV_F16, 128, 4}, {EC_KV_I8, 64, 1}};

const char *kv_name(ec_kv kv) { return kv == EC_KV_I8 ? "int8" : "f16"; }

int parse_attention(const char *name, attention_case *chosen) {
    char kv[8];
    int end = 0;
    if (sscanf(name, "attend-%7[a-z0-9]-%4u-%2u%n", kv, &chosen->d_head, &chosen->group, &end) != 3) return 0;
    if (name[end] != 0 || !parse_kv(kv, &chosen->kv)) return 0;
    return chosen->d_head >= 1 && chosen->d_head <= EC_MAX_HEAD && chosen->group >= 1 && chosen->group <= MOST_GROUP;
}

/* Keys and values without a pattern. */
static void fill(attention_data *data, uint32_t layer, float *vector) {
    uint32_t state = 1;
    for (int which = EC_KEYS; which <= EC_VALUES; which++) {
        ec_kv_head head = ec_kv_head_of(&data->cache, which, layer, 0);
        for (uint32_t position = 0; position < ATTENTION_POSITIONS; position++) {
            for (uint32_t i = 0; i < data->cache.d_head; i++) {
                state = state * UINT32_C(1664525) + UINT32_C(1013904223);
                vector[i] = (float)(int32_t)state * 0x1p-31f;
            }
            ec_kv_store(&head, position, vector, &data->attention.kernels);
        }
    }
}

static int take(attention_data *data, const attention_case *chosen) {
    ec_attention *a = &data->attention;
    data->cache = (ec_kv_cache){.kind = chosen->kv, .n_layers = LAYERS, .n_heads = 1};
    data->cache.d_head = chosen->d_head;
    data->cache.n_context = ATTENTION_POSITIONS;
    *a = (ec_attention){.cache = &data->cache, .steps = steps_here(), .n_heads = chosen->group};
    a->group = chosen->group;
    a->most_parts = 1;
    data->pool = ec_pool_new(1, 0, NULL);
    if (data->pool == NULL || !ec_kernels_for(EC_ISA_BEST, &a->kernels)) return 0;
    uint64_t bytes = (uint64_t)chosen->group * chosen->d_head * sizeof(float);
    float *queries = ec_memory_take(&data->memory, bytes), *out = ec_memory_take(&data->memory, bytes);
    if (queries == NULL || out == NULL) return 0;
    if (!ec_kv_cache_take(&data->cache, &data->memory) || !ec_attention_take(a, &data->memory)) return 0;
    for (uint32_t layer = 0; layer < LAYERS; layer++) fill(data, layer, queries); /* the last value is a query */
    data->call = (ec_attention_call){a, 0, ATTENTION_POSITIONS - 1, 1, queries, out};
    return 1;
}

int attention_begin(attention_data *data, const attention_case *chosen) {
    *data = (attention_data){0};
    if (take(data, chosen)) return 1;
    attention_end(data);
    return 0;
}

void attention_call(void *self) {
    attention_data *data = self;
    data->call.layer = (data->call.layer + 1) % LAYERS;
    ec_attention_run(&data->call, data->pool);
}

void attention_end(attention_data *data) {
    ec_pool_free(data->pool);
    ec_memory_free(&data->memory);
}
