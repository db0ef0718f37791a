/* The parts of a tensor, and the tensors of a container that ec_container_open has accepted. */
#include "container_parts.h"

#include <stdio.h>

#include "kernels.h"
#include "tensor.h" /* EC_MAX_WEIGHTS */

void ec_table_name(char name[EC_PAYLOAD_NAME_BYTES], uint32_t format) {
    snprintf(name, EC_PAYLOAD_NAME_BYTES, "format.%lu.table", (unsigned long)format);
}

void ec_payload_name(char name[EC_PAYLOAD_NAME_BYTES], ec_slice tensor, uint32_t i, const char *part_name) {
    if (tensor.size + 1 + strlen(part_name) <= EC_GGUF_MAX_NAME_BYTES) {
        snprintf(name, EC_PAYLOAD_NAME_BYTES, "%.*s.%s", (int)tensor.size, (const char *)tensor.data, part_name);
    } else {
        snprintf(name, EC_PAYLOAD_NAME_BYTES, "#%lu.%s", (unsigned long)i, part_name);
    }
}

ec_status ec_tensor_shape(const ec_tensor_keys *keys, uint32_t i, uint64_t first_dim, ec_tensor *tensor) {
    memset(tensor, 0, sizeof *tensor);
    tensor->n_dims = ec_load_u32(keys->n_dims.bytes.data + 4 * (size_t)i);
    tensor->n_weights = 1;
    if (tensor->n_dims > EC_MAX_DIMS) return EC_BAD_TENSOR;
    for (uint32_t d = 0; d < tensor->n_dims; d++) {
        uint64_t side = ec_load_u64(keys->dims.bytes.data + 8 * (size_t)(first_dim + d));
        if (side == 0 || side > EC_MAX_WEIGHTS / tensor->n_weights) return EC_BAD_TENSOR;
        tensor->shape[d] = side;
        tensor->n_weights *= side;
    }
    return EC_OK;
}

void ec_tensor_fill(ec_tensor *tensor, const ec_format *format, const uint8_t *data) {
    ec_part parts[EC_CONTAINER_MAX_PARTS];
    uint32_t n = format->row->list_parts(format, tensor->n_weights, parts);
    tensor->rest.codec = format->codec;
    tensor->rest.winding = format->winding;
    for (uint32_t k = 0; k < n; k++) {
        switch (parts[k].field) {
            case EC_PART_CODES:
                tensor->rest.codes = data;
                tensor->rest.codes_bytes = parts[k].bytes;
                break;
            case EC_PART_SCALES:
                tensor->rest.scales = data;
                tensor->rest.scales_bytes = parts[k].bytes;
                break;
            case EC_PART_PARAMS:
                tensor->rest.params = data;
                tensor->rest.params_bytes = parts[k].bytes;
                break;
        }
        data += ec_gguf_align(parts[k].bytes);
    }
}

/* The table of format i. Tables come first among the payloads. */
static const uint8_t *find_table(const ec_container *c, uint32_t i) {
    char name[EC_PAYLOAD_NAME_BYTES];
    ec_cursor cursor = ec_pairs_from(c, c->infos_offset, 0).cursor;
    ec_gguf_info info;
    ec_table_name(name, i);
    do {
        if (ec_gguf_next_info(&cursor, &info) != EC_OK) return NULL;
    } while (!ec_slice_is(info.name, name));
    return c->file.data + c->data_offset + info.offset;
}

static ec_status find_format(const ec_container *c, uint32_t i, ec_format *format) {
    ec_pairs pairs = ec_pairs_from(c, EC_GGUF_HEADER_BYTES, c->n_kv);
    ec_status status = ec_pairs_peek(&pairs);
    while (status == EC_OK && ec_format_index(pairs.pair.key) != i) {
        if (pairs.pair.key.size == 0) return EC_BAD_METADATA;
        pairs.current = 0;
        status = ec_pairs_peek(&pairs);
    }
    if (status == EC_OK) status = ec_format_take(&pairs, i, format);
    if (status != EC_OK || format->table.size == 0) return status;
    const uint8_t *table = find_table(c, i);
    if (table == NULL) return EC_BAD_TENSOR;
    format->row->set_table(format, table);
    return EC_OK;
}

