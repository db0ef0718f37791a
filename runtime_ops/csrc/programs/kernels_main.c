/* The kernels of products with int8 activations against the plain ones: `kernels`.
 *
 * Runs every instruction set that is available on random and extreme arguments, compares what it writes byte
 * for byte with what the scalar kernels write, and prints one line per set; exit status 1 when anything
 * differs. Buffers end at an unmapped page, so that reading or writing past them is a crash.
 */
#define _DEFAULT_SOURCE 1
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codecs/matrix.h"

enum { MAX_TOKENS = 19, MAX_BLOCKS = 5, MAX_TILES = 17, MAX_FLOATS = 131, FLOAT_BLOCKS = 5, X_GAP = 5 };
enum { RANDOM, LEAST_WEIGHTS, LARGEST_INPUTS, SMALLEST_INPUTS, N_PATTERNS };

static uint64_t state = 1;

/* 32 random bits (splitmix64, Steele and others 2014). */
static uint32_t draw(void) {
    uint64_t z = state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)(z >> 32);
}

/* `size` bytes that end `spare` bytes before an unmapped page. */
static uint8_t *guarded(size_t size, size_t spare) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t mapped = (size + spare + page) / page * page;
    uint8_t *base = mmap(NULL, mapped + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + mapped, page, PROT_NONE) != 0) {
        fprintf(stderr, "kernels: out of memory\n");
        exit(2);
    }
    return base + mapped - spare - size;
}

static void release(void *data, size_t size, size_t spare) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t mapped = (size + spare + page) / page * page;
    munmap((uint8_t *)data + size + spare - mapped, mapped + page);
}

static void fill(uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) data[i] = (uint8_t)draw();
}

static float bits_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* A number from 1 to 2, times 2^exponent, of either sign. */
static float number(int exponent) {
    uint32_t bits = draw();
    return bits_float((bits & UINT32_C(0x807FFFFF)) | (uint32_t)(exponent + 127) << 23);
}

/* What quantised activations come from: of one size or many, with halves, zeros, infinities and NaN. */
static void fill_inputs(float *x, size_t n, uint32_t kind) {
    static const int exponents[] = {0, -59, -60, -61, -126, 126};
    for (size_t i = 0; i < n; i++) {
        if (kind < 6) x[i] = number(exponents[kind] - (int)(draw() % 2));
        if (kind == 6) x[i] = number((int)(draw() % 254) - 126);
        if (kind == 7) x[i] = (float)((int)(draw() % 255) - 127) * 0.5f;
        if (kind == 8) x[i] = draw() % 2 != 0 ? 0.0f : -0.0f;
        if (kind == 9) x[i] = bits_float(draw() & UINT32_C(0x807FFFFF));
    }
    if (kind == 7 && n > 0) x[draw() % n] = 63.5f;
    if (kind >= 10 && n > 0) {
        static const uint32_t special[] = {0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345, 0x7F800001};
        for (size_t i = 0; i < n; i++) x[i] = number(3);
        x[draw() % n] = bits_float(special[kind - 10]);
    }
}

typedef struct quantised {
    int8_t values[FLOAT_BLOCKS * EC_BLOCK];
    float scales[FLOAT_BLOCKS];
    int32_t sums[FLOAT_BLOCKS];
} quantised;

static int quantise_differs(const ec_kernels *kernels, size_t n, uint32_t kind) {
    size_t blocks = (n + EC_BLOCK - 1) / EC_BLOCK, size = blocks * EC_BLOCK;
    float *x = (float *)(void *)guarded(n * sizeof *x, 0);
    int8_t *values = (int8_t *)guarded(size, 0);
    float *scales = (float *)(void *)guarded(blocks * sizeof *scales, 0);
    int32_t *sums = (int32_t *)(void *)guarded(blocks * sizeof *sums, 0);
    quantised expected;
    fill_inputs(x, n, kind);
    ec_quantise_i8_scalar(x, n, expected.values, expected.scales, expected.sums);
    kernels->quantise_i8(x, n, values, scales, sums);
    int differs = memcmp(values, expected.values, size) != 0;
    differs |= memcmp(scales, expected.scales, blocks * sizeof *scales) != 0;
    differs |= memcmp(sums, expected.sums, blocks * sizeof *sums) != 0;
    release(x, n * sizeof *x, 0);
    release(values, size, 0);
    release(scales, blocks * sizeof *scales, 0);
    release(sums, blocks * sizeof *sums, 0);
    if (differs) printf("quantise_i8: n %zu, inputs %u\n", n, (unsigned)kind);
    return differs;
}

/* Activations and sums of a band; `spare` bytes lie behind the activations, which move them off alignment. */
typedef struct band {
    ec_band_i8 arguments;
    size_t x_bytes, spare;
    float scales[MAX_TOKENS * (MAX_BLOCKS + 1)], w_scales[MAX_BLOCKS * EC_BAND_ROWS];
    int32_t x_sums[MAX_TOKENS * (MAX_BLOCKS + 1)];
    float first[MAX_TOKENS * EC_BAND_ROWS], sums[MAX_TOKENS * EC_BAND_ROWS];
} band;

