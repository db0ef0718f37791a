/* A whole measurement: what its stages share. */
#ifndef RUN_MEASURE_SESSION_H
#define RUN_MEASURE_SESSION_H

#include "edgecomp.h"
#include "programs/run/measure.h"
#include "programs/run/measure_machine.h"

#define MOST_THREAD_COUNTS 16

typedef struct session {
    const ec_container *container;
    const char *only;        /* the one thing that is measured, or NULL: all */
    uint32_t threads[MOST_THREAD_COUNTS]; /* [n_threads], ascending */
    size_t n_threads;
    machine here;
    budget left;
    uint64_t start_ns, clock_ns;
    uint8_t *memory;         /* [memory_bytes], every page of which is there; or NULL */
    uint64_t memory_bytes;
    double fill_rate;        /* bytes a nanosecond that it was filled with */
} session;

/* The working memory for the largest working set: 1, or 0 when there is none. */
int session_take_memory(session *s);
void session_end(session *s);

/* Keeps the calling thread on a core (a place in here.cores), and prints the core's clock. EXIT_OK, or a failure. */
int session_on_core(session *s, uint32_t place);

/* The clock of that core again, if the last one is some seconds old: so that drift is seen. */
int session_watch(session *s, uint32_t place);

/* Lets the calling thread use all cores again. */
void session_on_all_cores(session *s);

/* A stage takes so many shares of the time, and prints its lines: EXIT_OK, or the status to exit with. */
typedef struct stage {
    double (*shares)(const session *s);
    int (*run)(session *s);
} stage;

extern const stage bandwidth_stage, dispatch_stage, cached_stage, memory_stage, steps_stage, attention_stage;

/* Whether `--only` lets a name through. */
int is_asked(const session *s, const char *name, size_t n);

/* The next matrix from *i on that is asked for: 1 with its name, and *i behind it, or 0. */
int next_matrix(const session *s, uint32_t *i, ec_tensor *tensor, ec_slice *name);

#endif
