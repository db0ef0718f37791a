/* A test harness: jobs for pools of 1 to 8 threads.
 *
 *     pool_main JOBS
 *
 * Every part of every job must run exactly once before ec_pool_run returns. Prints a line for each kind of
 * test that passed; the first fault ends the program with status 1. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runner.h"

#define MAX_PARTS 40
#define MAX_POOL 8

static void fail(const char *what, unsigned long where) {
    fprintf(stderr, "pool_main: %s: %lu\n", what, where);
    exit(1);
}

static ec_pool *new_pool(uint32_t n_threads, int pin) {
    ec_message why = {"", ""};
    ec_pool *pool = ec_pool_new(n_threads, pin, &why);
    if (pool == NULL) fail(why.text, n_threads);
    return pool;
}

typedef struct job {
    uint32_t counts[MAX_PARTS]; /* how often each part ran */
    uint32_t n_parts;           /* as the job was started with */
    uint32_t wrong;
    ec_pool *pool;              /* of nested jobs, or NULL */
} job;

static void count(void *work, uint32_t part, uint32_t n_parts) {
    job *j = work;
    if (part >= n_parts || n_parts != j->n_parts) {
        __atomic_store_n(&j->wrong, 1, __ATOMIC_RELAXED);
        return;
    }
    j->counts[part]++; /* not atomic: a part belongs to one thread */
    if (j->pool == NULL) return;
    job inner = {.n_parts = 3};
    ec_pool_run(j->pool, 3, count, &inner);
    for (uint32_t i = 0; i < 3; i++) j->counts[part] += inner.counts[i] - 1;
}

static void run_checked(ec_pool *pool, uint32_t n_parts, ec_pool *nested) {
    job j = {.n_parts = n_parts, .pool = nested};
    ec_pool_run(pool, n_parts, count, &j);
    for (uint32_t i = 0; i < n_parts; i++) {
        if (j.counts[i] != 1) fail("a part did not run exactly once", i);
    }
    if (j.wrong) fail("a part outside its job", n_parts);
}

static void test_jobs(unsigned long n_jobs) {
    for (uint32_t n = 1; n <= MAX_POOL; n++) {
        ec_pool *pool = new_pool(n, 0);
        if (ec_pool_threads(pool) != n) fail("another number of threads", n);
        for (unsigned long i = 0; i < n_jobs; i++) run_checked(pool, (uint32_t)(i * 7 % (MAX_PARTS + 1)), NULL);
        for (unsigned long i = 0; i < n_jobs / 100; i++) run_checked(pool, (uint32_t)(i % 9), pool);
        ec_pool_free(pool);
    }
    puts("jobs");
}

/* Between jobs the threads fall asleep, or are just about to. */
static void test_pauses(unsigned long n_jobs) {
    ec_pool *pool = new_pool(2, 0);
    for (unsigned long i = 0; i < n_jobs; i++) {
        struct timespec pause = {0, (long)(i % 20 * 5000)};
        nanosleep(&pause, NULL);
        run_checked(pool, 4, NULL);
    }
    ec_pool_free(pool);
    puts("pauses");
}

/* The caller sleeps too when the other threads take long. */
static void slow(void *work, uint32_t part, uint32_t n_parts) {
    struct timespec pause = {0, part == 0 ? 0 : 2000000};
    nanosleep(&pause, NULL);
    count(work, part, n_parts);
}

static void test_slow_parts(void) {
    ec_pool *pool = new_pool(MAX_POOL, 0);
    for (uint32_t i = 0; i < 20; i++) {
        job j = {.n_parts = MAX_POOL};
        ec_pool_run(pool, MAX_POOL, slow, &j);
        for (uint32_t part = 0; part < MAX_POOL; part++) {
            if (j.counts[part] != 1) fail("a slow part did not run exactly once", part);
        }
    }
    ec_pool_free(pool);
    puts("slow parts");
}

static void test_lives(unsigned long n_lives) {
    for (unsigned long i = 0; i < n_lives; i++) {
        ec_pool *pool = new_pool((uint32_t)(i % MAX_POOL) + 1, (int)(i % 3 == 0));
        for (unsigned long k = 0; k < i % 4; k++) run_checked(pool, 11, NULL);
        ec_pool_free(pool);
    }
    ec_pool_free(NULL);
    puts("lives");
}

static void *run_from_thread(void *argument) {
    for (int i = 0; i < 2000; i++) run_checked(argument, 9, NULL);
    return NULL;
}

static void test_two_callers(void) {
    ec_pool *pool = new_pool(3, 0);
    pthread_t other;
    if (pthread_create(&other, NULL, run_from_thread, pool) != 0) fail("no thread", 1);
    run_from_thread(pool);
    pthread_join(other, NULL);
    ec_pool_free(pool);
    puts("two callers");
}

static void test_pinning(void) {
    cpu_set_t before, during, after;
    sched_getaffinity(0, sizeof before, &before);
    ec_pool *pool = new_pool(2, 1);
    sched_getaffinity(0, sizeof during, &during);
    for (int i = 0; i < 1000; i++) run_checked(pool, 5, NULL);
    ec_pool_free(pool);
    sched_getaffinity(0, sizeof after, &after);
    if (CPU_COUNT(&during) != 1) fail("cores of a pinned thread", (unsigned long)CPU_COUNT(&during));
    if (!CPU_EQUAL(&before, &after)) fail("the caller stays pinned", (unsigned long)CPU_COUNT(&after));
    puts("pinning");
}

static void test_numbers(void) {
    ec_message why = {"", ""};
    if (ec_pool_new(EC_MAX_THREADS + 1, 0, &why) != NULL) fail("too many threads are accepted", EC_MAX_THREADS + 1);
    if (strcmp(why.text, "too many threads: 65") != 0 || why.hint[0] == 0) fail(why.text, EC_MAX_THREADS + 1);
    if (ec_pool_new(EC_MAX_THREADS + 1, 0, NULL) != NULL) fail("without a message", EC_MAX_THREADS + 1);
    cpu_set_t cores;
    sched_getaffinity(0, sizeof cores, &cores);
    ec_pool *pool = new_pool(0, 0);
    uint32_t n = CPU_COUNT(&cores) < EC_MAX_THREADS ? (uint32_t)CPU_COUNT(&cores) : EC_MAX_THREADS;
    if (ec_pool_threads(pool) != n) fail("not a thread for each core", ec_pool_threads(pool));
    ec_pool_free(pool);
    puts("numbers");
}

int main(int argc, char **argv) {
    unsigned long n_jobs = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    if (n_jobs == 0) {
        fprintf(stderr, "usage: pool_main JOBS\n");
        return 2;
    }
    test_jobs(n_jobs);
    test_pauses(n_jobs / 20 + 1);
    test_slow_parts();
    test_lives(n_jobs / 50 + 1);
    test_two_callers();
    test_pinning();
    test_numbers();
    return 0;
}
