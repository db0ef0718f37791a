/* Products by lookup tables: what x makes of every codeword is worked out once for all rows of a call
 * (AQLM's way, arXiv 2401.06118, 4.3), a tile of groups at a time, so that the tables stay in L1. */
#include "product.h"

#define TILE_TABLES 16  /* 16 KiB of tables; at least EC_MAX_STAGES, so that a critical group fits */
#define BLOCK_ROWS 32   /* rows whose codes of all stages are brought together */
#define ADDED_ROWS 1024 /* rows at a time when the product is added to what is there */

typedef struct tile {
    float codewords[EC_TABLE_DIM][EC_TABLE_SIZE]; /* of one stage */
    float tables[TILE_TABLES][EC_TABLE_SIZE];
} tile;

/* Codewords of a stage, entry by entry. */
static void load_codewords(const ec_crvq_plan *plan, uint32_t stage, tile *t) {
    const uint8_t *codebook = plan->codebooks[stage];
    int32_t factor = (int32_t)(UINT32_C(1) << plan->shifts[stage]);
    for (size_t c = 0; c < EC_TABLE_SIZE; c++) {
        for (size_t d = 0; d < EC_TABLE_DIM; d++) {
            size_t i = c * EC_TABLE_DIM + d;
            int32_t value = plan->wide ? (int16_t)ec_load_u16(codebook + 2 * i) : (int8_t)codebook[i];
            t->codewords[d][c] = (float)(value * factor);
        }
    }
}

/* The table of a group for the stage whose codewords are loaded; x is 0 beyond the row. */
static void make_table(const ec_product *p, uint64_t group, tile *t, size_t j) {
    float x[EC_TABLE_DIM] = {0};
    uint64_t first = group * EC_TABLE_DIM, columns = p->decoder->matrix->columns;
    for (uint64_t d = 0; d < EC_TABLE_DIM && first + d < columns; d++) x[d] = p->x[ec_product_at(p, first + d)];
    p->decoder->kernels.table_f32_cb(t->codewords[0], x, t->tables[j]);
}

/* Groups that have a code in every stage. */
static void add_critical(const ec_product *p, tile *t, uint64_t first_row, size_t n_rows, float *sums) {
    const ec_crvq_plan *plan = &p->decoder->crvq;
    const ec_matrix *m = p->decoder->matrix;
    uint64_t most = TILE_TABLES / plan->stages;
    uint8_t codes[BLOCK_ROWS * TILE_TABLES];
    for (uint64_t group = 0; group < plan->critical_groups; group += most) {
        size_t n = (size_t)(plan->critical_groups - group < most ? plan->critical_groups - group : most);
        size_t n_tables = n * plan->stages;
        for (uint32_t k = 0; k < plan->stages; k++) {
            load_codewords(plan, k, t);
            for (size_t g = 0; g < n; g++) make_table(p, group + g, t, g * plan->stages + k);
        }
        for (size_t row = 0; row < n_rows; row += BLOCK_ROWS) {
            size_t rows = n_rows - row < BLOCK_ROWS ? n_rows - row : BLOCK_ROWS;
            for (uint32_t k = 0; k < plan->stages; k++) {
                uint64_t stride = k == 0 ? plan->row_bytes : plan->critical_row_bytes;
                const uint8_t *plane = k == 0 ? m->codes : m->extended + (k - 1) * m->rows * stride;
                for (size_t r = 0; r < rows; r++) {
                    const uint8_t *row_codes = plane + (first_row + row + r) * stride + group;
                    for (size_t g = 0; g < n; g++) codes[r * n_tables + g * plan->stages + k] = row_codes[g];
                }
            }
            p->decoder->kernels.lookup_f32_cb(t->tables[0], n_tables, codes, n_tables, rows, sums + row);
        }
    }
}

static void multiply_rows(const ec_product *p, uint64_t first_row, size_t n_rows, float *sums) {
    const ec_crvq_plan *plan = &p->decoder->crvq;
    const ec_matrix *m = p->decoder->matrix;
    tile t;
    memset(sums, 0, n_rows * sizeof *sums);
    add_critical(p, &t, first_row, n_rows, sums);
    load_codewords(plan, 0, &t);
    for (uint64_t group = plan->critical_groups; group < plan->groups; group += TILE_TABLES) {
        size_t n = (size_t)(plan->groups - group < TILE_TABLES ? plan->groups - group : TILE_TABLES);
        for (size_t g = 0; g < n; g++) make_table(p, group + g, &t, g);
        const uint8_t *codes = m->codes + first_row * plan->row_bytes + group;
        p->decoder->kernels.lookup_f32_cb(t.tables[0], n, codes, (size_t)plan->row_bytes, n_rows, sums);
    }
    for (size_t r = 0; r < n_rows; r++) sums[r] *= ec_crvq_row_scale(m, first_row + r);
}

void ec_product_table(const ec_product *p) {
    if (!p->adds) {
        multiply_rows(p, p->first_row, (size_t)p->n_rows, p->y);
        return;
    }
    float sums[ADDED_ROWS];
    for (uint64_t row = 0; row < p->n_rows; row += ADDED_ROWS) {
        size_t n = (size_t)(p->n_rows - row < ADDED_ROWS ? p->n_rows - row : ADDED_ROWS);
        multiply_rows(p, p->first_row + row, n, sums);
        for (size_t r = 0; r < n; r++) p->y[row + r] = sums[r] + p->y[row + r];
    }
}
