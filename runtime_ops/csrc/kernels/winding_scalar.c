/* Winding kernels in plain C, for every machine; the other instruction sets do the same steps. */
#include "kernels/kernels.h"

static inline int32_t point_value(const ec_winding_plan *plan, uint32_t k, uint32_t d) {
    uint32_t angle = k * plan->generator[d] + plan->shift[d]; /* modulo 2^32: the winding */
    if (plan->table != NULL) {
        return (int16_t)ec_load_u16(plan->table + 2 * (size_t)(angle >> plan->table_shift));
    }
    uint32_t x = (uint32_t)(((uint64_t)angle * plan->levels) >> 32);
    return (int32_t)(2 * x) + plan->bias;
}

void ec_decode_f32_wd_scalar(const ec_winding_plan *plan, const uint32_t *indices, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        uint32_t code = indices[i];
        uint32_t class_index = 0;
        for (uint32_t j = 1; j < plan->classes && code >= plan->codes; j++) {
            code -= plan->codes;
            class_index = j;
        }
        float scale = plan->class_scale[class_index];
        uint32_t at_centre = plan->centre & (code == 0);
        uint32_t k = code - plan->centre;
        for (uint32_t d = 0; d < plan->dim; d++) {
            int32_t v = at_centre ? 0 : point_value(plan, k, d);
            out[i * plan->dim + d] = plan->centre_point[d] + scale * (float)v;
        }
    }
}
