/* The payloads of a file that is being opened, taken in the order in which they must come. */
#ifndef EC_CONTAINER_PAYLOADS_H
#define EC_CONTAINER_PAYLOADS_H

#include "container/container_codecs.h"

#define EC_PAYLOAD_NAME_BYTES (EC_GGUF_MAX_NAME_BYTES + 1)

typedef struct ec_payloads {
    const ec_container *container;
    ec_cursor infos;      /* behind the infos that are taken */
    uint64_t n_infos;     /* that are taken */
    uint64_t end;         /* of the payloads that are taken, from data_offset */
} ec_payloads;

/* Finds where the infos end, and with that where the data starts. */
ec_status ec_payloads_begin(ec_payloads *payloads, ec_container *container);

/* Takes the next payload, which must have that name and be as `part` says, right behind the one
 * before it. */
ec_status ec_payloads_take(ec_payloads *payloads, const char *name, const ec_part *part);

/* EC_BAD_TENSOR unless every payload was taken and the file ends behind the last one. */
ec_status ec_payloads_end(const ec_payloads *payloads);

#endif
