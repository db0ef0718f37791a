/* Bytes a second at which threads read memory: read_bandwidth THREADS MEBIBYTES PASSES, the best pass. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MAX_THREADS 256

typedef struct share { const uint64_t *words; size_t n; uint64_t sum; } share;

static void *add_up(void *argument)
{
    share *own = argument;
    size_t quarter = own->n / 4; /* four streams: a core gets a quarter more than with one (Zen 5) */
    const uint64_t *a = own->words, *b = a + quarter, *c = b + quarter, *d = c + quarter;
    uint64_t sum = 0;
    for (size_t i = 0; i < quarter; i++) sum += (a[i] + b[i]) + (c[i] + d[i]);
    own->sum = sum; /* kept, so that the loop is */
    return NULL;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One pass over all shares, the caller's the first; its time, or 0 when a thread cannot be had. */
static double pass(share *shares, int n_threads)
{
    pthread_t threads[MAX_THREADS];
    double start = seconds();
    int started = 1;
    while (started < n_threads && pthread_create(&threads[started], NULL, add_up, &shares[started]) == 0) started++;
    add_up(&shares[0]);
    for (int i = 1; i < started; i++) pthread_join(threads[i], NULL);
    return started == n_threads ? seconds() - start : 0;
}

int main(int argc, char **argv)
{
    int n_threads = argc == 4 ? atoi(argv[1]) : 0, mebibytes = argc == 4 ? atoi(argv[2]) : 0;
    int passes = argc == 4 ? atoi(argv[3]) : 0;
    if (n_threads < 1 || n_threads > MAX_THREADS || mebibytes < 1 || mebibytes > 1 << 20 || passes < 1) {
        fprintf(stderr, "error: expected THREADS (1..%d) MEBIBYTES (1..%d) PASSES\n", MAX_THREADS, 1 << 20);
        return 2;
    }
    size_t n = (size_t)mebibytes * 32768 / (size_t)n_threads * 4; /* words of a thread */
    uint64_t *words = malloc(n * (size_t)n_threads * sizeof *words);
    if (words == NULL) {
        fprintf(stderr, "error: no memory for %d MiB\n", mebibytes);
        return 1;
    }
    for (size_t i = 0; i < n * (size_t)n_threads; i++) words[i] = i;
    share shares[MAX_THREADS];
    for (int i = 0; i < n_threads; i++) shares[i] = (share){words + n * (size_t)i, n, 0};
    double best = 0;
    uint64_t sum = 0;
    for (int i = 0; i < passes; i++) {
        double time = pass(shares, n_threads);
        if (time > 0 && (best == 0 || time < best)) best = time;
        for (int j = 0; j < n_threads; j++) sum += shares[j].sum;
    }
    free(words);
    if (best == 0) {
        fprintf(stderr, "error: no %d threads\n", n_threads);
        return 1;
    }
    printf("%.0f %llu\n", (double)n * (double)n_threads * 8 / best, (unsigned long long)sum);
    return 0;
}
