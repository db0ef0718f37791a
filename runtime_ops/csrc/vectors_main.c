/* Test vectors against the kernels of this machine: `vectors FILE`.
 *
 * Runs every case of FILE with every instruction set that is available, compares the output byte
 * for byte and prints one line per instruction set; exit status 1 when anything differs. All buffers
 * end at an unmapped page and start unaligned, so that reading or writing past them is a crash.
 * The file is made by tests/runtime_ops/vectors.py; a case is the struct below and then its blobs.
 */
#define _DEFAULT_SOURCE 1
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "edgecomp.h"

enum { OP_DECODE = 0, OP_ROWS = 1, OP_GEMV = 2, N_BLOBS = 6 };
enum { CODES, SCALES, PARAMS, TABLE, X, EXPECTED };

typedef struct case_header {
    uint32_t op, codec, n_dims, pad;
    uint64_t shape[EC_MAX_DIMS];
    uint64_t first, count; /* weights, or rows */
    uint32_t dim, points, generator[4], shift[4], levels, offset, centre, classes, group, radix_packed;
    uint64_t blob_bytes[N_BLOBS];
} case_header;

/* `size` bytes that end where an unmapped page begins. */
static uint8_t *guarded(size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t mapped = (size + page) / page * page;
    uint8_t *base = mmap(NULL, mapped + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + mapped, page, PROT_NONE) != 0) {
        fprintf(stderr, "vectors: out of memory\n");
        exit(2);
    }
    return base + mapped - size;
}

static void release(uint8_t *data, size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t mapped = (size + page) / page * page;
    munmap(data + size - mapped, mapped + page);
}

static void read_exactly(FILE *file, void *to, size_t size) {
    if (size != 0 && fread(to, 1, size, file) != size) {
        fprintf(stderr, "vectors: the file ends early\n");
        exit(2);
    }
}

static void fill_tensor(const case_header *c, uint8_t *const *blobs, ec_tensor *t) {
    memset(t, 0, sizeof *t);
    ec_matrix *m = &t->rest;
    m->codec = (ec_codec)c->codec;
    t->n_dims = c->n_dims;
    memcpy(t->shape, c->shape, sizeof t->shape);
    ec_winding *w = &m->winding;
    w->dim = c->dim;
    w->points = c->points;
    memcpy(w->generator, c->generator, sizeof w->generator);
    memcpy(w->shift, c->shift, sizeof w->shift);
    w->levels = c->levels;
    w->offset = c->offset;
    w->centre = c->centre;
    w->classes = c->classes;
    w->group = c->group;
    w->radix_packed = c->radix_packed;
    w->table = c->blob_bytes[TABLE] ? blobs[TABLE] : NULL;
    m->codes = blobs[CODES];
    m->codes_bytes = c->blob_bytes[CODES];
    m->scales = c->blob_bytes[SCALES] ? blobs[SCALES] : NULL;
    m->scales_bytes = c->blob_bytes[SCALES];
    m->params = c->blob_bytes[PARAMS] ? blobs[PARAMS] : NULL;
    m->params_bytes = c->blob_bytes[PARAMS];
}

static ec_status run(const case_header *c, const ec_tensor *t, const uint8_t *x, float *out, ec_isa isa) {
    switch (c->op) {
        case OP_DECODE: return ec_decode(t, c->first, c->count, out, isa);
        case OP_ROWS: return ec_decode_rows(t, c->first, c->count, out, isa);
        case OP_GEMV: return ec_gemv(t, c->first, c->count, (const float *)(const void *)x, out, isa);
        default: return EC_BAD_ARGUMENT;
    }
}

/* 0 when the output is the expected one. */
static int check(unsigned number, const case_header *c, uint8_t *const *blobs, ec_isa isa) {
    ec_tensor tensor;
    fill_tensor(c, blobs, &tensor);
    size_t size = (size_t)c->blob_bytes[EXPECTED];
    float *out = (float *)(void *)guarded(size);
    memset(out, 0xA5, size);
    ec_status status = ec_tensor_check(&tensor);
    if (status == EC_OK) status = run(c, &tensor, blobs[X], out, isa);
    int differs = status != EC_OK || memcmp(out, blobs[EXPECTED], size) != 0;
    if (status != EC_OK) {
        printf("case %u, %s: %s\n", number, ec_isa_name(isa), ec_status_text(status));
    } else if (differs) {
        size_t i = 0;
        uint32_t got, expected;
        while (memcmp(out + i, blobs[EXPECTED] + 4 * i, 4) == 0) i++;
        memcpy(&got, out + i, 4);
        memcpy(&expected, blobs[EXPECTED] + 4 * i, 4);
        printf("case %u (op %u, dim %u, points %u, first %" PRIu64 ", count %" PRIu64 "), %s: element %zu is %08x, expected %08x\n",
               number, c->op, c->dim, c->points, c->first, c->count, ec_isa_name(isa), i, (unsigned)got, (unsigned)expected);
    }
    release((uint8_t *)out, size);
    return differs;
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: vectors FILE\n");
        return 2;
    }
    unsigned n_cases = 0, failures[EC_ISA_COUNT] = {0};
    uint32_t available = ec_isa_available();
    case_header c;
    while (fread(&c, sizeof c, 1, file) == 1) {
        uint8_t *blobs[N_BLOBS];
        for (int i = 0; i < N_BLOBS; i++) {
            blobs[i] = guarded((size_t)c.blob_bytes[i]);
            read_exactly(file, blobs[i], (size_t)c.blob_bytes[i]);
        }
        for (int isa = 0; isa < EC_ISA_COUNT; isa++) {
            if (available >> isa & 1) failures[isa] += (unsigned)check(n_cases, &c, blobs, (ec_isa)isa);
        }
        for (int i = 0; i < N_BLOBS; i++) release(blobs[i], (size_t)c.blob_bytes[i]);
        n_cases++;
    }
    fclose(file);
    unsigned failed = 0;
    for (int isa = 0; isa < EC_ISA_COUNT; isa++) {
        if ((available >> isa & 1) == 0) continue;
        printf("%s: %u cases, %u differ\n", ec_isa_name((ec_isa)isa), n_cases, failures[isa]);
        failed += failures[isa];
    }
    return failed != 0 || n_cases == 0;
}
