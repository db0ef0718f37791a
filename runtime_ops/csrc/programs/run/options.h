/* The command line: options with values that are checked, and what is left. */
#ifndef RUN_OPTIONS_H
#define RUN_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

typedef enum option_kind {
    OPTION_FLAG,    /* int: 1 when it is there */
    OPTION_TEXT,    /* const char * */
    OPTION_U32,     /* uint32_t in low .. high */
    OPTION_U64,     /* uint64_t, all of them */
    OPTION_FLOAT    /* float in low .. high */
} option_kind;

typedef struct option {
    const char *name;   /* with its dashes */
    option_kind kind;
    void *value;        /* what it is written to */
    double low, high;
} option;

#define MAX_OPERANDS 2

typedef struct command_line {
    const char *help;                   /* of the command; printed by --help */
    const option *options;
    size_t n_options;
    size_t n_operands;                  /* how many there must be, at most MAX_OPERANDS */
    const char *operands[MAX_OPERANDS]; /* what they were */
} command_line;

#define PARSED (-1)

/* PARSED, or the status to exit with: help was asked for and printed, or something was wrong and said so. */
int parse_command_line(command_line *line, int argc, char **argv);

/* A whole number within limits, all of the text: 1, or 0. */
int parse_u32(const char *text, double low, double high, uint32_t *number);

/* Numbers of threads with commas between them, 0 to EC_MAX_THREADS, as in 1,2,4: how many (at most `room`), or 0 when
 * the text is something else, which has been said. */
size_t parse_threads(const char *text, uint32_t *numbers, size_t room);

#endif
