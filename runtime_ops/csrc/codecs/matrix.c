/* One matrix: its codec's decoder, and weights that are stored as they are. */
#include "codecs/matrix.h"

float ec_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 0x1Fu, mantissa = half & 0x3FFu, bits;
    if (exponent == 31) {
        bits = sign | 0x7F800000u | mantissa << 13;
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else if (mantissa == 0) {
        bits = sign;
    } else { /* subnormal: normal in float32 */
        exponent = 113;
        while ((mantissa & 0x400u) == 0) {
            mantissa <<= 1;
            exponent--;
        }
        bits = sign | exponent << 23 | (mantissa & 0x3FFu) << 13;
    }
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

ec_status ec_decoder_start(const ec_matrix *matrix, ec_isa isa, ec_decoder *decoder) {
    decoder->matrix = matrix;
    decoder->unscaled = 0;
    if (!ec_kernels_for(isa, &decoder->kernels)) return EC_UNSUPPORTED;
    if (matrix->codec == EC_CODEC_WINDING) ec_winding_start(matrix, &decoder->winding);
    if (matrix->codec == EC_CODEC_CRVQ) ec_crvq_start(matrix, &decoder->crvq);
    if (matrix->codec == EC_CODEC_TRELLIS) ec_trellis_start(matrix, &decoder->trellis);
    return EC_OK;
}

float ec_row_scale(const ec_matrix *m, uint64_t row) {
    return ec_half_to_float(ec_load_u16(m->scales + 2 * row)) * ec_load_f32(m->params);
}

/* What ec_half_to_float does, without branches, so that compilers take several at a time. */
static void halves_to_floats(const uint8_t *restrict halves, uint64_t n, float *restrict out) {
    for (uint64_t i = 0; i < n; i++) {
        uint32_t half = ec_load_u16(halves + 2 * i), magnitude = half & 0x7FFFu, bits;
        uint32_t is_small = 0 - (uint32_t)(magnitude < 0x400u), is_special = 0 - (uint32_t)(magnitude >= 0x7C00u);
        float subnormal = (float)(int32_t)magnitude * 0x1p-24f;
        memcpy(&bits, &subnormal, sizeof bits);
        uint32_t normal = (magnitude << 13) + (UINT32_C(112) << 23) + (is_special & UINT32_C(112) << 23);
        bits = (bits & is_small) | (normal & ~is_small) | (half & 0x8000u) << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

/* Weights that lie one behind the other, counted row by row. */
static void decode_stretch(ec_decoder *decoder, uint64_t first, uint64_t count, float *out) {
    const uint8_t *codes = decoder->matrix->codes;
    switch (decoder->matrix->codec) {
        case EC_CODEC_RAW_F32:
            memcpy(out, codes + 4 * first, (size_t)count * sizeof *out);
            break;
        case EC_CODEC_RAW_F16:
            halves_to_floats(codes + 2 * first, count, out);
            break;
        case EC_CODEC_WINDING:
            ec_winding_decode(decoder, first, count, out);
            break;
        case EC_CODEC_CRVQ:
            ec_crvq_decode(decoder, first, count, out);
            break;
        case EC_CODEC_TRELLIS: /* these have tiles */
        case EC_CODEC_UNIFORM:
            break;
    }
}

void ec_decoder_run(ec_decoder *decoder, const ec_region *region, float *out, size_t stride) {
    uint64_t columns = decoder->matrix->columns, n = region->n_columns;
    if (decoder->matrix->codec == EC_CODEC_TRELLIS) {
        ec_trellis_decode(decoder, region, out, stride);
    } else if (decoder->matrix->codec == EC_CODEC_UNIFORM) {
        ec_uniform_decode(decoder, region, out, stride);
    } else if (n == columns && stride == columns) {
        decode_stretch(decoder, region->row * columns, region->n_rows * columns, out);
    } else {
        for (uint64_t i = 0; i < region->n_rows; i++) {
            decode_stretch(decoder, (region->row + i) * columns + region->column, n, out + i * stride);
        }
    }
}
