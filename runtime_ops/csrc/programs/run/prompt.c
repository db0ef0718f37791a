/* Reading a prompt; the bytes are taken as they are, but for the line break that ends what is typed on stdin. */
#define _POSIX_C_SOURCE 200809L
#include "programs/run/prompt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "programs/run/commands.h"
#include "programs/run/report.h"

#define MAX_PROMPT (UINT32_C(1) << 24) /* bytes: more than any model's context */

static int read_all(prompt *p, FILE *file, const char *name) {
    size_t room = 0, got = 1;
    while (got != 0) {
        if (p->n == room) {
            char *larger = room < MAX_PROMPT ? realloc(p->bytes, room = room == 0 ? 4096 : 2 * room) : NULL;
            if (larger == NULL) return fail(EXIT_FAILED, "at most 16 MiB are read", "%s: too long for a prompt", name);
            p->bytes = larger;
        }
        got = fread(p->bytes + p->n, 1, room - p->n, file);
        p->n += got;
    }
    if (interrupted) return EXIT_INTERRUPTED;
    return ferror(file) ? fail(EXIT_FAILED, "", "%s: %s", name, strerror(errno)) : EXIT_OK;
}

static int read_stdin(prompt *p) {
    if (isatty(STDIN_FILENO)) fputs("prompt, up to the end of input (Ctrl-D):\n", stderr);
    int status = read_all(p, stdin, "standard input");
    if (p->n != 0 && p->bytes[p->n - 1] == '\n') p->n--;
    return status;
}

int prompt_read(prompt *p, const char *text, const char *path) {
    *p = (prompt){NULL, 0};
    if (text != NULL) {
        p->n = strlen(text);
        p->bytes = malloc(p->n + 1);
        if (p->bytes == NULL) return fail(EXIT_FAILED, "", "no memory");
        memcpy(p->bytes, text, p->n + 1);
        return EXIT_OK;
    }
    if (path == NULL || strcmp(path, "-") == 0) return read_stdin(p);
    FILE *file = fopen(path, "rb");
    if (file == NULL) return fail(EXIT_FAILED, "", "%s: %s", path, strerror(errno));
    int status = read_all(p, file, path);
    fclose(file);
    return status;
}