ec_status ec_container_tensor(const ec_container *c, uint32_t i, ec_tensor *tensor) {
    ec_tensor_keys keys;
    ec_format format;
    uint64_t first_dim = 0;
    if (c == NULL || tensor == NULL || i >= c->n_tensors) return EC_BAD_ARGUMENT;
    ec_pairs pairs = ec_pairs_from(c, c->tensor_keys_offset, c->n_kv);
    ec_status status = ec_tensor_keys_take(&pairs, &keys);
    if (status != EC_OK) return status;
    for (uint32_t k = 0; k < i; k++) first_dim += ec_load_u32(keys.n_dims.bytes.data + 4 * (size_t)k);
    status = ec_tensor_shape(&keys, i, first_dim, tensor);
    if (status == EC_OK) status = find_format(c, ec_load_u32(keys.formats.bytes.data + 4 * (size_t)i), &format);
    if (status != EC_OK) return status;
    uint64_t offset = ec_load_u64(keys.data_offsets.bytes.data + 8 * (size_t)i);
    ec_tensor_fill(tensor, &format, c->file.data + c->data_offset + offset);
    return ec_tensor_check(tensor);
}

/* The names from the first on: what follows the pair edgecomp.tensor.n_dims, less the pair's head
 * (length of the key, key, two types, count), so that the array is not walked over to find its end. */
static ec_status names_cursor(const ec_container *c, ec_cursor *cursor) {
    ec_tensor_keys keys;
    ec_pairs pairs = ec_pairs_from(c, c->tensor_keys_offset, c->n_kv);
    ec_status status = ec_tensor_keys_take(&pairs, &keys);
    *cursor = pairs.cursor;
    cursor->at += 8 + strlen("edgecomp.tensor.names") + 4 + 4 + 8;
    return status;
}

ec_status ec_container_name(const ec_container *c, uint32_t i, ec_slice *name) {
    ec_cursor cursor;
    if (c == NULL || name == NULL || i >= c->n_tensors) return EC_BAD_ARGUMENT;
    ec_status status = names_cursor(c, &cursor);
    for (uint32_t k = 0; status == EC_OK && k <= i; k++) {
        status = ec_gguf_next_string(&cursor, EC_GGUF_MAX_STRING_BYTES, name);
    }
    return status;
}

ec_status ec_container_find(const ec_container *c, const char *name, size_t name_bytes, uint32_t *i) {
    ec_cursor cursor;
    ec_slice wanted = {(const uint8_t *)name, name_bytes}, found;
    if (c == NULL || name == NULL || i == NULL || c->n_tensors == 0) return EC_BAD_ARGUMENT;
    ec_status status = names_cursor(c, &cursor);
    for (uint32_t k = 0; status == EC_OK && k < c->n_tensors; k++) {
        status = ec_gguf_next_string(&cursor, EC_GGUF_MAX_STRING_BYTES, &found);
        if (status == EC_OK && ec_slice_compare(found, wanted) == 0) {
            *i = k;
            return EC_OK;
        }
    }
    return status == EC_OK ? EC_BAD_ARGUMENT : status;
}

ec_status ec_container_string(const ec_container *c, const char *key, ec_slice *value) {
    if (c == NULL || key == NULL || value == NULL || c->n_tensors == 0) return EC_BAD_ARGUMENT;
    ec_pairs pairs = ec_pairs_from(c, EC_GGUF_HEADER_BYTES, c->n_kv);
    for (;;) {
        ec_status status = ec_pairs_peek(&pairs);
        if (status != EC_OK) return status;
        if (pairs.pair.key.size == 0) return EC_BAD_ARGUMENT;
        if (ec_slice_is(pairs.pair.key, key)) break;
        pairs.current = 0;
    }
    if (pairs.pair.value.kind != EC_GGUF_STRING) return EC_BAD_ARGUMENT;
    *value = pairs.pair.value.bytes;
    return EC_OK;
}
