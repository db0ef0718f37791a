/* Threads that share loops.
 *
 * A job is a ticket: its number and how many of its parts nobody has taken yet. Whoever lowers that count by one
 * has taken a part; the ticket of a job that is over has none left, so a thread that comes late finds nothing to
 * take, and one that was halted in between finds another number. C99 has no atomics: these are the compilers'. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "runner.h"
#include "runner/cores.h"

#define SPIN_NS 50000        /* a thread without work waits so long before it sleeps: waking one costs as much */
#define CROWDED_SPIN_NS 1000 /* with more threads than cores, whoever waits keeps another one from its work */
#define STACK_BYTES (UINT32_C(1) << 20) /* musl's 128 KiB leave little beside the 48 KiB of a product */
#define LINE_BYTES 64        /* of a cache: what threads write to does not share one */

struct ec_pool {
    uint64_t ticket;  /* job number << 32 | parts that nobody has taken */
    char pad_ticket[LINE_BYTES];
    uint32_t pending; /* parts that are not finished */
    char pad_pending[LINE_BYTES];
    ec_task_fn *task; /* the job's; they do not change while its ticket has parts left */
    void *work;
    uint32_t n_parts;
    uint32_t sleepers, caller_sleeps; /* threads that must be woken, counted under the lock */
    uint32_t stop, busy;
    uint64_t spin_ns;
    uint32_t n_threads, n_created, n_started; /* with the caller's; other ones; those that have begun to run */
    int pin;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    pthread_t threads[EC_MAX_THREADS];
    ec_cores cores;
};

static uint64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || (defined(__ARM_ARCH) && __ARM_ARCH >= 7)
    __asm__ volatile("yield");
#endif
}

typedef struct spin { uint64_t until; uint32_t turns; } spin;

/* Waits a moment; 0 when the thread should rather sleep. The clock is read now and then. */
static int spin_more(spin *s, uint64_t limit_ns) {
    relax();
    if (++s->turns % 16 != 0) return 1;
    uint64_t now = nanoseconds();
    if (s->until == 0) s->until = now + limit_ns;
    return now < s->until;
}

static int has_parts(ec_pool *pool) { return (uint32_t)__atomic_load_n(&pool->ticket, __ATOMIC_SEQ_CST) != 0; }

static int must_wake(ec_pool *pool) { return has_parts(pool) || __atomic_load_n(&pool->stop, __ATOMIC_SEQ_CST); }

