/* Decoding of one matrix, whatever its codec, in the order that it is stored in. */
#ifndef EC_MATRIX_H
#define EC_MATRIX_H

#include "kernels.h"

#define EC_TILE_WEIGHTS (EC_TILE_INDICES * EC_MAX_DIM) /* decoded at a time: 2 KiB; a multiple of EC_LANES */

/* What is done once for a call: kernels chosen, parameters made ready. */
typedef struct ec_decoder {
    const ec_matrix *matrix;
    ec_kernels kernels;
    ec_winding_plan winding; /* of a winding */
    ec_crvq_plan crvq;       /* of a crvq matrix */
} ec_decoder;

/* EC_UNSUPPORTED when this machine or build lacks the instruction set. */
ec_status ec_decoder_start(const ec_matrix *matrix, ec_isa isa, ec_decoder *decoder);

/* Writes weights first .. first + count - 1 of the matrix, counted row by row, to out. */
void ec_decoder_run(ec_decoder *decoder, uint64_t first, uint64_t count, float *out);

/* The two steps of a codec, for ec_decoder_start and ec_decoder_run. */
void ec_winding_start(const ec_matrix *matrix, ec_winding_plan *plan);
void ec_winding_decode(ec_decoder *decoder, uint64_t first, uint64_t count, float *out);
void ec_crvq_start(const ec_matrix *matrix, ec_crvq_plan *plan);
void ec_crvq_decode(const ec_decoder *decoder, uint64_t first, uint64_t count, float *out);

/* How many stages cover a group of a row: the first ones. */
static inline uint32_t ec_crvq_group_stages(const ec_crvq_plan *plan, uint64_t group) {
    uint32_t n = 1;
    while (n < plan->stages && group < plan->groups[n]) n++;
    return n;
}

/* The scale of a row of a crvq matrix. */
float ec_crvq_row_scale(const ec_matrix *matrix, uint64_t row);

float ec_half_to_float(uint16_t half);

#endif
