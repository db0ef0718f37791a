/* Tables of tokens by their texts, and of merges by their tokens. */
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "runner/tokenizer.h"

#define MOST_PROBES 128 /* farther away nothing is put or looked for: only texts that were made to collide */
#define SEED UINT64_C(0x9E3779B97F4A7C15)

ec_slice ec_token_text(const ec_tokenizer *t, uint32_t token) {
    const uint8_t *at = t->strings.data + t->starts[token];
    ec_slice text = {at + 8, ec_load_u64(at)};
    return text;
}

static uint64_t mixed(uint64_t h) {
    h = (h ^ h >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return h ^ h >> 32;
}

static uint64_t add_bytes(uint64_t h, ec_slice text) {
    for (uint64_t i = 0; i < text.size; i++) h = (h ^ text.data[i]) * UINT64_C(0x100000001B3);
    return h;
}

static uint32_t hash_text(ec_slice a, ec_slice b) { return (uint32_t)mixed(add_bytes(add_bytes(SEED, a), b)); }

static uint32_t hash_pair(uint32_t left, uint32_t right) {
    return (uint32_t)mixed(((uint64_t)left << 32 | right) * SEED);
}

int ec_id_table_make(ec_id_table *table, uint32_t n) {
    uint32_t size = 2;
    while (size < 2 * n) size *= 2;
    table->slots = calloc(size, sizeof *table->slots);
    table->mask = size - 1;
    return table->slots != NULL;
}

static int is_text(ec_slice text, ec_slice a, ec_slice b) {
    if (text.size != a.size + b.size) return 0;
    if (a.size != 0 && memcmp(text.data, a.data, (size_t)a.size) != 0) return 0;
    return b.size == 0 || memcmp(text.data + a.size, b.data, (size_t)b.size) == 0;
}

uint32_t ec_token_find(const ec_tokenizer *t, ec_slice a, ec_slice b) {
    uint32_t hash = hash_text(a, b);
    for (uint32_t i = 0; i < MOST_PROBES; i++) {
        uint32_t slot = t->ids.slots[(hash + i) & t->ids.mask];
        if (slot == 0) return EC_NO_TOKEN;
        if (is_text(ec_token_text(t, slot - 1), a, b)) return slot - 1;
    }
    return EC_NO_TOKEN;
}

uint32_t ec_merge_find(const ec_tokenizer *t, uint32_t left, uint32_t right) {
    uint32_t hash = hash_pair(left, right);
    for (uint32_t i = 0; i < MOST_PROBES; i++) {
        uint32_t slot = t->ranks.slots[(hash + i) & t->ranks.mask];
        if (slot == 0) return EC_NO_TOKEN;
        const ec_merge *merge = t->merges + (slot - 1);
        if (merge->left == left && merge->right == right) return slot - 1;
    }
    return EC_NO_TOKEN;
}

/* Puts an id in the first place that is free; 0 when that is too far away. */
static int put(ec_id_table *table, uint32_t hash, uint32_t id) {
    for (uint32_t i = 0; i < MOST_PROBES; i++) {
        uint32_t *slot = table->slots + ((hash + i) & table->mask);
        if (*slot != 0) continue;
        *slot = id + 1;
        return 1;
    }
    return 0;
}

/* Of two that are alike the first is put there, so that there may be any number of them. */
int ec_tokens_add(ec_tokenizer *t) {
    const ec_slice none = {NULL, 0};
    for (uint32_t token = 0; token < t->n; token++) {
        ec_slice text = ec_token_text(t, token);
        if (ec_token_find(t, text, none) != EC_NO_TOKEN) continue;
        if (!put(&t->ids, hash_text(text, none), token)) return 0;
    }
    return 1;
}

int ec_merges_add(ec_tokenizer *t) {
    for (uint32_t rank = 0; rank < t->n_merges; rank++) {
        uint32_t left = t->merges[rank].left, right = t->merges[rank].right;
        if (ec_merge_find(t, left, right) != EC_NO_TOKEN) continue;
        if (!put(&t->ranks, hash_pair(left, right), rank)) return 0;
    }
    return 1;
}
