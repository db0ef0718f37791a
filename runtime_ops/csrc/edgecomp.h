/* edgecomp runtime: reads containers, decodes tensors, multiplies straight from the codes.
 *
 * C99, libc only. Nothing here allocates, prints, exits or keeps global state but the choice of
 * kernels. Everything that comes from a file is checked once, by ec_container_open and
 * ec_container_tensor; the kernels behind ec_decode and ec_gemv then run without checks.
 * The numbers every function returns are specified by runtime_ops/reference, byte for byte.
 */
#ifndef EDGECOMP_H
#define EDGECOMP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the shared library exports; all else in it is hidden by -fvisibility=hidden. */
#define EC_API __attribute__((visibility("default")))

#define EC_MAX_DIMS 8
#define EC_MAX_DIM 4
#define EC_MAX_CLASSES 16
#define EC_MAX_STAGES 8

typedef enum ec_status {
    EC_OK = 0,
    EC_TRUNCATED,     /* the file ends before something it declares */
    EC_BAD_MAGIC,     /* not a GGUF file */
    EC_BAD_VERSION,   /* GGUF version other than 3, or a format version that is not known */
    EC_BAD_METADATA,  /* a key is missing, doubled, of the wrong type, or out of range */
    EC_BAD_TENSOR,    /* a tensor's name, type, shape, size or offset is not the expected one */
    EC_BAD_FORMAT,    /* a codec that is not known, or parameters outside its limits */
    EC_BAD_ARGUMENT,  /* an index or a range outside the tensor, or a null pointer */
    EC_UNSUPPORTED    /* an instruction set that this machine or this build does not have */
} ec_status;

/* One line for a status; never NULL. */
EC_API const char *ec_status_text(ec_status status);

/* ---- tensors ---------------------------------------------------------------------------------- */

typedef enum ec_codec { EC_CODEC_RAW_F32 = 0, EC_CODEC_RAW_F16 = 1, EC_CODEC_WINDING = 2, EC_CODEC_CRVQ = 3,
               EC_CODEC_TRELLIS = 4, EC_CODEC_UNIFORM = 5 } ec_codec;

/* Parameters of the winding codec; the meaning of each is in docs/format.md, "winding". */
typedef struct ec_winding {
    uint32_t dim;                    /* weights per index, 1..4 */
    uint32_t points;                 /* U */
    uint32_t generator[EC_MAX_DIM];  /* A_d */
    uint32_t shift[EC_MAX_DIM];      /* B_d */
    uint32_t levels;                 /* N; a power of two if there is a table */
    uint32_t offset;                 /* 0 or 1 */
    uint32_t centre;                 /* 1: code 0 is the centre node */
    uint32_t classes;                /* M + 1 */
    uint32_t group;                  /* weights per scale, 0: no group scales */
    uint32_t radix_packed;           /* 1: several indices in 64 bits, 0: index_bits each */
    const uint8_t *table;            /* int16 little-endian [levels], or NULL for the linear map */
} ec_winding;

/* Parameters of the crvq codec; docs/format.md, "crvq". */
typedef struct ec_crvq {
    uint32_t dim;                    /* weights in a group: 1, 2, 4, 8 or 16 */
    uint32_t code_bits;              /* e, 1..8: a codebook has 2^e codewords */
    uint32_t stages;                 /* codebooks, 1..8 */
    /* [k]: first groups of a row that have a code in stage k, for k = 1 .. stages - 1 not increasing and
     * maybe 0. Stage 0 has all groups, so [0] is 0, and so are those behind the last stage. */
    uint32_t critical_groups[EC_MAX_STAGES];
    uint32_t shifts[EC_MAX_STAGES];  /* codeword k counts 2^shifts[k], 0..7 */
    uint32_t wide;                   /* 1: int16 codebooks, 0: int8 */
    const uint8_t *codebooks;        /* int8 or int16 little-endian [stages][2^code_bits][dim] */
} ec_crvq;

/* Parameters of the trellis codec; docs/format.md, "trellis". */
typedef struct ec_trellis {
    uint32_t state_bits;             /* L: 8, 10, 12 or 16 */
    uint32_t step_bits;              /* k, 1..8, less than state_bits */
    uint32_t dim;                    /* weights of a step, 1 or 2 */
    uint32_t multipliers[2];         /* odd, below 2^state_bits; [1] is 0 with one weight a step */
    uint32_t fold;                   /* below state_bits; 0: none */
    uint32_t table_bits;             /* 4..12, at most state_bits */
    uint32_t wide;                   /* 1: int16 table, 0: int8 */
    uint32_t rotation;               /* columns that are rotated together, a power of two; 0: none */
    uint32_t seed;                   /* of the rotation's signs; 0 without one */
    const uint8_t *table;            /* int8 or int16 little-endian [2^table_bits] */
} ec_trellis;

