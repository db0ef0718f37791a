/* Reads keys edgecomp.model.*, whatever type a writer gave them. */
#include "runner/model_keys.h"

#include <math.h>
#include <stdio.h>

#include "container/container_keys.h"
#include "kernels/kernels.h"
#include "runner/why.h"

#define COMPRESS_AGAIN "compress the model again with this version of edgecomp"

int ec_key_find(const ec_container *container, const char *prefix, const char *name, ec_gguf_value *value) {
    ec_pairs pairs = ec_pairs_from(container, EC_GGUF_HEADER_BYTES, container->n_kv);
    size_t n = strlen(prefix);
    for (;;) {
        if (ec_pairs_peek(&pairs) != EC_OK || pairs.pair.key.size == 0) return 0;
        ec_slice key = pairs.pair.key;
        if (ec_slice_starts(key, prefix)) {
            ec_slice rest = {key.data + n, key.size - n};
            if (ec_slice_is(rest, name)) {
                *value = pairs.pair.value;
                return 1;
            }
        }
        pairs.current = 0;
    }
}

static int find(const ec_key_reader *reader, const char *name, ec_gguf_value *value) {
    return ec_key_find(reader->container, EC_MODEL_PREFIX, name, value);
}

static void fail(ec_key_reader *reader, const char *name, const char *what) {
    if (!reader->failed) ec_why(reader->why, COMPRESS_AGAIN, "key " EC_MODEL_PREFIX "%s: %s", name, what);
    reader->failed = 1;
}

/* A number of any type; 0 for what is none. Whole numbers beyond 2^53 are rounded, which no limit minds. */
int ec_key_number_of(const ec_gguf_value *value, double *number) {
    const uint8_t *bytes = value->bytes.data;
    uint64_t wide = 0;
    int n = value->bytes.size <= 8 ? (int)value->bytes.size : 0;
    for (int i = 0; i < n; i++) wide |= (uint64_t)bytes[i] << 8 * i;
    switch (value->kind) {
        case EC_GGUF_U8: case EC_GGUF_U16: case EC_GGUF_U32: case EC_GGUF_U64: *number = (double)wide; return 1;
        case EC_GGUF_I8: *number = (int8_t)wide; return 1;
        case EC_GGUF_I16: *number = (int16_t)wide; return 1;
        case EC_GGUF_I32: *number = (int32_t)wide; return 1;
        case EC_GGUF_I64: *number = (double)(int64_t)wide; return 1;
        case EC_GGUF_F32: *number = (double)ec_load_f32(bytes); return 1;
        case EC_GGUF_F64: memcpy(number, bytes, 8); return 1;
        default: return 0;
    }
}

double ec_key_number(ec_key_reader *reader, const char *name, ec_key_range range) {
    ec_gguf_value value;
    double number;
    char what[96];
    if (reader->failed) return range.least;
    if (!find(reader, name, &value)) {
        if (isnan(range.otherwise)) fail(reader, name, "missing");
        return range.otherwise;
    }
    if (!ec_key_number_of(&value, &number)) {
        fail(reader, name, "not a number");
    } else if (!(number >= range.least && number <= range.most)) {
        snprintf(what, sizeof what, "%.9g, expected %.9g to %.9g", number, range.least, range.most);
        fail(reader, name, what);
    }
    return reader->failed ? range.least : number;
}

uint32_t ec_key_integer(ec_key_reader *reader, const char *name, uint32_t most, uint32_t otherwise) {
    ec_key_range range = {1, most, otherwise == 0 ? (double)NAN : otherwise};
    double number = ec_key_number(reader, name, range);
    if (reader->failed) return 1;
    if (number != floor(number)) fail(reader, name, "expected a whole number");
    return (uint32_t)number;
}

int ec_key_truth(ec_key_reader *reader, const char *name) {
    ec_gguf_value value;
    if (reader->failed || !find(reader, name, &value)) return 0;
    if (value.kind != EC_GGUF_BOOL) fail(reader, name, "expected true or false");
    return !reader->failed && value.bytes.data[0] != 0;
}

ec_slice ec_key_text(ec_key_reader *reader, const char *name) {
    ec_slice none = {NULL, 0};
    ec_gguf_value value;
    if (reader->failed || !find(reader, name, &value)) return none;
    if (value.kind != EC_GGUF_STRING) fail(reader, name, "expected a text");
    return reader->failed ? none : value.bytes;
}
