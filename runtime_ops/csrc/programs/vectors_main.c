/* Test vectors against the kernels of this machine: `vectors FILE`.
 *
 * Runs every case of FILE with every instruction set that is available, compares the output byte
 * for byte and prints one line per instruction set; exit status 1 when anything differs. All buffers
 * end at an unmapped page and start unaligned, so that reading or writing past them is a crash.
 * The file is made by tests/runtime_ops/case_file.py; a case is the struct below and then its blobs.
 */
#define _DEFAULT_SOURCE 1
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "edgecomp.h"

enum { OP_DECODE = 0, OP_ROWS = 1, OP_GEMV = 2, OP_GEMM = 3, OP_PREPARE = 4, OP_MATMUL_I8 = 5 };
enum { PERMUTATION, X, EXPECTED, N_CASE_BLOBS };
enum { CODES, EXTENDED, SCALES, PARAMS, TABLE, N_MATRIX_BLOBS };
enum { N_BLOBS = N_CASE_BLOBS + 2 * N_MATRIX_BLOBS, MAX_THREADS = 4 };

typedef struct matrix_header {
    uint32_t codec;
    uint32_t dim, points, generator[4], shift[4], levels, offset, centre, classes, group, radix_packed;
    uint32_t code_bits, critical_groups[EC_MAX_STAGES], stages, shifts[EC_MAX_STAGES], wide;
    uint32_t state_bits, step_bits, multipliers[2], fold, table_bits, rotation, seed;
    uint64_t blob_bytes[N_MATRIX_BLOBS];
} matrix_header;

typedef struct case_header {
    uint32_t op, n_dims;
    uint64_t shape[EC_MAX_DIMS];
    uint64_t first, count; /* weights, or rows */
    uint64_t n_tokens, threads, n_critical;
    uint64_t blob_bytes[N_CASE_BLOBS];
    matrix_header matrices[2]; /* critical, rest */
} case_header;

static size_t blob_bytes(const case_header *c, int i) {
    if (i < N_CASE_BLOBS) return (size_t)c->blob_bytes[i];
    i -= N_CASE_BLOBS;
    return (size_t)c->matrices[i / N_MATRIX_BLOBS].blob_bytes[i % N_MATRIX_BLOBS];
}

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

static void fill_matrix(const matrix_header *h, uint8_t *const *blobs, ec_matrix *m) {
    m->codec = (ec_codec)h->codec;
    m->codes = blobs[CODES];
    m->codes_bytes = h->blob_bytes[CODES];
    m->extended = blobs[EXTENDED];
    m->extended_bytes = h->blob_bytes[EXTENDED];
    m->scales = blobs[SCALES];
    m->scales_bytes = h->blob_bytes[SCALES];
    m->params = blobs[PARAMS];
    m->params_bytes = h->blob_bytes[PARAMS];
    ec_winding *w = &m->winding;
    w->dim = h->dim;
    w->points = h->points;
    memcpy(w->generator, h->generator, sizeof w->generator);
    memcpy(w->shift, h->shift, sizeof w->shift);
    w->levels = h->levels;
    w->offset = h->offset;
    w->centre = h->centre;
    w->classes = h->classes;
    w->group = h->group;
    w->radix_packed = h->radix_packed;
    w->table = blobs[TABLE];
    ec_crvq *q = &m->crvq;
    q->dim = h->dim;
    q->code_bits = h->code_bits;
    q->stages = h->stages;
    memcpy(q->critical_groups, h->critical_groups, sizeof q->critical_groups);
    memcpy(q->shifts, h->shifts, sizeof q->shifts);
    q->wide = h->wide;
    q->codebooks = blobs[TABLE];
    ec_trellis *t = &m->trellis;
    t->state_bits = h->state_bits;
    t->step_bits = h->step_bits;
    t->dim = h->dim;
    memcpy(t->multipliers, h->multipliers, sizeof t->multipliers);
    t->fold = h->fold;
    t->table_bits = h->table_bits;
    t->wide = h->wide;
    t->rotation = h->rotation;
    t->seed = h->seed;
    t->table = blobs[TABLE];
    m->uniform.bits = h->code_bits;
    m->uniform.group = h->group;
}

static void fill_tensor(const case_header *c, uint8_t *const *blobs, ec_tensor *t) {
    memset(t, 0, sizeof *t);
    t->n_dims = c->n_dims;
    memcpy(t->shape, c->shape, sizeof t->shape);
    t->permutation = blobs[PERMUTATION];
    t->permutation_bytes = c->blob_bytes[PERMUTATION];
    t->n_critical = c->n_critical;
    fill_matrix(&c->matrices[0], blobs + N_CASE_BLOBS, &t->critical);
    fill_matrix(&c->matrices[1], blobs + N_CASE_BLOBS + N_MATRIX_BLOBS, &t->rest);
}

/* Some rows of a product, for a thread of their own. */
typedef struct share {
    const ec_tensor *tensor;
    uint64_t first, count;
    const float *x;
    float *y;
    ec_isa isa;
    ec_status status;
} share;

static void *multiply_share(void *argument) {
    share *s = argument;
    s->status = ec_gemv(s->tensor, s->first, s->count, s->x, s->y, s->isa);
    return NULL;
}

static ec_status multiply(const case_header *c, const ec_tensor *t, const float *x, float *y, ec_isa isa,
                          unsigned n_threads) {
    pthread_t threads[MAX_THREADS];
    share shares[MAX_THREADS];
    ec_status status = EC_OK;
    for (unsigned i = 0; i < n_threads; i++) {
        uint64_t low = c->count * i / n_threads, high = c->count * (i + 1) / n_threads;
        share s = {t, c->first + low, high - low, x, y + low, isa, EC_OK};
        shares[i] = s;
        if (pthread_create(&threads[i], NULL, multiply_share, &shares[i]) != 0) exit(2);
    }
    for (unsigned i = 0; i < n_threads; i++) {
        if (pthread_join(threads[i], NULL) != 0) exit(2);
        if (shares[i].status != EC_OK) status = shares[i].status;
    }
    return status;
}

