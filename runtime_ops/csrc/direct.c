/* Products from decoded weights: a tile is decoded once and multiplied with several tokens. */
#include "product.h"

#define BLOCK_TOKENS 16 /* tokens that a decoded tile is multiplied with */
#define BLOCK_ROWS 64   /* rows that share what is gathered of x, if there are few tokens */
#define BLOCK_SUMS 512  /* rows times tokens whose lanes are kept: 16 KiB */
#define DECODED_ROWS 4  /* rows that are multiplied at a time: 8 KiB of weights */
#define TILE_X 4096     /* float32 of x that are gathered at a time, for all tokens of a block: 16 KiB */
#define MIN_TILE 256    /* TILE_X / BLOCK_TOKENS */

static uint64_t at_most(uint64_t n, uint64_t limit) { return n < limit ? n : limit; }

/* The rows and tokens that lanes are kept for at a time. */
typedef struct block {
    uint64_t row, token;     /* the first ones, counted from the product's */
    size_t n_rows, n_tokens;
} block;

/* Columns first .. first + n - 1 of the block's x, [n_tokens][n]: brought together in `tile` (tokens that
 * are a power of two apart would drive each other out of the cache), or one token where it is. */
static const float *gather(const ec_product *p, const block *b, uint64_t first, size_t n, float *tile) {
    const float *x = p->x + b->token * p->x_stride;
    if (p->order == NULL && b->n_tokens == 1) return x + first;
    for (size_t t = 0; t < b->n_tokens; t++, x += p->x_stride) {
        for (size_t j = 0; j < n; j++) tile[t * n + j] = x[ec_product_at(p, first + j)];
    }
    return tile;
}

static float lane_sum(const float *lanes) {
    float b0 = lanes[0] + lanes[4], b1 = lanes[1] + lanes[5];
    float b2 = lanes[2] + lanes[6], b3 = lanes[3] + lanes[7];
    return (b0 + b2) + (b1 + b3);
}

/* Decodes the rows of `dots` from the block's row `row` and column `first` on, and adds to their lanes. */
static void add_tile(const ec_product *p, ec_dots *dots, uint64_t row, uint64_t first) {
    float weights[DECODED_ROWS][EC_RUN_WEIGHTS];
    ec_region region = {p->first_row + row, dots->n_rows, first, dots->n};
    ec_decoder_run(p->decoder, &region, weights[0], EC_RUN_WEIGHTS);
    dots->w = weights[0];
    dots->w_stride = EC_RUN_WEIGHTS;
    p->decoder->kernels.dots_f32_f32(dots);
}

static void multiply_block(const ec_product *p, const block *b) {
    uint64_t columns = p->decoder->matrix->columns;
    size_t most = b->n_tokens * EC_RUN_WEIGHTS <= TILE_X ? EC_RUN_WEIGHTS : MIN_TILE;
    float lanes[BLOCK_SUMS][EC_LANES], gathered[TILE_X];
    memset(lanes, 0, b->n_rows * b->n_tokens * sizeof lanes[0]);
    for (uint64_t first = 0; first < columns; first += most) {
        ec_dots dots = {.n_tokens = b->n_tokens};
        dots.n = (size_t)at_most(columns - first, most);
        dots.x = gather(p, b, first, dots.n, gathered);
        dots.x_stride = dots.n;
        for (size_t r = 0; r < b->n_rows; r += DECODED_ROWS) {
            dots.n_rows = (size_t)at_most(b->n_rows - r, DECODED_ROWS);
            dots.lanes = lanes + r * b->n_tokens;
            add_tile(p, &dots, b->row + r, first);
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
    block b;
    for (b.row = 0; b.row < p->n_rows; b.row += rows) {
        b.n_rows = (size_t)at_most(p->n_rows - b.row, rows);
        for (b.token = 0; b.token < p->n_tokens; b.token += tokens) {
            b.n_tokens = (size_t)at_most(p->n_tokens - b.token, tokens);
            multiply_block(p, &b);
        }
    }
}
