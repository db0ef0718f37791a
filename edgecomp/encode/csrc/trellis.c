/* Encoding for the trellis codec: the cheapest path of states, by Viterbi's algorithm.
 *
 * A walk goes from a band's last step to its first, so that the next state is the last one shifted up by
 * step_bits = k with k new bits below. All 2^k states of a group (those that differ in their new bits) have
 * the same predecessors, of which the cheapest is looked for once: 2^L comparisons a step instead of 2^(L+k).
 *
 * Costs are float32 >= 0, which compare like integers; the last k bits of one hold the state's top bits, that
 * is, which of its group's predecessors it is, so that a minimum brings its own name. At k = 8 that leaves
 * 15 bits of a cost, 1/30 of a mean step's after the longest walk of 1,152 steps; at k = 2 it leaves 21. Every operation
 * is elementwise, so each instruction set gives the same result. */
#include <string.h>

#include "encoder.h"

#define FAR 1e30f /* cost of a state that a walk cannot start from, here and in viterbi_torch.py */

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(EC_ONE_INSTRUCTION_SET)
#define FOR_EACH_X86 __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_X86
#endif
#define INLINE static inline __attribute__((always_inline))

/* Costs of all states after a step, and what is found on the way. States lie in the order of their numbers,
 * or with their new bits in front (`split`), whichever keeps the inner loops on neighbours. */
typedef struct walk {
    float *costs;      /* [2^L] */
    float *best;       /* [2^(L-k)]: the cheapest predecessor of each group */
    float *minima;     /* [2^(L-k)], if split */
    uint8_t *choices;  /* [steps][2^(L-k)]: its name */
    const float *values;  /* [dim][2^L], in the order of the states */
} walk;

/* Whether vectors run over groups, of which there are many, or over the states of one. */
INLINE int is_split(int L, int k) { return k < 4 || 2 * k + 4 <= L; }

