/* Rotated matrices: W = V R, where R flips the signs of columns and then applies Hadamard matrices to
 * neighbouring ones (docs/format.md, "trellis"). Weights are un-rotated here, and inputs rotated. */
#include "codecs/matrix.h"

uint32_t ec_rotation(const ec_matrix *m) { return m->codec == EC_CODEC_TRELLIS ? m->trellis.rotation : 0; }

/* MurmurHash3's 32-bit finaliser (public domain). */
static uint32_t mixed(uint32_t h) {
    h = (h ^ h >> 16) * UINT32_C(0x85EBCA6B);
    h = (h ^ h >> 13) * UINT32_C(0xC2B2AE35);
    return h ^ h >> 16;
}

void ec_rotation_signs(const ec_matrix *m, uint64_t first, size_t n, uint8_t *signs) {
    for (size_t j = 0; j < n; j++) {
        uint32_t h = mixed(m->trellis.seed + (uint32_t)(first + j + 1) * UINT32_C(0x9E3779B9));
        signs[j] = (uint8_t)(h >> 24 & 0x80);
    }
}

void ec_flip(float *x, size_t n, const uint8_t *signs) {
    for (size_t j = 0; j < n; j++) {
        uint32_t bits;
        memcpy(&bits, x + j, 4);
        bits ^= (uint32_t)signs[j] << 24;
        memcpy(x + j, &bits, 4);
    }
}

/* The part of a region in the block of columns from `block` on, some rows at a time. */
static void decode_block(ec_decoder *decoder, const ec_region *region, uint64_t block, float *out, size_t stride) {
    size_t n = ec_rotation(decoder->matrix);
    uint8_t signs[EC_MAX_ROTATION];
    float row[EC_MAX_ROTATION];
    ec_rotation_signs(decoder->matrix, block, n, signs);
    uint64_t end = region->row + region->n_rows;
    int whole = region->column == block && region->n_columns == n;
    ec_region part = {region->row, 1, block, n};
    for (; part.row < end; part.row += part.n_rows) {
        if (whole) { /* one band at a time, which is in the cache then */
            uint64_t next = part.row - part.row % EC_BAND_ROWS + EC_BAND_ROWS;
            part.n_rows = (next < end ? next : end) - part.row;
        }
        float *to = whole ? out : row;
        ec_decoder_run(decoder, &part, to, stride);
        for (size_t i = 0; i < part.n_rows; i++) {
            decoder->kernels.hadamard_f32(to + i * stride, n);
            ec_flip(to + i * stride, n, signs);
        }
        if (!whole) memcpy(out, row + (region->column - block), (size_t)region->n_columns * sizeof *out);
        out += part.n_rows * stride;
    }
}

void ec_decoder_weights(ec_decoder *decoder, const ec_region *region, float *out, size_t stride) {
    uint64_t n = ec_rotation(decoder->matrix), end = region->column + region->n_columns;
    if (n == 0) {
        ec_decoder_run(decoder, region, out, stride);
        return;
    }
    ec_region part = *region;
    for (; part.column < end; part.column += part.n_columns) {
        uint64_t block = part.column - part.column % n;
        part.n_columns = (block + n < end ? block + n : end) - part.column;
        decode_block(decoder, &part, block, out, stride);
        out += part.n_columns;
    }
}
