/* A test harness: opens every file of a corpus and decodes what it accepts.
 *
 *     container_main CORPUS WEIGHTS
 *
 * The corpus is a sequence of files, each a length (uint64, little-endian) and its bytes. Every file
 * gets a buffer of exactly its size, so that a sanitizer sees the first byte that is read beyond it.
 * Prints a line per file: its status, that of opening it or the first other than EC_OK of what
 * follows, and how many weights of it were appended to WEIGHTS (float32), tensor after tensor. What
 * the kernels or ranges of a tensor disagree about ends the program with status 1. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgecomp.h"

#define MAX_DECODED (UINT64_C(1) << 20) /* weights of a tensor; the corpus has no larger ones */
#define RANGE 65

static void fail(const char *what) {
    fprintf(stderr, "container_main: %s\n", what);
    exit(1);
}

static float *allocate(uint64_t count) {
    float *out = malloc((size_t)count * sizeof *out + 1);
    if (out == NULL) fail("no memory");
    return out;
}

/* A range decoded with one instruction set must be that of `whole`. */
static ec_status compare(const ec_tensor *tensor, uint64_t first, uint64_t count, const float *whole, ec_isa isa) {
    float *out = allocate(count);
    ec_status status = ec_decode(tensor, first, count, out, isa);
    if (status == EC_OK && memcmp(out, whole + first, (size_t)count * sizeof *out) != 0) fail("ranges or kernels differ");
    free(out);
    return status;
}

static ec_status use_tensor(const ec_tensor *tensor, FILE *weights, uint64_t *n_written) {
    uint64_t n = tensor->n_weights, count = n < RANGE ? n : RANGE;
    uint32_t available = ec_isa_available();
    if (n > MAX_DECODED) fail("a tensor larger than the corpus may have");
    float *whole = allocate(n);
    ec_status status = ec_decode(tensor, 0, n, whole, EC_ISA_BEST);
    for (int isa = 0; status == EC_OK && isa < EC_ISA_COUNT; isa++) {
        if ((available >> isa & 1) == 0) continue;
        status = compare(tensor, 0, n, whole, (ec_isa)isa);
        if (status == EC_OK) status = compare(tensor, 0, count, whole, (ec_isa)isa);
        if (status == EC_OK) status = compare(tensor, n - count, count, whole, (ec_isa)isa);
        if (status == EC_OK) status = compare(tensor, n / 2, n - n / 2 < count ? n - n / 2 : count, whole, (ec_isa)isa);
    }
    if (status == EC_OK && fwrite(whole, sizeof *whole, (size_t)n, weights) != n) fail("weights cannot be written");
    if (status == EC_OK) *n_written += n;
    free(whole);
    return status;
}

static ec_status use_file(const void *data, size_t size, FILE *weights, uint64_t *n_written) {
    ec_container container;
    ec_slice text;
    ec_status status = ec_container_open(data, size, &container);
    if (status == EC_OK) status = ec_container_string(&container, "edgecomp.settings", &text);
    for (uint32_t i = 0; status == EC_OK && i < container.n_tensors; i++) {
        ec_tensor tensor;
        uint32_t found = 0;
        status = ec_container_name(&container, i, &text);
        if (status == EC_OK) status = ec_container_find(&container, (const char *)text.data, (size_t)text.size, &found);
        if (status == EC_OK && found != i) fail("a name finds another tensor");
        if (status == EC_OK) status = ec_container_tensor(&container, i, &tensor);
        if (status == EC_OK) status = ec_tensor_check(&tensor);
        if (status == EC_OK) status = use_tensor(&tensor, weights, n_written);
    }
    return status;
}

int main(int argc, char **argv) {
    FILE *corpus = argc == 3 ? fopen(argv[1], "rb") : NULL;
    FILE *weights = corpus != NULL ? fopen(argv[2], "wb") : NULL;
    uint64_t size;
    if (weights == NULL) {
        fprintf(stderr, "usage: container_main CORPUS WEIGHTS\n");
        return 2;
    }
    while (fread(&size, sizeof size, 1, corpus) == 1) {
        uint8_t *data = malloc(size == 0 ? 1 : (size_t)size);
        uint64_t n_written = 0;
        if (data == NULL || fread(data, 1, (size_t)size, corpus) != size) fail("the corpus ends early");
        ec_status status = use_file(data, (size_t)size, weights, &n_written);
        printf("%d %" PRIu64 "\n", (int)status, n_written);
        free(data);
    }
    fclose(corpus);
    if (fclose(weights) != 0) fail("weights cannot be written");
    return 0;
}
