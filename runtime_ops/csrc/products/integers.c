/* Products with int8 activations: a band's weights become a panel of integers, which is multiplied with all
 * tokens; one token of a trellis is multiplied while the codes are read. */
#include "products/integers.h"

#include "codecs/tensor.h"

#define PANEL_BLOCKS 16   /* decoded at a time, of int8 */
#define WIDE_BLOCKS 4     /* or of int16 */
#define BLOCK_TOKENS 128  /* tokens whose sums are kept: 8 KiB */
#define FUSED_BANDS 16    /* bands that share what a kernel works out of a trellis */

/* Weights as integers, and their block scales, of some blocks of a band. */
typedef struct panel {
    union {
        __attribute__((aligned(EC_ALIGNMENT))) int8_t narrow[PANEL_BLOCKS * EC_BLOCK_WEIGHTS];
        int16_t wide[WIDE_BLOCKS * EC_BLOCK_WEIGHTS];
    } w;
    float scales[PANEL_BLOCKS][EC_BAND_ROWS];
} panel;

static int is_narrow_trellis(const ec_matrix *m) { return m->codec == EC_CODEC_TRELLIS && !m->trellis.wide; }

static int is_narrow(const ec_matrix *m) { return is_narrow_trellis(m) || m->codec == EC_CODEC_UNIFORM; }

static uint64_t tile_bytes(const ec_decoder *decoder) {
    const ec_matrix *m = decoder->matrix;
    return m->codec == EC_CODEC_UNIFORM ? ec_uniform_tile_bytes(&m->uniform) : decoder->trellis.tile_bytes;
}

static uint64_t band_bytes(const ec_decoder *decoder) {
    const ec_matrix *m = decoder->matrix;
    return m->codec == EC_CODEC_UNIFORM ? ec_uniform_band_bytes(&m->uniform, m->columns) : decoder->trellis.band_bytes;
}

/* Tiles of integers: byte i of a tile has elements i, i + 8 b, i + 16 b .. from its low bits up. Inlined for each
 * number of bits: with all counts known, compilers take 16 bytes and more at a time. */
static inline __attribute__((always_inline)) void unpack(const uint8_t *restrict codes, size_t n, uint32_t bits,
                                                         int8_t *restrict out) {
    const size_t bytes = EC_TILE_WEIGHTS * bits / 8;
    const uint8_t mask = (uint8_t)((1u << bits) - 1), half = (uint8_t)(1u << (bits - 1));
    for (size_t t = 0; t < n; t++, codes += bytes) {
        for (uint32_t shift = 0; shift < 8; shift += bits, out += bytes) {
            for (size_t i = 0; i < bytes; i++) out[i] = (int8_t)((codes[i] >> shift & mask) - half);
        }
    }
}

static void unpack_tiles(const ec_uniform *u, const uint8_t *codes, size_t n, int8_t *out) {
    if (u->bits == 8) memcpy(out, codes, n * EC_TILE_WEIGHTS);
    if (u->bits == 4) unpack(codes, n, 4, out);
    if (u->bits == 2) unpack(codes, n, 2, out);
}

/* Tiles; a trellis's at the end of the matrix are copied, so that the kernel may read on. */
static void decode_tiles(const ec_decoder *decoder, uint64_t byte, size_t n, int8_t *out) {
    const ec_matrix *m = decoder->matrix;
    if (m->codec == EC_CODEC_UNIFORM) {
        unpack_tiles(&m->uniform, m->codes + byte, n, out);
        return;
    }
    const ec_trellis_plan *plan = &decoder->trellis;
    uint64_t left = m->codes_bytes - byte;
    size_t safe = n;
    if (left < n * plan->tile_bytes + EC_TILE_SLACK) {
        safe = left < EC_TILE_SLACK ? 0 : (size_t)((left - EC_TILE_SLACK) / plan->tile_bytes);
    }
    decoder->kernels.decode_i8_tr(plan, m->codes + byte, safe, out);
    for (size_t i = safe; i < n; i++) {
        uint8_t last[EC_TILE_WEIGHTS + EC_TILE_SLACK] = {0};
        uint64_t at = byte + i * plan->tile_bytes, size = m->codes_bytes - at;
        memcpy(last, m->codes + at, (size_t)(size < sizeof last ? size : sizeof last));
        decoder->kernels.decode_i8_tr(plan, last, 1, out + i * EC_TILE_WEIGHTS);
    }
}

