/* Products of a crvq matrix with one token's int8 activations by lookup tables: what a group of x makes of every
 * codeword is worked out once for all rows of a call, in whole numbers, so that the sums of a block are those of
 * the other way (products/integers.c) and tables are only a faster one. */
#include "products/integers.h"

#define TILE_TABLES 16                                   /* that a tile has if it is more than one block */
#define BLOCK_GROUPS (EC_BLOCK / EC_TABLE_DIM)
#define MOST_TABLES (BLOCK_GROUPS * EC_MAX_STAGES)       /* of one block: 32 KiB of them */
#define BLOCK_ROWS 32                                    /* rows whose codes of all stages are brought together */

/* Some blocks, their tables, and whose tables they are. */
typedef struct tile {
    uint64_t first_block;
    size_t n_blocks, n;
    uint32_t ends[TILE_TABLES]; /* entries up to the end of each block */
    struct { uint64_t group; uint32_t stage; } entries[MOST_TABLES];
    int32_t tables[MOST_TABLES][EC_TABLE_SIZE];
} tile;

/* Lists the codes of blocks from `block` on, as many as have room, at least one; groups in order, in a group
 * stage after stage. */
static void list_entries(const ec_crvq_plan *plan, uint64_t block, tile *t) {
    t->first_block = block;
    t->n_blocks = t->n = 0;
    for (; block * BLOCK_GROUPS < plan->groups[0]; block++) {
        size_t n = t->n;
        for (uint64_t group = block * BLOCK_GROUPS; group < (block + 1) * BLOCK_GROUPS; group++) {
            if (group >= plan->groups[0]) break;
            uint32_t n_stages = ec_crvq_group_stages(plan, group);
            if (t->n_blocks > 0 && n + n_stages > TILE_TABLES) return;
            for (uint32_t k = 0; k < n_stages; k++, n++) {
                t->entries[n].group = group;
                t->entries[n].stage = k;
            }
        }
        t->n = n;
        t->ends[t->n_blocks++] = (uint32_t)n;
        if (n + BLOCK_GROUPS > TILE_TABLES) return;
    }
}

/* Brings together the codes of some rows: codes[r * n + j] is that of entry j. */
static void gather_codes(const ec_crvq_plan *plan, const tile *t, uint64_t first_row, size_t n_rows, uint8_t *codes) {
    for (size_t j = 0; j < t->n; j++) {
        size_t stride = (size_t)plan->row_bytes[t->entries[j].stage];
        const uint8_t *code = plan->planes[t->entries[j].stage] + first_row * stride + t->entries[j].group;
        for (size_t r = 0; r < n_rows; r++) codes[r * t->n + j] = code[r * stride];
    }
}

static void add_tile(const ec_integer_product *p, const tile *t, float *y) {
    const ec_crvq_plan *plan = &p->decoder.crvq;
    const float *scales = p->x->scales + t->first_block;
    ec_lookup_i32 work = {t->tables[0], t->ends, scales, t->n_blocks, NULL, t->n, (size_t)p->n_rows, y};
    if (t->entries[0].group >= plan->groups[1]) { /* of stage 0 alone: the codes lie side by side */
        work.stride = (size_t)plan->row_bytes[0];
        work.codes = plan->planes[0] + p->first_row * work.stride + t->entries[0].group;
        p->decoder.kernels.lookup_i32_cb(&work);
        return;
    }
    uint8_t codes[BLOCK_ROWS * MOST_TABLES];
    work.codes = codes;
    for (uint64_t row = 0; row < p->n_rows; row += BLOCK_ROWS) {
        work.n_rows = (size_t)(p->n_rows - row < BLOCK_ROWS ? p->n_rows - row : BLOCK_ROWS);
        work.y = y + row;
        gather_codes(plan, t, p->first_row + row, work.n_rows, codes);
        p->decoder.kernels.lookup_i32_cb(&work);
    }
}

/* Rows of one call whose sums have a place: y, or some at a time when the product is added to what is there. */
static void multiply_rows(const ec_integer_product *p, float *sums) {
    const ec_crvq_plan *plan = &p->decoder.crvq;
    tile t;
    memset(sums, 0, (size_t)p->n_rows * sizeof *sums);
    for (uint64_t block = 0; block < p->x->n_blocks; block += t.n_blocks) {
        list_entries(plan, block, &t);
        for (size_t j = 0; j < t.n; j++) {
            uint32_t k = t.entries[j].stage;
            const int8_t *codewords = (const int8_t *)plan->codebooks[k];
            const int8_t *x = p->x->values + t.entries[j].group * EC_TABLE_DIM; /* zeros behind the row */
            p->decoder.kernels.table_i32_cb(codewords, plan->shifts[k], x, t.tables[j]);
        }
        add_tile(p, &t, sums);
    }
    for (uint64_t r = 0; r < p->n_rows; r++) sums[r] *= ec_row_scale(p->decoder.matrix, p->first_row + r);
}

void ec_integer_product_table(const ec_integer_product *p) {
    if (!p->adds) {
        multiply_rows(p, p->y);
        return;
    }
    float sums[EC_TABLE_ROWS];
    ec_integer_product part = *p;
    for (uint64_t row = 0; row < p->n_rows; row += EC_TABLE_ROWS) {
        part.first_row = p->first_row + row;
        part.n_rows = p->n_rows - row < EC_TABLE_ROWS ? p->n_rows - row : EC_TABLE_ROWS;
        multiply_rows(&part, sums);
        for (uint64_t r = 0; r < part.n_rows; r++) p->y[row + r] = sums[r] + p->y[row + r];
    }
}
