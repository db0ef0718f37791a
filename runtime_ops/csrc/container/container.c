/* Opens a container: everything that ec_container_tensor relies on later is checked here, in one
 * walk over the keys and one over the tensors. docs/format.md is the specification. */
#include "container/container_parts.h"

#include "kernels/kernels.h"
#include "codecs/tensor.h"

#define MAX_INFOS (EC_CONTAINER_MAX_FORMATS + EC_CONTAINER_MAX_PARTS * EC_CONTAINER_MAX_TENSORS)
#define MAX_TENSOR_NAME_BYTES 255

/* What is known half-way. */
typedef struct opening {
    ec_container *container;
    ec_tensor_keys keys;
    ec_gguf_value names, digests;
    ec_format_starts starts;
    ec_payloads payloads;
    uint64_t first_dim;   /* of the next tensor, in keys.dims */
} opening;

/* Every pair by itself, and their order; finds the format version, which is judged first. */
static ec_status check_pairs(const ec_container *c) {
    ec_pairs pairs = ec_pairs_from(c, EC_GGUF_HEADER_BYTES, c->n_kv);
    ec_slice previous = {NULL, 0};
    ec_status version = EC_BAD_METADATA;
    for (uint64_t i = 0; i < c->n_kv; i++) {
        ec_status status = ec_pairs_peek(&pairs);
        if (status == EC_OK) status = ec_gguf_check_value(&pairs.pair.value);
        if (status != EC_OK) return status;
        ec_slice key = pairs.pair.key;
        int is_architecture = ec_slice_is(key, "general.architecture");
        if (is_architecture != (i == 0)) return EC_BAD_METADATA;
        if (i > 1 && ec_slice_compare(previous, key) >= 0) return EC_BAD_METADATA;
        if (ec_slice_is(key, "edgecomp.format_version") && pairs.pair.value.kind == EC_GGUF_U32) {
            version = ec_load_u32(pairs.pair.value.bytes.data) == 1 ? EC_OK : EC_BAD_VERSION;
        }
        previous = key;
        pairs.current = 0;
    }
    return version;
}

/* Keys after edgecomp.writer: whatever they are, none of them may be ours. */
static ec_status check_other_keys(ec_pairs *pairs) {
    int named = 0;
    for (;;) {
        ec_status status = ec_pairs_peek(pairs);
        if (status != EC_OK) return status;
        ec_slice key = pairs->pair.key;
        const ec_gguf_value *value = &pairs->pair.value;
        if (key.size == 0) return named ? EC_OK : EC_BAD_METADATA;
        if (ec_slice_starts(key, "edgecomp.")) return EC_BAD_METADATA;
        if (ec_slice_is(key, "general.name")) {
            if (value->kind != EC_GGUF_STRING) return EC_BAD_METADATA;
            named = 1;
        }
        if (ec_slice_is(key, "general.alignment")) {
            if (value->kind != EC_GGUF_U32) return EC_BAD_METADATA;
            if (ec_load_u32(value->bytes.data) != EC_GGUF_ALIGNMENT) return EC_BAD_METADATA;
        }
        pairs->current = 0;
    }
}

static ec_status take_keys(opening *o) {
    ec_container *c = o->container;
    ec_pairs pairs = ec_pairs_from(c, EC_GGUF_HEADER_BYTES, c->n_kv);
    ec_gguf_value value;
    ec_status status = ec_pairs_take(&pairs, "general.", "architecture", EC_GGUF_STRING, &value);
    if (status != EC_OK) return status;
    if (!ec_slice_is(value.bytes, "edgecomp")) return EC_BAD_METADATA;
    status = ec_formats_take(&pairs, &o->starts, c);
    if (status == EC_OK) status = ec_pairs_take(&pairs, "edgecomp.", "format_version", EC_GGUF_U32, &value);
    while (status == EC_OK) {
        status = ec_pairs_peek(&pairs);
        if (status != EC_OK || !ec_slice_starts(pairs.pair.key, "edgecomp.model.")) break;
        pairs.current = 0;
    }
    if (status == EC_OK) status = ec_pairs_take(&pairs, "edgecomp.", "settings", EC_GGUF_STRING, &value);
    if (status == EC_OK) status = ec_pairs_peek(&pairs);
    if (status != EC_OK) return status;
    c->tensor_keys_offset = pairs.start;
    status = ec_tensor_keys_take(&pairs, &o->keys);
    if (status == EC_OK) {
        status = ec_pairs_take(&pairs, "edgecomp.tensor.", "names", EC_GGUF_ARRAY_OF(EC_GGUF_STRING), &o->names);
    }
    if (status == EC_OK) {
        status = ec_pairs_take(&pairs, "edgecomp.tensor.", "sha256", EC_GGUF_ARRAY_OF(EC_GGUF_STRING), &o->digests);
    }
    if (status == EC_OK) status = ec_pairs_take(&pairs, "edgecomp.", "writer", EC_GGUF_STRING, &value);
    if (status == EC_OK) status = check_other_keys(&pairs);
    c->infos_offset = pairs.cursor.at;
    return status;
}

