/* Prepares and quantises inputs once for all matrices that can share them, then shares out the rows. */
#include "runner/linear.h"

#include <string.h>

#include "codecs/matrix.h"
#include "runner/clock.h"

#define PART_WEIGHTS (UINT64_C(1) << 17) /* of a part at least: some 10 us of work */
#define PARTS_PER_THREAD 8               /* at most, so that slow cores do not hold up fast ones */
#define GEMM_ROWS 64                     /* whose products with */
#define GEMM_TOKENS 16                   /* tokens lie on the stack: 4 KiB */

/* A part of the matrices that share inputs: [0, n) of `all`. */
typedef struct shared_rows {
    const ec_linears *work;
    const ec_linear *all[EC_MOST_TOGETHER];
    float *y[EC_MOST_TOGETHER];
    uint32_t n;
    const float *x;          /* prepared */
    uint64_t n_steps;        /* of rows that are best multiplied together, of all matrices */
} shared_rows;

static int same_rotation(const ec_matrix *a, const ec_matrix *b) {
    uint32_t n = ec_rotation(a);
    return n == ec_rotation(b) && (n == 0 || a->trellis.seed == b->trellis.seed);
}

int ec_linear_shares_input(const ec_linear *a, const ec_linear *b) {
    const ec_tensor *s = &a->tensor, *t = &b->tensor;
    if (a->columns != b->columns || s->n_critical != t->n_critical || !same_rotation(&s->rest, &t->rest)) return 0;
    if (s->n_critical != 0 && !same_rotation(&s->critical, &t->critical)) return 0;
    if (s->permutation == t->permutation) return 1;
    if (s->permutation == NULL || t->permutation == NULL) return 0;
    return memcmp(s->permutation, t->permutation, (size_t)s->permutation_bytes) == 0;
}

uint64_t ec_linear_quantised_bytes(const ec_linear *linear, uint64_t n_tokens) {
    return linear->is_integer ? ec_quantised_bytes(&linear->tensor, n_tokens) : 0;
}

static uint64_t step_of(const ec_linears *w, const ec_linear *linear) {
    return linear->is_integer ? ec_matmul_step(&linear->tensor, w->n_tokens) : EC_BAND_ROWS;
}

static uint64_t steps_of(const ec_linears *w, const ec_linear *linear) {
    uint64_t step = step_of(w, linear);
    return (linear->rows + step - 1) / step;
}

/* The products of some rows, by ec_gemm, whose output has no stride. */
static void multiply_floats(const shared_rows *s, uint32_t i, uint64_t first, uint64_t n) {
    const ec_linear *linear = s->all[i];
    float products[GEMM_ROWS * GEMM_TOKENS];
    uint64_t n_tokens = s->work->n_tokens;
    for (uint64_t row = first; row < first + n; row += GEMM_ROWS) {
        uint64_t rows = first + n - row < GEMM_ROWS ? first + n - row : GEMM_ROWS;
        for (uint64_t token = 0; token < n_tokens; token += GEMM_TOKENS) {
            uint64_t tokens = n_tokens - token < GEMM_TOKENS ? n_tokens - token : GEMM_TOKENS;
            ec_gemm(&linear->tensor, row, rows, s->x + token * linear->columns, tokens, products, s->work->isa);
            for (uint64_t t = 0; t < tokens; t++) {
                float *y = s->y[i] + (token + t) * linear->rows + row;
                memcpy(y, products + t * rows, (size_t)rows * sizeof *y);
            }
        }
    }
}

/* The tensors and the instruction set were checked when the model was opened, so no product can fail. */
static void multiply(const shared_rows *s, uint32_t i, uint64_t first, uint64_t n) {
    const ec_linear *linear = s->all[i];
    uint64_t n_tokens = s->work->n_tokens;
    float *y = s->y[i] + first;
    if (linear->is_integer) {
        ec_matmul_i8(&linear->tensor, first, n, s->work->quantised, n_tokens, y, linear->rows, s->work->isa);
    } else {
        multiply_floats(s, i, first, n);
    }
    if (linear->bias == NULL) return;
    for (uint64_t t = 0; t < n_tokens; t++) {
        for (uint64_t r = 0; r < n; r++) y[t * linear->rows + r] += linear->bias[first + r];
    }
}

