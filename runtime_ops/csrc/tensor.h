/* Sizes that follow from a winding's parameters (docs/format.md). */
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

#endif
