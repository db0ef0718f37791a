/* Products from decoded weights: a tile is decoded once and multiplied with several tokens. */
#include "product.h"

#define BLOCK_ROWS 16
#define BLOCK_TOKENS 16
#define TILE_X 4096 /* float32 of x that are gathered at a time, for all tokens of a block */
#define MIN_TILE 256

/* The rows and tokens that lanes are kept for at a time. */
typedef struct block {
    uint64_t row, token;     /* the first ones, counted from the product's */
    size_t n_rows, n_tokens;
} block;

/* Columns first .. first + n - 1 of the block's x, [n_tokens][n]: gathered to `tile` or where they are. */
static const float *gather(const ec_product *p, const block *b, uint64_t first, size_t n, float *tile, size_t *stride) {
    *stride = p->order != NULL ? n : (size_t)p->x_stride;
    if (p->order == NULL) return p->x + b->token * p->x_stride + first;
    for (size_t j = 0; j < n; j++) {
        const float *x = p->x + b->token * p->x_stride + ec_product_at(p, first + j);
        for (size_t t = 0; t < b->n_tokens; t++) tile[t * n + j] = x[t * p->x_stride];
    }
    return tile;
}

static float lane_sum(const float *lanes) {
    float b0 = lanes[0] + lanes[4], b1 = lanes[1] + lanes[5];
    float b2 = lanes[2] + lanes[6], b3 = lanes[3] + lanes[7];
    return (b0 + b2) + (b1 + b3);
}

static void multiply_block(const ec_product *p, const block *b) {
    uint64_t columns = p->decoder->matrix->columns;
    size_t most = b->n_tokens * EC_TILE_WEIGHTS <= TILE_X ? EC_TILE_WEIGHTS : MIN_TILE;
    float lanes[BLOCK_ROWS][BLOCK_TOKENS][EC_LANES], weights[EC_TILE_WEIGHTS], gathered[TILE_X];
    memset(lanes, 0, b->n_rows * sizeof lanes[0]);
    for (uint64_t first = 0; first < columns; first += most) {
        size_t n = columns - first < most ? (size_t)(columns - first) : most, stride;
        const float *x = gather(p, b, first, n, gathered, &stride);
        for (size_t r = 0; r < b->n_rows; r++) {
            ec_decoder_run(p->decoder, (p->first_row + b->row + r) * columns + first, n, weights);
            for (size_t t = 0; t < b->n_tokens; t++) {
                p->decoder->kernels.dot_f32_f32(weights, x + t * stride, n, lanes[r][t]);
            }
        }
    }
    for (size_t t = 0; t < b->n_tokens; t++) {
        float *y = p->y + (b->token + t) * p->n_rows + b->row;
        for (size_t r = 0; r < b->n_rows; r++) y[r] = p->adds ? lane_sum(lanes[r][t]) + y[r] : lane_sum(lanes[r][t]);
    }
}

void ec_product_direct(const ec_product *p) {
    block b;
    for (b.row = 0; b.row < p->n_rows; b.row += BLOCK_ROWS) {
        b.n_rows = p->n_rows - b.row < BLOCK_ROWS ? (size_t)(p->n_rows - b.row) : BLOCK_ROWS;
        for (b.token = 0; b.token < p->n_tokens; b.token += BLOCK_TOKENS) {
            b.n_tokens = p->n_tokens - b.token < BLOCK_TOKENS ? (size_t)(p->n_tokens - b.token) : BLOCK_TOKENS;
            multiply_block(p, &b);
        }
    }
}
