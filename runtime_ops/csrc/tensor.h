/* Sizes that follow from a winding's parameters (docs/format.md); all below 2^29. */
#ifndef EC_TENSOR_H
#define EC_TENSOR_H

#include "edgecomp.h"

uint32_t ec_winding_codes(const ec_winding *winding);      /* codes per class */
uint32_t ec_winding_radix(const ec_winding *winding);      /* different indices */
uint32_t ec_winding_index_bits(const ec_winding *winding); /* bits of an index, bit-packed */
uint32_t ec_winding_digits(const ec_winding *winding);     /* indices in 64 bits, radix-packed */

#endif
