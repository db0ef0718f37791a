/* What a container holds for each codec: the keys of its formats, its table and its parts. A new
 * codec is one more row in container_codecs.c; docs/format.md, "Formats" and "Payloads". */
#ifndef EC_CONTAINER_CODECS_H
#define EC_CONTAINER_CODECS_H

#include "container_keys.h"

/* Parts of a tensor at most, by codec and of any. */
enum { EC_RAW_PARTS = 1, EC_WINDING_PARTS = 3 };
#define EC_MAX(a, b) ((a) > (b) ? (a) : (b))
#define EC_CONTAINER_MAX_PARTS EC_MAX(EC_RAW_PARTS, EC_WINDING_PARTS)

/* Which pointer of ec_tensor a part becomes. */
typedef enum ec_part_field { EC_PART_CODES, EC_PART_SCALES, EC_PART_PARAMS } ec_part_field;

/* A payload: a one-dimensional GGUF tensor. */
typedef struct ec_part {
    const char *name;
    uint32_t type;       /* EC_GGUF_TENSOR_* */
    uint64_t size;       /* elements */
    uint64_t bytes;
    ec_part_field field; /* of a tensor's part */
} ec_part;

typedef struct ec_codec_row ec_codec_row;

/* A format: its codec and the values of its keys edgecomp.format.<i>.* */
typedef struct ec_format {
    const ec_codec_row *row;
    ec_codec codec;
    ec_part table;       /* size 0: none */
    ec_winding winding;
} ec_format;

struct ec_codec_row {
    const char *name;
    /* Takes all keys of the format, the first of which is at hand; sets codec, parameters and table,
     * and checks all of them but the table's contents. */
    ec_status (*take_keys)(ec_pairs *pairs, const char *prefix, ec_format *format);
    /* Says where the table lies, and checks it; NULL for a codec that has none. */
    void (*set_table)(ec_format *format, const uint8_t *data);
    ec_status (*check)(const ec_format *format);
    /* The parts of a tensor in file order; returns how many. */
    uint32_t (*list_parts)(const ec_format *format, uint64_t n_weights, ec_part parts[]);
};

/* Takes the keys of format i, the first of which is at hand; EC_BAD_FORMAT when its codec is not
 * known or its parameters are outside their limits. */
ec_status ec_format_take(ec_pairs *pairs, uint32_t i, ec_format *format);

#endif
