/* The structure of a GGUF file: pairs of key and value, then tensor infos. Nothing here knows what
 * they mean; docs/format.md, "File" and "Limits", is the specification. */
#ifndef EC_GGUF_H
#define EC_GGUF_H

#include "edgecomp.h"

#define EC_GGUF_HEADER_BYTES 24
#define EC_GGUF_ALIGNMENT 32
#define EC_GGUF_MAX_HEADER (UINT64_C(1) << 26) /* all that comes before the tensor data */
#define EC_GGUF_MAX_KEYS 32768
#define EC_GGUF_MAX_KEY_BYTES 255
#define EC_GGUF_MAX_STRING_BYTES (UINT64_C(1) << 24)
#define EC_GGUF_MAX_ARRAY (UINT64_C(1) << 20)
#define EC_GGUF_MAX_NAME_BYTES 63

/* Value types by GGUF's numbers; an array's kind is EC_GGUF_ARRAY_OF its element type. */
enum {
    EC_GGUF_U8 = 0, EC_GGUF_I8, EC_GGUF_U16, EC_GGUF_I16, EC_GGUF_U32, EC_GGUF_I32, EC_GGUF_F32,
    EC_GGUF_BOOL, EC_GGUF_STRING, EC_GGUF_ARRAY, EC_GGUF_U64, EC_GGUF_I64, EC_GGUF_F64
};
#define EC_GGUF_ARRAY_OF(type) (0x100u | (uint32_t)(type))

/* Tensor types by GGUF's numbers: those that a container uses. */
enum { EC_GGUF_TENSOR_F32 = 0, EC_GGUF_TENSOR_F16 = 1, EC_GGUF_TENSOR_I8 = 24, EC_GGUF_TENSOR_I16 = 25 };

/* A place in bytes that are read in order. */
typedef struct ec_cursor {
    ec_slice bytes;
    uint64_t at;
} ec_cursor;

typedef struct ec_gguf_value {
    uint32_t kind;       /* a type, or EC_GGUF_ARRAY_OF one */
    uint64_t count;      /* elements; 1 unless an array */
    ec_slice bytes;      /* a string's text; otherwise the elements as they lie in the file */
} ec_gguf_value;

typedef struct ec_gguf_pair {
    ec_slice key;
    ec_gguf_value value;
} ec_gguf_pair;

typedef struct ec_gguf_info {
    ec_slice name;
    uint64_t size;       /* elements: every tensor of a container has one dimension */
    uint32_t type;
    uint64_t offset;     /* from the start of the tensor data, in bytes */
} ec_gguf_info;

/* Magic, version and the two counts; leaves them unchanged on failure. */
ec_status ec_gguf_header(ec_slice file, uint64_t *n_infos, uint64_t *n_kv);

/* The next pair: its key is 1..255 bytes of printable ASCII, its extent lies in the bytes. */
ec_status ec_gguf_next_pair(ec_cursor *cursor, ec_gguf_pair *pair);

/* What ec_gguf_next_pair leaves out: strings are UTF-8, truth values are 0 or 1. */
ec_status ec_gguf_check_value(const ec_gguf_value *value);

/* The next tensor info. */
ec_status ec_gguf_next_info(ec_cursor *cursor, ec_gguf_info *info);

/* The next string: its length, then its bytes. */
ec_status ec_gguf_next_string(ec_cursor *cursor, uint64_t max_bytes, ec_slice *text);

/* -1, 0 or 1 as a sorts before, with or after b, compared as unsigned bytes. */
int ec_slice_compare(ec_slice a, ec_slice b);

static inline uint64_t ec_gguf_align(uint64_t n) {
    return (n + EC_GGUF_ALIGNMENT - 1) / EC_GGUF_ALIGNMENT * EC_GGUF_ALIGNMENT;
}

#endif
