/* Products by lookup tables: what x makes of every codeword is worked out once for all rows of a call
 * (AQLM's way, arXiv 2401.06118, 4.3), a tile of groups at a time, so that the tables stay in L1. */
#include "products/product.h"

#define TILE_TABLES 16  /* 16 KiB of tables; at least EC_MAX_STAGES, so that a group fits */
#define BLOCK_ROWS 32   /* rows whose codes of all stages are brought together */
#define ADDED_ROWS 1024 /* rows at a time when the product is added to what is there */

typedef struct tile {
    float codewords[EC_TABLE_DIM][EC_TABLE_SIZE]; /* of one stage */
    float tables[TILE_TABLES][EC_TABLE_SIZE];
} tile;

/* Whose table it is. */
typedef struct entry {
    uint64_t group;
    uint32_t stage;
} entry;

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
    for (uint64_t d = 0; d < EC_TABLE_DIM && first + d < columns; d++) x[d] = p->x[first + d];
    p->decoder->kernels.table_f32_cb(t->codewords[0], x, t->tables[j]);
}

/* Lists the tables of groups from `group` on that stages beside stage 0 cover, as many as have room; in
 * the order in which their entries are added. Returns how many, and sets `group` to the next one. */
static size_t list_entries(const ec_crvq_plan *plan, uint64_t *group, entry *entries) {
    size_t n = 0;
    for (; *group < plan->groups[1]; ++*group) {
        uint32_t n_stages = ec_crvq_group_stages(plan, *group);
        if (n + n_stages > TILE_TABLES) break;
        for (uint32_t k = 0; k < n_stages; k++, n++) {
            entries[n].group = *group;
            entries[n].stage = k;
        }
    }
    return n;
}

/* Brings together the codes of some rows: codes[r * n + j] is that of entry j. */
static void gather_codes(const ec_crvq_plan *plan, const entry *entries, size_t n, uint64_t first_row, size_t n_rows,
                         uint8_t *codes) {
    for (size_t j = 0; j < n; j++) {
        size_t stride = (size_t)plan->row_bytes[entries[j].stage];
        const uint8_t *code = plan->planes[entries[j].stage] + first_row * stride + entries[j].group;
        for (size_t r = 0; r < n_rows; r++) codes[r * n + j] = code[r * stride];
    }
}

/* Groups that several stages cover. */
static void add_critical(const ec_product *p, tile *t, uint64_t first_row, size_t n_rows, float *sums) {
    const ec_crvq_plan *plan = &p->decoder->crvq;
    uint8_t codes[BLOCK_ROWS * TILE_TABLES];
    entry entries[TILE_TABLES];
    for (uint64_t group = 0; group < plan->groups[1];) {
        uint32_t n_stages = ec_crvq_group_stages(plan, group);
        size_t n = list_entries(plan, &group, entries);
        for (uint32_t k = 0; k < n_stages; k++) {
            load_codewords(plan, k, t);
            for (size_t j = 0; j < n; j++) {
                if (entries[j].stage == k) make_table(p, entries[j].group, t, j);
            }
        }
        for (size_t row = 0; row < n_rows; row += BLOCK_ROWS) {
            size_t rows = n_rows - row < BLOCK_ROWS ? n_rows - row : BLOCK_ROWS;
            gather_codes(plan, entries, n, first_row + row, rows, codes);
            p->decoder->kernels.lookup_f32_cb(t->tables[0], n, codes, n, rows, sums + row);
        }
    }
}

static void multiply_rows(const ec_product *p, uint64_t first_row, size_t n_rows, float *sums) {
    const ec_crvq_plan *plan = &p->decoder->crvq;
    size_t stride = (size_t)plan->row_bytes[0];
    tile t;
    memset(sums, 0, n_rows * sizeof *sums);
    add_critical(p, &t, first_row, n_rows, sums);
    load_codewords(plan, 0, &t);
    for (uint64_t group = plan->groups[1]; group < plan->groups[0]; group += TILE_TABLES) {
        size_t n = (size_t)(plan->groups[0] - group < TILE_TABLES ? plan->groups[0] - group : TILE_TABLES);
        for (size_t g = 0; g < n; g++) make_table(p, group + g, &t, g);
        const uint8_t *codes = plan->planes[0] + first_row * stride + group;
        p->decoder->kernels.lookup_f32_cb(t.tables[0], n, codes, stride, n_rows, sums);
    }
    for (size_t r = 0; r < n_rows; r++) sums[r] *= ec_row_scale(p->decoder->matrix, first_row + r);
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
