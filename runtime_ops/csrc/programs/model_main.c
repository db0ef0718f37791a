/* A test harness: opens the model of every file of a corpus and continues a text with the likeliest tokens.
 *
 *     model_main CORPUS f16|int8 THREADS BATCH COUNT TOKEN...
 *
 * The corpus is a sequence of files, each a length (uint64, little-endian) and its bytes. Every file gets a
 * buffer of exactly its size, so that a sanitizer sees the first byte that is read beyond it. Prints a line per
 * file: COUNT tokens behind those given and a checksum of all logits, or why the model cannot be run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

#define MAX_PROMPT 512

typedef struct request {
    ec_model_options options;
    uint32_t prompt[MAX_PROMPT], n_prompt, count;
} request;

static void fail(const char *what) {
    fprintf(stderr, "model_main: %s\n", what);
    exit(2);
}

static uint32_t likeliest(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return best;
}

/* CRC-32 (zlib's) over the bytes of the logits. */
static uint32_t add_bytes(uint32_t sum, const float *logits, uint32_t n) {
    const unsigned char *bytes = (const unsigned char *)logits;
    sum = ~sum;
    for (size_t i = 0; i < n * sizeof *logits; i++) {
        sum ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (UINT32_C(0xEDB88320) & (0 - (sum & 1)));
    }
    return ~sum;
}

static int continue_text(ec_model *model, const request *r, ec_message *why) {
    ec_model_info info;
    ec_model_info_get(model, &info);
    float *logits = malloc(info.n_vocab * sizeof *logits);
    uint32_t sum = 0;
    if (logits == NULL) fail("no memory");
    int good = ec_model_eval(model, r->prompt, r->n_prompt, logits, why);
    for (uint32_t i = 0; good && i < r->count; i++) {
        uint32_t token = likeliest(logits, info.n_vocab);
        sum = add_bytes(sum, logits, info.n_vocab);
        printf("%" PRIu32 " ", token);
        if (i + 1 < r->count) good = ec_model_eval(model, &token, 1, logits, why);
    }
    if (good) printf("%08" PRIx32 "\n", sum);
    free(logits);
    return good;
}

static void use_file(const void *data, size_t size, const request *r) {
    ec_message why;
    ec_model *model = ec_model_open(data, size, &r->options, &why);
    if (model == NULL || !continue_text(model, r, &why)) printf("error: %s; hint: %s\n", why.text, why.hint);
    ec_model_free(model);
}

static uint32_t number(const char *text) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value > UINT32_MAX) fail("not a number");
    return (uint32_t)value;
}

static int read_request(int argc, char **argv, request *r) {
    memset(r, 0, sizeof *r);
    if (argc < 7 || argc > 6 + MAX_PROMPT) return 0;
    r->options.kv = strcmp(argv[2], "int8") == 0 ? EC_KV_I8 : EC_KV_F16;
    r->options.isa = EC_ISA_BEST;
    r->options.n_threads = number(argv[3]);
    r->options.n_batch = number(argv[4]);
    r->count = number(argv[5]);
    for (int i = 6; i < argc; i++) r->prompt[r->n_prompt++] = number(argv[i]);
    return 1;
}

int main(int argc, char **argv) {
    static request r;
    uint64_t size;
    FILE *corpus = read_request(argc, argv, &r) ? fopen(argv[1], "rb") : NULL;
    if (corpus == NULL) {
        fprintf(stderr, "usage: model_main CORPUS f16|int8 THREADS BATCH COUNT TOKEN...\n");
        return 2;
    }
    while (fread(&size, sizeof size, 1, corpus) == 1) {
        uint8_t *data = malloc(size == 0 ? 1 : (size_t)size);
        if (data == NULL || fread(data, 1, (size_t)size, corpus) != size) fail("the corpus ends early");
        use_file(data, (size_t)size, &r);
        free(data);
    }
    fclose(corpus);
    return 0;
}
