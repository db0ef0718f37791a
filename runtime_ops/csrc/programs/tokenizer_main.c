/* A test harness: opens the tokenizer of every file of a corpus and encodes a text with it.
 *
 *     tokenizer_main CORPUS < TEXT
 *
 * The corpus is a sequence of files, each a length (uint64, little-endian) and its bytes. Every file, text and list
 * of tokens gets a buffer of exactly its size, so that a sanitizer sees the first byte that is used beyond it.
 * Prints a line per file: the tokens with special ones, "|", those without, "|" and a checksum of the pieces of the
 * whole vocabulary; or why there is no tokenizer. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

typedef struct text {
    char *bytes;
    size_t n;
} text;

static void fail(const char *what) {
    fprintf(stderr, "tokenizer_main: %s\n", what);
    exit(2);
}

static void *room_for(size_t n) {
    void *memory = malloc(n == 0 ? 1 : n);
    if (memory == NULL) fail("no memory");
    return memory;
}

static text read_text(FILE *in) {
    text t = {room_for(1 << 16), 0};
    size_t room = 1 << 16, n;
    while ((n = fread(t.bytes + t.n, 1, room - t.n, in)) > 0) {
        t.n += n;
        if (t.n < room) continue;
        room *= 2;
        t.bytes = realloc(t.bytes, room);
        if (t.bytes == NULL) fail("no memory");
    }
    char *exact = room_for(t.n);
    memcpy(exact, t.bytes, t.n);
    free(t.bytes);
    t.bytes = exact;
    return t;
}

static void print_tokens(const ec_tokenizer *tokenizer, text t, int special) {
    size_t n = ec_tokenizer_encode(tokenizer, t.bytes, t.n, 1, special, NULL, 0);
    if (n == SIZE_MAX) fail("no memory for tokens");
    uint32_t *tokens = room_for(n * sizeof *tokens);
    if (ec_tokenizer_encode(tokenizer, t.bytes, t.n, 1, special, tokens, n) != n) fail("another number of tokens");
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] >= ec_tokenizer_size(tokenizer)) fail("a token outside the vocabulary");
        printf("%" PRIu32 " ", tokens[i]);
    }
    free(tokens);
}

/* FNV-1a over the pieces of all tokens in all four ways, each behind its number of bytes. */
static uint64_t sum_of_pieces(const ec_tokenizer *tokenizer) {
    uint64_t sum = UINT64_C(0xCBF29CE484222325);
    for (uint32_t i = 0; i < 4 * ec_tokenizer_size(tokenizer); i++) {
        size_t n = ec_tokenizer_piece(tokenizer, i / 4, i & 1, i >> 1 & 1, NULL, 0);
        unsigned char *bytes = room_for(n);
        if (ec_tokenizer_piece(tokenizer, i / 4, i & 1, i >> 1 & 1, (char *)bytes, n) != n) fail("another size");
        sum = (sum ^ n) * UINT64_C(0x100000001B3);
        for (size_t j = 0; j < n; j++) sum = (sum ^ bytes[j]) * UINT64_C(0x100000001B3);
        free(bytes);
    }
    return sum;
}

static void use_file(const void *data, size_t size, text t) {
    ec_message why;
    ec_tokenizer *tokenizer = ec_tokenizer_open(data, size, &why);
    if (tokenizer == NULL) {
        printf("error: %s; hint: %s\n", why.text, why.hint);
        return;
    }
    print_tokens(tokenizer, t, 1);
    printf("| ");
    print_tokens(tokenizer, t, 0);
    printf("| %016" PRIx64 "\n", sum_of_pieces(tokenizer));
    ec_tokenizer_free(tokenizer);
}

int main(int argc, char **argv) {
    uint64_t size;
    FILE *corpus = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (corpus == NULL) {
        fprintf(stderr, "usage: tokenizer_main CORPUS < TEXT\n");
        return 2;
    }
    text t = read_text(stdin);
    while (fread(&size, sizeof size, 1, corpus) == 1) {
        uint8_t *data = room_for((size_t)size);
        if (fread(data, 1, (size_t)size, corpus) != size) fail("the corpus ends early");
        use_file(data, (size_t)size, t);
        free(data);
    }
    free(t.bytes);
    fclose(corpus);
    return 0;
}