/* Steps of all matrices are counted one behind the other; a part has a range of them. */
static void multiply_part(void *shared, uint32_t part, uint32_t n_parts) {
    const shared_rows *s = shared;
    uint64_t first = s->n_steps * part / n_parts, end = s->n_steps * (part + 1) / n_parts, start = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        uint64_t n = steps_of(s->work, s->all[i]), from = first > start ? first - start : 0;
        uint64_t to = end < start ? 0 : end - start < n ? end - start : n;
        if (from < to) {
            uint64_t step = step_of(s->work, s->all[i]), row = from * step, last = to * step;
            if (last > s->all[i]->rows) last = s->all[i]->rows;
            multiply(s, i, row, last - row);
        }
        start += n;
    }
}

static uint32_t parts_of(const shared_rows *s, uint32_t n_threads) {
    uint64_t weights = 0;
    for (uint32_t i = 0; i < s->n; i++) weights += (uint64_t)s->all[i]->rows * s->all[i]->columns;
    uint64_t n = weights * s->work->n_tokens / PART_WEIGHTS;
    if (n_threads == 1) return 1;
    if (n > (uint64_t)n_threads * PARTS_PER_THREAD) n = (uint64_t)n_threads * PARTS_PER_THREAD;
    if (n < n_threads) n = n_threads;
    return (uint32_t)(n < s->n_steps ? n : s->n_steps);
}

typedef struct inputs {
    const ec_linears *work;
    const ec_tensor *tensor;
    uint64_t columns;
} inputs;

static void prepare_part(void *shared, uint32_t part, uint32_t n_parts) {
    const inputs *in = shared;
    const ec_linears *w = in->work;
    uint64_t first = (uint64_t)w->n_tokens * part / n_parts, end = (uint64_t)w->n_tokens * (part + 1) / n_parts;
    uint64_t at = first * in->columns;
    ec_input_prepare(in->tensor, w->x + at, end - first, w->prepared + at, w->isa);
}

/* Brings the inputs into the order of the matrices from `first` on; which all of them share that are not done. */
static void prepare(const ec_linears *w, const ec_linear *first, ec_pool *pool, shared_rows *s) {
    s->x = w->x;
    if (ec_input_floats(&first->tensor, w->n_tokens) != 0) {
        inputs in = {w, &first->tensor, first->columns};
        uint32_t threads = ec_pool_threads(pool);
        ec_pool_run(pool, w->n_tokens < threads ? w->n_tokens : threads, prepare_part, &in);
        s->x = w->prepared;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        if (!s->all[i]->is_integer) continue;
        ec_input_quantise(&s->all[i]->tensor, s->x, w->n_tokens, w->quantised, w->isa);
        return;
    }
}

void ec_linears_run(ec_linears *w, ec_pool *pool) {
    int done[EC_MOST_TOGETHER] = {0};
    for (uint32_t first = 0; first < w->n; first++) {
        if (done[first]) continue;
        shared_rows s = {.work = w};
        for (uint32_t i = first; i < w->n; i++) {
            if (done[i] || !ec_linear_shares_input(w->all[first], w->all[i])) continue;
            done[i] = 1;
            s.all[s.n] = w->all[i];
            s.y[s.n++] = w->y[i];
            s.n_steps += steps_of(w, w->all[i]);
        }
        uint64_t start = ec_clock_ns();
        prepare(w, w->all[first], pool, &s);
        w->preparing_ns += ec_clock_ns() - start;
        ec_pool_run(pool, parts_of(&s, ec_pool_threads(pool)), multiply_part, &s);
    }
}
