/* Hyper-parameters of a model from the keys edgecomp.model.* of its container, none of them trusted. */
#ifndef EC_MODEL_KEYS_H
#define EC_MODEL_KEYS_H

#include "container/gguf.h"
#include "runner.h"

#define EC_MODEL_PREFIX "edgecomp.model."

/* Keys that are read one after another; the first that cannot be used leaves a message. */
typedef struct ec_key_reader {
    const ec_container *container;
    ec_message *why;
    int failed;
} ec_key_reader;

/* The value of the key prefix + name; 0 when there is none. */
int ec_key_find(const ec_container *container, const char *prefix, const char *name, ec_gguf_value *value);

/* A number of any type; 0 for what is none. */
int ec_key_number_of(const ec_gguf_value *value, double *number);

/* A whole number of 1 to `most`; `otherwise` when the key is missing, unless that is 0. */
uint32_t ec_key_integer(ec_key_reader *reader, const char *name, uint32_t most, uint32_t otherwise);

/* A number of least to most; `otherwise` when the key is missing, unless that is NaN. */
typedef struct ec_key_range { double least, most, otherwise; } ec_key_range;
double ec_key_number(ec_key_reader *reader, const char *name, ec_key_range range);

/* Whether the key is there and true. */
int ec_key_truth(ec_key_reader *reader, const char *name);

/* A text; empty when the key is missing. */
ec_slice ec_key_text(ec_key_reader *reader, const char *name);

#endif