/* Wakes up to n of the threads that sleep. */
static void wake(ec_pool *pool, uint32_t n) {
    pthread_mutex_lock(&pool->lock);
    uint32_t sleepers = __atomic_load_n(&pool->sleepers, __ATOMIC_RELAXED);
    if (n >= sleepers) pthread_cond_broadcast(&pool->wake);
    for (uint32_t i = 0; n < sleepers && i < n; i++) pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

static uint32_t pending(ec_pool *pool) { return __atomic_load_n(&pool->pending, __ATOMIC_SEQ_CST); }

static void wait_until_done(ec_pool *pool) {
    spin wait = {0, 0};
    while (pending(pool) != 0 && spin_more(&wait, pool->spin_ns)) continue;
    if (pending(pool) == 0) return;
    pthread_mutex_lock(&pool->lock);
    __atomic_store_n(&pool->caller_sleeps, 1, __ATOMIC_SEQ_CST);
    while (pending(pool) != 0) pthread_cond_wait(&pool->done, &pool->lock);
    __atomic_store_n(&pool->caller_sleeps, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool->lock);
}

typedef struct part { ec_task_fn *task; void *work; uint32_t i, n; } part;

/* Takes a part of the present job; 0 when none is left. What is read of the job between the two looks at the
 * ticket belongs to it, or the second look finds another ticket. */
static int take(ec_pool *pool, part *taken) {
    uint64_t ticket = __atomic_load_n(&pool->ticket, __ATOMIC_ACQUIRE);
    while ((uint32_t)ticket != 0) {
        taken->task = __atomic_load_n(&pool->task, __ATOMIC_RELAXED);
        taken->work = __atomic_load_n(&pool->work, __ATOMIC_RELAXED);
        taken->n = __atomic_load_n(&pool->n_parts, __ATOMIC_RELAXED);
        taken->i = taken->n - (uint32_t)ticket;
        if (__atomic_compare_exchange_n(&pool->ticket, &ticket, ticket - 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            return 1;
        }
    }
    return 0;
}

static void work_on(ec_pool *pool) {
    part taken;
    uint32_t finished = 0;
    for (; take(pool, &taken); finished++) taken.task(taken.work, taken.i, taken.n);
    if (finished == 0 || __atomic_sub_fetch(&pool->pending, finished, __ATOMIC_SEQ_CST) != 0) return;
    if (__atomic_load_n(&pool->caller_sleeps, __ATOMIC_SEQ_CST) == 0) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_signal(&pool->done);
    pthread_mutex_unlock(&pool->lock);
}

/* Sleeps until there is work. Either this thread sees the ticket, or whoever wrote that sees a sleeper. */
static void sleep_until_work(ec_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    __atomic_add_fetch(&pool->sleepers, 1, __ATOMIC_SEQ_CST);
    while (!must_wake(pool)) pthread_cond_wait(&pool->wake, &pool->lock);
    __atomic_sub_fetch(&pool->sleepers, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool->lock);
}

static void *run_thread(void *argument) {
    ec_pool *pool = argument;
    uint32_t number = __atomic_add_fetch(&pool->n_started, 1, __ATOMIC_SEQ_CST);
    if (pool->pin) ec_cores_pin(&pool->cores, number);
    while (!__atomic_load_n(&pool->stop, __ATOMIC_SEQ_CST)) {
        spin wait = {0, 0};
        work_on(pool);
        while (!must_wake(pool)) {
            if (!spin_more(&wait, pool->spin_ns)) sleep_until_work(pool);
        }
    }
    return NULL;
}

void ec_pool_run(ec_pool *pool, uint32_t n_parts, ec_task_fn *task, void *work) {
    /* A task that runs a job of its own, or a second caller, does all of it alone. */
    if (n_parts <= 1 || pool->n_threads <= 1 || __atomic_exchange_n(&pool->busy, 1, __ATOMIC_ACQUIRE) != 0) {
        for (uint32_t i = 0; i < n_parts; i++) task(work, i, n_parts);
        return;
    }
    uint64_t number = (__atomic_load_n(&pool->ticket, __ATOMIC_RELAXED) >> 32) + 1;
    __atomic_store_n(&pool->task, task, __ATOMIC_RELAXED);
    __atomic_store_n(&pool->work, work, __ATOMIC_RELAXED);
    __atomic_store_n(&pool->n_parts, n_parts, __ATOMIC_RELAXED);
    __atomic_store_n(&pool->pending, n_parts, __ATOMIC_RELAXED);
    __atomic_store_n(&pool->ticket, number << 32 | n_parts, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool->sleepers, __ATOMIC_SEQ_CST) != 0) wake(pool, n_parts - 1);
    work_on(pool);
    wait_until_done(pool);
    __atomic_store_n(&pool->busy, 0, __ATOMIC_RELEASE);
}

uint32_t ec_pool_threads(const ec_pool *pool) { return pool->n_threads; }

void ec_pool_free(ec_pool *pool) {
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->lock);
    __atomic_store_n(&pool->stop, 1, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->n_created; i++) pthread_join(pool->threads[i], NULL);
    if (pool->pin) ec_cores_unpin(&pool->cores);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* Signals go to the program's own threads. */
static void create_threads(ec_pool *pool) {
    sigset_t all, before;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return;
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; pool->n_created + 1 < pool->n_threads; pool->n_created++) {
        if (pthread_create(&pool->threads[pool->n_created], &attributes, run_thread, pool) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

static ec_pool *fail(ec_pool *pool, ec_message *why, const char *what, uint32_t n_threads) {
    ec_pool_free(pool);
    if (why == NULL) return NULL;
    snprintf(why->text, sizeof why->text, "%s: %lu", what, (unsigned long)n_threads);
    snprintf(why->hint, sizeof why->hint, "a model runs on 1 to %d threads", EC_MAX_THREADS);
    return NULL;
}

ec_pool *ec_pool_new(uint32_t n_threads, int pin, ec_message *why) {
    if (n_threads > EC_MAX_THREADS) return fail(NULL, why, "too many threads", n_threads);
    ec_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return fail(NULL, why, "no memory for threads", n_threads);
    pthread_mutex_init(&pool->lock, NULL); /* these cannot fail with default attributes, on Linux or Android */
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    ec_cores_find(&pool->cores);
    uint32_t n_cores = pool->cores.n < EC_MAX_THREADS ? pool->cores.n : EC_MAX_THREADS;
    pool->n_threads = n_threads != 0 ? n_threads : n_cores;
    pool->pin = pin != 0;
    pool->spin_ns = pool->n_threads > pool->cores.n ? CROWDED_SPIN_NS : SPIN_NS;
    create_threads(pool);
    if (pool->n_created + 1 < pool->n_threads) {
        return fail(pool, why, "threads that the system has no room for", pool->n_threads);
    }
    if (pool->pin) ec_cores_pin(&pool->cores, 0);
    return pool;
}
