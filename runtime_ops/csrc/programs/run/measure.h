/* What the parts of `measure` share: something that can be done over and over, and how long it takes. */
#ifndef RUN_MEASURE_H
#define RUN_MEASURE_H

#include <stdint.h>

/* What a clock is held against. */
typedef struct work {
    void (*call)(void *self);
    void *self;
    uint64_t n;              /* what a call does: weights, numbers, bytes, positions */
} work;

/* Nanoseconds of a call, or what is made of them: half of the rounds are faster than `value`, eight of ten lie
 * between the others. */
typedef struct figures { double value, low, high; } figures;

/* The time that is left, and the shares of it that are not taken. */
typedef struct budget {
    uint64_t end_ns;
    double shares;
} budget;

/* Takes some shares: the nanoseconds that they are worth now; 0 when the time is over. */
uint64_t budget_take(budget *left, double shares);

/* Calls it for about so many nanoseconds, in at least three rounds: EXIT_OK, or EXIT_INTERRUPTED. */
int measure_rounds(const work *measured, uint64_t slice_ns, figures *ns);

/* The same for one of the things that work counts, in nanoseconds. */
figures figures_each(figures ns, uint64_t n);

/* ", "low": .., "high": .."} and the line's end; flushes: 1, or 0 when stdout cannot be written. */
int end_line(figures all);

#endif
