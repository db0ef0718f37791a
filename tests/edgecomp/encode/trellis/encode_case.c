/* Reads a job from stdin, encodes it, writes codes, values and targets: see test_instruction_sets.py. */
#include <stdio.h>
#include <stdlib.h>

#include "encoder.h"

static void *numbers(size_t n, size_t size) {
    void *data = calloc(n, size);
    if (data == NULL || fread(data, size, n, stdin) != n) exit(2);
    return data;
}

int main(void) {
    uint32_t *head = numbers(7, sizeof *head);
    size_t rows = head[3], columns = head[4], bands = rows / EC_BAND_ROWS;
    ec_trellis_job job = {0};
    job.search.state_bits = head[0];
    job.search.step_bits = head[1];
    job.search.dim = head[2];
    job.columns = job.end = columns;
    job.band_bytes = head[5];
    job.search.values = numbers((size_t)head[2] << head[0], sizeof(float));
    job.order = numbers(EC_TILE_WEIGHTS, 1);
    job.targets = numbers(rows * columns, sizeof(float));
    job.row_weights = numbers(rows, sizeof(float));
    job.column_weights = numbers(columns, sizeof(float));
    if (head[6]) job.feedback = numbers(columns * columns, sizeof(float));
    job.states = calloc(bands, sizeof *job.states);
    job.values = calloc(rows * columns, sizeof(float));
    job.codes = calloc(bands, job.band_bytes);
    void *scratch = malloc(ec_trellis_scratch_bytes(&job.search));
    if (job.states == NULL || job.values == NULL || job.codes == NULL || scratch == NULL) return 2;
    for (size_t band = 0; band < bands; band++) job.states[band] = EC_ANY_STATE;
    ec_trellis_encode(&job, 0, bands, scratch);
    fwrite(job.codes, 1, bands * job.band_bytes, stdout);
    fwrite(job.values, sizeof(float), rows * columns, stdout);
    fwrite(job.targets, sizeof(float), rows * columns, stdout);
    return 0;
}
