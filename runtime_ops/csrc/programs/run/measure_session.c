/* Working memory, cores, and matrices of a measurement. */
#define _DEFAULT_SOURCE
#include "programs/run/measure_session.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "programs/run/commands.h"
#include "programs/run/measure_clock.h"
#include "programs/run/measure_product.h"
#include "programs/run/report.h"

#define MIB (UINT64_C(1) << 20)
#define LEAST_MEMORY (64 * MIB)
#define MOST_MEMORY (256 * MIB)
#define UNKNOWN_CACHE (32 * MIB)
#define CLOCK_NS UINT64_C(5000000)
#define CLOCK_EVERY_NS UINT64_C(2000000000)

static uint64_t wanted_memory(const machine *here) {
    uint64_t cache = here->last_level_cache_bytes != 0 ? here->last_level_cache_bytes : UNKNOWN_CACHE;
    uint64_t bytes = cache > MOST_MEMORY / 4 ? MOST_MEMORY : 4 * cache;
    if (bytes < LEAST_MEMORY) bytes = LEAST_MEMORY;
    uint64_t quarter = here->available_bytes != 0 ? here->available_bytes / 4 : LEAST_MEMORY;
    return (bytes < quarter ? bytes : quarter) / MIB * MIB;
}

int session_take_memory(session *s) {
    uint64_t bytes = wanted_memory(&s->here);
    if (bytes == 0) return 0;
    void *memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 0;
#ifdef MADV_NOHUGEPAGE
    (void)madvise(memory, (size_t)bytes, MADV_NOHUGEPAGE); /* a mapped file has small pages */
#endif
    memset(memory, 1, (size_t)bytes); /* pages that were never written are all the same one */
    uint64_t start = now_ns(), part = bytes < 16 * MIB ? bytes : 16 * MIB;
    memset(memory, 2, (size_t)part);
    s->fill_rate = (double)part / (double)(now_ns() - start + 1);
    s->memory = memory;
    s->memory_bytes = bytes;
    return 1;
}

void session_end(session *s) {
    if (s->memory != NULL) munmap(s->memory, (size_t)s->memory_bytes);
    s->memory = NULL;
}

static int print_clock(session *s, uint32_t place) {
    double hz = clock_hz(CLOCK_NS);
    long millidegrees;
    s->clock_ns = now_ns();
    printf("{\"kind\": \"clock\", \"seconds\": %.6g, \"core\": %u, \"hz\": %.6g, \"millidegrees\": ",
           (double)(s->clock_ns - s->start_ns) / 1e9, (unsigned)s->here.cores.id[place], hz);
    if (hottest_millidegrees(&millidegrees)) printf("%ld}\n", millidegrees);
    else puts("null}");
    if (interrupted) return EXIT_INTERRUPTED;
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK : fail_stdout();
}

int session_on_core(session *s, uint32_t place) {
    ec_cores_pin(&s->here.cores, place);
    return print_clock(s, place);
}

int session_watch(session *s, uint32_t place) {
    return now_ns() - s->clock_ns < CLOCK_EVERY_NS ? EXIT_OK : session_on_core(s, place);
}

void session_on_all_cores(session *s) { ec_cores_unpin(&s->here.cores); }

int is_asked(const session *s, const char *name, size_t n) {
    return s->only == NULL || (strlen(s->only) == n && memcmp(s->only, name, n) == 0);
}

/* The container was checked when it was opened, so neither call fails. */
int next_matrix(const session *s, uint32_t *i, ec_tensor *tensor, ec_slice *name) {
    while (*i < s->container->n_tensors) {
        uint32_t own = (*i)++;
        if (ec_container_name(s->container, own, name) != EC_OK) continue;
        if (!is_asked(s, (const char *)name->data, (size_t)name->size)) continue;
        if (ec_container_tensor(s->container, own, tensor) == EC_OK && is_matrix(tensor)) return 1;
    }
    return 0;
}
