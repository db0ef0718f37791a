/* Products from decoded weights: a tile is decoded once and multiplied with several tokens. */
#include "products/product.h"

#define BLOCK_TOKENS 16 /* tokens that a decoded tile is multiplied with */
#define BLOCK_ROWS 64   /* rows that share what is gathered of x, if there are few tokens; whole bands */
#define BLOCK_SUMS 512  /* rows times tokens whose lanes are kept: 16 KiB */
#define DECODED 2048    /* weights that are multiplied at a time, of a band's 16 rows or of */
#define DECODED_ROWS 4  /* rows, if the codec has no bands: 8 KiB */
#define TILE_X 4096     /* float32 of x that are gathered at a time, for all tokens of a block: 16 KiB */
#define MIN_TILE 256    /* TILE_X / BLOCK_TOKENS */

static size_t decoded_rows(const ec_product *p) {
    return p->decoder->matrix->codec == EC_CODEC_TRELLIS ? EC_BAND_ROWS : DECODED_ROWS;
}

static uint64_t at_most(uint64_t n, uint64_t limit) { return n < limit ? n : limit; }

/* The rows and tokens that lanes are kept for at a time. */
typedef struct block {
    uint64_t row, token;     /* the first ones, counted from the product's */
    size_t n_rows, n_tokens;
} block;

/* Columns first .. first + n - 1 of the block's x, [n_tokens][n]: brought together in `tile` (tokens that
 * are a power of two apart would drive each other out of the cache), or one token where it is. */
static const float *gather(const ec_product *p, const block *b, uint64_t first, size_t n, float *tile) {
    const float *x = p->x + b->token * p->x_stride + first;
    if (b->n_tokens == 1) return x;
    for (size_t t = 0; t < b->n_tokens; t++) memcpy(tile + t * n, x + t * p->x_stride, n * sizeof *tile);
    return tile;
}

static float lane_sum(const float *lanes) {
    float b0 = lanes[0] + lanes[4], b1 = lanes[1] + lanes[5];
    float b2 = lanes[2] + lanes[6], b3 = lanes[3] + lanes[7];
    return (b0 + b2) + (b1 + b3);
}

/* Decodes the rows of `dots` from row `row` and column `first` of the matrix on, and adds to their lanes. */
static void add_tile(const ec_product *p, ec_dots *dots, uint64_t row, uint64_t first) {
    float weights[DECODED];
    ec_region region = {row, dots->n_rows, first, dots->n};
    dots->w = weights;
    dots->w_stride = DECODED / decoded_rows(p);
    ec_decoder_run(p->decoder, &region, weights, dots->w_stride);
    p->decoder->kernels.dots_f32_f32(dots);
}

static void multiply_block(const ec_product *p, const block *b) {
    uint64_t columns = p->decoder->matrix->columns, row = p->first_row + b->row;
    size_t rows = decoded_rows(p), most = DECODED / rows;
    if (b->n_tokens * most > TILE_X) most = MIN_TILE;
    float lanes[BLOCK_SUMS][EC_LANES], gathered[TILE_X];
    memset(lanes, 0, b->n_rows * b->n_tokens * sizeof lanes[0]);
    for (uint64_t first = 0; first < columns; first += most) {
        ec_dots dots = {.n_tokens = b->n_tokens};
        dots.n = (size_t)at_most(columns - first, most);
        dots.x = gather(p, b, first, dots.n, gathered);
        dots.x_stride = dots.n;
        for (size_t r = 0; r < b->n_rows; r += dots.n_rows) {
            dots.n_rows = (size_t)at_most(b->n_rows - r, rows - (row + r) % rows);
            dots.lanes = lanes + r * b->n_tokens;
            add_tile(p, &dots, row + r, first);
        }
    }
    for (size_t t = 0; t < b->n_tokens; t++) {
        float *y = p->y + (b->token + t) * p->n_rows + b->row;
        for (size_t r = 0; r < b->n_rows; r++) {
            float sum = lane_sum(lanes[r * b->n_tokens + t]);
            y[r] = p->adds ? sum + y[r] : sum;
        }
    }
}

void ec_product_direct(const ec_product *p) {
    uint64_t tokens = at_most(p->n_tokens, BLOCK_TOKENS);
    uint64_t rows = at_most(BLOCK_SUMS / tokens, BLOCK_ROWS); /* there is at least one token */
    rows -= rows % EC_BAND_ROWS;
    block b;
    for (b.row = 0; b.row < p->n_rows; b.row += b.n_rows) { /* the first block may end sooner, with a band */
        b.n_rows = (size_t)at_most(p->n_rows - b.row, rows - (p->first_row + b.row) % EC_BAND_ROWS);
        for (b.token = 0; b.token < p->n_tokens; b.token += tokens) {
            b.n_tokens = (size_t)at_most(p->n_tokens - b.token, tokens);
            multiply_block(p, &b);
        }
    }
}
