/* Writing tokens. */
#include "programs/run/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PIECE_BYTES 256 /* of a token; longer ones are allocated */

static int write_bytes(const char *bytes, size_t n) {
    return fwrite(bytes, 1, n, stdout) == n && fflush(stdout) == 0;
}

static int write_piece(text_writer *w, const char *piece, size_t n) {
    char out[3 * (PIECE_BYTES + 1)];
    int written = 1;
    for (size_t done = 0, part; done < n && written; done += part) {
        part = n - done < PIECE_BYTES ? n - done : PIECE_BYTES;
        written = write_bytes(out, utf8_add(&w->stream, piece + done, part, out));
    }
    return written;
}

int text_token(text_writer *w, uint32_t token) {
    char bytes[PIECE_BYTES], *longer;
    if (w->tokenizer == NULL) return printf("%" PRIu32 "\n", token) > 0 && fflush(stdout) == 0;
    size_t n = ec_tokenizer_piece(w->tokenizer, token, w->first, 0, bytes, sizeof bytes);
    int first = w->first, written;
    w->first = 0;
    if (n <= sizeof bytes) return write_piece(w, bytes, n);
    longer = malloc(n);
    if (longer == NULL) return 0;
    ec_tokenizer_piece(w->tokenizer, token, first, 0, longer, n);
    written = write_piece(w, longer, n);
    free(longer);
    return written;
}

int text_end(text_writer *w) {
    char out[3];
    return write_bytes(out, utf8_end(&w->stream, out));
}
