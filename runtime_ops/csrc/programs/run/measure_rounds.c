/* Rounds of measurements. Each is long enough for the clock and short enough that Ctrl-C ends it. */
#include "programs/run/measure.h"

#include <stdlib.h>

#include "programs/run/commands.h"
#include "programs/run/report.h"

#define LEAST_ROUNDS 3
#define MOST_ROUNDS 256
#define LEAST_NS UINT64_C(200000)   /* of a round; the clock costs some 50 ns, an interrupt 5 us */
#define MOST_NS UINT64_C(1000000)   /* less than another program's turn on the core */
#define PERCENTILE_ROUNDS 10        /* from which on low and high leave the outermost ones out */

uint64_t budget_take(budget *left, double shares) {
    uint64_t now = now_ns();
    double part = left->shares > shares ? shares / left->shares : 1;
    left->shares -= shares;
    return now < left->end_ns ? (uint64_t)(part * (double)(left->end_ns - now)) : 0;
}

static uint64_t time_calls(const work *measured, uint64_t calls) {
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < calls; i++) measured->call(measured->self);
    return now_ns() - start;
}

/* Calls of a round; those that find it out have warmed everything up. */
static uint64_t calls_of(const work *measured, uint64_t round_ns) {
    uint64_t calls = 1, ns = time_calls(measured, 1);
    for (ns = time_calls(measured, 1); ns < round_ns / 2 && !interrupted; ns = time_calls(measured, calls)) {
        double more = (double)round_ns / (double)(ns + 100);
        calls = (uint64_t)((double)calls * (more > 10 ? 10 : more)) + 1;
    }
    return calls;
}

static int ascending(const void *a, const void *b) {
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

int measure_rounds(const work *measured, uint64_t slice_ns, figures *ns) {
    double rounds[MOST_ROUNDS];
    uint64_t start = now_ns(), round_ns = slice_ns / (MOST_ROUNDS / 4);
    size_t n = 0;
    round_ns = round_ns < LEAST_NS ? LEAST_NS : round_ns > MOST_NS ? MOST_NS : round_ns;
    uint64_t calls = calls_of(measured, round_ns);
    while (!interrupted && n < MOST_ROUNDS && (n < LEAST_ROUNDS || now_ns() - start < slice_ns)) {
        rounds[n++] = (double)(time_calls(measured, calls) + 1) / (double)calls;
    }
    if (interrupted) return EXIT_INTERRUPTED;
    size_t outer = n >= PERCENTILE_ROUNDS ? n / 10 : 0;
    qsort(rounds, n, sizeof *rounds, ascending);
    ns->value = rounds[n / 2];
    ns->low = rounds[outer];
    ns->high = rounds[n - 1 - outer];
    return EXIT_OK;
}

figures figures_each(figures ns, uint64_t n) {
    figures each = {ns.value / (double)n, ns.low / (double)n, ns.high / (double)n};
    return each;
}

int end_line(figures all) {
    printf(", \"low\": %.6g, \"high\": %.6g}\n", all.low, all.high);
    return fflush(stdout) == 0 && !ferror(stdout);
}
