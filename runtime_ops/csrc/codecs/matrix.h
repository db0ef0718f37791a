/* Decoding of one matrix, whatever its codec, in the order that it is stored in. */
#ifndef EC_MATRIX_H
#define EC_MATRIX_H

#include "kernels/kernels.h"

#define EC_RUN_WEIGHTS (EC_TILE_INDICES * EC_MAX_DIM) /* decoded at a time: 2 KiB; a multiple of EC_LANES */

/* What is done once for a call: kernels chosen, parameters made ready. */
typedef struct ec_decoder {
    const ec_matrix *matrix;
    int unscaled;            /* 1: weights come without their scales: integers, where they are */
    ec_kernels kernels;
    ec_winding_plan winding; /* of a winding */
    ec_crvq_plan crvq;       /* of a crvq matrix */
    ec_trellis_plan trellis; /* of a trellis */
} ec_decoder;

/* Some columns of some rows of a matrix. */
typedef struct ec_region {
    uint64_t row, n_rows;
    uint64_t column, n_columns;
} ec_region;

/* EC_UNSUPPORTED when this machine or build lacks the instruction set. */
ec_status ec_decoder_start(const ec_matrix *matrix, ec_isa isa, ec_decoder *decoder);

/* Writes the weights of a region, as they are stored: those of a rotated matrix are still rotated. Row i of
 * it goes to out + i * stride. */
void ec_decoder_run(ec_decoder *decoder, const ec_region *region, float *out, size_t stride);

/* The same, un-rotated: the weights as the tensor has them. */
void ec_decoder_weights(ec_decoder *decoder, const ec_region *region, float *out, size_t stride);

/* The two steps of a codec, for ec_decoder_start and ec_decoder_run. Weights are counted row by row where
 * they are counted. */
void ec_winding_start(const ec_matrix *matrix, ec_winding_plan *plan);
void ec_winding_decode(ec_decoder *decoder, uint64_t first, uint64_t count, float *out);
void ec_crvq_start(const ec_matrix *matrix, ec_crvq_plan *plan);
void ec_crvq_decode(const ec_decoder *decoder, uint64_t first, uint64_t count, float *out);
void ec_trellis_start(const ec_matrix *matrix, ec_trellis_plan *plan);
void ec_trellis_decode(const ec_decoder *decoder, const ec_region *region, float *out, size_t stride);
void ec_uniform_decode(const ec_decoder *decoder, const ec_region *region, float *out, size_t stride);

/* Columns that are rotated together, 0: none. */
uint32_t ec_rotation(const ec_matrix *matrix);

/* The signs of columns first .. first + n - 1 of a rotated matrix: 0x80 where it flips, else 0. */
void ec_rotation_signs(const ec_matrix *matrix, uint64_t first, size_t n, uint8_t *signs);

/* Flips the signs of x (float32 [n]). */
void ec_flip(float *x, size_t n, const uint8_t *signs);

/* How many stages cover a group of a row: the first ones. */
static inline uint32_t ec_crvq_group_stages(const ec_crvq_plan *plan, uint64_t group) {
    uint32_t n = 1;
    while (n < plan->stages && group < plan->groups[n]) n++;
    return n;
}

/* The factor of a group of a winding by its byte. */
float ec_winding_factor(uint8_t byte);

/* The scale of a row of a crvq matrix or a trellis. */
float ec_row_scale(const ec_matrix *matrix, uint64_t row);

/* The same as a decoder applies it. */
static inline float ec_decoder_scale(const ec_decoder *decoder, uint64_t row) {
    return decoder->unscaled ? 1.0f : ec_row_scale(decoder->matrix, row);
}

float ec_half_to_float(uint16_t half);

#endif
