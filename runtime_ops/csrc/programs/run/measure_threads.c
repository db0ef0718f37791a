/* What depends on the number of threads alone: bandwidth, and what sharing a loop costs. */
#include <inttypes.h>

#include "programs/run/bandwidth.h"
#include "programs/run/measure_session.h"
#include "programs/run/report.h"

#define LEAST_SET (UINT64_C(1) << 17)      /* bytes: a small core's first caches are smaller */
#define CALL_BYTES (UINT64_C(1) << 24)     /* of a call, which costs microseconds to share out */
#define BANDWIDTH_SHARE 1.0
#define DISPATCH_SHARE 0.5

/* Powers of two, and at last all of the memory. */
static uint64_t next_set(const session *s, uint64_t bytes) {
    if (bytes == s->memory_bytes) return 0;
    return 2 * bytes < s->memory_bytes ? 2 * bytes : s->memory_bytes;
}

static double bandwidth_shares(const session *s) {
    double n = 0;
    if (s->only != NULL || s->memory == NULL) return 0;
    for (uint64_t bytes = LEAST_SET; bytes != 0; bytes = next_set(s, bytes)) n++;
    return BANDWIDTH_SHARE * n * (double)s->n_threads;
}

static figures rates(figures ns, uint64_t bytes) {
    double n = 1e9 * (double)bytes;
    figures all = {n / ns.value, n / ns.high, n / ns.low};
    return all;
}

/* A set that is larger than a call's bytes is read in turns, so that no call is long. */
typedef struct turns {
    reading r;               /* of a turn */
    const uint64_t *first;
    uint64_t next, n;        /* the turn that comes; turns of the whole set */
} turns;

static void read_turn(void *self) {
    turns *t = self;
    t->r.words = t->first + t->next * t->r.n;
    t->next = (t->next + 1) % t->n;
    reading_call(&t->r);
}

static int measure_bandwidth(session *s, ec_pool *pool, uint64_t bytes) {
    uint64_t turn = bytes < CALL_BYTES ? bytes : CALL_BYTES;
    turns t = {.first = (const uint64_t *)(const void *)s->memory, .n = bytes / turn};
    figures ns;
    reading_begin(&t.r, pool, s->memory, turn, CALL_BYTES);
    const work reads = {read_turn, &t, reading_bytes(&t.r)};
    int status = measure_rounds(&reads, budget_take(&s->left, BANDWIDTH_SHARE), &ns);
    if (status != EXIT_OK) return status;
    figures all = rates(ns, reads.n);
    printf("{\"kind\": \"bandwidth\", \"threads\": %" PRIu32 ", \"bytes\": %" PRIu64 ", \"bytes_per_second\": %.6g",
           ec_pool_threads(pool), bytes, all.value);
    return end_line(all) ? EXIT_OK : fail_stdout();
}

static int bandwidth_run(session *s) {
    int status = EXIT_OK;
    if (s->only != NULL || s->memory == NULL) return EXIT_OK;
    for (size_t i = 0; status == EXIT_OK && i < s->n_threads; i++) {
        ec_message why;
        ec_pool *pool = ec_pool_new(s->threads[i], 1, &why);
        if (pool == NULL) return fail_message(&why);
        for (uint64_t bytes = LEAST_SET; status == EXIT_OK && bytes != 0; bytes = next_set(s, bytes)) {
            status = measure_bandwidth(s, pool, bytes);
        }
        ec_pool_free(pool);
    }
    return status;
}

typedef struct dispatch { ec_pool *pool; } dispatch;

static void do_nothing(void *work, uint32_t part, uint32_t n_parts) {
    (void)work;
    (void)part;
    (void)n_parts;
}

static void dispatch_call(void *self) {
    const dispatch *d = self;
    ec_pool_run(d->pool, ec_pool_threads(d->pool), do_nothing, NULL);
}

static double dispatch_shares(const session *s) { return s->only == NULL ? DISPATCH_SHARE * (double)s->n_threads : 0; }

static int dispatch_run(session *s) {
    int status = EXIT_OK;
    if (s->only != NULL) return EXIT_OK;
    for (size_t i = 0; status == EXIT_OK && i < s->n_threads; i++) {
        ec_message why;
        figures ns;
        dispatch d = {ec_pool_new(s->threads[i], 1, &why)};
        if (d.pool == NULL) return fail_message(&why);
        const work nothing = {dispatch_call, &d, 1};
        status = measure_rounds(&nothing, budget_take(&s->left, DISPATCH_SHARE), &ns);
        ec_pool_free(d.pool);
        if (status != EXIT_OK) return status;
        printf("{\"kind\": \"dispatch\", \"threads\": %" PRIu32 ", \"ns\": %.6g", s->threads[i], ns.value);
        if (!end_line(ns)) status = fail_stdout();
    }
    return status;
}

const stage bandwidth_stage = {bandwidth_shares, bandwidth_run};
const stage dispatch_stage = {dispatch_shares, dispatch_run};
