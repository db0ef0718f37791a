/* One token's attention to one head of keys and values. */
#ifndef RUN_MEASURE_ATTENTION_H
#define RUN_MEASURE_ATTENTION_H

#include "programs/run/measure.h"
#include "runner/attention.h"

/* What is attended to, and by how many queries. */
typedef struct attention_case {
    ec_kv kv;
    uint32_t d_head, group;
} attention_case;

#define ATTENTION_POSITIONS 512

#define N_ATTENTION_CASES 4
extern const attention_case attention_cases[N_ATTENTION_CASES];

/* A name such as attend-f16-64-4: 1, or 0. */
int parse_attention(const char *name, attention_case *chosen);

typedef struct attention_data {
    ec_memory memory;
    ec_kv_cache cache;
    ec_attention attention;
    ec_attention_call call;
    ec_pool *pool;           /* of the calling thread alone */
} attention_data;

/* 1, or 0 when there is no memory; ends it in both cases. */
int attention_begin(attention_data *data, const attention_case *chosen);
void attention_call(void *data); /* attends to ATTENTION_POSITIONS */
void attention_end(attention_data *data);

const char *kv_name(ec_kv kv);

#endif
