/* Decoding of a trellis as it is stored, rotated if it is: tiles by the kernel, single rows by windows. */
#include "codecs/matrix.h"
#include "codecs/tensor.h"

#define RUN_TILES 8    /* tiles that are decoded at a time, if not to where they belong: 2 KiB of weights */
#define FEW_ROWS 3     /* rows of a band that windows read sooner than all 16 are decoded */
#define LAST_TILES 4   /* at most so many tiles, each of at least 4 bytes, lie in the last EC_TILE_SLACK bytes */
#define MAX_TILE_BYTES 64
#define TAIL_BYTES 2   /* at most, behind a band's tiles */

/* Where element i of a tile is in its bits. Steps that share a byte whole are spread over the tile
 * (TrellisFormat.order). */
static uint32_t first_bit(const ec_trellis *t, uint32_t i) {
    uint32_t per_byte = t->dim == 1 && 8 % t->step_bits == 0 ? 8 / t->step_bits : 1;
    uint32_t apart = EC_TILE_WEIGHTS / per_byte;
    return (i % apart * per_byte + i / apart) / t->dim * t->step_bits;
}

static void fill_states(ec_trellis_plan *plan) {
    for (uint32_t d = 0; d < 2; d++) {
        for (uint32_t state = 0; state < EC_STATES; state++) {
            uint32_t angle = (state ^ state >> plan->fold) * plan->multipliers[d];
            plan->by_state[d][state] = (int8_t)plan->table[angle >> (32 - plan->table_bits)];
        }
    }
}

void ec_trellis_start(const ec_matrix *m, ec_trellis_plan *plan) {
    const ec_trellis *t = &m->trellis;
    plan->state_bits = t->state_bits;
    for (uint32_t d = 0; d < 2; d++) plan->multipliers[d] = t->multipliers[d % t->dim] << (32 - t->state_bits);
    plan->fold = t->fold != 0 ? t->fold : 31;
    plan->table_bits = t->table_bits;
    plan->wide = t->wide;
    plan->table = t->table;
    for (uint32_t i = 0; i < EC_TILE_WEIGHTS; i++) plan->bits[i] = (uint16_t)first_bit(t, i);
    plan->step_bits = t->step_bits;
    plan->dim = t->dim;
    if (t->state_bits == 8 && !t->wide) fill_states(plan);
    plan->tile_bytes = ec_trellis_tile_bytes(t);
    plan->band_bytes = ec_trellis_band_bytes(t, m->columns);
}

/* Some columns of a row, each by the window of its state: at most 23 bits, of which those lie in the band
 * that count. */
static void decode_row(const ec_decoder *decoder, uint64_t row, uint64_t column, uint64_t n, float *out) {
    const ec_trellis_plan *plan = &decoder->trellis;
    const uint8_t *band = decoder->matrix->codes + row / EC_BAND_ROWS * plan->band_bytes;
    const uint16_t *bits = plan->bits + row % EC_BAND_ROWS * EC_STRIP_COLUMNS;
    float scale = ec_decoder_scale(decoder, row);
    for (uint64_t j = column; j < column + n; j++) {
        uint32_t bit = bits[j % EC_STRIP_COLUMNS], used = (bit & 7) + plan->state_bits;
        const uint8_t *byte = band + j / EC_STRIP_COLUMNS * plan->tile_bytes + (bit >> 3);
        uint32_t window = byte[0];
        if (used > 8) window |= (uint32_t)byte[1] << 8;
        if (used > 16) window |= (uint32_t)byte[2] << 16;
        uint32_t state = window >> (bit & 7) & ((UINT32_C(1) << plan->state_bits) - 1);
        uint32_t place = (state ^ state >> plan->fold) * plan->multipliers[j % 2] >> (32 - plan->table_bits);
        int32_t value = plan->wide ? (int16_t)ec_load_u16(plan->table + 2 * place) : (int8_t)plan->table[place];
        out[j - column] = scale * (float)value;
    }
}