static void start_band(band *b, size_t n_blocks, size_t n_tokens, uint32_t pattern, size_t spare) {
    ec_band_i8 *a = &b->arguments;
    memset(a, 0, sizeof *a);
    size_t width = n_blocks * EC_BLOCK;
    a->n_blocks = n_blocks;
    a->n_tokens = n_tokens;
    a->x_stride = width + spare * X_GAP;
    a->scale_stride = n_blocks + spare % 2;
    b->spare = spare;
    b->x_bytes = (n_tokens - 1) * a->x_stride + width;
    int8_t *x = (int8_t *)guarded(b->x_bytes, spare);
    for (size_t i = 0; i < b->x_bytes; i++) {
        x[i] = (int8_t)((int)(draw() % 255) - 127);
        if (pattern == LARGEST_INPUTS) x[i] = 127;
        if (pattern == SMALLEST_INPUTS) x[i] = -127;
    }
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t i = 0; i < n_blocks; i++) {
            size_t at = t * a->scale_stride + i;
            int32_t sum = 0;
            for (size_t j = 0; j < EC_BLOCK; j++) sum += x[t * a->x_stride + i * EC_BLOCK + j];
            b->x_sums[at] = sum;
            b->scales[at] = bits_float((uint32_t)(draw() % 160 + 60) << 23 | draw() >> 9); /* no sum overflows */
            if (draw() % 16 == 0) b->scales[at] = draw() % 2 != 0 ? 0.0f : bits_float(UINT32_C(0x7FC00000));
        }
    }
    for (size_t i = 0; i < n_blocks * EC_BAND_ROWS; i++) b->w_scales[i] = number(-3);
    for (size_t i = 0; i < n_tokens * EC_BAND_ROWS; i++) b->first[i] = number(4);
    a->x = x;
    a->x_scales = b->scales;
    a->x_sums = b->x_sums;
    a->w_scales = spare % 2 != 0 ? b->w_scales : NULL;
    a->sums = b->sums;
}

static void end_band(band *b) { release((void *)(uintptr_t)b->arguments.x, b->x_bytes, b->spare); }

/* The sums after the kernel, in `sums`; the plain kernel's in `expected`. */
static int sums_differ(const band *b, const float *expected) {
    return memcmp(b->sums, expected, b->arguments.n_tokens * EC_BAND_ROWS * sizeof *expected) != 0;
}

static int dots_differ(const ec_kernels *kernels, size_t n_blocks, size_t n_tokens, uint32_t pattern, size_t spare) {
    band b;
    float expected[2][MAX_TOKENS * EC_BAND_ROWS];
    start_band(&b, n_blocks, n_tokens, pattern, spare);
    size_t n = n_blocks * EC_BLOCK_WEIGHTS;
    int8_t *w = (int8_t *)guarded(n, 0);
    int16_t *w16 = (int16_t *)(void *)guarded(2 * n, 0);
    fill((uint8_t *)w, n);
    fill((uint8_t *)w16, 2 * n);
    for (size_t i = 0; i < n; i++) {
        if (w16[i] == INT16_MIN) w16[i] = 0;
        if (pattern != RANDOM) {
            w[i] = -128;
            w16[i] = -INT16_MAX;
        }
    }
    b.arguments.w = w;
    b.arguments.w16 = w16;
    int differs = 0;
    for (int wide = 0; wide < 2; wide++) {
        memcpy(b.sums, b.first, sizeof b.sums);
        (wide ? ec_dots_i16_scalar : ec_dots_i8_scalar)(&b.arguments);
        memcpy(expected[wide], b.sums, sizeof b.sums);
        memcpy(b.sums, b.first, sizeof b.sums);
        (wide ? kernels->dots_i16 : kernels->dots_i8)(&b.arguments);
        int wrong = sums_differ(&b, expected[wide]);
        if (wrong) printf("dots_i%d: %zu blocks, %zu tokens, pattern %u\n", wide ? 16 : 8, n_blocks, n_tokens, pattern);
        differs |= wrong;
    }
    release(w, n, 0);
    release(w16, 2 * n, 0);
    end_band(&b);
    return differs;
}

static int decode_differs(const ec_kernels *kernels, const ec_trellis_plan *plan, size_t n, size_t spare) {
    size_t size = n * (size_t)plan->tile_bytes + EC_TILE_SLACK;
    int8_t expected[MAX_TILES * EC_TILE_WEIGHTS];
    uint8_t *codes = guarded(size, spare);
    int8_t *out = (int8_t *)guarded(n * EC_TILE_WEIGHTS, 0);
    fill(codes, size);
    ec_decode_i8_tr_scalar(plan, codes, n, expected);
    kernels->decode_i8_tr(plan, codes, n, out);
    int differs = memcmp(out, expected, n * EC_TILE_WEIGHTS) != 0;
    release(codes, size, spare);
    release(out, n * EC_TILE_WEIGHTS, 0);
    if (differs) printf("decode_i8_tr: %zu tiles\n", n);
    return differs;
}

