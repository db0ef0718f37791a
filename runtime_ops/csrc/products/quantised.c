/* Activations as int8: which tensors take them, how they lie in memory, and how they are made. */
#include "products/integers.h"

#define LARGEST 32767 /* magnitude of a weight's integer */

static uint64_t blocks_of(uint64_t columns) { return (columns + EC_BLOCK - 1) / EC_BLOCK; }

static uint64_t aligned(uint64_t bytes) { return (bytes + EC_ALIGNMENT - 1) / EC_ALIGNMENT * EC_ALIGNMENT; }

/* Lays out the inputs of a matrix from `memory` on, and tells where they end. Tokens lie an odd number of cache
 * lines apart, so that they do not drive each other out of the cache. */
static uint8_t *lay_out(uint64_t columns, uint64_t n_tokens, uint8_t *memory, ec_quantised *q) {
    q->columns = columns;
    q->n_blocks = blocks_of(columns);
    q->scale_stride = q->n_blocks;
    q->stride = aligned(q->n_blocks * EC_BLOCK);
    if (q->stride / EC_ALIGNMENT % 2 == 0) q->stride += EC_ALIGNMENT;
    q->values = (int8_t *)memory;
    memory += n_tokens * q->stride;
    q->scales = (float *)(void *)memory;
    memory += aligned(n_tokens * q->scale_stride * sizeof(float));
    q->sums = (int32_t *)(void *)memory;
    return memory + aligned(n_tokens * q->scale_stride * sizeof(int32_t));
}

void ec_quantised_lay_out(const ec_tensor *t, uint64_t n_tokens, void *memory, ec_quantised both[2]) {
    uint8_t *end = lay_out(t->n_critical, n_tokens, memory, &both[0]);
    lay_out(t->rest.columns, n_tokens, end, &both[1]);
}

uint64_t ec_quantised_bytes(const ec_tensor *t, uint64_t n_tokens) {
    if (t == NULL || n_tokens > (UINT64_C(1) << 20)) return 0;
    uint64_t bytes = 0, columns[2] = {t->n_critical, t->rest.columns};
    for (int i = 0; i < 2; i++) { /* columns are at most EC_MAX_WEIGHTS, 2^40: nothing overflows */
        uint64_t blocks = blocks_of(columns[i]);
        bytes += n_tokens * (aligned(blocks * EC_BLOCK) + EC_ALIGNMENT);
        bytes += 2 * aligned(n_tokens * blocks * sizeof(float));
    }
    return bytes > SIZE_MAX ? 0 : bytes;
}

static int has_integers(const ec_matrix *m) {
    if (m->codec == EC_CODEC_TRELLIS || m->codec == EC_CODEC_UNIFORM) return 1;
    if (m->codec == EC_CODEC_CRVQ) {
        uint64_t largest = 0;
        for (uint32_t k = 0; k < m->crvq.stages; k++) largest += UINT64_C(128) << m->crvq.shifts[k];
        return !m->crvq.wide && largest <= LARGEST;
    }
    if (m->codec != EC_CODEC_WINDING) return 0;
    const ec_winding *w = &m->winding;
    for (uint32_t d = 0; d < w->dim; d++) {
        if (ec_load_f32(m->params + 4 * d) != 0) return 0;
    }
    if (w->group != 0 && (w->group % EC_BLOCK != 0 || m->columns % w->group != 0)) return 0;
    return w->classes == 1 && (w->table != NULL || w->levels <= LARGEST);
}

int ec_tensor_is_integer(const ec_tensor *t) {
    return t != NULL && has_integers(&t->rest) && (t->n_critical == 0 || has_integers(&t->critical));
}

ec_status ec_input_quantise(const ec_tensor *t, const float *x, uint64_t n_tokens, void *memory, ec_isa isa) {
    ec_kernels kernels;
    if (!ec_tensor_is_integer(t)) return EC_BAD_ARGUMENT;
    if (n_tokens == 0) return EC_OK;
    if (x == NULL || memory == NULL || ec_quantised_bytes(t, n_tokens) == 0) return EC_BAD_ARGUMENT;
    if (!ec_kernels_for(isa, &kernels)) return EC_UNSUPPORTED;
    ec_quantised both[2];
    ec_quantised_lay_out(t, n_tokens, memory, both);
    uint64_t columns = t->n_critical + t->rest.columns;
    for (uint64_t i = 0; i < n_tokens; i++) {
        const float *part = x + i * columns;
        for (int j = 0; j < 2; j++) {
            ec_quantised *q = &both[j];
            uint64_t first = i * q->scale_stride;
            kernels.quantise_i8(part, (size_t)q->columns, q->values + i * q->stride, q->scales + first, q->sums + first);
            part += q->columns;
        }
    }
    return EC_OK;
}
