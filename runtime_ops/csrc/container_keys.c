/* Reads the keys of a container. They are sorted, so that each is where it must be or is missing,
 * none can be doubled, and no search is needed. */
#include "container_keys.h"

#include <stdio.h>

#include "kernels.h"
#include "tensor.h"

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

static ec_status take_raw(ec_pairs *pairs, const char *prefix, ec_format *format) {
    ec_gguf_value value;
    ec_status status = ec_pairs_take(pairs, prefix, "codec", EC_GGUF_STRING, &value);
    if (status != EC_OK) return status;
    if (!ec_slice_is(value.bytes, "raw")) return EC_BAD_FORMAT;
    status = ec_pairs_take(pairs, prefix, "dtype", EC_GGUF_STRING, &value);
    if (status != EC_OK) return status;
    if (!ec_slice_is(value.bytes, "f32") && !ec_slice_is(value.bytes, "f16")) return EC_BAD_FORMAT;
    format->codec = ec_slice_is(value.bytes, "f16") ? EC_CODEC_RAW_F16 : EC_CODEC_RAW_F32;
    return EC_OK;
}

/* The keys of a winding in the order of their names. */
enum { CENTRE, CLASSES, CODEC, COMPANDED, DIM, GENERATOR, GROUP, LEVELS, OFFSET, PACKING, POINTS, SHIFT, N_FIELDS };
static const struct { const char *name; uint32_t kind; } fields[N_FIELDS] = {
    {"centre", EC_GGUF_BOOL},
    {"classes", EC_GGUF_U32},
    {"codec", EC_GGUF_STRING},
    {"companded", EC_GGUF_BOOL},
    {"dim", EC_GGUF_U32},
    {"generator", EC_GGUF_ARRAY_OF(EC_GGUF_U32)},
    {"group", EC_GGUF_U32},
    {"levels", EC_GGUF_U32},
    {"offset", EC_GGUF_U32},
    {"packing", EC_GGUF_STRING},
    {"points", EC_GGUF_U32},
    {"shift", EC_GGUF_ARRAY_OF(EC_GGUF_U32)},
};

static ec_status take_winding(ec_pairs *pairs, const char *prefix, ec_format *format) {
    ec_gguf_value v[N_FIELDS];
    ec_winding *w = &format->winding;
    for (int i = 0; i < N_FIELDS; i++) {
        ec_status status = ec_pairs_take(pairs, prefix, fields[i].name, fields[i].kind, &v[i]);
        if (status != EC_OK) return status;
        if (i == CODEC && !ec_slice_is(v[i].bytes, "winding")) return EC_BAD_FORMAT;
    }
    int radix = ec_slice_is(v[PACKING].bytes, "radix");
    if (!radix && !ec_slice_is(v[PACKING].bytes, "bits")) return EC_BAD_FORMAT;
    format->codec = EC_CODEC_WINDING;
    format->companded = v[COMPANDED].bytes.data[0] != 0;
    w->dim = ec_load_u32(v[DIM].bytes.data);
    w->points = ec_load_u32(v[POINTS].bytes.data);
    w->levels = ec_load_u32(v[LEVELS].bytes.data);
    w->offset = ec_load_u32(v[OFFSET].bytes.data);
    w->centre = v[CENTRE].bytes.data[0];
    w->classes = ec_load_u32(v[CLASSES].bytes.data);
    w->group = ec_load_u32(v[GROUP].bytes.data);
    w->radix_packed = (uint32_t)radix;
    if (w->dim > EC_MAX_DIM || v[GENERATOR].count != w->dim || v[SHIFT].count != w->dim) return EC_BAD_FORMAT;
    for (uint32_t d = 0; d < w->dim; d++) {
        w->generator[d] = ec_load_u32(v[GENERATOR].bytes.data + 4 * d);
        w->shift[d] = ec_load_u32(v[SHIFT].bytes.data + 4 * d);
    }
    return ec_winding_check(w);
}

ec_status ec_format_take(ec_pairs *pairs, uint32_t i, ec_format *format) {
    char prefix[40], codec_key[48];
    snprintf(prefix, sizeof prefix, "edgecomp.format.%lu.", (unsigned long)i);
    snprintf(codec_key, sizeof codec_key, "%scodec", prefix);
    memset(format, 0, sizeof *format);
    ec_status status = ec_pairs_peek(pairs);
    if (status != EC_OK) return status;
    int raw = ec_slice_is(pairs->pair.key, codec_key); /* a winding has keys that sort before codec */
    return raw ? take_raw(pairs, prefix, format) : take_winding(pairs, prefix, format);
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
