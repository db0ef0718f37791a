/* The parts of a tensor and where they lie: shared by opening a container and by using it. */
#ifndef EC_CONTAINER_PARTS_H
#define EC_CONTAINER_PARTS_H

#include "container_codecs.h"

#define EC_PAYLOAD_NAME_BYTES (EC_GGUF_MAX_NAME_BYTES + 1)

/* Names of payloads, terminated. */
void ec_table_name(char name[EC_PAYLOAD_NAME_BYTES], uint32_t format);
void ec_payload_name(char name[EC_PAYLOAD_NAME_BYTES], ec_slice tensor, uint32_t i, const char *part);

/* Clears the tensor and sets its shape, whose first side is dims[first_dim], and n_weights. */
ec_status ec_tensor_shape(const ec_tensor_keys *keys, uint32_t i, uint64_t first_dim, ec_tensor *tensor);

/* Sets the codec and the parts, which start at `data`; the table is the format's. */
void ec_tensor_fill(ec_tensor *tensor, const ec_format *format, const uint8_t *data);

#endif
