/* Files of one line, as the system has them about itself. */
#ifndef RUN_TEXT_FILE_H
#define RUN_TEXT_FILE_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The first line, without its end: 1, or 0 when there is none. */
static inline int read_text_file(const char *path, char *text, int size) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    int found = fgets(text, size, file) != NULL;
    fclose(file);
    if (found) text[strcspn(text, "\r\n")] = 0;
    return found && text[0] != 0;
}

/* A number that begins it: 1, or 0. */
static inline int read_number_file(const char *path, uint64_t *number) {
    char text[32];
    return read_text_file(path, text, sizeof text) && sscanf(text, "%" SCNu64, number) == 1;
}

#endif
