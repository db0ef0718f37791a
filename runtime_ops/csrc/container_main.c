/* A test harness: opens every file of a corpus and uses what it accepts.
 *
 * The corpus is a sequence of files, each a length (uint64, little-endian) and its bytes. Every file
 * gets a buffer of exactly its size, so that a sanitizer sees the first byte that is read beyond it.
 * Prints one status per file: that of opening it, or the first other than EC_OK of what follows. */
#include <stdio.h>
#include <stdlib.h>

#include "edgecomp.h"

#define MAX_DECODED (UINT64_C(1) << 20) /* larger tensors are decoded in ranges only */
#define RANGE 65

/* Decodes a range with the plainest and with the fastest kernels. */
static ec_status decode(const ec_tensor *tensor, uint64_t first, uint64_t count) {
    float *out = malloc((size_t)count * sizeof *out + 1);
    if (out == NULL) {
        fprintf(stderr, "no memory for %lu weights\n", (unsigned long)count);
        exit(2);
    }
    ec_status status = ec_decode(tensor, first, count, out, EC_ISA_SCALAR);
    if (status == EC_OK) status = ec_decode(tensor, first, count, out, EC_ISA_BEST);
    free(out);
    return status;
}

static ec_status use_tensor(const ec_container *container, uint32_t i) {
    ec_slice name;
    ec_tensor tensor;
    uint32_t found;
    ec_status status = ec_container_name(container, i, &name);
    if (status == EC_OK) status = ec_container_find(container, (const char *)name.data, (size_t)name.size, &found);
    if (status == EC_OK) status = found == i ? ec_container_tensor(container, i, &tensor) : EC_BAD_TENSOR;
    if (status == EC_OK) status = ec_tensor_check(&tensor);
    if (status != EC_OK) return status;
    uint64_t n = tensor.n_weights, count = n < RANGE ? n : RANGE;
    if (n <= MAX_DECODED) status = decode(&tensor, 0, n);
    if (status == EC_OK) status = decode(&tensor, 0, count);
    if (status == EC_OK) status = decode(&tensor, n - count, count);
    if (status == EC_OK) status = decode(&tensor, n / 2, n - n / 2 < count ? n - n / 2 : count);
    return status;
}

static ec_status use_file(const void *data, size_t size) {
    ec_container container;
    ec_slice settings;
    ec_status status = ec_container_open(data, size, &container);
    if (status == EC_OK) status = ec_container_string(&container, "edgecomp.settings", &settings);
    for (uint32_t i = 0; status == EC_OK && i < container.n_tensors; i++) status = use_tensor(&container, i);
    return status;
}

int main(int argc, char **argv) {
    FILE *corpus = argc == 2 ? fopen(argv[1], "rb") : NULL;
    uint64_t size;
    if (corpus == NULL) {
        fprintf(stderr, "usage: container_main CORPUS\n");
        return 2;
    }
    while (fread(&size, sizeof size, 1, corpus) == 1) {
        uint8_t *data = malloc(size == 0 ? 1 : (size_t)size);
        if (data == NULL || fread(data, 1, (size_t)size, corpus) != size) {
            fprintf(stderr, "corpus: ends early\n");
            return 2;
        }
        printf("%d\n", (int)use_file(data, (size_t)size));
        free(data);
    }
    fclose(corpus);
    return 0;
}
