/* A copy's parts lie one behind the other, each from a cache line's start. */
#include "programs/run/measure_copies.h"

#include <string.h>

#define LINE_BYTES 64

/* Bytes that kernels could read behind codes are left between parts: no copy may depend on its neighbour. */
static uint64_t room(uint64_t bytes) { return (bytes + 2 * LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES; }

uint64_t tensor_bytes(const ec_tensor *t) {
    uint64_t bytes = t->rest.codes_bytes + t->rest.extended_bytes + t->rest.scales_bytes + t->rest.params_bytes;
    if (t->n_critical == 0) return bytes;
    const ec_matrix *m = &t->critical;
    return bytes + m->codes_bytes + m->extended_bytes + m->scales_bytes + m->params_bytes;
}

/* Repeats a part: 1, or 0 when there is no memory. Kernels may read behind it. */
static int repeat(const uint8_t **part, uint64_t *bytes, uint64_t times, ec_memory *memory) {
    if (*part == NULL) return 1;
    uint8_t *all = ec_memory_take(memory, *bytes * times + LINE_BYTES);
    if (all == NULL) return 0;
    for (uint64_t i = 0; i < times; i++) memcpy(all + i * *bytes, *part, (size_t)*bytes);
    *part = all;
    *bytes *= times;
    return 1;
}

/* Formats whose rows lie one behind the other: the others' sizes do not fit, or they have several planes of rows. */
ec_tensor taller(const ec_tensor *tensor, uint64_t times, ec_memory *memory) {
    ec_tensor tall = *tensor;
    ec_matrix *m = &tall.rest;
    if (times < 2 || tall.n_critical != 0 || m->extended != NULL) return *tensor;
    tall.shape[0] *= times;
    m->rows *= times;
    int all = repeat(&m->codes, &m->codes_bytes, times, memory);
    if (m->codec != EC_CODEC_RAW_F16 && m->codec != EC_CODEC_RAW_F32) {
        all = all && repeat(&m->scales, &m->scales_bytes, times, memory);
    }
    return all && ec_tensor_check(&tall) == EC_OK ? tall : *tensor;
}

/* Moves a part to `at` and returns where the next one goes; with `fill` its bytes move, too. */
static uint8_t *move(const uint8_t **part, uint64_t bytes, uint8_t *at, int fill) {
    if (*part == NULL) return at;
    if (fill) memcpy(at, *part, (size_t)bytes);
    *part = at;
    return at + room(bytes);
}

static uint8_t *move_matrix(ec_matrix *m, uint8_t *at, int fill) {
    at = move(&m->codes, m->codes_bytes, at, fill);
    at = move(&m->extended, m->extended_bytes, at, fill);
    return move(&m->scales, m->scales_bytes, at, fill);
}

static uint8_t *move_tensor(ec_tensor *t, uint8_t *at, int fill) {
    at = move_matrix(&t->rest, at, fill);
    return t->n_critical != 0 ? move_matrix(&t->critical, at, fill) : at;
}

void copies_begin(copies *c, const ec_tensor *tensor, uint8_t *memory, uint64_t bytes) {
    ec_tensor moved = *tensor;
    *c = (copies){.tensor = tensor, .memory = memory};
    c->stride = (uint64_t)(move_tensor(&moved, memory, 0) - memory);
    if (c->stride == 0) return;
    c->n = bytes / c->stride;
    for (uint64_t i = 0; i < c->n; i++) {
        moved = *tensor;
        move_tensor(&moved, memory + i * c->stride, 1);
    }
}

ec_tensor copies_at(const copies *c, uint64_t i) {
    ec_tensor moved = *c->tensor;
    move_tensor(&moved, c->memory + i * c->stride, 0);
    return moved;
}
