/* What the kernels of every instruction set share: their arguments and how they are chosen. */
#ifndef EC_KERNELS_H
#define EC_KERNELS_H

#include <string.h>

#include "edgecomp.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "edgecomp reads its little-endian containers in place: this needs a little-endian machine"
#endif

#if defined(__x86_64__)
#define EC_ARCH_X86 1
#elif defined(__aarch64__)
#define EC_ARCH_AARCH64 1
/* Functions with instructions that the build does not ask for: GCC, and clang from 16 on, have their intrinsics. */
#if !defined(__clang__) || __clang_major__ >= 16
#define EC_HAVE_NEON_DOTPROD 1
#define EC_HAVE_NEON_I8MM 1
#endif
#elif defined(__arm__)
#define EC_ARCH_ARMV7 1
/* GCC compiles NEON in one file on request (winding_neon.c); clang only for a target that has it. */
#if defined(__ARM_NEON) || !defined(__clang__)
#define EC_HAVE_NEON_ARMV7 1
#endif
#endif

#define EC_LANES 8          /* partial sums of a dot product, part of its specification */
#define EC_TILE_INDICES 128 /* indices unpacked at a time: 512 bytes, and at most 2 KiB of weights */
#define EC_TABLE_DIM 8      /* weights in a group, and */
#define EC_TABLE_SIZE 256   /* codewords of a codebook, where products go by tables */
#define EC_BAND_ROWS 16     /* rows and */
#define EC_STRIP_COLUMNS 4  /* columns of a trellis's tile; a band is the tiles of 16 rows */
#define EC_MAX_ROTATION 4096 /* columns that are rotated together */
#define EC_TILE_WEIGHTS (EC_BAND_ROWS * EC_STRIP_COLUMNS)
#define EC_TILE_SLACK 16    /* bytes behind tiles that kernels may read */
#define EC_BLOCK_TILES (EC_BLOCK / EC_STRIP_COLUMNS)
#define EC_BLOCK_WEIGHTS (EC_BLOCK_TILES * EC_TILE_WEIGHTS) /* of a band */
#define EC_STATES 256       /* of a trellis whose states are bytes */

/* A winding made ready for the kernels: derived sizes, parameters in registers' width. */
typedef struct ec_winding_plan {
    uint32_t dim;
    uint32_t generator[EC_MAX_DIM];
    uint32_t shift[EC_MAX_DIM];
    uint32_t levels;
    int32_t bias;            /* offset - levels: the linear map is 2 x + bias */
    const uint8_t *table;    /* int16 [levels], or NULL */
    uint32_t table_shift;    /* 32 - log2(levels), with a table */
    uint32_t centre;         /* 1: code 0 is the centre node */
    uint32_t classes;
    uint32_t codes;          /* codes per class */
    uint32_t radix;          /* different indices */
    uint32_t index_bits;     /* bits of an index, bit-packed */
    uint32_t digits;         /* indices in 64 bits, radix-packed; 0: bit-packed */
    float centre_point[EC_MAX_DIM];
    float class_scale[EC_MAX_CLASSES]; /* already times the group's factor */
} ec_winding_plan;

/* A crvq matrix made ready for the kernels. */
typedef struct ec_crvq_plan {
    uint32_t dim;
    uint32_t dim_bits;                 /* log2(dim) */
    uint32_t code_bits;
    uint32_t stages;
    uint32_t wide;                     /* 1: int16 codebooks, 0: int8 */
    uint64_t groups[EC_MAX_STAGES];    /* of a row that the stage covers, not increasing; 0: no such stage */
    uint64_t row_bytes[EC_MAX_STAGES]; /* of a row of its codes */
    const uint8_t *planes[EC_MAX_STAGES]; /* its codes */
    uint32_t shifts[EC_MAX_STAGES];
    const uint8_t *codebooks[EC_MAX_STAGES];
} ec_crvq_plan;

/* A trellis made ready for the kernels. The state of element i of a tile, counted row by row, begins at
 * bit bits[i] of the tile: s are the state_bits bits from there on, and the top table_bits of
 * (s ^ s >> fold) * multipliers[i % 2] are the place in the table. */