/* A product with inputs that are quantised first; rows in two calls, the second from within a band. */
static ec_status multiply_i8(const case_header *c, const ec_tensor *t, const float *x, float *y, ec_isa isa) {
    if (!ec_tensor_is_integer(t)) return EC_BAD_FORMAT;
    size_t size = (size_t)ec_quantised_bytes(t, c->n_tokens);
    void *quantised = guarded(size);
    ec_status status = ec_input_quantise(t, x, c->n_tokens, quantised, isa);
    uint64_t half = c->count / 2, left = c->count - half;
    if (status == EC_OK) status = ec_matmul_i8(t, c->first, half, quantised, c->n_tokens, y, c->count, isa);
    if (status == EC_OK) {
        status = ec_matmul_i8(t, c->first + half, left, quantised, c->n_tokens, y + half, c->count, isa);
    }
    release(quantised, size);
    return status;
}

/* A product with inputs that are prepared first, if they need it. */
static ec_status run_product(const case_header *c, const ec_tensor *t, const float *x, float *y, ec_isa isa,
                             unsigned n_threads) {
    uint64_t n_tokens = c->op == OP_GEMM || c->op == OP_MATMUL_I8 ? c->n_tokens : 1;
    size_t size = (size_t)ec_input_floats(t, n_tokens) * sizeof *x;
    float *prepared = NULL;
    ec_status status = EC_OK;
    if (size != 0) {
        prepared = (float *)(void *)guarded(size);
        status = ec_input_prepare(t, x, n_tokens, prepared, isa);
        x = prepared;
    }
    if (status == EC_OK && c->op == OP_MATMUL_I8) {
        status = multiply_i8(c, t, x, y, isa);
    } else if (status == EC_OK && c->op == OP_GEMM) {
        status = ec_gemm(t, c->first, c->count, x, n_tokens, y, isa);
    } else if (status == EC_OK && n_threads > 1) {
        status = multiply(c, t, x, y, isa, n_threads);
    } else if (status == EC_OK) {
        status = ec_gemv(t, c->first, c->count, x, y, isa);
    }
    if (size != 0) release((uint8_t *)prepared, size);
    return status;
}

static ec_status run(const case_header *c, const ec_tensor *t, const uint8_t *blob, float *out, ec_isa isa,
                     unsigned n_threads) {
    const float *x = (const float *)(const void *)blob;
    switch (c->op) {
        case OP_DECODE: return ec_decode(t, c->first, c->count, out, isa);
        case OP_ROWS: return ec_decode_rows(t, c->first, c->count, out, isa);
        case OP_GEMV:
        case OP_GEMM:
        case OP_MATMUL_I8: return run_product(c, t, x, out, isa, n_threads);
        case OP_PREPARE: return ec_input_prepare(t, x, c->n_tokens, out, isa);
        default: return EC_BAD_ARGUMENT;
    }
}

static void print_difference(unsigned number, const case_header *c, ec_isa isa, const float *out, const uint8_t *blob) {
    const matrix_header *m = &c->matrices[1];
    size_t i = 0;
    uint32_t got, expected;
    while (memcmp(out + i, blob + 4 * i, 4) == 0) i++;
    memcpy(&got, out + i, 4);
    memcpy(&expected, blob + 4 * i, 4);
    printf("case %u (op %u, codec %u, dim %u, points %u, code_bits %u, stages %u, state_bits %u, step_bits %u, ",
           number, c->op, m->codec, m->dim, m->points, m->code_bits, m->stages, m->state_bits, m->step_bits);
    printf("first %" PRIu64 ", count %" PRIu64 "), %s: element %zu is %08x, expected %08x\n", c->first, c->count,
           ec_isa_name(isa), i, (unsigned)got, (unsigned)expected);
}

/* 0 when the output is the expected one, for every number of threads. */
static int check(unsigned number, const case_header *c, uint8_t *const *blobs, ec_isa isa) {
    ec_tensor tensor;
    fill_tensor(c, blobs, &tensor);
    size_t size = (size_t)c->blob_bytes[EXPECTED];
    float *out = (float *)(void *)guarded(size);
    ec_status status = ec_tensor_check(&tensor);
    int differs = 0;
    for (unsigned threads = 1; status == EC_OK && !differs && threads <= c->threads; threads *= 2) {
        memset(out, 0xA5, size);
        status = run(c, &tensor, blobs[X], out, isa, threads);
        differs = status == EC_OK && size != 0 && memcmp(out, blobs[EXPECTED], size) != 0;
    }
    if (status != EC_OK) printf("case %u, %s: %s\n", number, ec_isa_name(isa), ec_status_text(status));
    if (differs) print_difference(number, c, isa, out, blobs[EXPECTED]);
    release((uint8_t *)out, size);
    return status != EC_OK || differs;
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
            size_t size = blob_bytes(&c, i);
            blobs[i] = size != 0 ? guarded(size) : NULL;
            read_exactly(file, blobs[i], size);
        }
        for (int isa = 0; isa < EC_ISA_COUNT; isa++) {
            if (available >> isa & 1) failures[isa] += (unsigned)check(n_cases, &c, blobs, (ec_isa)isa);
        }
        for (int i = 0; i < N_BLOBS; i++) {
            if (blobs[i] != NULL) release(blobs[i], blob_bytes(&c, i));
        }
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
