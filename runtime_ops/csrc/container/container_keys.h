/* The keys of a container but for those of formats, in the order in which they must come;
 * docs/format.md, "Keys". */
#ifndef EC_CONTAINER_KEYS_H
#define EC_CONTAINER_KEYS_H

#include "container/gguf.h"

#define EC_CONTAINER_MAX_FORMATS 2048
/* Counted again for every format that refers to a table. */
#define EC_CONTAINER_MAX_TABLE_BYTES (UINT32_C(1) << 26)
#define EC_CONTAINER_MAX_TENSORS 32768
#define EC_NOT_A_FORMAT UINT32_MAX

/* Pairs of the metadata, read one after another. */
typedef struct ec_pairs {
    ec_cursor cursor;
    uint64_t left;       /* pairs that are not read yet */
    uint64_t start;      /* where the current pair starts */
    int current;         /* whether `pair` holds the pair at hand, or it has to be read first */
    ec_gguf_pair pair;
} ec_pairs;

/* The keys edgecomp.tensor.*. Arrays of numbers come before the strings, so that a tensor is found
 * without a walk over names. */
typedef struct ec_tensor_keys {
    ec_gguf_value data_offsets, dims, error_bounds, formats, n_dims;
} ec_tensor_keys;

/* The pairs from `start` on, of which there are at most `left`. */
ec_pairs ec_pairs_from(const ec_container *container, uint64_t start, uint64_t left);

/* Makes `pair` the pair at hand; its key is empty after the last one. */
ec_status ec_pairs_peek(ec_pairs *pairs);

/* Takes the pair at hand, which must have the key prefix + field and that kind of value. */
ec_status ec_pairs_take(ec_pairs *pairs, const char *prefix, const char *field, uint32_t kind,
                        ec_gguf_value *value);

int ec_slice_is(ec_slice slice, const char *text);
int ec_slice_starts(ec_slice slice, const char *text);

/* i if the key is edgecomp.format.<i>.<anything>, else EC_NOT_A_FORMAT. */
uint32_t ec_format_index(ec_slice key);

/* Takes the keys edgecomp.tensor.* up to n_dims. */
ec_status ec_tensor_keys_take(ec_pairs *pairs, ec_tensor_keys *keys);

#endif
