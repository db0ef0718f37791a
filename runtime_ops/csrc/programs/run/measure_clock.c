/* A chain of additions, each of which waits for the one before: one cycle each on every core that we know. */
#include "programs/run/measure_clock.h"

#include "programs/run/report.h"

#define TURNS 1024 /* of 256 additions: some 100 us */
#define LEAST 16   /* times that it is measured: one of them will not be interrupted */
#define STEP static inline __attribute__((always_inline))

/* Compilers must not add two steps at once. Both are in registers: newer x86-64 cores add small constants to a
 * register that they only rename. */
STEP uintptr_t add_once(uintptr_t sum, uintptr_t step) {
    sum += step;
    __asm__ volatile("" : "+r"(sum), "+r"(step));
    return sum;
}

STEP uintptr_t add_4(uintptr_t sum, uintptr_t step) {
    return add_once(add_once(add_once(add_once(sum, step), step), step), step);
}

STEP uintptr_t add_16(uintptr_t sum, uintptr_t step) {
    return add_4(add_4(add_4(add_4(sum, step), step), step), step);
}

STEP uintptr_t add_64(uintptr_t sum, uintptr_t step) {
    return add_16(add_16(add_16(add_16(sum, step), step), step), step);
}

static uintptr_t add_many(uintptr_t sum, uintptr_t step) {
    for (int i = 0; i < TURNS; i++) sum = add_64(add_64(add_64(add_64(sum, step), step), step), step);
    return sum;
}

double clock_hz(uint64_t ns) {
    uintptr_t sum = (uintptr_t)ns, step = 3;
    uint64_t begin = now_ns(), fastest = UINT64_MAX;
    for (int i = 0; i < LEAST || now_ns() - begin < ns; i++) {
        uint64_t start = now_ns();
        __asm__ volatile("" : "+r"(step));
        sum = add_many(sum, step);
        __asm__ volatile("" : "+r"(sum));
        uint64_t took = now_ns() - start + 1;
        if (took < fastest) fastest = took;
    }
    return 1e9 * 256 * TURNS / (double)fastest;
}