typedef struct ec_trellis_plan {
    uint32_t state_bits;
    uint32_t fold;           /* 31 for none: no bit of a state is that high */
    uint32_t multipliers[2]; /* times 2^(32 - state_bits): the angle lies in the top bits */
    uint32_t table_bits;
    uint32_t wide;           /* 1: int16 table, 0: int8 */
    const uint8_t *table;
    uint16_t bits[EC_TILE_WEIGHTS];
    uint64_t tile_bytes, band_bytes;
    uint32_t step_bits, dim;
    int8_t by_state[2][EC_STATES]; /* value of weight d of a step by its state: states of 8 bits, int8 table */
} ec_trellis_plan;

/* Some tiles of a band, and where their weights go. */
typedef struct ec_tiles {
    const ec_trellis_plan *plan;
    const uint8_t *codes;    /* n tiles, one behind the other; EC_TILE_SLACK bytes behind them can be read */
    size_t n;
    const float *scales;     /* [16] */
    float *out;              /* [16][stride] */
    size_t stride;
} ec_tiles;

/* Writes 4 n weights of each of 16 rows: table entries times the row's scale. */
typedef void ec_decode_f32_tr_fn(const ec_tiles *tiles);

/* Writes the table's entries for n tiles, tile after tile in the order of elements (int8 [n][16][4]), without
 * scales; of int8 tables. EC_TILE_SLACK bytes behind the tiles can be read. */
typedef void ec_decode_i8_tr_fn(const ec_trellis_plan *plan, const uint8_t *codes, size_t n, int8_t *out);

/* Some blocks of a band's weights and some tokens' activations. */
typedef struct ec_band_i8 {
    const int8_t *w;         /* [n_blocks][EC_BLOCK_TILES][16][4]: dots_i8 */
    const int16_t *w16;      /* likewise: dots_i16 */
    const float *w_scales;   /* [n_blocks][16], or NULL */
    size_t n_blocks;
    const int8_t *x;         /* [n_tokens][x_stride], EC_BLOCK to a block, -127 .. 127 */
    const float *x_scales;   /* [n_tokens][scale_stride]: 0, NaN, or from 2^-67 on */
    const int32_t *x_sums;   /* [n_tokens][scale_stride]: of the block's x */
    size_t x_stride, scale_stride, n_tokens;
    float *sums;             /* [n_tokens][16] */
} ec_band_i8;

/* For each token t and block b, ascending, adds float(isum) * s to sums[t][r]: isum is the sum of the block's
 * w * x in row r, s is x_scales[t][b], times w_scales[b][r] if there are any. */
typedef void ec_dots_i8_fn(const ec_band_i8 *band);
typedef void ec_dots_i16_fn(const ec_band_i8 *band);

/* The same for one token and weights that are n_blocks * EC_BLOCK_TILES tiles of a trellis with an int8 table,
 * as ec_decode_i8_tr_fn reads them; for n_bands bands, whose codes lie plan->band_bytes apart. Their sums are
 * [n_bands][16]; with block scales there is one band. */
typedef void ec_gemv_i8_tr_fn(const ec_trellis_plan *plan, const uint8_t *codes, const ec_band_i8 *band,
                              size_t n_bands);

/* Quantises n float32, in blocks of EC_BLOCK, the last one filled up with zeros: values, a scale and the sum
 * of the values for each block. */
typedef void ec_quantise_i8_fn(const float *x, size_t n, int8_t *values, float *scales, int32_t *sums);

/* Multiplies x (float32 [n]) with a Hadamard matrix, n a power of two, at least 2: in rounds with h = 1, 2,
 * 4 .. n / 2, the numbers a and b that are h apart become a + b and a - b. */
typedef void ec_hadamard_f32_fn(float *x, size_t n);

/* Writes the dim weights of each of n groups of a row to out (float32 [n][dim]): scale times the sum
 * of a codeword from each of the first n_stages codebooks; codes[k] are the n codes of stage k, each
 * in a byte and below 2^code_bits. */
typedef void ec_decode_f32_cb_fn(const ec_crvq_plan *plan, const uint8_t *const *codes, uint32_t n_stages, size_t n,
                                 float scale, float *out);

