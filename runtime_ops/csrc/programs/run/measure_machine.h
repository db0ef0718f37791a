/* What the system says about the machine; what it does not say is 0 or empty. */
#ifndef RUN_MEASURE_MACHINE_H
#define RUN_MEASURE_MACHINE_H

#include <stddef.h>

#include "runner/cores.h"

#define MOST_CLUSTERS 16

typedef struct core_info {
    char part[16];           /* implementer and part, such as 0x41:0xd0b; of ARM's cores */
    uint64_t top_hz, l1d_bytes, l2_bytes;
} core_info;

typedef struct machine {
    ec_cores cores;          /* that this process may use */
    core_info info[EC_MAX_CORES];     /* of cores.id[i] */
    uint32_t clusters[MOST_CLUSTERS]; /* [n_clusters]: place in `cores` of the first one of each kind */
    uint32_t n_clusters;
    char cpu[128];
    uint64_t memory_bytes, available_bytes, page_bytes, last_level_cache_bytes;
} machine;

void machine_find(machine *here);

/* The hottest part in thousandths of a degree: of the zones of CPUs if there are any. 0 when none is known. */
int hottest_millidegrees(long *millidegrees);

/* The line of kind "machine": 1, or 0 when stdout cannot be written. */
int machine_print(const machine *here);

#endif