/* Parameters of the uniform codec; docs/format.md, "uniform". */
typedef struct ec_uniform {
    uint32_t bits;                   /* of an integer: 2, 4 or 8 */
    uint32_t group;                  /* columns that share a scale, a multiple of 32, 32..65536 */
} ec_uniform;

/* A matrix as one codec stores it. */
typedef struct ec_matrix {
    ec_codec codec;
    uint64_t rows, columns;
    ec_winding winding;              /* only with EC_CODEC_WINDING */
    ec_crvq crvq;                    /* only with EC_CODEC_CRVQ */
    ec_trellis trellis;              /* only with EC_CODEC_TRELLIS */
    ec_uniform uniform;              /* only with EC_CODEC_UNIFORM */
    const uint8_t *codes;            /* raw: the weights, little-endian */
    uint64_t codes_bytes;
    const uint8_t *extended;         /* crvq: codes of stages 1 and up, or NULL without any */
    uint64_t extended_bytes;
    const uint8_t *scales;           /* winding: uint8 [ceil(weights / group)] or NULL; crvq, trellis: float16 [rows];
                                      * uniform: float16 [ceil(rows / 16)][ceil(columns / group)][16] */
    uint64_t scales_bytes;
    const uint8_t *params;           /* float32: winding: centre [dim], class scale [classes]; others: [1] */
    uint64_t params_bytes;
} ec_matrix;

/* A tensor, seen as a matrix of shape[0] rows. Position j of its stored columns is column
 * permutation[j]; the first n_critical positions are the matrix `critical`, all others `rest`. */
typedef struct ec_tensor {
    uint32_t n_dims;
    uint64_t shape[EC_MAX_DIMS];     /* slowest first, as in torch and numpy */
    uint64_t n_weights;              /* product of shape */
    const uint8_t *permutation;      /* uint16 little-endian [columns], or NULL: as they come */
    uint64_t permutation_bytes;
    uint64_t n_critical;             /* columns of `critical`, which counts only if there are any */
    ec_matrix critical;
    ec_matrix rest;
} ec_tensor;

/* Checks a tensor whose fields were filled by hand (shape, codec, parameters, part sizes) and sets
 * n_weights. ec_container_tensor has done this already. */
EC_API ec_status ec_tensor_check(ec_tensor *tensor);

/* ---- kernels ---------------------------------------------------------------------------------- */

/* Instruction sets that kernels exist for in this build and that this machine can run, as bits of
 * 1 << ec_isa. */
typedef enum ec_isa {
    EC_ISA_SCALAR = 0,
    EC_ISA_AVX2,
    EC_ISA_AVX512,       /* F, BW, VL, VBMI and VNNI */
    EC_ISA_NEON,
    EC_ISA_NEON_DOTPROD,
    EC_ISA_NEON_I8MM,
    EC_ISA_NEON_ARMV7,
    EC_ISA_COUNT,        /* grows with new ones */
    EC_ISA_BEST = 0x7FFF /* in calls: the fastest kernel that there is */
} ec_isa;
EC_API uint32_t ec_isa_available(void);
EC_API const char *ec_isa_name(ec_isa isa);
/* The fastest available one. A call with an instruction set takes, for each of its steps, the
 * kernel of that set or else of the next lower one that has it. */
EC_API ec_isa ec_isa_best(void);

/* Writes weights first .. first + count - 1, counted in C order, to out (float32 [count]). */
EC_API ec_status ec_decode(const ec_tensor *tensor, uint64_t first, uint64_t count, float *out, ec_isa isa);

/* Writes rows first_row .. first_row + n_rows - 1 of the tensor seen as a matrix whose row count is
 * shape[0], to out (float32 [n_rows][n_weights / shape[0]]). */
EC_API ec_status ec_decode_rows(const ec_tensor *tensor, uint64_t first_row, uint64_t n_rows, float *out,
                         ec_isa isa);

/* Products take prepared inputs: x in the order of the stored columns (the permutation's), then each
 * matrix's part rotated, if it is. Tensors with the same permutation, number of critical columns and
 * rotations (their sizes and seeds), such as the projections to queries, keys and values, can share them. */

/* Numbers (float32) of n_tokens prepared inputs, n_tokens * d_in; 0 when x is right as it is. */
EC_API uint64_t ec_input_floats(const ec_tensor *tensor, uint64_t n_tokens);

