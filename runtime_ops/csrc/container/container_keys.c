/* Reads the keys of a container. They are sorted, so that each is where it must be or is missing,
 * none can be doubled, and no search is needed. */
#include "container/container_keys.h"

#include "kernels/kernels.h"

ec_pairs ec_pairs_from(const ec_container *container, uint64_t start, uint64_t left) {
    ec_pairs pairs;
    memset(&pairs, 0, sizeof pairs);
    pairs.cursor.bytes = container->file;
    if (pairs.cursor.bytes.size > EC_GGUF_MAX_HEADER) pairs.cursor.bytes.size = EC_GGUF_MAX_HEADER;
    pairs.cursor.at = start;
    pairs.left = left;
    return pairs;
}

ec_status ec_pairs_peek(ec_pairs *pairs) {
    if (pairs->current) return EC_OK;
    pairs->start = pairs->cursor.at;
    pairs->current = 1;
    if (pairs->left == 0) {
        memset(&pairs->pair, 0, sizeof pairs->pair);
        return EC_OK;
    }
    pairs->left--;
    return ec_gguf_next_pair(&pairs->cursor, &pairs->pair);
}

ec_status ec_pairs_take(ec_pairs *pairs, const char *prefix, const char *field, uint32_t kind,
                        ec_gguf_value *value) {
    ec_status status = ec_pairs_peek(pairs);
    if (status != EC_OK) return status;
    ec_slice rest = pairs->pair.key;
    if (!ec_slice_starts(rest, prefix)) return EC_BAD_METADATA;
    rest.data += strlen(prefix);
    rest.size -= strlen(prefix);
    if (!ec_slice_is(rest, field) || pairs->pair.value.kind != kind) return EC_BAD_METADATA;
    *value = pairs->pair.value;
    pairs->current = 0;
    return EC_OK;
}

int ec_slice_starts(ec_slice slice, const char *text) {
    size_t n = strlen(text);
    return slice.size >= n && (n == 0 || memcmp(slice.data, text, n) == 0);
}

int ec_slice_is(ec_slice slice, const char *text) {
    return slice.size == strlen(text) && ec_slice_starts(slice, text);
}

uint32_t ec_format_index(ec_slice key) {
    static const char prefix[] = "edgecomp.format.";
    uint64_t start = sizeof prefix - 1, at = start;
    uint32_t i = 0;
    if (!ec_slice_starts(key, prefix)) return EC_NOT_A_FORMAT;
    for (; at < key.size && key.data[at] >= '0' && key.data[at] <= '9'; at++) {
        if (i >= EC_CONTAINER_MAX_FORMATS || (at > start && i == 0)) return EC_NOT_A_FORMAT;
        i = i * 10 + (uint32_t)(key.data[at] - '0');
    }
    if (at == start || at == key.size || key.data[at] != '.') return EC_NOT_A_FORMAT;
    return i < EC_CONTAINER_MAX_FORMATS ? i : EC_NOT_A_FORMAT;
}

ec_status ec_tensor_keys_take(ec_pairs *pairs, ec_tensor_keys *keys) {
    static const char prefix[] = "edgecomp.tensor.";
    memset(keys, 0, sizeof *keys);
    ec_status status =
        ec_pairs_take(pairs, prefix, "data_offsets", EC_GGUF_ARRAY_OF(EC_GGUF_U64), &keys->data_offsets);
    if (status == EC_OK) status = ec_pairs_peek(pairs);
    if (status == EC_OK && ec_slice_is(pairs->pair.key, "edgecomp.tensor.dims")) {
        status = ec_pairs_take(pairs, prefix, "dims", EC_GGUF_ARRAY_OF(EC_GGUF_U64), &keys->dims);
    }
    if (status == EC_OK) {
        status = ec_pairs_take(pairs, prefix, "error_bounds", EC_GGUF_ARRAY_OF(EC_GGUF_F32), &keys->error_bounds);
    }
    if (status == EC_OK) {
        status = ec_pairs_take(pairs, prefix, "formats", EC_GGUF_ARRAY_OF(EC_GGUF_U32), &keys->formats);
    }
    if (status != EC_OK) return status;
    return ec_pairs_take(pairs, prefix, "n_dims", EC_GGUF_ARRAY_OF(EC_GGUF_U32), &keys->n_dims);
}
