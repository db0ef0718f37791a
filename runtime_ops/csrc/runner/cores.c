/* Cores and affinity. This file alone asks for what Linux has beyond POSIX. */
#define _GNU_SOURCE
#include "runner/cores.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#ifdef __linux__

/* In kHz; 0 where the system does not say, as in most virtual machines. */
static unsigned long top_frequency(unsigned core) {
    char path[80];
    unsigned long frequency = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/cpufreq/cpuinfo_max_freq", core);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%lu", &frequency) != 1) frequency = 0;
    fclose(file);
    return frequency;
}

/* Phones number their small cores first, where no thread should be pinned that has a choice. */
static void sort_by_speed(ec_cores *cores) {
    unsigned long speed[EC_MAX_CORES];
    for (uint32_t i = 0; i < cores->n; i++) {
        uint16_t id = cores->id[i];
        unsigned long own = top_frequency(id);
        uint32_t at = i;
        for (; at > 0 && speed[at - 1] < own; at--) {
            speed[at] = speed[at - 1];
            cores->id[at] = cores->id[at - 1];
        }
        speed[at] = own;
        cores->id[at] = id;
    }
}

void ec_cores_find(ec_cores *cores) {
    cpu_set_t set;
    *cores = (ec_cores){0};
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (uint32_t id = 0; id < CPU_SETSIZE && cores->n < EC_MAX_CORES; id++) {
            if (CPU_ISSET(id, &set)) cores->id[cores->n++] = (uint16_t)id;
        }
        sort_by_speed(cores);
    }
    if (cores->n == 0) cores->n = 1;
}

void ec_cores_pin(const ec_cores *cores, uint32_t i) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cores->id[i % cores->n], &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

void ec_cores_unpin(const ec_cores *cores) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (uint32_t i = 0; i < cores->n; i++) CPU_SET(cores->id[i], &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

#else

void ec_cores_find(ec_cores *cores) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    *cores = (ec_cores){0};
    cores->n = n < 1 ? 1 : n > EC_MAX_CORES ? EC_MAX_CORES : (uint32_t)n;
}

void ec_cores_pin(const ec_cores *cores, uint32_t i) {
    (void)cores;
    (void)i;
}

void ec_cores_unpin(const ec_cores *cores) { (void)cores; }

#endif
