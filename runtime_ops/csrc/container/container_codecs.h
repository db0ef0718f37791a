/* What a container holds for each codec: the keys of its formats, its table and its parts. A new
 * codec is one more row in container_codecs.c; docs/format.md, "Formats" and "Payloads". */
#ifndef EC_CONTAINER_CODECS_H
#define EC_CONTAINER_CODECS_H

#include "container/container_keys.h"

/* Parts of a matrix at most, by codec and of any; a tensor is at most two matrices. */
enum { EC_RAW_PARTS = 1, EC_WINDING_PARTS = 3, EC_CRVQ_PARTS = 4, EC_TRELLIS_PARTS = 3, EC_UNIFORM_PARTS = 3 };
#define EC_MAX(a, b) ((a) > (b) ? (a) : (b))
#define EC_CONTAINER_MAX_PARTS \
    (2 * EC_MAX(EC_MAX(EC_RAW_PARTS, EC_WINDING_PARTS), \
                EC_MAX(EC_CRVQ_PARTS, EC_MAX(EC_TRELLIS_PARTS, EC_UNIFORM_PARTS))))

/* Which pointer of ec_matrix a part becomes. */
typedef enum ec_part_field { EC_PART_CODES, EC_PART_EXTENDED, EC_PART_SCALES, EC_PART_PARAMS } ec_part_field;

/* A payload: a one-dimensional GGUF tensor. */
typedef struct ec_part {
    const char *name;
    uint32_t type;       /* EC_GGUF_TENSOR_* */
    uint64_t size;       /* elements */
    uint64_t bytes;
    ec_part_field field; /* of a matrix */
} ec_part;

/* Parameters of the codec `columns`. */
typedef struct ec_columns {
    uint32_t permuted;             /* columns that are reordered, 0: none */
    const uint8_t *permutation;    /* uint16 [permuted], or NULL */
    uint32_t n_critical;           /* first columns, in a format of their own */
    uint32_t formats[2], n_formats;
} ec_columns;

typedef struct ec_codec_row ec_codec_row;

/* A format: its codec and the values of its keys edgecomp.format.<i>.* */
typedef struct ec_format {
    const ec_codec_row *row;
    ec_codec codec;
    uint32_t table_number;         /* 0: none */
    ec_part table;                 /* what it must look like */
    ec_winding winding;
    ec_crvq crvq;
    ec_trellis trellis;
    ec_uniform uniform;
    ec_columns columns;
} ec_format;

struct ec_codec_row {
    const char *name;
    /* Takes all keys of the format, the first of which is at hand; sets codec, parameters and table,
     * and checks all of them but the table's contents. */
    ec_status (*take_keys)(ec_pairs *pairs, const char *prefix, ec_format *format);
    /* Says where the table lies; NULL for a codec that has none. */
    void (*set_table)(ec_format *format, const uint8_t *data);
    /* Checks a table's contents; NULL where they are free. */
    ec_status (*check_table)(const ec_format *format);
    /* The parts of a matrix in file order; returns how many, 0 if the format does not fit. NULL for
     * a format that is made of others. */
    uint32_t (*list_parts)(const ec_format *format, uint64_t rows, uint64_t columns, ec_part parts[]);
};

/* Takes the keys of format i, the first of which is at hand; EC_BAD_FORMAT when its codec is not
 * known or its parameters are outside their limits. */
ec_status ec_format_take(ec_pairs *pairs, uint32_t i, ec_format *format);

#endif