/* Prepares x (float32 [n_tokens][d_in]): prepared is as large and does not overlap it. The numbers are
 * those of reference.prepare; where ec_input_floats says 0, those of x. */
EC_API ec_status ec_input_prepare(const ec_tensor *tensor, const float *x, uint64_t n_tokens, float *prepared,
                                  ec_isa isa);

/* y = W x for the same matrix W (d_out, d_in): x float32 [d_in], prepared, y float32 [n_rows] for rows
 * first_row .. first_row + n_rows - 1. The order of the sums is that of reference.gemv: eight lanes, or
 * tables for large crvq matrices. It does not depend on the range, so that rows may be shared out among
 * threads: calls that write to other rows may run at the same time. */
EC_API ec_status ec_gemv(const ec_tensor *tensor, uint64_t first_row, uint64_t n_rows, const float *x, float *y,
                  ec_isa isa);

/* The same for several tokens: x float32 [n_tokens][d_in], prepared, y float32 [n_tokens][n_rows]. A tile
 * of weights is decoded once for up to 16 tokens. Sums always run in eight lanes (reference.gemm). */
EC_API ec_status ec_gemm(const ec_tensor *tensor, uint64_t first_row, uint64_t n_rows, const float *x,
                  uint64_t n_tokens, float *y, ec_isa isa);

/* ---- products with int8 activations ------------------------------------------------------------ */

/* Columns that share a scale of the activations. */
#define EC_BLOCK 32

/* Whether the weights are integers times scales, which ec_matmul_i8 takes: trellises, uniform integers,
 * codebooks whose sums fit 16 bits, windings without centres and classes. 0 for all others, which ec_gemm takes. */
EC_API int ec_tensor_is_integer(const ec_tensor *tensor);

/* Bytes of n_tokens quantised inputs of such a tensor; 0 when they are too many to count. Tensors that share
 * prepared inputs share these too. */
EC_API uint64_t ec_quantised_bytes(const ec_tensor *tensor, uint64_t n_tokens);

/* Quantises prepared inputs (float32 [n_tokens][d_in]), a block of each matrix at a time: reference.quantise.
 * `quantised` has ec_quantised_bytes and is aligned to 64 of them. */
EC_API ec_status ec_input_quantise(const ec_tensor *tensor, const float *x, uint64_t n_tokens, void *quantised,
                                   ec_isa isa);

/* y = W x for several tokens: y float32 [n_tokens][y_stride], of which the first n_rows of each are written,
 * for rows first_row .. first_row + n_rows - 1: reference.matmul_i8. The result of a row and a token does not
 * depend on the range or the other tokens. */
EC_API ec_status ec_matmul_i8(const ec_tensor *tensor, uint64_t first_row, uint64_t n_rows, const void *quantised,
                              uint64_t n_tokens, float *y, uint64_t y_stride, ec_isa isa);

/* Rows that threads had better share in multiples of: what a call works out for all of its rows is then worth it. */
EC_API uint64_t ec_matmul_step(const ec_tensor *tensor, uint64_t n_tokens);

/* ---- container -------------------------------------------------------------------------------- */

typedef struct ec_slice { const uint8_t *data; uint64_t size; } ec_slice;

/* A container that lies in memory (a mapped file, say). It points into `data`, which must outlive
 * it. The fields are for the reader alone. */
typedef struct ec_container {
    ec_slice file;
    uint64_t n_kv, n_infos;
    uint64_t tensor_keys_offset, infos_offset, data_offset;   /* in bytes from the start of the file */
    uint32_t n_formats, n_tensors;
} ec_container;

/* Checks the whole file: structure, keys, formats, every tensor. No memory is allocated. */
EC_API ec_status ec_container_open(const void *data, size_t size, ec_container *container);

/* Fills `tensor` with the i-th tensor. */
EC_API ec_status ec_container_tensor(const ec_container *container, uint32_t i, ec_tensor *tensor);

/* The i-th tensor's name: UTF-8, not terminated. */
EC_API ec_status ec_container_name(const ec_container *container, uint32_t i, ec_slice *name);

/* Index of the tensor of that name; EC_BAD_ARGUMENT when there is none. */
EC_API ec_status ec_container_find(const ec_container *container, const char *name, size_t name_bytes, uint32_t *i);

/* Value of a string key (for example "edgecomp.settings"); EC_BAD_ARGUMENT when there is none. */
EC_API ec_status ec_container_string(const ec_container *container, const char *key, ec_slice *value);

#ifdef __cplusplus
}
#endif
#endif
