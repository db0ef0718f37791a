/* What a model does beside products, each on numbers of realistic size: devices.profile.STEPS. */
#ifndef RUN_MEASURE_STEPS_H
#define RUN_MEASURE_STEPS_H

#include <stddef.h>

#include "programs/run/measure.h"
#include "runner/attention.h"

/* The numbers that all steps work on. */
typedef struct step_data {
    ec_memory memory;
    ec_kernels kernels;
    const ec_steps *steps;
    ec_tensor rotated;           /* whose inputs are rotated; without weights */
    float *ones;                 /* [8192] */
    float *x, *y, *zeros;        /* [ROWS][8192]: those of a batch's tokens, of which each call takes the next */
    float *gate, *up;            /* the same; swiglu leaves such a gate as it is */
    size_t at;                   /* where the present row begins */
    float *cosines, *sines;      /* [512] */
    uint16_t *halves;            /* [8192] */
    int8_t *bytes;               /* [8192] */
    float scales[256];
    int32_t sums[256];
    ec_kv_cache f16, int8;       /* of one head */
    uint32_t position;           /* that is stored next */
} step_data;

typedef struct step {
    const char *name;
    uint64_t n;                  /* numbers of a call */
    void (*call)(void *data);    /* of a step_data */
    int in_attention;            /* 1: a part of what measure_attention.h measures */
} step;

extern const step measured_steps[];
extern const size_t n_measured_steps;

/* NULL when there is none of that name. */
const step *find_step(const char *name);

/* Takes the memory: 1, or 0 when there is none. */
int step_data_begin(step_data *data);
void step_data_end(step_data *data);

/* The inner loops that a model takes here. */
const ec_steps *steps_here(void);

#endif
