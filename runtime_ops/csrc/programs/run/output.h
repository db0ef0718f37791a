/* A file that appears when it is complete, or stdout. */
#ifndef RUN_OUTPUT_H
#define RUN_OUTPUT_H

#include <stdio.h>

typedef struct output {
    FILE *file;
    const char *path;      /* NULL: stdout */
    char *partial;         /* what is written first and renamed at the end; NULL: written directly */
} output;

/* Opens it: EXIT_OK, or a failure that has been said, as when it would replace the file that is read. */
int output_open(output *out, const char *path, const char *input);

/* Ends it with the status of the writing: what failed leaves no file behind. Returns the status to exit with. */
int output_close(output *out, int status);
int output_failed(const output *out); /* says that writing failed, and returns the status */

#endif
