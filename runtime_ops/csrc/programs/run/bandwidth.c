/* Reading memory, and doing nothing else. */
#include "programs/run/bandwidth.h"

#include "programs/run/median.h"
#include "programs/run/report.h"

#define PASSES 5
#define MAX_TIMES 256                  /* that a pass goes over a tiny file */
#define PASS_BYTES (UINT64_C(1) << 26) /* of a pass at least */
#define PIECE (UINT64_C(1) << 15)      /* words that a thread takes at a time: 256 KiB */

typedef struct reading {
    const uint64_t *words;
    uint64_t n, n_pieces;    /* words; pieces of one time over them */
    uint64_t sum;            /* keeps the compiler from leaving it all out */
} reading;

/* One core has more reads under way in four streams than in one. */
static uint64_t sum_words(const uint64_t *a, uint64_t n) {
    uint64_t stream = n / 4, sum = 0;
    const uint64_t *b = a + stream, *c = b + stream, *d = c + stream;
    for (uint64_t i = 0; i < stream; i++) sum += (a[i] + b[i]) + (c[i] + d[i]);
    return sum;
}

static void read_piece(void *work, uint32_t part, uint32_t n_parts) {
    reading *r = work;
    uint64_t first = part % r->n_pieces * PIECE;
    (void)n_parts;
    uint64_t sum = sum_words(r->words + first, r->n - first < PIECE ? r->n - first : PIECE);
    __atomic_add_fetch(&r->sum, sum, __ATOMIC_RELAXED);
}

double read_bandwidth(const ec_map *map, uint32_t n_threads, int pin) {
    ec_pool *pool = ec_pool_new(n_threads, pin, NULL);
    if (pool == NULL) return 0.0;
    uint64_t n = map->size / sizeof(uint64_t), size = n * sizeof(uint64_t), times = 1;
    reading r = {(const uint64_t *)(const void *)map->data, n, (n + PIECE - 1) / PIECE, 0}; /* starts with a page */
    double rates[PASSES];
    if (size != 0 && size < PASS_BYTES) times = PASS_BYTES / size;
    if (times > MAX_TIMES) times = MAX_TIMES;
    for (int pass = -1; pass < PASSES; pass++) { /* the first one brings the data into memory */
        uint64_t start = now_ns();
        ec_pool_run(pool, (uint32_t)(times * r.n_pieces), read_piece, &r);
        if (pass >= 0) rates[pass] = 1e9 * (double)(times * size) / (double)(now_ns() - start + 1);
    }
    ec_pool_free(pool);
    return median(rates, PASSES);
}
