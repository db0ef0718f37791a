/* Sizes and limits that follow from a format's parameters (docs/format.md). */
#ifndef EC_TENSOR_H
#define EC_TENSOR_H

#include "edgecomp.h"

#define EC_MAX_WEIGHTS (UINT64_C(1) << 40)

uint32_t ec_winding_codes(const ec_winding *winding);      /* codes per class */
uint32_t ec_winding_radix(const ec_winding *winding);      /* different indices */
uint32_t ec_winding_index_bits(const ec_winding *winding); /* bits of an index, bit-packed */
uint32_t ec_winding_digits(const ec_winding *winding);     /* indices in 64 bits, radix-packed */

/* Bytes of the part "codes" of n_weights weights, at most EC_MAX_WEIGHTS. */
uint64_t ec_winding_codes_bytes(const ec_winding *winding, uint64_t n_weights);

/* EC_BAD_FORMAT unless all parameters are inside their limits, and the table, if any, ascends. */
ec_status ec_winding_check(const ec_winding *winding);

/* EC_BAD_FORMAT unless all parameters are inside their limits. Codebooks may hold anything and are
 * not looked at. */
ec_status ec_crvq_check(const ec_crvq *crvq);

uint64_t ec_crvq_groups(const ec_crvq *crvq, uint64_t columns); /* groups of a row */

/* Whether a row of that many columns has all critical groups. */
int ec_crvq_fits(const ec_crvq *crvq, uint64_t columns);

/* Bytes of the parts "codes" and "extended" of a matrix of at most EC_MAX_WEIGHTS weights that the
 * parameters, which are inside their limits, fit: then none of these overflows. */
uint64_t ec_crvq_codes_bytes(const ec_crvq *crvq, uint64_t rows, uint64_t columns);
uint64_t ec_crvq_extended_bytes(const ec_crvq *crvq, uint64_t rows);

/* Whether the product of a matrix of that many rows with a vector goes by tables; a rule of shape
 * alone, the same as CrvqFormat.uses_table. */
int ec_crvq_uses_table(const ec_crvq *crvq, uint64_t rows);

/* EC_BAD_FORMAT unless all parameters are inside their limits. The table may hold anything and is not
 * looked at. */
ec_status ec_trellis_check(const ec_trellis *trellis);

/* Whether the rotation, if there is one, divides that many columns. */
int ec_trellis_fits(const ec_trellis *trellis, uint64_t columns);

/* Bytes of a tile, of a band, and of the part "codes" of a matrix of at most EC_MAX_WEIGHTS weights;
 * with parameters inside their limits none of these overflows. */
uint64_t ec_trellis_tile_bytes(const ec_trellis *trellis);
uint64_t ec_trellis_band_bytes(const ec_trellis *trellis, uint64_t columns);
uint64_t ec_trellis_codes_bytes(const ec_trellis *trellis, uint64_t rows, uint64_t columns);

/* EC_BAD_FORMAT unless all parameters are inside their limits. */
ec_status ec_uniform_check(const ec_uniform *uniform);

/* Bytes of a tile, of a band, and of the part "codes", groups of a row, and numbers in the part "scales" of a
 * matrix of at most EC_MAX_WEIGHTS weights; with parameters inside their limits none of these overflows. */
uint64_t ec_uniform_tile_bytes(const ec_uniform *uniform);
uint64_t ec_uniform_band_bytes(const ec_uniform *uniform, uint64_t columns);
uint64_t ec_uniform_codes_bytes(const ec_uniform *uniform, uint64_t rows, uint64_t columns);
uint64_t ec_uniform_groups(const ec_uniform *uniform, uint64_t columns);
uint64_t ec_uniform_scales(const ec_uniform *uniform, uint64_t rows, uint64_t columns);

/* EC_BAD_FORMAT unless `order` (uint16 [columns]) holds every number below `columns` once. */
ec_status ec_permutation_check(const uint8_t *order, uint64_t columns);

/* Checks a range of rows of a tensor seen as a matrix, and tells its columns. */
ec_status ec_row_range(const ec_tensor *tensor, uint64_t first_row, uint64_t n_rows, uint64_t *columns);

#endif
