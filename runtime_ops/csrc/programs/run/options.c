/* Options are --name VALUE, --name=VALUE or --name; "--" ends them. */
#include "programs/run/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs/run/report.h"

static int parse_u64(const char *text, uint64_t *number) {
    char *end;
    if (*text < '0' || *text > '9') return 0; /* strtoull takes blanks and signs */
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && *end == 0;
}

int parse_u32(const char *text, double low, double high, uint32_t *number) {
    uint64_t parsed;
    if (!parse_u64(text, &parsed) || (double)parsed < low || (double)parsed > high) return 0;
    *number = (uint32_t)parsed;
    return 1;
}

static int parse_float(const char *text, double low, double high, float *number) {
    char *end;
    if (strspn(text, "0123456789.eE+-") != strlen(text) || *text == 0) return 0; /* no inf, no nan, no hexadecimals */
    double parsed = strtod(text, &end);
    if (*end != 0 || !isfinite(parsed) || parsed < low || parsed > high) return 0;
    *number = (float)parsed;
    return 1;
}

static int usage(const char *what, const char *value, const char *expected) {
    return fail(EXIT_USAGE, expected, "%s: %s", what, value);
}

static int set_value(const option *chosen, const char *text) {
    char expected[96];
    int valid = 1;
    snprintf(expected, sizeof expected, "expected a number from %.9g to %.9g", chosen->low, chosen->high);
    switch (chosen->kind) {
    case OPTION_FLAG: break;
    case OPTION_TEXT: *(const char **)chosen->value = text; break;
    case OPTION_U32: valid = parse_u32(text, chosen->low, chosen->high, chosen->value); break;
    case OPTION_FLOAT: valid = parse_float(text, chosen->low, chosen->high, chosen->value); break;
    case OPTION_U64:
        valid = parse_u64(text, chosen->value);
        snprintf(expected, sizeof expected, "expected a whole number of 64 bits, not negative");
        break;
    }
    return valid ? PARSED : usage(chosen->name, text, expected);
}

size_t parse_threads(const char *text, uint32_t *numbers, size_t room) {
    char hint[96], number[16];
    const char *rest = text;
    for (size_t i = 0; i < room; i++) {
        size_t n = strcspn(rest, ",");
        if (n >= sizeof number) break;
        memcpy(number, rest, n);
        number[n] = 0;
        if (!parse_u32(number, 0, EC_MAX_THREADS, &numbers[i])) break;
        if (rest[n] == 0) return i + 1;
        rest += n + 1;
    }
    snprintf(hint, sizeof hint, "expected at most %u numbers from 0 to %d, as in 1,2,4", (unsigned)room,
             EC_MAX_THREADS);
    usage("--threads", text, hint);
    return 0;
}

static const option *find_option(const command_line *line, const char *text, size_t n) {
    for (size_t i = 0; i < line->n_options; i++) {
        if (strlen(line->options[i].name) == n && memcmp(line->options[i].name, text, n) == 0) return &line->options[i];
    }
    return NULL;
}

/* One option; *i is moved to its value if that is the next word. */
static int parse_option(const command_line *line, int argc, char **argv, int *i) {
    const char *word = argv[*i], *equals = word[1] == '-' ? strchr(word, '=') : NULL;
    const option *chosen = find_option(line, word, equals != NULL ? (size_t)(equals - word) : strlen(word));
    if (chosen == NULL) return usage("no such option", word, "--help lists them");
    if (chosen->kind == OPTION_FLAG) {
        if (equals != NULL) return usage("an option without a value", word, "leave out what follows the name");
        *(int *)chosen->value = 1;
        return PARSED;
    }
    if (equals != NULL) return set_value(chosen, equals + 1);
    if (*i + 1 >= argc) return usage("no value for", word, "--help shows what it takes");
    return set_value(chosen, argv[++*i]);
}

int parse_command_line(command_line *line, int argc, char **argv) {
    size_t n = 0;
    int ended = 0;
    for (int i = 0; i < argc; i++) {
        if (!ended && strcmp(argv[i], "--") == 0) {
            ended = 1;
        } else if (!ended && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            fputs(line->help, stdout);
            return finish_stdout(EXIT_OK);
        } else if (!ended && argv[i][0] == '-' && argv[i][1] != 0) {
            int status = parse_option(line, argc, argv, &i);
            if (status != PARSED) return status;
        } else if (n == line->n_operands) {
            return usage("one word too many", argv[i], "--help shows what the command takes");
        } else {
            line->operands[n++] = argv[i];
        }
    }
    if (n < line->n_operands) return fail(EXIT_USAGE, "--help shows what the command takes", "a word is missing");
    return PARSED;
}
