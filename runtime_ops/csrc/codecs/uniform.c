/* Group integers: their limits, and decoding row by row, a block of columns at a time. */
#include "codecs/matrix.h"
#include "codecs/tensor.h"

#define MAX_GROUP (UINT32_C(1) << 16)

ec_status ec_uniform_check(const ec_uniform *u) {
    if (u->bits != 2 && u->bits != 4 && u->bits != 8) return EC_BAD_FORMAT;
    return u->group >= EC_BLOCK && u->group <= MAX_GROUP && u->group % EC_BLOCK == 0 ? EC_OK : EC_BAD_FORMAT;
}

uint64_t ec_uniform_tile_bytes(const ec_uniform *u) { return EC_TILE_WEIGHTS / 8 * u->bits; }

uint64_t ec_uniform_band_bytes(const ec_uniform *u, uint64_t columns) {
    return (columns + EC_STRIP_COLUMNS - 1) / EC_STRIP_COLUMNS * ec_uniform_tile_bytes(u);
}

uint64_t ec_uniform_codes_bytes(const ec_uniform *u, uint64_t rows, uint64_t columns) {
    return (rows + EC_BAND_ROWS - 1) / EC_BAND_ROWS * ec_uniform_band_bytes(u, columns);
}

uint64_t ec_uniform_groups(const ec_uniform *u, uint64_t columns) { return (columns + u->group - 1) / u->group; }

uint64_t ec_uniform_scales(const ec_uniform *u, uint64_t rows, uint64_t columns) {
    return (rows + EC_BAND_ROWS - 1) / EC_BAND_ROWS * ec_uniform_groups(u, columns) * EC_BAND_ROWS;
}

/* Where a row's integers lie in every tile: in four bytes side by side. */
typedef struct row_codes {
    const uint8_t *band;
    size_t tile_bytes;
    size_t at;               /* byte of a tile */
    uint32_t shift, mask;    /* of the bits in each byte */
    uint32_t flip;           /* of the bit that makes a byte in two's complement a number from 0 on */
    int32_t half;            /* which stands for zero then */
} row_codes;

static row_codes find_row(const ec_matrix *m, uint64_t row) {
    const ec_uniform *u = &m->uniform;
    size_t bytes = (size_t)ec_uniform_tile_bytes(u), first = (size_t)(row % EC_BAND_ROWS) * EC_STRIP_COLUMNS;
    row_codes codes = {.tile_bytes = bytes, .at = first % bytes, .half = 1 << (u->bits - 1)};
    codes.band = m->codes + row / EC_BAND_ROWS * ec_uniform_band_bytes(u, m->columns);
    codes.shift = (uint32_t)(first / bytes) * u->bits;
    codes.mask = (1u << u->bits) - 1;
    codes.flip = u->bits == 8 ? 0x80 : 0;
    return codes;
}

/* The integers of one row in n_tiles tiles from `tile` on, at most a block, times a scale. */
static void decode_tiles(const row_codes *codes, uint64_t tile, size_t n_tiles, float scale, float *out) {
    uint8_t bytes[EC_BLOCK] = {0};
    const uint8_t *from = codes->band + tile * codes->tile_bytes + codes->at;
    for (size_t t = 0; t < n_tiles; t++) {
        memcpy(bytes + t * EC_STRIP_COLUMNS, from + t * codes->tile_bytes, EC_STRIP_COLUMNS);
    }
    uint32_t shift = codes->shift, mask = codes->mask, flip = codes->flip;
    int32_t half = codes->half;
    for (size_t i = 0; i < EC_BLOCK; i++) {
        int32_t value = (int32_t)(((bytes[i] >> shift) & mask) ^ flip) - half;
        out[i] = scale * (float)value;
    }
}

static void decode_row(const ec_decoder *decoder, const ec_region *region, uint64_t row, float *out) {
    const ec_matrix *m = decoder->matrix;
    row_codes codes = find_row(m, row);
    uint64_t groups = ec_uniform_groups(&m->uniform, m->columns), column = region->column, left = region->n_columns;
    uint64_t tiles = (m->columns + EC_STRIP_COLUMNS - 1) / EC_STRIP_COLUMNS;
    const uint8_t *scales = m->scales + 2 * (row / EC_BAND_ROWS * groups * EC_BAND_ROWS + row % EC_BAND_ROWS);
    while (left > 0) {
        float some[EC_BLOCK], scale = 1.0f;
        size_t lead = (size_t)(column % EC_BLOCK), n = EC_BLOCK - lead;
        if (left < n) n = (size_t)left;
        uint64_t tile = column / EC_BLOCK * EC_BLOCK_TILES;
        size_t n_tiles = (size_t)(tiles - tile < EC_BLOCK_TILES ? tiles - tile : EC_BLOCK_TILES);
        if (!decoder->unscaled) {
            uint64_t group = column / m->uniform.group;
            scale = ec_half_to_float(ec_load_u16(scales + 2 * group * EC_BAND_ROWS)) * ec_load_f32(m->params);
        }
        float *to = n == EC_BLOCK ? out : some;
        decode_tiles(&codes, tile, n_tiles, scale, to);
        if (to == some) memcpy(out, some + lead, n * sizeof *out);
        out += n;
        column += n;
        left -= n;
    }
}

void ec_uniform_decode(const ec_decoder *decoder, const ec_region *region, float *out, size_t stride) {
    for (uint64_t i = 0; i < region->n_rows; i++) decode_row(decoder, region, region->row + i, out + i * stride);
}