/* Writes the products of x (float32 [EC_TABLE_DIM]) with all codewords of a codebook to table (float32
 * [EC_TABLE_SIZE]): x_0 C_0 + x_1 C_1 + .., added in that order, without fused multiply-add. Codewords
 * are float32 [EC_TABLE_DIM][EC_TABLE_SIZE]. */
typedef void ec_table_f32_cb_fn(const float *codewords, const float *x, float *table);

/* Adds n table entries to every y[row], one by one: tables[j][code j of the row], j ascending. Tables
 * are float32 [n][EC_TABLE_SIZE]; row r has its n codes from codes + r * stride on. */
typedef void ec_lookup_f32_cb_fn(const float *tables, size_t n, const uint8_t *codes, size_t stride, size_t n_rows,
                                 float *y);

/* Writes the products of x (int8 [EC_TABLE_DIM]) with all codewords of a codebook (int8 [EC_TABLE_SIZE]
 * [EC_TABLE_DIM]), times 2^shift, to table (int32 [EC_TABLE_SIZE]). */
typedef void ec_table_i32_cb_fn(const int8_t *codewords, uint32_t shift, const int8_t *x, int32_t *table);

/* Rows whose codes are looked up, block by block. */
typedef struct ec_lookup_i32 {
    const int32_t *tables;   /* [n][EC_TABLE_SIZE] */
    const uint32_t *ends;    /* [n_blocks]: tables up to the end of each block, n for the last */
    const float *scales;     /* [n_blocks], of the activations */
    size_t n_blocks;
    const uint8_t *codes;    /* row r has its n codes from codes + r * stride on */
    size_t stride, n_rows;
    float *y;                /* [n_rows] */
} ec_lookup_i32;

/* For each row and block adds float(isum) * scale to y, isum the sum of the block's table entries. */
typedef void ec_lookup_i32_cb_fn(const ec_lookup_i32 *work);

/* Writes the dim weights of each of n indices to out (float32 [n][dim]). */
typedef void ec_decode_f32_wd_fn(const ec_winding_plan *plan, const uint32_t *indices, size_t n, float *out);

/* Some rows of weights and some tokens' activations, each with each. */
typedef struct ec_dots {
    size_t n;                         /* weights of a row */
    const float *w;                   /* [n_rows][w_stride] */
    size_t w_stride, n_rows;
    const float *x;                   /* [n_tokens][x_stride] */
    size_t x_stride, n_tokens;
    float (*lanes)[EC_LANES];         /* [n_rows][n_tokens] */
} ec_dots;

/* Adds w[j] * x[j] to lane j mod EC_LANES of every row and token, j ascending, without fused
 * multiply-add. */
typedef void ec_dots_f32_f32_fn(const ec_dots *dots);

typedef struct ec_kernels {
    ec_decode_f32_wd_fn *decode_f32_wd;
    ec_decode_f32_cb_fn *decode_f32_cb;
    ec_table_f32_cb_fn *table_f32_cb;
    ec_lookup_f32_cb_fn *lookup_f32_cb;
    ec_decode_f32_tr_fn *decode_f32_tr;
    ec_hadamard_f32_fn *hadamard_f32;
    ec_dots_f32_f32_fn *dots_f32_f32;
    ec_table_i32_cb_fn *table_i32_cb;
    ec_lookup_i32_cb_fn *lookup_i32_cb;
    ec_quantise_i8_fn *quantise_i8;
    ec_decode_i8_tr_fn *decode_i8_tr;
    ec_gemv_i8_tr_fn *gemv_i8_tr;
    ec_dots_i8_fn *dots_i8;
    ec_dots_i16_fn *dots_i16;
} ec_kernels;

/* The kernels for an instruction set, or for EC_ISA_BEST; 0 when this machine or build lacks it. */
int ec_kernels_for(ec_isa isa, ec_kernels *kernels);

#define EC_KERNEL(operation, isa) ec_##operation##_fn ec_##operation##_##isa;
#include "kernels/kernels.inc"
#undef EC_KERNEL

static inline uint16_t ec_load_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t ec_load_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t ec_load_u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline float ec_load_f32(const uint8_t *p) { float v; memcpy(&v, p, 4); return v; }

#endif
