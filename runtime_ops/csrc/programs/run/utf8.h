/* Text that comes in pieces: whole characters go out, the beginning of one waits for its end. */
#ifndef RUN_UTF8_H
#define RUN_UTF8_H

#include <stddef.h>

typedef struct utf8_stream {
    unsigned char bytes[4];    /* of a character that is not complete */
    size_t n, missing;         /* bytes that are there, and those to come */
    unsigned char low, high;   /* what the next one may be */
} utf8_stream;

/* Takes n bytes and writes at most 3 * (n + 1) to `out`: their number. What is no UTF-8 becomes U+FFFD, one for
 * each longest beginning of a character, as in Python's decode with errors="replace". */
size_t utf8_add(utf8_stream *stream, const char *bytes, size_t n, char *out);

/* The end of the text: 3 bytes (U+FFFD) if a character was not complete, or 0. */
size_t utf8_end(utf8_stream *stream, char *out);

#endif
