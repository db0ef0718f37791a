/* The steps. None may change its input so that numbers become subnormal or infinite in the long run. */
#include "programs/run/measure_steps.h"

#include <math.h>

#include "runner/norm.h"
#include "runner/rope.h"

#define MOST 8192      /* numbers of a row */
#define ROWS 32        /* 1 MiB each: a batch's activations do not fit into the first caches */
#define D_MODEL 2048
#define D_FF 5632
#define D_HEAD 64
#define CONTEXT 512
#define ROTATION 1024
#define TILE 32        /* positions that attention takes at a time, */
#define GROUP 4        /* queries that share them */

static size_t next_row(step_data *d) {
    d->at = (d->at + MOST) % (ROWS * MOST);
    return d->at;
}

/* What follows a matrix is added, as before every norm. */
static void norm(void *data) {
    step_data *d = data;
    size_t at = next_row(d);
    float *x = d->x + at;
    const float *added = d->zeros + at;
    for (size_t i = 0; i < D_MODEL; i++) x[i] += added[i];
    ec_rms_norm(x, d->ones, D_MODEL, 1e-5f, d->y + at);
}

static void rope(void *data) {
    step_data *d = data;
    float *x = d->x + next_row(d);
    for (size_t i = 0; i < D_MODEL; i += D_HEAD) ec_rope_rotate(x + i, D_HEAD / 2, 0, d->cosines, d->sines);
}

static void swiglu(void *data) {
    step_data *d = data;
    size_t at = next_row(d);
    d->steps->swiglu(d->gate + at, d->up + at, D_FF);
}

static void quantise(void *data) {
    step_data *d = data;
    d->kernels.quantise_i8(d->x + next_row(d), D_MODEL, d->bytes, d->scales, d->sums);
}

static void rotate(void *data) {
    step_data *d = data;
    size_t at = next_row(d);
    ec_input_prepare(&d->rotated, d->x + at, 1, d->y + at, EC_ISA_BEST);
}

static void store(step_data *d, const ec_kv_cache *cache) {
    ec_kv_head keys = ec_kv_head_of(cache, EC_KEYS, 0, 0);
    const float *x = d->x + next_row(d);
    for (size_t i = 0; i < D_MODEL; i += D_HEAD) {
        ec_kv_store(&keys, d->position, x + i, &d->kernels);
        d->position = (d->position + 1) % CONTEXT;
    }
}

static void store_f16(void *data) { store(data, &((step_data *)data)->f16); }

static void store_int8(void *data) { store(data, &((step_data *)data)->int8); }

static void load_f16(void *data) {
    const step_data *d = data;
    d->steps->halves(d->halves, TILE * D_HEAD, d->y);
}

static void load_int8(void *data) {
    const step_data *d = data;
    for (size_t i = 0; i < TILE * D_HEAD; i += EC_BLOCK) d->steps->bytes(d->bytes + i, 0.01f, EC_BLOCK, d->y + i);
}

/* A tile of keys with the queries of a group, then of values. */
static void attend(void *data) {
    const step_data *d = data;
    float lanes[TILE * GROUP][EC_LANES] = {{0}};
    ec_dots dots = {.n = D_HEAD, .w = d->gate, .w_stride = D_HEAD, .n_rows = TILE};
    dots.x = d->x;
    dots.x_stride = D_HEAD;
    dots.n_tokens = GROUP;
    dots.lanes = lanes;
    d->kernels.dots_f32_f32(&dots);
    for (size_t i = 0; i < TILE * GROUP; i++) d->y[i] = ec_sum_lanes(lanes[i]) * 0.125f;
    for (size_t q = 0; q < GROUP; q++) {
        d->steps->add_values(d->zeros + q * TILE, d->gate, TILE, D_HEAD, d->y + MOST / 2 + q * D_HEAD);
    }
}

/* Scores become weights from 0 to 1, and those weights again: none is ever small. */
static void softmax(void *data) {
    const step_data *d = data;
    d->y[0] = d->steps->soften(d->y + CONTEXT, CONTEXT);
}

