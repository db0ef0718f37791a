/* Stores keys and values. */
#include "runner/kv_cache.h"

uint64_t ec_kv_cache_bytes(const ec_kv_cache *c) {
    uint64_t vectors = (uint64_t)c->n_layers * c->n_heads * c->n_context; /* below 2^53: limits of ec_hyper */
    uint64_t bytes = c->kind == EC_KV_F16 ? 2 * (uint64_t)c->stride : c->stride + 4 * (uint64_t)c->n_blocks;
    return 2 * vectors * bytes;
}

int ec_kv_cache_take(ec_kv_cache *c, ec_memory *memory) {
    c->n_blocks = c->kind == EC_KV_F16 ? 0 : (c->d_head + EC_BLOCK - 1) / EC_BLOCK;
    c->stride = c->kind == EC_KV_F16 ? c->d_head : c->n_blocks * EC_BLOCK;
    uint64_t vectors = (uint64_t)c->n_layers * c->n_heads * c->n_context;
    for (int which = 0; which < 2; which++) {
        c->numbers[which] = ec_memory_take(memory, vectors * c->stride * (c->kind == EC_KV_F16 ? 2 : 1));
        c->scales[which] = c->n_blocks ? ec_memory_take(memory, vectors * c->n_blocks * sizeof(float)) : NULL;
        if (c->numbers[which] == NULL || (c->n_blocks && c->scales[which] == NULL)) return 0;
    }
    return 1;
}

ec_kv_head ec_kv_head_of(const ec_kv_cache *c, int which, uint32_t layer, uint32_t head) {
    ec_kv_head found = {c, which, ((uint64_t)layer * c->n_heads + head) * c->n_context};
    return found;
}

uint16_t ec_float_to_half(float x) {
    uint32_t bits, rounded;
    memcpy(&bits, &x, 4);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00);
    if (magnitude >= 0x47800000) return (uint16_t)(sign | 0x7C00);
    if (magnitude < 0x38800000) { /* subnormal: adding 0.5 leaves a multiple of 2^-24 in the low bits */
        float small;
        memcpy(&small, &magnitude, 4);
        small += 0.5f;
        memcpy(&rounded, &small, 4);
        return (uint16_t)(sign | (rounded - 0x3F000000));
    }
    rounded = magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1);
    return (uint16_t)(sign | rounded >> 13);
}

void ec_kv_store(const ec_kv_head *head, uint32_t position, const float *x, const ec_kernels *kernels) {
    const ec_kv_cache *c = head->cache;
    uint64_t vector = head->first + position;
    if (c->kind == EC_KV_I8) {
        int32_t sums[EC_MAX_HEAD / EC_BLOCK];
        int8_t *values = (int8_t *)c->numbers[head->which] + vector * c->stride;
        kernels->quantise_i8(x, c->d_head, values, c->scales[head->which] + vector * c->n_blocks, sums);
        return;
    }
    uint16_t *halves = (uint16_t *)(void *)c->numbers[head->which] + vector * c->stride;
    for (uint32_t d = 0; d < c->d_head; d++) halves[d] = ec_float_to_half(x[d]);
}