/* Integers of any other codec: its weights without scales. Rows and columns beyond the matrix are zeros. */
static void decode_wide(ec_integer_product *p, uint64_t band, uint64_t block, size_t n_blocks, int16_t *out) {
    const ec_matrix *m = p->decoder.matrix;
    float rows[EC_BAND_ROWS][WIDE_BLOCKS * EC_BLOCK];
    memset(rows, 0, sizeof rows);
    ec_region region = {band * EC_BAND_ROWS, EC_BAND_ROWS, block * EC_BLOCK, n_blocks * EC_BLOCK};
    if (m->rows - region.row < EC_BAND_ROWS) region.n_rows = m->rows - region.row;
    if (m->columns - region.column < region.n_columns) region.n_columns = m->columns - region.column;
    ec_decoder_run(&p->decoder, &region, rows[0], WIDE_BLOCKS * EC_BLOCK);
    for (size_t t = 0; t < n_blocks * EC_BLOCK_TILES; t++) {
        for (size_t i = 0; i < EC_TILE_WEIGHTS; i++) {
            *out++ = (int16_t)rows[i / EC_STRIP_COLUMNS][t * EC_STRIP_COLUMNS + i % EC_STRIP_COLUMNS];
        }
    }
}

/* Half-precision numbers that are 0 or normal. */
static void load_halves(const uint8_t *halves, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        uint32_t half = ec_load_u16(halves + 2 * i), magnitude = half & 0x7FFF;
        uint32_t bits = (magnitude != 0 ? (magnitude << 13) + UINT32_C(0x38000000) : 0) | (half & 0x8000) << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

/* The scales of n <= EC_BAND_ROWS rows. */
static void load_factors(const ec_matrix *m, uint64_t row, size_t n, float *factors) {
    float factor = ec_load_f32(m->params + (m->codec == EC_CODEC_WINDING ? 4 * m->winding.dim : 0));
    if (m->codec == EC_CODEC_UNIFORM || m->codec == EC_CODEC_WINDING) {
        for (size_t i = 0; i < n; i++) factors[i] = factor;
        return;
    }
    load_halves(m->scales + 2 * row, n, factors);
    for (size_t i = 0; i < n; i++) factors[i] *= factor;
}

/* The scales of a band's rows in a group of columns: 0 or normal numbers. */
static void load_scales(const ec_matrix *m, uint64_t band, uint64_t group, float *scales) {
    uint64_t groups = ec_uniform_groups(&m->uniform, m->columns);
    const uint8_t *halves = m->scales + 2 * (band * groups + group) * EC_BAND_ROWS;
    load_halves(halves, EC_BAND_ROWS, scales);
}

static const float *block_scales(const ec_matrix *m, uint64_t band, uint64_t block, size_t n_blocks, panel *panel) {
    if (m->codec == EC_CODEC_UNIFORM) {
        for (size_t b = 0; b < n_blocks; b++) {
            load_scales(m, band, (block + b) * EC_BLOCK / m->uniform.group, panel->scales[b]);
        }
        return panel->scales[0];
    }
    if (m->codec != EC_CODEC_WINDING || m->winding.group == 0) return NULL;
    uint64_t groups = m->columns / m->winding.group, last = m->rows - 1;
    for (size_t b = 0; b < n_blocks; b++) {
        uint64_t group = (block + b) * EC_BLOCK / m->winding.group;
        for (uint64_t r = 0; r < EC_BAND_ROWS; r++) {
            uint64_t row = band * EC_BAND_ROWS + r;
            panel->scales[b][r] = ec_winding_factor(m->scales[(row < last ? row : last) * groups + group]);
        }
    }
    return panel->scales[0];
}

/* Adds the blocks from `block` on to the sums; tells how many that were. */
static size_t add_panel(ec_integer_product *p, uint64_t band, uint64_t block, ec_band_i8 *work) {
    const ec_matrix *m = p->decoder.matrix;
    panel panel;
    int narrow = is_narrow(m);
    uint64_t left = p->x->n_blocks - block;
    size_t n = narrow ? PANEL_BLOCKS : WIDE_BLOCKS;
    if (left < n) n = (size_t)left;
    work->n_blocks = n;
    work->w_scales = block_scales(m, band, block, n, &panel);
    if (narrow) {
        uint64_t byte = band * band_bytes(&p->decoder) + block * EC_BLOCK_TILES * tile_bytes(&p->decoder);
        uint64_t tiles = (m->columns + EC_STRIP_COLUMNS - 1) / EC_STRIP_COLUMNS - block * EC_BLOCK_TILES;
        size_t n_tiles = n * EC_BLOCK_TILES;
        if (tiles < n_tiles) {
            memset(panel.w.narrow + tiles * EC_TILE_WEIGHTS, 0, (size_t)(n_tiles - tiles) * EC_TILE_WEIGHTS);
            n_tiles = (size_t)tiles;
        }
        if (n_tiles == n * EC_BLOCK_TILES && m->codec == EC_CODEC_UNIFORM && m->uniform.bits == 8) {
            work->w = (const int8_t *)m->codes + byte; /* they are the panel */
        } else {
            decode_tiles(&p->decoder, byte, n_tiles, panel.w.narrow);
            work->w = panel.w.narrow;
        }
        p->decoder.kernels.dots_i8(work);
    } else {
        decode_wide(p, band, block, n, panel.w.wide);
        work->w16 = panel.w.wide;
        p->decoder.kernels.dots_i16(work);
    }
    return n;
}

/* Those of the band's rows that were asked for, times the rows' scales. */
static void store_band(const ec_integer_product *p, uint64_t band, uint64_t first_token, size_t n_tokens,
                       float (*sums)[EC_BAND_ROWS]) {
    float factors[EC_BAND_ROWS];
    uint64_t row = band * EC_BAND_ROWS, last = p->first_row + p->n_rows;
    size_t first = row < p->first_row ? (size_t)(p->first_row - row) : 0;
    size_t end = last - row < EC_BAND_ROWS ? (size_t)(last - row) : EC_BAND_ROWS;
    load_factors(p->decoder.matrix, row + first, end - first, factors + first);
    for (size_t t = 0; t < n_tokens; t++) {
        float *y = p->y + (first_token + t) * p->y_stride + (row + first - p->first_row);
        for (size_t r = first; r < end; r++, y++) {
            float sum = sums[t][r] * factors[r];
            *y = p->adds ? sum + *y : sum;
        }
    }
}

/* Adds the blocks of a band from `block` on, panel by panel. */
static void add_panels(ec_integer_product *p, uint64_t band, uint64_t first_token, size_t n_tokens, uint64_t block,
                       float (*sums)[EC_BAND_ROWS]) {
    const ec_quantised *x = p->x;
    ec_band_i8 work = {.x_stride = (size_t)x->stride, .scale_stride = (size_t)x->scale_stride};
    work.n_tokens = n_tokens;
    work.sums = sums[0];
    while (block < x->n_blocks) {
        work.x = x->values + first_token * x->stride + block * EC_BLOCK;
        work.x_scales = x->scales + first_token * x->scale_stride + block;
        work.x_sums = x->sums + first_token * x->scale_stride + block;
        block += add_panel(p, band, block, &work);
    }
}

/* Bands of a trellis with one token: whole blocks while the codes are read, as far as there are bytes behind them. */
static void multiply_fused(ec_integer_product *p, uint64_t band, size_t n_bands) {
    const ec_matrix *m = p->decoder.matrix;
    const ec_trellis_plan *plan = &p->decoder.trellis;
    const ec_quantised *x = p->x;
    float sums[FUSED_BANDS][EC_BAND_ROWS] = {{0}};
    ec_band_i8 work = {.x = x->values, .x_scales = x->scales, .x_sums = x->sums, .n_tokens = 1, .sums = sums[0]};
    uint64_t byte = band * plan->band_bytes, block_bytes = EC_BLOCK_TILES * plan->tile_bytes;
    uint64_t n = m->columns / EC_BLOCK, left = m->codes_bytes - byte - (n_bands - 1) * plan->band_bytes;
    if (left < n * block_bytes + EC_TILE_SLACK) n = left < EC_TILE_SLACK ? 0 : (left - EC_TILE_SLACK) / block_bytes;
    work.n_blocks = (size_t)n;
    p->decoder.kernels.gemv_i8_tr(plan, m->codes + byte, &work, n_bands);
    for (size_t i = 0; i < n_bands; i++) {
        add_panels(p, band + i, 0, 1, n, sums + i);
        store_band(p, band + i, 0, 1, sums + i);
    }
}

static void multiply_band(ec_integer_product *p, uint64_t band, uint64_t first_token, size_t n_tokens) {
    float sums[BLOCK_TOKENS][EC_BAND_ROWS];
    memset(sums, 0, n_tokens * sizeof sums[0]);
    add_panels(p, band, first_token, n_tokens, 0, sums);
    store_band(p, band, first_token, n_tokens, sums);
}

static void multiply_rows(ec_integer_product *p) {
    if (p->n_rows == 0) return;
    uint64_t first = p->first_row / EC_BAND_ROWS, end = (p->first_row + p->n_rows - 1) / EC_BAND_ROWS + 1;
    if (p->n_tokens == 1 && is_narrow_trellis(p->decoder.matrix)) {
        for (; first < end; first += FUSED_BANDS) {
            multiply_fused(p, first, (size_t)(end - first < FUSED_BANDS ? end - first : FUSED_BANDS));
        }
        return;
    }
    for (uint64_t token = 0; token < p->n_tokens; token += BLOCK_TOKENS) {
        uint64_t left = p->n_tokens - token;
        size_t n = (size_t)(left < BLOCK_TOKENS ? left : BLOCK_TOKENS);
        for (uint64_t band = first; band < end; band++) multiply_band(p, band, token, n);
    }
}

static int goes_by_table(const ec_matrix *m, uint64_t n_tokens) {
    return n_tokens == 1 && m->codec == EC_CODEC_CRVQ && ec_crvq_uses_table(&m->crvq, m->rows);
}

uint64_t ec_matmul_step(const ec_tensor *t, uint64_t n_tokens) {
    if (t == NULL) return EC_BAND_ROWS;
    int tables = goes_by_table(&t->rest, n_tokens) || (t->n_critical != 0 && goes_by_table(&t->critical, n_tokens));
    return tables ? EC_TABLE_ROWS : EC_BAND_ROWS;
}

ec_status ec_matmul_i8(const ec_tensor *t, uint64_t first_row, uint64_t n_rows, const void *memory, uint64_t n_tokens,
                       float *y, uint64_t y_stride, ec_isa isa) {
    uint64_t columns;
    ec_status status = ec_row_range(t, first_row, n_rows, &columns);
    if (status != EC_OK) return status;
    if (!ec_tensor_is_integer(t) || y_stride < n_rows) return EC_BAD_ARGUMENT;
    if (n_tokens == 0 || n_rows == 0) return EC_OK;
    if (memory == NULL || y == NULL || ec_quantised_bytes(t, n_tokens) == 0) return EC_BAD_ARGUMENT;
    if (y_stride > SIZE_MAX / sizeof *y / n_tokens) return EC_BAD_ARGUMENT;
    ec_quantised both[2];
    /* The memory is read only: the layout is that of ec_input_quantise, which writes it. */
    ec_quantised_lay_out(t, n_tokens, (void *)(uintptr_t)memory, both);
    ec_integer_product p = {.first_row = first_row, .n_rows = n_rows, .n_tokens = n_tokens, .y = y, .y_stride = y_stride};
    for (int i = 1; i >= (t->n_critical != 0 ? 0 : 1); i--) {
        status = ec_decoder_start(i == 0 ? &t->critical : &t->rest, isa, &p.decoder);
        if (status != EC_OK) return status;
        p.decoder.unscaled = 1;
        p.x = &both[i];
        p.adds = i == 0;
        const ec_matrix *m = p.decoder.matrix;
        if (goes_by_table(m, n_tokens)) {
            ec_integer_product_table(&p);
        } else {
            multiply_rows(&p);
        }
    }
    return EC_OK;
}