const step measured_steps[] = {
    {"norm", D_MODEL, norm, 0}, {"rope", D_MODEL, rope, 0}, {"swiglu", D_FF, swiglu, 0},
    {"quantise", D_MODEL, quantise, 0}, {"rotate", D_MODEL, rotate, 0}, {"store_f16", D_MODEL, store_f16, 0},
    {"store_int8", D_MODEL, store_int8, 0}, {"load_f16", TILE * D_HEAD, load_f16, 1},
    {"load_int8", TILE * D_HEAD, load_int8, 1}, {"attend", 2 * TILE * D_HEAD * GROUP, attend, 1},
    {"softmax", CONTEXT, softmax, 1},
};
const size_t n_measured_steps = sizeof measured_steps / sizeof measured_steps[0];

const step *find_step(const char *name) {
    for (size_t i = 0; i < n_measured_steps; i++) {
        if (strcmp(measured_steps[i].name, name) == 0) return &measured_steps[i];
    }
    return NULL;
}

const ec_steps *steps_here(void) {
#if defined(EC_ARCH_X86)
    if (ec_isa_best() == EC_ISA_AVX2 || ec_isa_best() == EC_ISA_AVX512) return &ec_steps_avx2;
#endif
    return &ec_steps_plain;
}

static float *floats(step_data *d, size_t n, int *all) {
    float *memory = ec_memory_take(&d->memory, n * sizeof *memory);
    *all = *all && memory != NULL;
    return memory;
}

/* swiglu(gate, up) is gate, and comes back to it after rounding: negative gates, and up is 1 + exp(-gate). */
static void fill(step_data *d) {
    for (size_t i = 0; i < ROWS * MOST; i++) {
        d->x[i] = (float)((i * 37 + 11) % 257) / 128 - 1;
        d->y[i] = d->zeros[i] = 0; /* pages that were never written are all the same one */
        d->gate[i] = -0.25f - (float)(i % 97) / 97;
        d->up[i] = (float)(1 + exp(-(double)d->gate[i]));
    }
    for (size_t i = 0; i < MOST; i++) {
        d->ones[i] = 1;
        d->halves[i] = ec_float_to_half(d->x[i]);
        d->bytes[i] = (int8_t)(i * 37 % 255);
    }
    for (size_t i = 0; i < CONTEXT; i++) {
        d->cosines[i] = (float)cos((double)i);
        d->sines[i] = (float)sin((double)i);
    }
}

static int take_cache(step_data *d, ec_kv_cache *cache, ec_kv kind) {
    *cache = (ec_kv_cache){.kind = kind, .n_layers = 1, .n_heads = 1, .d_head = D_HEAD, .n_context = CONTEXT};
    return ec_kv_cache_take(cache, &d->memory);
}

int step_data_begin(step_data *d) {
    int all = 1;
    *d = (step_data){.steps = steps_here()};
    d->ones = floats(d, MOST, &all);
    d->x = floats(d, ROWS * MOST, &all);
    d->y = floats(d, ROWS * MOST, &all);
    d->zeros = floats(d, ROWS * MOST, &all);
    d->gate = floats(d, ROWS * MOST, &all);
    d->up = floats(d, ROWS * MOST, &all);
    d->cosines = floats(d, CONTEXT, &all);
    d->sines = floats(d, CONTEXT, &all);
    d->halves = ec_memory_take(&d->memory, MOST * sizeof *d->halves);
    d->bytes = ec_memory_take(&d->memory, MOST);
    all = all && d->halves != NULL && d->bytes != NULL && ec_kernels_for(EC_ISA_BEST, &d->kernels);
    if (!all || !take_cache(d, &d->f16, EC_KV_F16) || !take_cache(d, &d->int8, EC_KV_I8)) return 0;
    d->rotated.rest = (ec_matrix){.codec = EC_CODEC_TRELLIS, .rows = 1, .columns = D_MODEL};
    d->rotated.rest.trellis.rotation = ROTATION;
    fill(d);
    return 1;
}

void step_data_end(step_data *d) { ec_memory_free(&d->memory); }
