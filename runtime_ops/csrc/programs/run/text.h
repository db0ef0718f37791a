/* Tokens as they come, on stdout: as text, whole characters at a time, or as numbers. */
#ifndef RUN_TEXT_H
#define RUN_TEXT_H

#include "programs/run/utf8.h"
#include "runner.h"

typedef struct text_writer {
    const ec_tokenizer *tokenizer; /* NULL: numbers, one in a line */
    utf8_stream stream;
    int first;                     /* the next token is the first of its text */
} text_writer;

/* Both flush stdout: 1, or 0 when it cannot be written. */
int text_token(text_writer *writer, uint32_t token);
int text_end(text_writer *writer);

#endif
