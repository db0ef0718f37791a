/* Reading memory, and doing nothing else. */
#include "programs/run/bandwidth.h"

#include "programs/run/median.h"
#include "programs/run/report.h"

#define PASSES 5
#define MAX_TIMES 256                  /* that a pass goes over a tiny file */
#define PASS_BYTES (UINT64_C(1) << 26) /* of a pass at least */
#define MOST_PIECE (UINT64_C(1) << 15) /* words that a thread takes at a time: 256 KiB, */
#define LEAST_PIECE (UINT64_C(1) << 12) /* or 32 where there would be fewer than */
#define PIECES_PER_THREAD 8

/* One core has more reads under way in four streams than in one. */
static uint64_t sum_words(const uint64_t *a, uint64_t n) {
    uint64_t stream = n / 4, sum = 0;
    const uint64_t *b = a + stream, *c = b + stream, *d = c + stream;
    for (uint64_t i = 0; i < stream; i++) sum += (a[i] + b[i]) + (c[i] + d[i]);
    return sum;
}

static void read_piece(void *work, uint32_t part, uint32_t n_parts) {
    reading *r = work;
    uint64_t first = part % r->n_pieces * r->piece;
    (void)n_parts;
    uint64_t sum = sum_words(r->words + first, r->n - first < r->piece ? r->n - first : r->piece);
    __atomic_add_fetch(&r->sum, sum, __ATOMIC_RELAXED);
}

void reading_begin(reading *r, ec_pool *pool, const void *data, uint64_t bytes, uint64_t least) {
    uint64_t n = bytes / sizeof(uint64_t), times = 1;
    uint64_t piece = n / ((uint64_t)PIECES_PER_THREAD * ec_pool_threads(pool));
    piece = piece < LEAST_PIECE ? LEAST_PIECE : piece > MOST_PIECE ? MOST_PIECE : piece;
    if (n != 0 && bytes < least) times = least / bytes;
    if (times > MAX_TIMES) times = MAX_TIMES;
    *r = (reading){pool, data, n, piece, (n + piece - 1) / piece, (uint32_t)times, 0};
}

uint64_t reading_bytes(const reading *r) { return r->n * sizeof(uint64_t) * r->times; }

void reading_call(void *self) {
    reading *r = self;
    ec_pool_run(r->pool, (uint32_t)(r->times * r->n_pieces), read_piece, r);
}

double read_bandwidth(const ec_map *map, uint32_t n_threads, int pin) {
    ec_pool *pool = ec_pool_new(n_threads, pin, NULL);
    if (pool == NULL) return 0.0;
    reading r;
    double rates[PASSES];
    reading_begin(&r, pool, map->data, map->size, PASS_BYTES); /* a map starts with a page */
    for (int pass = -1; pass < PASSES; pass++) { /* the first one brings the data into memory */
        uint64_t start = now_ns();
        reading_call(&r);
        if (pass >= 0) rates[pass] = 1e9 * (double)reading_bytes(&r) / (double)(now_ns() - start + 1);
    }
    ec_pool_free(pool);
    return median(rates, PASSES);
}
