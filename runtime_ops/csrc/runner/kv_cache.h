/* Keys and values of all tokens so far, as float16 or as int8 in blocks of 32. */
#ifndef EC_KV_CACHE_H
#define EC_KV_CACHE_H

#include "kernels/kernels.h"
#include "runner.h"
#include "runner/memory.h"

#define EC_MAX_HEAD 1024 /* numbers of a head */

enum { EC_KEYS = 0, EC_VALUES = 1 };

/* A vector of a head takes `stride` numbers: d_head, with int8 whole blocks. The vectors of a head lie one
 * behind the other, as attention reads them. */
typedef struct ec_kv_cache {
    ec_kv kind;
    uint32_t n_layers, n_heads, d_head, n_context, stride, n_blocks;
    uint8_t *numbers[2];     /* float16 or int8 [n_layers][n_heads][n_context][stride] */
    float *scales[2];        /* int8: [n_layers][n_heads][n_context][n_blocks] */
} ec_kv_cache;

/* A head of a layer's keys or values. */
typedef struct ec_kv_head {
    const ec_kv_cache *cache;
    int which;
    uint64_t first;          /* its first vector */
} ec_kv_head;

ec_kv_head ec_kv_head_of(const ec_kv_cache *cache, int which, uint32_t layer, uint32_t head);

/* Takes the memory: kind and sizes but the last two are filled in. 0 when there is none. */
int ec_kv_cache_take(ec_kv_cache *cache, ec_memory *memory);
uint64_t ec_kv_cache_bytes(const ec_kv_cache *cache);

/* Keeps a vector (float32 [d_head]). */
void ec_kv_store(const ec_kv_head *head, uint32_t position, const float *x, const ec_kernels *kernels);

/* float16 of a float32, to nearest, ties to even; above 65519.996 infinity, NaN becomes a quiet one. */
uint16_t ec_float_to_half(float x);

#endif