static ec_status check_counts(opening *o) {
    uint64_t n = o->names.count, n_dims = 0;
    if (n == 0 || n > EC_CONTAINER_MAX_TENSORS) return EC_BAD_METADATA;
    if (o->keys.data_offsets.count != n || o->keys.error_bounds.count != n) return EC_BAD_METADATA;
    if (o->keys.formats.count != n || o->keys.n_dims.count != n || o->digests.count != n) return EC_BAD_METADATA;
    for (uint64_t i = 0; i < n; i++) {
        float bound = ec_load_f32(o->keys.error_bounds.bytes.data + 4 * i);
        if (!(bound >= 0 && bound <= 0x1.fffffep+127f)) return EC_BAD_METADATA;
        if (ec_load_u32(o->keys.formats.bytes.data + 4 * i) >= o->container->n_formats) return EC_BAD_METADATA;
        n_dims += ec_load_u32(o->keys.n_dims.bytes.data + 4 * i);
    }
    o->container->n_tensors = (uint32_t)n;
    return o->keys.dims.count == n_dims ? EC_OK : EC_BAD_METADATA;
}

/* 1 to 255 bytes without control characters (they are UTF-8 already), and not a substitute name. */
static int is_tensor_name(ec_slice name) {
    if (name.size == 0 || name.size > MAX_TENSOR_NAME_BYTES || name.data[0] == '#') return 0;
    for (uint64_t i = 0; i < name.size; i++) {
        uint8_t byte = name.data[i];
        if (byte < 0x20 || byte == 0x7F) return 0;
        if (byte == 0xC2 && name.data[i + 1] < 0xA0) return 0; /* U+0080 to U+009F */
    }
    return 1;
}

static int is_digest(ec_slice text) {
    if (text.size != 64) return 0;
    for (int i = 0; i < 64; i++) {
        uint8_t byte = text.data[i];
        if (!(byte >= '0' && byte <= '9') && !(byte >= 'a' && byte <= 'f')) return 0;
    }
    return 1;
}

static ec_status check_names_and_digests(const opening *o) {
    ec_cursor names = {o->names.bytes, 0}, digests = {o->digests.bytes, 0};
    ec_slice previous = {NULL, 0}, name, digest;
    for (uint32_t i = 0; i < o->container->n_tensors; i++) {
        ec_status status = ec_gguf_next_string(&names, EC_GGUF_MAX_STRING_BYTES, &name);
        if (status == EC_OK) status = ec_gguf_next_string(&digests, EC_GGUF_MAX_STRING_BYTES, &digest);
        if (status != EC_OK) return status;
        if (!is_tensor_name(name) || !is_digest(digest)) return EC_BAD_METADATA;
        if (ec_slice_compare(previous, name) >= 0) return EC_BAD_METADATA;
        previous = name;
    }
    return EC_OK;
}

/* Tensor i: its shape, its parts, and what ec_tensor_check says about them. Tables are not checked
 * again, which would take time for each tensor: that was done once for each format. */
static ec_status check_tensor(opening *o, uint32_t i, ec_slice tensor_name) {
    const ec_container *c = o->container;
    ec_layout layout;
    ec_tensor tensor;
    ec_tensor_parts list;
    uint32_t format = ec_load_u32(o->keys.formats.bytes.data + 4 * (size_t)i);
    ec_status status = ec_tensor_shape(&o->keys, i, o->first_dim, &tensor);
    if (status == EC_OK) status = ec_layout_find(c, &o->starts, format, &layout);
    if (status == EC_OK) status = ec_tensor_layout(&tensor, &layout, &list);
    if (status != EC_OK) return status;
    o->first_dim += tensor.n_dims;
    uint64_t offset = ec_load_u64(o->keys.data_offsets.bytes.data + 8 * (size_t)i);
    if (offset != o->payloads.end) return EC_BAD_TENSOR;
    for (uint32_t k = 0; k < list.n; k++) {
        char name[EC_PAYLOAD_NAME_BYTES];
        ec_payload_name(name, tensor_name, i, &list, k);
        status = ec_payloads_take(&o->payloads, name, &list.parts[k]);
        if (status != EC_OK) return status;
    }
    ec_tensor_place(&tensor, &list, c->file.data + c->data_offset + offset);
    tensor.permutation = NULL;
    tensor.critical.winding.table = tensor.rest.winding.table = NULL;
    return ec_tensor_check(&tensor);
}

static ec_status check_tensors(opening *o) {
    ec_cursor names = {o->names.bytes, 0};
    ec_slice name;
    ec_status status = ec_formats_check(&o->starts, &o->payloads);
    for (uint32_t i = 0; status == EC_OK && i < o->container->n_tensors; i++) {
        status = ec_gguf_next_string(&names, EC_GGUF_MAX_STRING_BYTES, &name);
        if (status == EC_OK) status = check_tensor(o, i, name);
    }
    return status == EC_OK ? ec_payloads_end(&o->payloads) : status;
}

ec_status ec_container_open(const void *data, size_t size, ec_container *container) {
    opening o;
    if (data == NULL || container == NULL) return EC_BAD_ARGUMENT;
    memset(container, 0, sizeof *container);
    memset(&o, 0, sizeof o);
    ec_container c;
    memset(&c, 0, sizeof c);
    c.file.data = data;
    c.file.size = size;
    o.container = &c;
    ec_status status = ec_gguf_header(c.file, &c.n_infos, &c.n_kv);
    if (status != EC_OK) return status;
    if (c.n_kv > EC_GGUF_MAX_KEYS) return EC_BAD_METADATA;
    if (c.n_infos > MAX_INFOS) return EC_BAD_TENSOR;
    status = check_pairs(&c);
    if (status == EC_OK) status = take_keys(&o);
    if (status == EC_OK) status = check_counts(&o);
    if (status == EC_OK) status = check_names_and_digests(&o);
    if (status == EC_OK) status = ec_payloads_begin(&o.payloads, &c);
    if (status == EC_OK) status = check_tensors(&o);
    if (status == EC_OK) *container = c;
    return status;
}