INLINE int32_t bits_of(float x) {
    int32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

INLINE float float_of(int32_t b) {
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

INLINE float smaller(float a, float b) {
    int32_t x = bits_of(a), y = bits_of(b);
    return float_of(x < y ? x : y);
}

/* best[g] = the least of costs[j * groups + g]. */
INLINE void group_minima(const float *restrict costs, size_t k, size_t groups, float *restrict best) {
    memcpy(best, costs, groups * sizeof *best);
    for (size_t j = 1; j < (size_t)1 << k; j++) {
        const float *restrict other = costs + j * groups;
        for (size_t g = 0; g < groups; g++) best[g] = smaller(best[g], other[g]);
    }
}

/* The same where costs are [new bits][group]: group u * 2^k + n has its predecessors among those with new
 * bits n, at j * groups / 2^k + u. */
INLINE void split_minima(const float *restrict costs, size_t k, size_t groups, float *restrict minima,
                         float *restrict best) {
    size_t n_new = (size_t)1 << k, each = groups >> k;
    for (size_t n = 0; n < n_new; n++) group_minima(costs + n * groups, k, each, minima + n * each);
    for (size_t u = 0; u < each; u++) {
        for (size_t n = 0; n < n_new; n++) best[u * n_new + n] = minima[n * each + u];
    }
}

/* A step's targets and their weights. */
typedef struct wanted { float x[2], h[2]; } wanted;

/* What the step's error costs in a state. */
INLINE float step_cost(const wanted *to, size_t dim, float v0, float v1) {
    float d0 = to->x[0] - v0, cost = d0 * d0 * to->h[0];
    if (dim == 1) return cost;
    float d1 = to->x[1] - v1;
    return cost + d1 * d1 * to->h[1];
}

/* Costs of the n states from number `first` on, all with the predecessor `before` (each = 0) or each with its
 * own, before[i]; `shift` takes a place's number to its name. */
INLINE void state_costs(const wanted *to, size_t dim, const float *restrict before, int each, size_t n,
                        const float *restrict v0, const float *restrict v1, int32_t first, int shift, int32_t names,
                        float *restrict costs) {
    for (size_t i = 0; i < n; i++) {
        float cost = before[each ? i : 0] + step_cost(to, dim, v0[i], v1[i]);
        costs[i] = float_of((bits_of(cost) & ~names) | (first + (int32_t)i) >> shift);
    }
}

/* One step; costs become those after it. */
INLINE void walk_step(const walk *w, int L, int k, size_t dim, const wanted *to, uint8_t *restrict choices) {
    size_t groups = (size_t)1 << (L - k), n_new = (size_t)1 << k;
    int32_t names = (1 << k) - 1;
    float *restrict best = w->best;
    const float *v0 = w->values, *v1 = dim == 1 ? v0 : v0 + (groups << k);
    if (is_split(L, k)) {
        split_minima(w->costs, (size_t)k, groups, w->minima, best);
    } else {
        group_minima(w->costs, (size_t)k, groups, best);
    }
    for (size_t g = 0; g < groups; g++) choices[g] = (uint8_t)(bits_of(best[g]) & names);
    if (is_split(L, k)) {
        for (size_t n = 0, s = 0; n < n_new; n++, s += groups) {
            state_costs(to, dim, best, 1, groups, v0 + s, v1 + s, 0, L - 2 * k, names, w->costs + s);
        }
    } else {
        for (size_t g = 0, s = 0; g < groups; g++, s += n_new) {
            state_costs(to, dim, best + g, 0, n_new, v0 + s, v1 + s, (int32_t)s, L - k, names, w->costs + s);
        }
    }
}

INLINE void steps(const walk *w, int L, int k, size_t dim, const float *x, const float *h, size_t n) {
    for (size_t i = 0; i < n; i++, x += dim, h += dim) {
        wanted to = {{x[0], x[dim - 1]}, {h[0], h[dim - 1]}};
        walk_step(w, L, k, dim, &to, w->choices + (i << (L - k)));
    }
}

#define CASE(K) \
    case K: \
        if (dim == 1) steps(w, L, K, 1, x, h, n); else steps(w, L, K, 2, x, h, n); \
        break

FOR_EACH_X86 static void take_steps(const walk *w, int L, int k, size_t dim, const float *x, const float *h, size_t n) {
    switch (k) {
        CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6); CASE(7); CASE(8);
        default: break;
    }
}

uint32_t ec_trellis_place(uint32_t state_bits, uint32_t step_bits, uint32_t state) {
    if (!is_split((int)state_bits, (int)step_bits)) return state;
    uint32_t n = state & ((UINT32_C(1) << step_bits) - 1);
    return (n << (state_bits - step_bits)) + (state >> step_bits);
}

static uint32_t place(const ec_trellis_search *t, uint32_t state) {
    return ec_trellis_place(t->state_bits, t->step_bits, state);
}

static void start(const ec_trellis_search *t, const walk *w, uint32_t state) {
    uint32_t states = UINT32_C(1) << t->state_bits, shift = t->state_bits - t->step_bits;
    for (uint32_t s = 0; s < states; s++) {
        float cost = state == EC_ANY_STATE || s == state ? 0.0f : FAR;
        w->costs[place(t, s)] = float_of((bits_of(cost) & ~((1 << t->step_bits) - 1)) | (int32_t)(s >> shift));
    }
}

/* Writes the states of the cheapest path, and the state before them. */
static uint32_t trace(const ec_trellis_search *t, const walk *w, size_t n, uint16_t *states) {
    uint32_t count = UINT32_C(1) << t->state_bits, groups = count >> t->step_bits, best = 0;
    for (uint32_t s = 1; s < count; s++) {
        if (bits_of(w->costs[place(t, s)]) < bits_of(w->costs[place(t, best)])) best = s;
    }
    for (size_t i = n; i-- > 0;) {
        states[i] = (uint16_t)best;
        uint32_t group = best >> t->step_bits;
        best = group + w->choices[i * groups + group] * groups;
    }
    return best;
}

/* ---- bands ------------------------------------------------------------------------------------ */

/* Steps of a walk, targets and weights of each in the order of the walk. */
typedef struct chunk {
    float *x, *h;
    uint16_t *states;
    size_t n;
} chunk;

static size_t most_steps(const ec_trellis_search *t) {
    return (EC_CHUNK_STRIPS * (size_t)EC_TILE_WEIGHTS + EC_LOOKAHEAD) / t->dim;
}

uint64_t ec_trellis_scratch_bytes(const ec_trellis_search *t) {
    size_t count = (size_t)1 << t->state_bits, groups = count >> t->step_bits, steps = most_steps(t);
    return sizeof(float) * (count + 2 * groups + 2 * steps * t->dim) + sizeof(uint16_t) * steps + steps * groups;
}

static void divide_scratch(const ec_trellis_search *t, void *scratch, walk *w, chunk *c) {
    size_t count = (size_t)1 << t->state_bits, groups = count >> t->step_bits, steps = most_steps(t);
    float *floats = scratch;
    w->values = t->values;
    w->costs = floats;
    w->best = w->costs + count;
    w->minima = w->best + groups;
    c->x = w->minima + groups;
    c->h = c->x + steps * t->dim;
    c->states = (uint16_t *)(c->h + steps * t->dim);
    w->choices = (uint8_t *)(c->states + steps);
}

/* Adds the steps of a tile, last step first, at most `most` of them. */
static void add_tile(const ec_trellis_job *job, uint64_t band, uint64_t tile, size_t most, chunk *c) {
    size_t dim = job->search.dim, steps = EC_TILE_WEIGHTS / dim;
    for (size_t i = 0; i < steps && i < most; i++, c->n++) {
        for (size_t d = 0; d < dim; d++) {
            uint32_t element = job->order[(steps - 1 - i) * dim + d];
            uint64_t row = band * EC_BAND_ROWS + element / EC_STRIP_COLUMNS;
            uint64_t column = tile * EC_STRIP_COLUMNS + element % EC_STRIP_COLUMNS;
            c->x[c->n * dim + d] = job->targets[row * job->columns + column];
            c->h[c->n * dim + d] = job->row_weights[row] * job->column_weights[column];
        }
    }
}

static void put_bits(uint8_t *codes, uint64_t bit, uint32_t value, uint32_t n_bits) {
    for (uint32_t i = 0; i < n_bits; i++, bit++, value >>= 1) codes[bit >> 3] |= (uint8_t)((value & 1) << (bit & 7));
}

/* Keeps the values and codes of a tile's steps, whose states are in the order of the walk. */
static void keep_tile(const ec_trellis_job *job, uint64_t band, uint64_t tile, const uint16_t *states) {
    const ec_trellis_search *t = &job->search;
    size_t dim = t->dim, steps = EC_TILE_WEIGHTS / dim;
    uint8_t *codes = job->codes + band * job->band_bytes;
    for (size_t i = 0; i < steps; i++) {
        size_t step = steps - 1 - i;
        uint32_t own = states[i] & ((UINT32_C(1) << t->step_bits) - 1);
        put_bits(codes, (tile * steps + step) * t->step_bits, own, t->step_bits);
        for (size_t d = 0; d < dim; d++) {
            uint32_t element = job->order[step * dim + d];
            uint64_t row = band * EC_BAND_ROWS + element / EC_STRIP_COLUMNS;
            uint64_t column = tile * EC_STRIP_COLUMNS + element % EC_STRIP_COLUMNS;
            job->values[row * job->columns + column] = t->values[(d << t->state_bits) + place(t, states[i])];
        }
    }
}

/* Takes the errors of a tile to the columns before it. */
static void feed_back(const ec_trellis_job *job, uint64_t band, uint64_t tile) {
    uint64_t width = job->end - job->first, before = tile * EC_STRIP_COLUMNS - job->first;
    for (uint64_t r = band * EC_BAND_ROWS; r < (band + 1) * EC_BAND_ROWS; r++) {
        float *target = job->targets + r * job->columns + job->first;
        const float *value = job->values + r * job->columns + job->first;
        for (uint64_t c = before; c < before + EC_STRIP_COLUMNS; c++) {
            float error = target[c] - value[c];
            const float *share = job->feedback + c * width;
            for (uint64_t p = 0; p < before; p++) target[p] += error * share[p];
        }
    }
}

static void encode_band(const ec_trellis_job *job, uint64_t band, const walk *w, chunk *c) {
    const ec_trellis_search *t = &job->search;
    size_t steps = EC_TILE_WEIGHTS / t->dim;
    uint64_t low = job->first / EC_STRIP_COLUMNS, tile = job->end / EC_STRIP_COLUMNS;
    while (tile > low) {
        uint64_t strips = job->feedback != NULL ? 1 : tile - low < EC_CHUNK_STRIPS ? tile - low : EC_CHUNK_STRIPS;
        c->n = 0;
        for (uint64_t i = 1; i <= strips; i++) add_tile(job, band, tile - i, steps, c);
        size_t all = c->n + EC_LOOKAHEAD / t->dim;
        for (uint64_t i = strips + 1; i <= tile && c->n < all; i++) add_tile(job, band, tile - i, all - c->n, c);
        start(t, w, job->states[band]);
        take_steps(w, (int)t->state_bits, (int)t->step_bits, t->dim, c->x, c->h, c->n);
        uint32_t behind = trace(t, w, c->n, c->states);
        if (job->states[band] == EC_ANY_STATE) {
            uint32_t shared = t->state_bits - t->step_bits;
            uint64_t bit = job->columns / EC_STRIP_COLUMNS * steps * t->step_bits;
            put_bits(job->codes + band * job->band_bytes, bit, behind & ((UINT32_C(1) << shared) - 1), shared);
        }
        for (uint64_t i = 1; i <= strips; i++) {
            keep_tile(job, band, tile - i, c->states + (i - 1) * steps);
            if (job->feedback != NULL) feed_back(job, band, tile - i);
        }
        job->states[band] = c->states[strips * steps - 1];
        tile -= strips;
    }
}

void ec_trellis_encode(const ec_trellis_job *job, uint64_t first_band, uint64_t n_bands, void *scratch) {
    walk w;
    chunk c;
    divide_scratch(&job->search, scratch, &w, &c);
    for (uint64_t band = first_band; band < first_band + n_bands; band++) encode_band(job, band, &w, &c);
}
