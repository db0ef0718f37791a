/* A tensor's shape, parts and fields: shared by opening a container and by using it. */
#ifndef EC_CONTAINER_PARTS_H
#define EC_CONTAINER_PARTS_H

#include "container/container_formats.h"

/* The parts of a tensor in file order: those of its critical columns, if any, come first. */
typedef struct ec_tensor_parts {
    ec_part parts[EC_CONTAINER_MAX_PARTS];
    uint32_t n_critical, n;
} ec_tensor_parts;

/* Clears the tensor and sets its shape, whose first side is dims[first_dim], and n_weights. */
ec_status ec_tensor_shape(const ec_tensor_keys *keys, uint32_t i, uint64_t first_dim, ec_tensor *tensor);

/* Sets all that follows from the format, and lists the parts; EC_BAD_FORMAT if the format does not
 * fit the shape. */
ec_status ec_tensor_layout(ec_tensor *tensor, const ec_layout *layout, ec_tensor_parts *list);

/* Name of the payload of part k of tensor i, terminated. */
void ec_payload_name(char name[EC_PAYLOAD_NAME_BYTES], ec_slice tensor_name, uint32_t i,
                     const ec_tensor_parts *list, uint32_t k);

/* Sets where the parts lie: from `data` on. */
void ec_tensor_place(ec_tensor *tensor, const ec_tensor_parts *list, const uint8_t *data);

#endif
