/* UTF-8 by its table of well-formed sequences (Unicode 15, table 3-7). */
#include "programs/run/utf8.h"

#include <string.h>

static size_t replace(char *out) {
    memcpy(out, "\xEF\xBF\xBD", 3);
    return 3;
}

/* The first byte of a character. */
static size_t begin(utf8_stream *s, unsigned char byte, char *out) {
    if (byte < 0x80) {
        *out = (char)byte;
        return 1;
    }
    if (byte < 0xC2 || byte > 0xF4) return replace(out);
    s->bytes[0] = byte;
    s->n = 1;
    s->missing = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    s->low = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;  /* no longer forms of what is shorter, */
    s->high = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF; /* no surrogates, nothing above U+10FFFF */
    return 0;
}

size_t utf8_add(utf8_stream *s, const char *bytes, size_t n, char *out) {
    char *to = out;
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (s->missing != 0 && (byte < s->low || byte > s->high)) {
            s->missing = 0;
            to += replace(to);
        }
        if (s->missing == 0) {
            to += begin(s, byte, to);
            continue;
        }
        s->bytes[s->n++] = byte;
        s->low = 0x80;
        s->high = 0xBF;
        if (--s->missing != 0) continue;
        memcpy(to, s->bytes, s->n);
        to += s->n;
    }
    return (size_t)(to - out);
}

size_t utf8_end(utf8_stream *s, char *out) {
    size_t n = s->missing != 0 ? replace(out) : 0;
    s->missing = 0;
    return n;
}