/* All rows of tiles that begin at byte `first` of the codes. The last ones of a matrix are copied, so that
 * the kernel may read on. */
static void decode_tiles(const ec_decoder *decoder, uint64_t first, ec_tiles tiles) {
    const ec_matrix *m = decoder->matrix;
    uint64_t tile_bytes = tiles.plan->tile_bytes, left = m->codes_bytes - first;
    size_t n = tiles.n;
    tiles.codes = m->codes + first;
    while (tiles.n > 0 && tiles.n * tile_bytes + EC_TILE_SLACK > left) tiles.n--;
    decoder->kernels.decode_f32_tr(&tiles);
    if (tiles.n == n) return;
    uint8_t last[LAST_TILES * MAX_TILE_BYTES + EC_TILE_SLACK] = {0};
    uint64_t done = tiles.n * tile_bytes, size = (n - tiles.n) * tile_bytes + TAIL_BYTES;
    memcpy(last, tiles.codes + done, (size_t)(left - done < size ? left - done : size));
    tiles.codes = last;
    tiles.out += tiles.n * EC_STRIP_COLUMNS;
    tiles.n = n - tiles.n;
    decoder->kernels.decode_f32_tr(&tiles);
}

/* Rows that lie in one band, at least one. */
static void decode_band(const ec_decoder *decoder, const ec_region *region, float *out, size_t stride) {
    const ec_trellis_plan *plan = &decoder->trellis;
    float scales[EC_BAND_ROWS] = {0}; /* 0 beyond the region */
    float some[EC_BAND_ROWS][RUN_TILES * EC_STRIP_COLUMNS];
    size_t first_row = (size_t)(region->row % EC_BAND_ROWS), n_rows = (size_t)region->n_rows;
    for (size_t i = 0; i < n_rows; i++) scales[first_row + i] = ec_decoder_scale(decoder, region->row + i);
    uint64_t column = region->column, left = region->n_columns;
    while (left > 0) {
        size_t lead = (size_t)(column % EC_STRIP_COLUMNS), n;
        uint64_t byte = region->row / EC_BAND_ROWS * plan->band_bytes + column / EC_STRIP_COLUMNS * plan->tile_bytes;
        if (n_rows == EC_BAND_ROWS && lead == 0 && left >= EC_STRIP_COLUMNS) {
            ec_tiles tiles = {plan, NULL, (size_t)(left / EC_STRIP_COLUMNS), scales, out, stride};
            decode_tiles(decoder, byte, tiles);
            n = tiles.n * EC_STRIP_COLUMNS;
        } else {
            n = RUN_TILES * EC_STRIP_COLUMNS - lead;
            if (left < n) n = (size_t)left;
            size_t n_tiles = (lead + n + EC_STRIP_COLUMNS - 1) / EC_STRIP_COLUMNS;
            ec_tiles tiles = {plan, NULL, n_tiles, scales, some[0], RUN_TILES * EC_STRIP_COLUMNS};
            decode_tiles(decoder, byte, tiles);
            for (size_t i = 0; i < n_rows; i++) memcpy(out + i * stride, some[first_row + i] + lead, n * sizeof *out);
        }
        out += n;
        column += n;
        left -= n;
    }
}

void ec_trellis_decode(const ec_decoder *decoder, const ec_region *region, float *out, size_t stride) {
    uint64_t end = region->row + region->n_rows;
    ec_region part = *region;
    for (; part.row < end; part.row += part.n_rows) {
        uint64_t next = part.row - part.row % EC_BAND_ROWS + EC_BAND_ROWS;
        part.n_rows = (next < end ? next : end) - part.row;
        if (part.n_rows > FEW_ROWS) {
            decode_band(decoder, &part, out, stride);
        } else {
            for (size_t i = 0; i < part.n_rows; i++) {
                decode_row(decoder, part.row + i, part.column, part.n_columns, out + i * stride);
            }
        }
        out += part.n_rows * stride;
    }
}
