/* Reads the structure of a GGUF file with every extent checked against the bytes there are. */
#include "container/gguf.h"

#include "kernels/kernels.h"

/* Advances by n bytes and says where they are; EC_TRUNCATED if there are fewer. */
static ec_status take(ec_cursor *cursor, uint64_t n, const uint8_t **data) {
    if (n > cursor->bytes.size - cursor->at) return EC_TRUNCATED;
    *data = cursor->bytes.data + cursor->at;
    cursor->at += n;
    return EC_OK;
}

static ec_status take_u32(ec_cursor *cursor, uint32_t *value) {
    const uint8_t *data;
    ec_status status = take(cursor, 4, &data);
    if (status == EC_OK) *value = ec_load_u32(data);
    return status;
}

static ec_status take_u64(ec_cursor *cursor, uint64_t *value) {
    const uint8_t *data;
    ec_status status = take(cursor, 8, &data);
    if (status == EC_OK) *value = ec_load_u64(data);
    return status;
}

int ec_slice_compare(ec_slice a, ec_slice b) {
    uint64_t n = a.size < b.size ? a.size : b.size;
    int order = n == 0 ? 0 : memcmp(a.data, b.data, (size_t)n);
    if (order == 0) order = (a.size > b.size) - (a.size < b.size);
    return (order > 0) - (order < 0);
}

ec_status ec_gguf_header(ec_slice file, uint64_t *n_infos, uint64_t *n_kv) {
    if (file.size < EC_GGUF_HEADER_BYTES) return EC_TRUNCATED;
    if (memcmp(file.data, "GGUF", 4) != 0) return EC_BAD_MAGIC;
    if (ec_load_u32(file.data + 4) != 3) return EC_BAD_VERSION;
    *n_infos = ec_load_u64(file.data + 8);
    *n_kv = ec_load_u64(file.data + 16);
    return EC_OK;
}

ec_status ec_gguf_next_string(ec_cursor *cursor, uint64_t max_bytes, ec_slice *text) {
    ec_status status = take_u64(cursor, &text->size);
    if (status != EC_OK) return status;
    if (text->size > max_bytes) return EC_BAD_METADATA;
    return take(cursor, text->size, &text->data);
}

/* Bytes of a number or truth value of that type; 0 for other types. */
static uint32_t scalar_bytes(uint32_t type) {
    switch (type) {
        case EC_GGUF_U8: case EC_GGUF_I8: case EC_GGUF_BOOL: return 1;
        case EC_GGUF_U16: case EC_GGUF_I16: return 2;
        case EC_GGUF_U32: case EC_GGUF_I32: case EC_GGUF_F32: return 4;
        case EC_GGUF_U64: case EC_GGUF_I64: case EC_GGUF_F64: return 8;
        default: return 0;
    }
}

static ec_status next_elements(ec_cursor *cursor, uint32_t type, ec_gguf_value *value) {
    if (type == EC_GGUF_STRING) {
        uint64_t start = cursor->at;
        for (uint64_t i = 0; i < value->count; i++) {
            ec_slice text;
            ec_status status = ec_gguf_next_string(cursor, EC_GGUF_MAX_STRING_BYTES, &text);
            if (status != EC_OK) return status;
        }
        value->bytes.data = cursor->bytes.data + start;
        value->bytes.size = cursor->at - start;
        return EC_OK;
    }
    uint32_t bytes = scalar_bytes(type);
    if (bytes == 0) return EC_BAD_METADATA;
    value->bytes.size = value->count * bytes; /* count <= EC_GGUF_MAX_ARRAY */
    return take(cursor, value->bytes.size, &value->bytes.data);
}

ec_status ec_gguf_next_pair(ec_cursor *cursor, ec_gguf_pair *pair) {
    uint32_t type;
    ec_gguf_value *value = &pair->value;
    ec_status status = ec_gguf_next_string(cursor, EC_GGUF_MAX_KEY_BYTES, &pair->key);
    if (status != EC_OK) return status;
    if (pair->key.size == 0) return EC_BAD_METADATA;
    for (uint64_t i = 0; i < pair->key.size; i++) {
        if (pair->key.data[i] < 0x21 || pair->key.data[i] > 0x7E) return EC_BAD_METADATA;
    }
    status = take_u32(cursor, &type);
    if (status != EC_OK) return status;
    value->kind = type;
    value->count = 1;
    if (type == EC_GGUF_STRING) return ec_gguf_next_string(cursor, EC_GGUF_MAX_STRING_BYTES, &value->bytes);
    if (type != EC_GGUF_ARRAY) return next_elements(cursor, type, value);
    status = take_u32(cursor, &type);
    if (status != EC_OK) return status;
    status = take_u64(cursor, &value->count);
    if (status != EC_OK) return status;
    if (value->count > EC_GGUF_MAX_ARRAY) return EC_BAD_METADATA;
    value->kind = EC_GGUF_ARRAY_OF(type & 0xFFu);
    return type > 0xFFu ? EC_BAD_METADATA : next_elements(cursor, type, value);
}

/* Length of the UTF-8 sequence at p (RFC 3629: shortest form, no surrogates), 0 if there is none. */
static uint64_t utf8_sequence(const uint8_t *p, uint64_t size) {
    uint8_t low = 0x80, high = 0xBF;
    uint64_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;
    if (n < 2) return n;
    if (n > size) return 0;
    if (p[0] == 0xE0) low = 0xA0;
    if (p[0] == 0xED) high = 0x9F;
    if (p[0] == 0xF0) low = 0x90;
    if (p[0] == 0xF4) high = 0x8F;
    if (p[1] < low || p[1] > high) return 0;
    for (uint64_t i = 2; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
    }
    return n;
}

static ec_status check_utf8(ec_slice text) {
    for (uint64_t i = 0; i < text.size;) {
        uint64_t n = utf8_sequence(text.data + i, text.size - i);
        if (n == 0) return EC_BAD_METADATA;
        i += n;
    }
    return EC_OK;
}

ec_status ec_gguf_check_value(const ec_gguf_value *value) {
    if (value->kind == EC_GGUF_STRING) return check_utf8(value->bytes);
    if (value->kind == EC_GGUF_ARRAY_OF(EC_GGUF_STRING)) {
        ec_cursor cursor = {value->bytes, 0};
        for (uint64_t i = 0; i < value->count; i++) {
            ec_slice text;
            ec_status status = ec_gguf_next_string(&cursor, EC_GGUF_MAX_STRING_BYTES, &text);
            if (status == EC_OK) status = check_utf8(text);
            if (status != EC_OK) return status;
        }
    }
    if (value->kind == EC_GGUF_BOOL || value->kind == EC_GGUF_ARRAY_OF(EC_GGUF_BOOL)) {
        for (uint64_t i = 0; i < value->count; i++) {
            if (value->bytes.data[i] > 1) return EC_BAD_METADATA;
        }
    }
    return EC_OK;
}

ec_status ec_gguf_next_info(ec_cursor *cursor, ec_gguf_info *info) {
    uint32_t n_dims;
    ec_status status = ec_gguf_next_string(cursor, EC_GGUF_MAX_NAME_BYTES, &info->name);
    if (status == EC_BAD_METADATA) return EC_BAD_TENSOR;
    if (status == EC_OK) status = take_u32(cursor, &n_dims);
    if (status != EC_OK) return status;
    if (n_dims != 1) return EC_BAD_TENSOR;
    status = take_u64(cursor, &info->size);
    if (status == EC_OK) status = take_u32(cursor, &info->type);
    if (status == EC_OK) status = take_u64(cursor, &info->offset);
    return status;
}
