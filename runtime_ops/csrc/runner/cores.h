/* The cores that this process may use, and threads that stay on one of them. */
#ifndef EC_CORES_H
#define EC_CORES_H

#include <stdint.h>

#define EC_MAX_CORES 1024

typedef struct ec_cores {
    uint32_t n;                 /* at least 1 */
    uint16_t id[EC_MAX_CORES];  /* [n], the fastest first; not known (all 0) where threads cannot be pinned */
} ec_cores;

void ec_cores_find(ec_cores *cores);

/* Keeps the calling thread on core i (modulo n), or lets it use all of them again. Where the system does not
 * offer it (only Linux does) or forbids it, nothing happens: it is about speed alone. */
void ec_cores_pin(const ec_cores *cores, uint32_t i);
void ec_cores_unpin(const ec_cores *cores);

#endif
