/* The parts of a tensor, and the tensors of a container that ec_container_open has accepted. */
#include "container/container_parts.h"

#include <stdio.h>

#include "kernels/kernels.h"
#include "codecs/tensor.h" /* EC_MAX_WEIGHTS */

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

static ec_status list_matrix(ec_matrix *matrix, uint64_t rows, uint64_t columns, const ec_format *format,
                             ec_tensor_parts *list) {
    matrix->codec = format->codec;
    matrix->rows = rows;
    matrix->columns = columns;
    matrix->winding = format->winding;
    matrix->crvq = format->crvq;
    matrix->trellis = format->trellis;
    matrix->uniform = format->uniform;
    uint32_t n = format->row->list_parts(format, rows, columns, list->parts + list->n);
    list->n += n;
    return n != 0 ? EC_OK : EC_BAD_FORMAT;
}

ec_status ec_tensor_layout(ec_tensor *tensor, const ec_layout *layout, ec_tensor_parts *list) {
    const ec_columns *c = &layout->columns;
    uint64_t rows = tensor->n_dims == 0 ? 1 : tensor->shape[0];
    uint64_t columns = tensor->n_weights / rows;
    ec_status status = EC_OK;
    list->n = 0;
    if (c->n_critical >= columns || (c->permutation != NULL && c->permuted != columns)) return EC_BAD_FORMAT;
    tensor->permutation = c->permutation;
    tensor->permutation_bytes = 2 * (uint64_t)c->permuted;
    tensor->n_critical = c->n_critical;
    if (c->n_critical != 0) status = list_matrix(&tensor->critical, rows, c->n_critical, &layout->critical, list);
    if (status != EC_OK) return status;
    list->n_critical = list->n;
    return list_matrix(&tensor->rest, rows, columns - c->n_critical, &layout->rest, list);
}

void ec_payload_name(char name[EC_PAYLOAD_NAME_BYTES], ec_slice tensor_name, uint32_t i,
                     const ec_tensor_parts *list, uint32_t k) {
    const char *prefix = k < list->n_critical ? "critical_" : "", *part = list->parts[k].name;
    if (tensor_name.size + 1 + strlen(prefix) + strlen(part) <= EC_GGUF_MAX_NAME_BYTES) {
        int size = (int)tensor_name.size;
        snprintf(name, EC_PAYLOAD_NAME_BYTES, "%.*s.%s%s", size, (const char *)tensor_name.data, prefix, part);
    } else {
        snprintf(name, EC_PAYLOAD_NAME_BYTES, "#%lu.%s%s", (unsigned long)i, prefix, part);
    }
}

void ec_tensor_place(ec_tensor *tensor, const ec_tensor_parts *list, const uint8_t *data) {
    for (uint32_t k = 0; k < list->n; k++) {
        const ec_part *part = &list->parts[k];
        ec_matrix *matrix = k < list->n_critical ? &tensor->critical : &tensor->rest;
        switch (part->field) {
            case EC_PART_CODES:
                matrix->codes = data;
                matrix->codes_bytes = part->bytes;
                break;
            case EC_PART_EXTENDED:
                matrix->extended = data;
                matrix->extended_bytes = part->bytes;
                break;
            case EC_PART_SCALES:
                matrix->scales = data;
                matrix->scales_bytes = part->bytes;
                break;
            case EC_PART_PARAMS:
                matrix->params = data;
                matrix->params_bytes = part->bytes;
                break;
        }
        data += ec_gguf_align(part->bytes);
    }
}

ec_status ec_container_tensor(const ec_container *c, uint32_t i, ec_tensor *tensor) {
    ec_tensor_keys keys;
    ec_layout layout;
    ec_tensor_parts list;
    uint64_t first_dim = 0;
    if (c == NULL || tensor == NULL || i >= c->n_tensors) return EC_BAD_ARGUMENT;
    ec_pairs pairs = ec_pairs_from(c, c->tensor_keys_offset, c->n_kv);
    ec_status status = ec_tensor_keys_take(&pairs, &keys);
    if (status != EC_OK) return status;
    for (uint32_t k = 0; k < i; k++) first_dim += ec_load_u32(keys.n_dims.bytes.data + 4 * (size_t)k);
    uint32_t format = ec_load_u32(keys.formats.bytes.data + 4 * (size_t)i);
    status = ec_tensor_shape(&keys, i, first_dim, tensor);
    if (status == EC_OK) status = ec_layout_find(c, NULL, format, &layout);
    if (status == EC_OK) status = ec_tensor_layout(tensor, &layout, &list);
    if (status != EC_OK) return status;
    uint64_t offset = ec_load_u64(keys.data_offsets.bytes.data + 8 * (size_t)i);
    ec_tensor_place(tensor, &list, c->file.data + c->data_offset + offset);
    return EC_OK;
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
