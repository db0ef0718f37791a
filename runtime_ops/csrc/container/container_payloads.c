/* Checks that the payloads of a file are the expected ones, without holes and padded with zeros. */
#include "container/container_payloads.h"

static ec_status check_zeros(ec_slice file, uint64_t from, uint64_t to) {
    if (to > file.size) return EC_TRUNCATED;
    for (; from < to; from++) {
        if (file.data[from] != 0) return EC_BAD_TENSOR;
    }
    return EC_OK;
}

ec_status ec_payloads_begin(ec_payloads *payloads, ec_container *c) {
    ec_cursor cursor = ec_pairs_from(c, c->infos_offset, 0).cursor;
    ec_gguf_info info;
    payloads->container = c;
    payloads->infos = cursor;
    payloads->n_infos = 0;
    payloads->end = 0;
    for (uint64_t i = 0; i < c->n_infos; i++) {
        ec_status status = ec_gguf_next_info(&cursor, &info);
        if (status != EC_OK) return status;
    }
    c->data_offset = ec_gguf_align(cursor.at);
    return check_zeros(c->file, cursor.at, c->data_offset);
}

ec_status ec_payloads_take(ec_payloads *payloads, const char *name, const ec_part *part) {
    const ec_container *c = payloads->container;
    ec_gguf_info info;
    if (payloads->n_infos == c->n_infos) return EC_BAD_TENSOR;
    ec_status status = ec_gguf_next_info(&payloads->infos, &info);
    if (status != EC_OK) return status;
    payloads->n_infos++;
    if (!ec_slice_is(info.name, name) || info.type != part->type) return EC_BAD_TENSOR;
    if (info.size != part->size || info.offset != payloads->end) return EC_BAD_TENSOR;
    uint64_t start = c->data_offset + payloads->end;
    if (part->bytes > c->file.size - start) return EC_TRUNCATED;
    payloads->end += ec_gguf_align(part->bytes);
    return check_zeros(c->file, start + part->bytes, c->data_offset + payloads->end);
}

ec_status ec_payloads_end(const ec_payloads *payloads) {
    const ec_container *c = payloads->container;
    if (payloads->n_infos != c->n_infos) return EC_BAD_TENSOR;
    return c->data_offset + payloads->end == c->file.size ? EC_OK : EC_BAD_TENSOR;
}
