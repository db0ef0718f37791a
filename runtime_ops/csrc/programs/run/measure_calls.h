/* A number of calls and nothing else: an emulator's count of instructions for N and for 2 N is one of N calls. */
#ifndef RUN_MEASURE_CALLS_H
#define RUN_MEASURE_CALLS_H

#include "edgecomp.h"

/* Calls what a name stands for, a matrix of the container (with so many tokens), a step, or attention, and prints
 * what it was. The status to exit with. */
int measure_calls(const ec_container *container, const char *name, uint32_t n_tokens, uint32_t calls);

#endif