static int gemv_differs(const ec_kernels *kernels, const ec_trellis_plan *plan, size_t n_blocks, uint32_t pattern,
                        size_t spare) {
    band b;
    float expected[EC_BAND_ROWS];
    size_t size = n_blocks * EC_BLOCK_TILES * (size_t)plan->tile_bytes + EC_TILE_SLACK;
    start_band(&b, n_blocks, 1, pattern, spare);
    uint8_t *codes = guarded(size, spare);
    fill(codes, size);
    memcpy(b.sums, b.first, sizeof b.sums);
    ec_gemv_i8_tr_scalar(plan, codes, &b.arguments, 1);
    memcpy(expected, b.sums, sizeof expected);
    memcpy(b.sums, b.first, sizeof b.sums);
    kernels->gemv_i8_tr(plan, codes, &b.arguments, 1);
    int differs = sums_differ(&b, expected);
    release(codes, size, spare);
    end_band(&b);
    if (differs) printf("gemv_i8_tr: %zu blocks, pattern %u\n", n_blocks, pattern);
    return differs;
}

static unsigned n_trellises;

/* Some numbers of tiles and blocks with one trellis. */
static int trellis_differs(const ec_kernels *kernels, const ec_trellis_plan *plan) {
    static const size_t tiles[] = {0, 1, 2, 3, 7, 8, 9, 16, MAX_TILES};
    int differs = 0;
    size_t turn = n_trellises++ % 4;
    for (size_t i = 0; i < sizeof tiles / sizeof tiles[0]; i++) {
        differs |= decode_differs(kernels, plan, tiles[i], i % 2 != 0 ? turn : 0);
    }
    for (uint32_t n = 1; n <= MAX_BLOCKS; n++) {
        differs |= gemv_differs(kernels, plan, n, n % N_PATTERNS, n % 2 != 0 ? turn : 0);
    }
    if (differs) {
        printf("with states of %u bits, steps of %u for %u, table of %u, fold %u\n", plan->state_bits, plan->step_bits,
               plan->dim, plan->table_bits, plan->fold);
    }
    return differs;
}

/* All tables of one kind of steps, without and with a fold. Tables lie at the end of a page too. */
static unsigned trellises_differ(const ec_kernels *kernels, uint32_t state_bits, uint32_t step_bits, uint32_t dim) {
    unsigned failures = 0;
    uint32_t largest = state_bits < 12 ? state_bits : 12;
    for (uint32_t i = 0; i < 2 * (largest - 3); i++) {
        uint32_t table_bits = 4 + i / 2, folded = i % 2;
        size_t size = (size_t)1 << table_bits;
        uint8_t *table = guarded(size, 0);
        fill(table, size);
        if (folded) memset(table, 0x80, size / 2); /* -128 often */
        ec_matrix m;
        memset(&m, 0, sizeof m);
        m.codec = EC_CODEC_TRELLIS;
        m.columns = EC_STRIP_COLUMNS;
        m.trellis.state_bits = state_bits;
        m.trellis.step_bits = step_bits;
        m.trellis.dim = dim;
        for (uint32_t d = 0; d < dim; d++) m.trellis.multipliers[d] = (draw() >> (32 - state_bits)) | 1;
        m.trellis.fold = folded ? draw() % (state_bits - 1) + 1 : 0;
        m.trellis.table_bits = table_bits;
        m.trellis.table = table;
        ec_trellis_plan plan;
        ec_trellis_start(&m, &plan);
        failures += (unsigned)trellis_differs(kernels, &plan);
        release(table, size, 0);
    }
    return failures;
}

static unsigned check(const ec_kernels *kernels) {
    static const uint32_t state_bits[] = {8, 10, 12, 16};
    unsigned failures = 0;
    for (size_t n = 0; n <= MAX_FLOATS; n++) {
        for (uint32_t kind = 0; kind < 15; kind++) failures += (unsigned)quantise_differs(kernels, n, kind);
    }
    for (size_t n_blocks = 1; n_blocks <= MAX_BLOCKS; n_blocks++) {
        for (size_t n_tokens = 1; n_tokens <= MAX_TOKENS; n_tokens++) {
            for (uint32_t pattern = 0; pattern < N_PATTERNS; pattern++) {
                failures += (unsigned)dots_differ(kernels, n_blocks, n_tokens, pattern, (n_tokens + pattern) % 4);
            }
        }
    }
    for (size_t i = 0; i < 4; i++) {
        for (uint32_t step_bits = 1; step_bits <= 8 && step_bits < state_bits[i]; step_bits++) {
            for (uint32_t dim = 1; dim <= 2; dim++) {
                failures += trellises_differ(kernels, state_bits[i], step_bits, dim);
            }
        }
    }
    return failures;
}

int main(void) {
    unsigned failed = 0;
    uint32_t available = ec_isa_available();
    for (int isa = 0; isa < EC_ISA_COUNT; isa++) {
        ec_kernels kernels;
        if ((available >> isa & 1) == 0 || !ec_kernels_for((ec_isa)isa, &kernels)) continue;
        n_trellises = 0;
        unsigned failures = check(&kernels);
        printf("%s: %u trellises, %u differ\n", ec_isa_name((ec_isa)isa), n_trellises, failures);
        failed += failures;
    }
    return failed != 0;
}
